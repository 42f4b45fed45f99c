//! What answers HTTP: the server on its thread, with the gateway beside it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lnic_registry::Registry;
use tokio::task::JoinHandle;
use tracing::error;

use crate::control::gateway::later::{Callbacks, Requests};
use crate::control::gateway::{self, FunctionGateway, Gateway, Observer, PacketGateway};
use crate::control::http::{self, HttpState, Limits, Listeners, ServerHandle};
use crate::control::image::Images;
use crate::control::manager::{Driver, DurableQueue, Manager};
use crate::control::plane::Plane as _;
use crate::control::topology::Topology;

/// Longest time that requests may take to end once the appliance stops.
const STOP_TIME: Duration = Duration::from_secs(2);
/// Of that, what is left to tell those who still wait for a lambda that the appliance stops.
const LAST_ANSWERS: Duration = Duration::from_millis(300);
/// Time that a request may take besides what the gateway waits for its lambda.
const MARGIN: Duration = Duration::from_secs(5);

/// All services.
pub(super) struct Services {
    server: ServerHandle,
    gateway: Option<Arc<PacketGateway>>,
    requests: Option<Arc<Requests>>,
    worker: Option<JoinHandle<()>>,
}

impl Services {
    /// Starts them.
    pub(super) async fn start(
        topology: &Topology,
        manager: &Manager,
        registry: &Registry,
        queues: Option<gateway::Queues>,
        listeners: Listeners,
    ) -> anyhow::Result<Self> {
        let state = topology.control.state.as_deref();
        if let Some(state) = state {
            let folder = state.join("images");
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        let images = Images::new(state);
        let mut state = HttpState { images, ..HttpState::new(Arc::new(manager.clone())) };
        let packet = queues.map(|queues| PacketGateway::new(queues, (&topology.gateway).into()));
        let mut requests = None;
        if let Some(packet) = &packet {
            let way: Arc<dyn Gateway> = Arc::clone(packet) as Arc<dyn Gateway>;
            let functions = state.functions.clone();
            let observer: Observer = Arc::new(move |key, status, took| {
                functions.started(&key.name, &key.namespace);
                functions.record(&key.name, &key.namespace, status, took.as_secs_f64());
            });
            if topology.gateway.async_requests > 0 {
                let resolving = manager.clone();
                let later = Requests::open(
                    (&topology.gateway).into(),
                    Arc::new(DurableQueue::new(registry.clone())),
                    Callbacks::new(&topology.gateway.callbacks).context("[gateway] callbacks")?,
                    Arc::clone(&way),
                    Box::new(move |key| resolving.resolve(&key.namespace, &key.name)),
                    Some(Arc::clone(&observer)),
                );
                requests = Some(later.await?);
            }
            state.gateway = Some(Arc::new(FunctionGateway::new(way, requests.clone(), Some(observer))));
        }
        let server = http::serve(listeners, state, settings(topology))?;
        if let Some(packet) = &packet {
            let driven = Arc::clone(packet);
            server.runtime().spawn(async move {
                if let Err(error) = driven.drive().await {
                    error!("gateway: {error}");
                }
            });
        }
        Ok(Self { server, gateway: packet, requests, worker: None })
    }

    /// Begins with the requests that are to be done later: not before their lambdas are there again.
    pub(super) fn work(&mut self) {
        if let Some(requests) = &self.requests {
            let requests = Arc::clone(requests);
            self.worker = Some(self.server.runtime().spawn(async move { requests.work().await }));
        }
    }

    /// Stops them in order: nothing new, what is under way, the rest. The driver goes on meanwhile.
    pub(super) async fn stop(self, driver: &mut Driver) {
        let Self { server, gateway, requests, worker } = self;
        let close = || gateway.iter().for_each(|gateway| gateway.close());
        if let Some(requests) = &requests {
            requests.stop();
        }
        // Replies come through the gateway until the last request is answered.
        let mut stopped = tokio::task::spawn_blocking(move || server.stop());
        let last = tokio::time::sleep(STOP_TIME - LAST_ANSWERS);
        tokio::select! {
            _ = &mut stopped => {}
            _ = async { loop { driver.run().await; tokio::time::sleep(Duration::from_millis(10)).await } } => {}
            () = async { last.await; close(); std::future::pending().await } => {}
            () = tokio::time::sleep(2 * STOP_TIME) => error!("the HTTP server does not stop"),
        }
        close();
        if let Some(worker) = worker {
            worker.abort();
        }
    }
}

/// A request to a lambda may take as long as the gateway allows.
fn settings(topology: &Topology) -> http::Settings {
    let gateway = Duration::from_millis(topology.gateway.timeout_ms.into()) + MARGIN;
    let limits = Limits::default();
    let limits = Limits { request_time: limits.request_time.max(gateway), ..limits };
    http::Settings { limits, stop_time: STOP_TIME, ..http::Settings::default() }
}
