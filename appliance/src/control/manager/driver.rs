//! The main thread's side: owns the appliance, carries out orders, looks after the lcores.

use std::time::{Duration, Instant};

use lnic_registry::LambdaKey;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::{Manager, now_ms};
use crate::control::appliance::{Appliance, DeployError, Deployed, Event, Wanted};
use crate::control::heartbeat::{self, Event as Silence, Watch};

/// How often the lcores are looked after.
const WATCH: Duration = Duration::from_millis(100);

/// Something for the main thread to do, and whom to tell what came of it.
pub(super) enum Order {
    Deploy(Vec<Wanted>, oneshot::Sender<Vec<Result<Deployed, DeployError>>>),
    Remove(LambdaKey, oneshot::Sender<Result<(), DeployError>>),
    Scale(LambdaKey, Option<u32>, oneshot::Sender<Result<u32, DeployError>>),
}

/// Orders on their way to the main thread.
pub struct Orders(pub(super) mpsc::Receiver<Order>);

/// Carries out orders on the appliance.
pub struct Driver {
    appliance: Appliance,
    orders: Orders,
    manager: Manager,
    watch: Watch,
}

impl Driver {
    /// Takes the appliance over.
    #[must_use]
    pub fn new(appliance: Appliance, orders: Orders, manager: Manager) -> Self {
        let watch = Watch::of(&appliance.sources(), &manager.0.topology);
        Self { appliance, orders, manager, watch }
    }

    /// Works until the lcores end; may be cancelled at any time and called again.
    pub async fn run(&mut self) -> &'static str {
        let mut tick = tokio::time::interval(WATCH);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = self.orders.0.recv() => match order {
                    Some(order) => self.carry_out(order).await,
                    None => return "the control plane has ended",
                },
                _ = tick.tick() => {
                    self.look_after().await;
                    if self.appliance.has_ended() {
                        return "a worker has ended";
                    }
                }
                rung = self.appliance.rung() => {
                    if rung.is_err() {
                        // For want of descriptors, most likely: they come back.
                        tokio::time::sleep(WATCH).await;
                    }
                    self.look_after().await;
                }
            }
        }
    }

    /// Gives the appliance back, to stop it.
    #[must_use]
    pub fn into_appliance(self) -> Appliance {
        self.appliance
    }

    async fn carry_out(&mut self, order: Order) {
        // Whoever asked may have left: it is done all the same.
        match order {
            Order::Deploy(wanted, answer) => {
                let _ = answer.send(self.appliance.deploy(wanted).await);
            }
            Order::Remove(key, answer) => {
                let _ = answer.send(self.appliance.remove(&key).await);
            }
            Order::Scale(key, replicas, answer) => {
                let _ = answer.send(self.appliance.scale(&key, replicas).await);
            }
        }
    }

    /// Looks after the lcores, and notes whether they are well.
    pub async fn look_after(&mut self) {
        for event in self.appliance.look_after() {
            match event {
                Event::Woken(key) => {
                    if let Err(error) = self.appliance.wake(&key).await {
                        error!("lambda \"{key}\": cannot be woken: {error}");
                    }
                }
                event => self.report(event),
            }
        }
        let appliance = &self.appliance;
        for event in self.watch.observe(Instant::now(), |lcore| appliance.has_lcore_ended(lcore)) {
            match event {
                Silence::Stuck { lcore, roles, silent } => {
                    error!("lcore {lcore} ({roles}) has not taken a breath for {} ms", silent.as_millis());
                }
                Silence::Recovered { lcore, silent } => {
                    warn!("lcore {lcore} breathes again, after {} ms", silent.as_millis());
                }
                Silence::Ended { lcore, roles } => error!("lcore {lcore} ({roles}) has ended"),
            }
        }
        let ports = heartbeat::ports(&appliance.sources());
        let readiness = heartbeat::readiness(ports, self.watch.workers(), self.manager.problems());
        self.manager.set_readiness(readiness);
    }

    fn report(&self, event: Event) {
        match event {
            Event::Log { lambda, text } => {
                let Some((key, generation)) = self.appliance.lambda_of_id(lambda) else { return };
                // Escaped, so that a lambda cannot write to the terminal or forge a line.
                info!("lambda \"{key}\" says: {}", text.escape_ascii());
                self.manager.0.logs.push(key, generation, now_ms(), &text);
            }
            Event::Quarantined(key) => {
                warn!(
                    "lambda \"{key}\": quarantined; its callers are told UNAVAILABLE until `lnic release {key}`"
                );
            }
            Event::NpuDied(npu) => error!("{npu}: its lcore has ended; others take over"),
            Event::Revived(key) => warn!("lambda \"{key}\": its NPU died; it goes on with fresh state"),
            Event::NotRevived(key, error) => error!("lambda \"{key}\": its NPU died; {error}"),
            Event::Woken(_) => {}
        }
    }
}
