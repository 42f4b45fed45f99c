//! One generation of a lambda that is deployed: its code, its memory, and who runs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dpdk_bindings::external::Slot;
use lnic_compiler::placement::Runs;
use lnic_message::server::TenantId;
use lnic_registry::LambdaKey;

use super::error::DeployError;
use super::services::Hops;
use crate::control::appliance::coalesce::Ready;
use crate::control::appliance::messages::slot_region;
use crate::control::topology::LambdaSpec;
use crate::dispatcher::{NpuSet, Share};
use crate::ids::{LambdaRef, LcoreId, NpuId};
use crate::island::{Budget, Loaded, State};
use crate::lambda::{Environment, HostSide, Instance, PrepareError};
use crate::matcher::Rule;
use crate::memory::{Account, Deployment};
use crate::message::slots::{LambdaSlots, PlacedSlots};
use crate::parser::HeaderSet;

/// A lambda to deploy, or a new generation of one.
#[derive(Clone)]
pub struct Wanted {
    /// Whose it is, and its name.
    pub key: LambdaKey,
    /// What is asked for it; its tenant is the namespace, whatever `tenant` says.
    pub spec: LambdaSpec,
    /// Its code.
    pub ready: Ready,
    /// Rules that lead to it, in order, besides that of its λ-RPC ID; whatever their `lambda` says.
    pub rules: Vec<Rule>,
    /// What it may ask for.
    pub environment: Environment,
    /// NPUs that run it at most; 0 lets it sleep until it is wanted, all that may if `None`.
    pub replicas: Option<u32>,
    /// Number of the generation, for people.
    pub generation: u64,
}

/// What came of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Where it is.
    pub reference: LambdaRef,
    /// NPUs that may run it now.
    pub replicas: u32,
    /// An lcore that has it and has not said in time that it leads there. It does as soon as it looks.
    pub silent: Option<LcoreId>,
}

/// Where a rule stands among those of the same priority: what comes first, first.
pub(super) type Order = (u64, u32);

/// A generation that is deployed, or on its way in or out.
pub(super) struct Generation {
    pub(super) wanted: Wanted,
    /// Rules with their order.
    pub(super) rules: Vec<(Order, Rule)>,
    /// When its lambda was first deployed, among others.
    pub(super) order: u64,
    pub(super) reference: LambdaRef,
    pub(super) tenant: TenantId,
    pub(super) account: Account,
    /// Its memory: what its instances share stays when one is made again. None while it sleeps.
    pub(super) deployment: Option<Deployment>,
    /// Where its message slots are known.
    pub(super) place: Option<u32>,
    /// NPUs that may run it now.
    pub(super) npus: Vec<NpuId>,
    /// Lcores that have it.
    pub(super) owners: Vec<LcoreId>,
    pub(super) budget: Budget,
    pub(super) host: HostSide,
    /// Next hops of its services.
    pub(super) hops: Hops,
    /// Its state when it was last looked at.
    pub(super) known: State,
    /// When it was last to be woken.
    pub(super) woken: Option<Instant>,
}

impl Generation {
    pub(super) fn key(&self) -> &LambdaKey {
        &self.wanted.key
    }

    pub(super) fn spec(&self) -> &LambdaSpec {
        &self.wanted.spec
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.wanted.ready
    }

    /// May it be woken, or tried to? Not more often than once in `period`: whoever sends a frame can ask for it.
    pub(super) fn may_wake(&mut self, period: Duration) -> bool {
        let may = self.woken.is_none_or(|woken| woken.elapsed() >= period);
        if may {
            self.woken = Some(Instant::now());
        }
        may
    }

    /// It runs on one NPU at a time.
    pub(super) fn is_pinned(&self) -> bool {
        self.ready().runs == Runs::OnOneNpu
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.deployment.is_none()
    }

    /// NPUs that may run it at once.
    pub(super) fn replicas(&self) -> u32 {
        if self.is_pinned() { self.npus.len().min(1) as u32 } else { self.npus.len() as u32 }
    }

    /// It calls others, and waits for their answers.
    pub(super) fn suspends(&self) -> bool {
        self.ready().image.shape().suspends
    }

    /// Headers that it touches.
    pub(super) fn headers(&self) -> HeaderSet {
        HeaderSet::of(&self.ready().image.shape().header_use)
    }

    /// Requests of it that may be under way on one NPU.
    pub(super) fn in_flight(&self) -> u32 {
        // Several at a time have a memory each: one that is pinned because of its globals has one.
        if self.suspends() && !self.is_pinned() { self.spec().in_flight } else { 1 }
    }

    /// Its instances see the same variables.
    fn is_shared(&self) -> bool {
        // A window of message slots is shared too, but they are no variables.
        self.ready().image.plan().windows.len() > 1 + usize::from(self.ready().slots.is_some())
    }

    /// How its variables bind it, for people.
    pub(super) fn concurrency(&self) -> &'static str {
        match (self.is_pinned(), self.is_shared()) {
            (true, _) => "pinned",
            (false, true) => "shared",
            (false, false) => "replicated",
        }
    }

    pub(super) fn wrong(&self, source: PrepareError) -> DeployError {
        DeployError::Prepare { key: self.key().clone(), source: Box::new(source) }
    }

    /// A fresh one for an NPU.
    pub(super) fn load(&self, npu: NpuId) -> Result<Box<Loaded>, DeployError> {
        let Some(deployment) = &self.deployment else { return Err(DeployError::NoNpu(self.key().clone())) };
        let seat = deployment.seat(npu);
        let instance = || {
            let ready = self.ready();
            Instance::new(&ready.image, self.budget.fuel, &self.host, &seat)
                .map_err(|error| self.wrong(error))
        };
        let more = (1..self.in_flight()).map(|_| instance()).collect::<Result<_, _>>()?;
        Ok(Loaded::new(self.spec().id, self.reference.generation, self.budget, instance()?, more))
    }

    /// Its share of a dispatcher's NPUs.
    pub(super) fn share(&self, npus: NpuSet) -> Share {
        let spec = self.spec();
        Share {
            weight: spec.weight,
            queue: spec.queue_frames,
            // One that waits for nobody is never in flight longer than its budget.
            in_flight: if self.suspends() { self.in_flight() } else { u32::from(u16::MAX) },
            npus,
            pinned: self.is_pinned(),
        }
    }

    /// Its message slots for each of `pollers` lcores, at its place.
    #[expect(clippy::vec_box, reason = "lcores move them box by box")]
    pub(super) fn message_slots(&self, pollers: usize) -> Result<Vec<Box<PlacedSlots<Slot>>>, DeployError> {
        let (Some(place), Some(deployment)) = (self.place, &self.deployment) else { return Ok(Vec::new()) };
        let (spec, key) = (self.spec(), self.key());
        let count = spec.message_slots as usize;
        let area = match self.ready().slots {
            Some(area) if count > 0 => {
                let wanted = spec.message_slots * pollers as u32;
                if area.count < wanted {
                    let key = key.clone();
                    return Err(DeployError::MessageSlots { key, wanted, have: area.count });
                }
                let npu = self.npus.first().copied().unwrap_or(NpuId::new(0));
                let view = deployment.seat(npu).view(area.window);
                let view = view.map_err(|error| self.wrong(PrepareError::Memory(Box::new(error))))?;
                view.map(|view| (area, slot_region(view)))
            }
            None if count > 0 => {
                return Err(DeployError::MessageSlots {
                    key: key.clone(),
                    wanted: spec.message_slots,
                    have: 0,
                });
            }
            _ => None,
        };
        let of = |poller: usize| {
            let (mut slots, mut address) = (Vec::new(), 0);
            if let Some((area, region)) = &area {
                let (bytes, first) = (area.slot_bytes as usize, poller * count);
                address = area.address + (first * bytes) as u32;
                let slot = |at: usize| region.slot(at * bytes..(at + 1) * bytes);
                slots.extend((first..first + count).map_while(slot));
            }
            let (id, lambda, tenant) = (spec.id, self.reference, self.tenant);
            PlacedSlots::new(
                place,
                LambdaSlots { id, lambda, tenant, slots, address, slot_bytes: spec.message_bytes },
            )
        };
        Ok((0..pollers).map(of).collect())
    }

    /// What the compiler found and decided.
    pub(super) fn inspection(&self) -> Arc<crate::control::inspect::Inspection> {
        Arc::clone(&self.ready().inspection)
    }
}
