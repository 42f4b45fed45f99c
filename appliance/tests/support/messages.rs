//! Messages of the simulated appliance: slots in its lambdas' own memory, and frames for what it sends by itself.

use dpdk_bindings::external::Slot;
use lnic::control::appliance::slot_region;
use lnic::ids::NpuId;
use lnic::message::slots::{LambdaSlots, MessageSlots};
use lnic::path::Messages;
use lnic::port::sim::{SimFrame, SimPool};
use lnic_message::server::{Limits, Server, TenantId};

use super::deployed::Made;

/// Number of the simulated appliance's life.
pub const EPOCH: u32 = 0x1_0001;
/// Who finds all slots taken is told to ask again after so many microseconds.
pub const RETRY_US: u16 = 500;

/// How the polling lcore takes messages.
#[derive(Clone, Copy)]
pub struct MessageSetup {
    pub limits: Limits,
    /// Messages that can run at a time.
    pub running: u32,
}

impl Default for MessageSetup {
    fn default() -> Self {
        let limits = Limits {
            exchanges: 64,
            exchanges_per_tenant: 64,
            fragments: 2048,
            message_bytes: 2 << 20,
            sessions: 32,
            cache_bytes: 64 << 10,
            cache_bytes_per_tenant: 64 << 10,
            tenants: 64,
            ..Limits::default()
        };
        Self { limits, running: 64 }
    }
}

impl MessageSetup {
    /// Each lambda is a tenant of its own.
    pub fn make(self, lambdas: &[Made], pool: &SimPool) -> Messages<SimFrame> {
        let slots = (0u16..).zip(lambdas).map(|(tenant, made)| LambdaSlots {
            id: made.id,
            lambda: made.reference,
            tenant: TenantId(tenant),
            slots: slots(made),
            address: made.area.map_or(0, |area| area.address),
            slot_bytes: made.area.map_or(0, |area| area.slot_bytes),
        });
        Messages::new(
            Server::new(self.limits, [7; 16], EPOCH),
            MessageSlots::new(slots.collect(), lambdas.len(), RETRY_US),
            Box::new(pool.sendable()),
            self.running,
            None,
        )
    }
}

/// A lambda's slots: where its instances see them too.
fn slots(made: &Made) -> Vec<Slot> {
    let Some(area) = made.area else { return Vec::new() };
    let view =
        made.deployment.seat(NpuId::new(0)).view(area.window).expect("memory").expect("a window of slots");
    let region = slot_region(view);
    let bytes = area.slot_bytes as usize;
    (0..area.count as usize).map(|at| region.slot(at * bytes..(at + 1) * bytes).expect("within")).collect()
}
