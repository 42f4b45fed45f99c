//! A control plane that knows an appliance's configured lambdas and does nothing else, and an HTTP server in front of its gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use lnic::control::gateway::Gateway;
use lnic::control::http::{Caller, HttpState, routes};
use lnic::control::inspect::Inspection;
use lnic::control::plane::*;
use lnic::control::stats::Snapshot;
use lnic::control::topology::Topology;

/// Lambdas by namespace and name.
#[derive(Default)]
pub struct Functions(BTreeMap<LambdaKey, (u32, HttpMode)>);

impl Functions {
    /// Those of a configuration, in the default namespace.
    pub fn of(topology: &Topology) -> Self {
        let key = |name: &str| LambdaKey::new(LambdaKey::DEFAULT_NAMESPACE, name);
        let each = topology.lambdas.iter();
        Self(each.map(|lambda| (key(&lambda.name), (lambda.id.raw(), lambda.http))).collect())
    }

    /// One more.
    pub fn with(mut self, namespace: &str, name: &str, id: u32) -> Self {
        self.0.insert(LambdaKey::new(namespace, name), (id, HttpMode::Body));
        self
    }

    pub fn find(&self, key: &LambdaKey) -> Option<Target> {
        self.0.get(key).map(|&(id, http)| Target { key: key.clone(), id, http })
    }
}

fn no<T>() -> Result<T, PlaneError> {
    Err(PlaneError::Unavailable("not in this test".into()))
}

#[async_trait]
impl Plane for Functions {
    async fn upload(&self, _: Bytes) -> Result<Module, PlaneError> {
        no()
    }
    async fn modules(&self) -> Result<Vec<Module>, PlaneError> {
        no()
    }
    async fn deploy(&self, _: Deployment) -> Result<Lambda, PlaneError> {
        no()
    }
    async fn lambdas(&self, _: Option<&str>) -> Result<Vec<Lambda>, PlaneError> {
        no()
    }
    async fn lambda(&self, _: &LambdaKey) -> Result<Lambda, PlaneError> {
        no()
    }
    async fn remove(&self, _: &LambdaKey) -> Result<(), PlaneError> {
        no()
    }
    async fn rollback(&self, _: &LambdaKey, _: Option<u64>) -> Result<Lambda, PlaneError> {
        no()
    }
    async fn scale(&self, _: &LambdaKey, _: u32) -> Result<Lambda, PlaneError> {
        no()
    }
    async fn release(&self, _: &LambdaKey) -> Result<bool, PlaneError> {
        no()
    }
    async fn inspection(&self, _: &LambdaKey) -> Result<Inspection, PlaneError> {
        no()
    }
    async fn rules(&self) -> Result<Vec<Rule>, PlaneError> {
        no()
    }
    async fn namespaces(&self) -> Result<Vec<Namespace>, PlaneError> {
        no()
    }
    async fn create_namespace(&self, _: Namespace) -> Result<Namespace, PlaneError> {
        no()
    }
    async fn update_namespace(&self, _: Namespace) -> Result<Namespace, PlaneError> {
        no()
    }
    async fn remove_namespace(&self, _: &str) -> Result<(), PlaneError> {
        no()
    }
    async fn secrets(&self, _: &str) -> Result<Vec<String>, PlaneError> {
        no()
    }
    async fn set_secret(
        &self,
        _: &str,
        _: &str,
        _: SecretValue,
        _: Option<bool>,
    ) -> Result<bool, PlaneError> {
        no()
    }
    async fn remove_secret(&self, _: &str, _: &str) -> Result<(), PlaneError> {
        no()
    }
    fn logs(&self, _: LogQuery) -> BoxStream<'static, LogLine> {
        stream::empty().boxed()
    }
    fn resolve(&self, namespace: &str, name: &str) -> Option<Target> {
        self.find(&LambdaKey::new(namespace, name))
    }
    fn snapshot(&self) -> Snapshot {
        unimplemented!("no test asks for it")
    }
    fn readiness(&self) -> Readiness {
        Readiness::default()
    }
}

/// Serves the routes on a TCP address, until the runtime ends; says where. Who asks is `caller`.
pub async fn serve(
    address: &str,
    plane: PlaneHandle,
    gateway: Option<Arc<dyn Gateway>>,
    caller: Caller,
) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(address).await.expect("a TCP port");
    let bound = listener.local_addr().expect("an address");
    let state = HttpState { gateway, ..HttpState::new(plane) };
    let app = routes(state).layer(axum::Extension(caller));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(app.clone());
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    bound
}
