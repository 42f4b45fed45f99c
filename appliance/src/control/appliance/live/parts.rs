//! What an lcore is made of that depends on all lcores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use dpdk_bindings::external::Slot;

use super::Live;
use crate::control::appliance::layout::LinkKind;
use crate::control::appliance::lcores::LINK_JOBS;
use crate::dispatcher::Limits;
use crate::frame::Frame;
use crate::ids::{LcoreId, PortId, QueueId};
use crate::outside::Outside;
use crate::path::{Dispatcher, Feed, Stock};

/// NPU time that a lambda of weight 1 gets a round, in ns. A lambda that asks for less goes before those with a backlog: the larger,
/// the more of its requests at a time (`scripts/bench.sh isolation`).
const QUANTUM_NS: u64 = 40_000;
/// How often a lambda may find its NPU full, with room elsewhere, before it moves.
const PATIENCE: u32 = 64;
/// Messages that an lcore can have in hand at a time, besides those that wait or are elsewhere.
const MESSAGE_JOBS: u32 = 8;

impl<F: Frame<External = Slot>> Live<F> {
    /// The dispatcher of an lcore, if it is one. `suspended` is where NPUs' lcores say how many of their requests are.
    #[must_use]
    pub fn dispatcher(
        &self,
        lcore: LcoreId,
        suspended: &BTreeMap<LcoreId, Arc<AtomicU32>>,
    ) -> Option<Dispatcher<F>> {
        let topology = &self.topology;
        let spec = topology.dispatchers.iter().find(|dispatcher| dispatcher.lcore == lcore)?;
        let clients = self.layout.clients(lcore);
        let feeds = topology.npus.iter().map(|npu| {
            if !spec.npus.contains(&npu.id) {
                return None;
            }
            if npu.lcore == lcore {
                return Some(Feed::Here);
            }
            let at =
                clients.iter().position(|link| link.kind == LinkKind::Feed && link.server == npu.lcore)?;
            Some(Feed::Client(at as u8, Arc::clone(suspended.get(&npu.lcore)?)))
        });
        let limits = Limits {
            npu_in_flight: topology.scheduling.in_flight,
            waiting: topology.scheduling.waiting_frames,
            quantum_cycles: QUANTUM_NS,
            patience: PATIENCE,
        };
        let worker = self.workers.iter().find(|worker| worker.lcore == lcore)?;
        let lost = Arc::clone(&worker.mail.lost);
        Some(Dispatcher::new(limits, feeds.collect(), self.slots.limit(), lost, Arc::clone(&self.quarantine)))
    }

    /// How an lcore that polls reaches services outside; `None` if it does not poll, or lambdas may ask nobody. `polling` says what those
    /// that poll have queues of, in their order.
    #[must_use]
    pub fn outside(&self, lcore: LcoreId, polling: &[Vec<(PortId, QueueId)>]) -> Option<Outside> {
        let (limits, pollers) = (&self.topology.services, self.topology.pollers());
        let own = pollers.iter().position(|poller| *poller == lcore).filter(|_| limits.are_any())?;
        let clients = self.layout.clients(lcore);
        let end = |to: LcoreId| {
            let peer = clients.iter().position(|link| link.kind == LinkKind::Peer && link.server == to)?;
            Some(peer as u8)
        };
        let share = |at: usize| limits.share(at, pollers.len());
        let others = (0..).zip(&pollers).filter(|(at, _)| *at != own);
        let others = others.filter_map(|(at, other)| Some((share(at), end(*other)?)));
        let has = |at: usize, port: PortId| {
            polling.get(at).is_some_and(|queues| queues.iter().any(|(own, _)| *own == port))
        };
        let foreign = self.topology.ports.iter().map(|port| port.id).filter(|port| !has(own, *port));
        let elsewhere = foreign.filter_map(|port| {
            let at = (0..pollers.len()).find(|&at| has(at, port))?;
            Some((port, end(pollers[at])?))
        });
        Some(Outside {
            others: others.collect(),
            elsewhere: elsewhere.collect(),
            ..Outside::new(Arc::clone(&self.neighbours), share(own), limits.in_flight)
        })
    }

    /// What an lcore has in store before anything is deployed.
    #[must_use]
    pub fn first_stock(&self, lcore: LcoreId) -> Stock {
        let scheduling = &self.topology.scheduling;
        let dispatches = self.topology.dispatchers.iter().any(|dispatcher| dispatcher.lcore == lcore);
        let polls = self.topology.pollers().contains(&lcore);
        let (waiting, in_flight) =
            if dispatches { (scheduling.waiting_frames, scheduling.in_flight) } else { (0, 0) };
        // Messages are jobs also where frames are not.
        let waiting = waiting + if polls { MESSAGE_JOBS } else { 0 };
        let (npus, links) = (self.topology.npus.len() as u32, self.layout.clients(lcore).len() as u32);
        Stock { jobs: waiting + npus * in_flight + links * LINK_JOBS, calls: 0 }
    }
}
