//! Which lcore does what: from roles and lambdas to the place of each lambda as each lcore sees it, and the links between lcores.
//! Pure: plain values in and out.

use std::collections::BTreeSet;

use super::lambdas::Prepared;
use crate::control::topology::{SchedulingMode, Topology};
use crate::ids::{LcoreId, NpuId};
use crate::path::Place;

/// A link: who hands over, who takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkSpec {
    pub(super) client: LcoreId,
    pub(super) server: LcoreId,
    pub(super) kind: LinkKind,
}

/// What a link carries, which says how much it must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkKind {
    /// A dispatcher's requests to an NPU.
    Feed,
    /// Requests for lambdas that another lcore has.
    Peer,
    /// Calls of an NPU's lambdas to its dispatcher.
    Calls,
}

/// What one lambda needs to know of where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lambda {
    pub(super) npus: Vec<NpuId>,
    pub(super) pinned: bool,
    pub(super) suspends: bool,
}

impl From<&Prepared> for Lambda {
    fn from(prepared: &Prepared) -> Self {
        Self { npus: prepared.npus.clone(), pinned: prepared.pinned, suspends: prepared.suspends() }
    }
}

/// Who does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// For each lambda the lcores that have it: in run-to-completion those whose NPU runs it, else those whose dispatcher
    /// queues it.
    owners: Vec<Vec<LcoreId>>,
    /// In order; a lcore's client ends are numbered as its links come here, its server ends too.
    pub(super) links: Vec<LinkSpec>,
    dispatchers: Vec<LcoreId>,
}

impl Layout {
    pub(super) fn plan(topology: &Topology, lambdas: &[Lambda]) -> Self {
        let dispatching = topology.scheduling.mode == SchedulingMode::Dispatcher;
        // The lcore that a lambda of an NPU belongs to.
        let owner = |npu: NpuId| {
            if dispatching {
                topology
                    .dispatchers
                    .iter()
                    .find(|dispatcher| dispatcher.npus.contains(&npu))
                    .map(|found| found.lcore)
            } else {
                topology.npus.get(npu.index()).map(|npu| npu.lcore)
            }
        };
        let owners: Vec<Vec<LcoreId>> = lambdas
            .iter()
            .enumerate()
            .map(|(at, lambda)| {
                let all: BTreeSet<LcoreId> = lambda.npus.iter().filter_map(|&npu| owner(npu)).collect();
                let mut all: Vec<LcoreId> = all.into_iter().collect();
                if lambda.pinned && !all.is_empty() {
                    // One of them has it; lambdas are dealt out in turn.
                    all = vec![all[at % all.len()]];
                }
                all
            })
            .collect();
        let dispatchers: Vec<LcoreId> =
            topology.dispatchers.iter().map(|dispatcher| dispatcher.lcore).collect();
        let mut links = BTreeSet::new();
        for dispatcher in &topology.dispatchers {
            for npu in &dispatcher.npus {
                let server = topology.npus[npu.index()].lcore;
                if server != dispatcher.lcore {
                    let client = dispatcher.lcore;
                    links.insert(LinkSpec { client, server, kind: LinkKind::Feed });
                    if lambdas.iter().any(|lambda| lambda.suspends) {
                        links.insert(LinkSpec { client: server, server: client, kind: LinkKind::Calls });
                    }
                }
            }
        }
        for client in topology.pollers() {
            for (at, owners) in owners.iter().enumerate() {
                if let Some(server) = peer(owners, client, at) {
                    links.insert(LinkSpec { client, server, kind: LinkKind::Peer });
                }
            }
        }
        Self { owners, links: links.into_iter().collect(), dispatchers }
    }

    /// Links by which an lcore hands over; its client ends are numbered in this order.
    pub(super) fn clients(&self, lcore: LcoreId) -> Vec<LinkSpec> {
        self.links.iter().copied().filter(|link| link.client == lcore).collect()
    }

    /// Place of each lambda as an lcore sees it.
    pub(super) fn places(&self, lcore: LcoreId) -> Vec<Place> {
        let clients = self.clients(lcore);
        let over = |wanted: &dyn Fn(&LinkSpec) -> bool| {
            clients.iter().position(wanted).map_or(Place::Here, |at| Place::Client(at as u8))
        };
        let is_dispatcher = self.dispatchers.contains(&lcore);
        let is_npu_only = !self.dispatchers.is_empty() && !is_dispatcher;
        (0..)
            .zip(&self.owners)
            .map(|(at, owners)| {
                if is_npu_only {
                    over(&|link| link.kind == LinkKind::Calls)
                } else if let Some(server) = peer(owners, lcore, at) {
                    over(&|link| link.kind == LinkKind::Peer && link.server == server)
                } else if is_dispatcher {
                    Place::Dispatcher
                } else {
                    Place::Here
                }
            })
            .collect()
    }

    /// True if the lcore has this lambda: runs it, or queues it.
    pub(super) fn has(&self, lcore: LcoreId, lambda: usize) -> bool {
        self.owners.get(lambda).is_some_and(|owners| owners.contains(&lcore))
    }
}

/// The lcore that gets `client`'s requests for a lambda, if it does not have it itself.
fn peer(owners: &[LcoreId], client: LcoreId, lambda: usize) -> Option<LcoreId> {
    if owners.is_empty() || owners.contains(&client) {
        return None;
    }
    Some(owners[lambda % owners.len()])
}

#[cfg(test)]
mod tests;
