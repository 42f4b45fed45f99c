//! Which lcore does what: from roles to the links between lcores, and from a lambda to its place as each lcore sees it. Links are there
//! from the start, for whatever may be deployed later. Pure: plain values in and out.

use std::collections::BTreeSet;

use crate::control::topology::{SchedulingMode, Topology};
use crate::ids::{LcoreId, NpuId};
use crate::path::Place;

/// A link: who hands over, who takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkSpec {
    /// Who hands over.
    pub client: LcoreId,
    /// Who takes.
    pub server: LcoreId,
    /// What it carries.
    pub kind: LinkKind,
}

/// What a link carries, which says how much it must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A dispatcher's requests to an NPU.
    Feed,
    /// Requests for lambdas that another lcore has.
    Peer,
    /// Calls of an NPU's lambdas to its dispatcher.
    Calls,
}

/// Who does what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In order; a lcore's client ends are numbered as its links come here, its server ends too.
    links: Vec<LinkSpec>,
    dispatchers: Vec<LcoreId>,
    pollers: Vec<LcoreId>,
    /// By NPU: the lcore that lambdas of it belong to. In run-to-completion its own, else the one whose dispatcher feeds it.
    owners: Vec<Option<LcoreId>>,
}

impl Layout {
    /// Of a configuration.
    #[must_use]
    pub fn plan(topology: &Topology) -> Self {
        let dispatching = topology.scheduling.mode == SchedulingMode::Dispatcher;
        let mut links = BTreeSet::new();
        for dispatcher in &topology.dispatchers {
            for npu in &dispatcher.npus {
                let (client, server) = (dispatcher.lcore, topology.npus[npu.index()].lcore);
                if server != client {
                    links.insert(LinkSpec { client, server, kind: LinkKind::Feed });
                    links.insert(LinkSpec { client: server, server: client, kind: LinkKind::Calls });
                }
            }
        }
        let pollers = topology.pollers();
        for &client in &pollers {
            let others = pollers.iter().filter(|&&server| server != client);
            links.extend(others.map(|&server| LinkSpec { client, server, kind: LinkKind::Peer }));
        }
        let owner = |npu: NpuId| {
            if dispatching {
                let mut all = topology.dispatchers.iter();
                all.find(|dispatcher| dispatcher.npus.contains(&npu)).map(|found| found.lcore)
            } else {
                topology.npus.get(npu.index()).map(|npu| npu.lcore)
            }
        };
        Self {
            links: links.into_iter().collect(),
            dispatchers: topology.dispatchers.iter().map(|dispatcher| dispatcher.lcore).collect(),
            pollers,
            owners: topology.npus.iter().map(|npu| owner(npu.id)).collect(),
        }
    }

    /// All links.
    #[must_use]
    pub fn links(&self) -> &[LinkSpec] {
        &self.links
    }

    /// Links by which an lcore hands over; its client ends are numbered in this order.
    #[must_use]
    pub fn clients(&self, lcore: LcoreId) -> Vec<LinkSpec> {
        self.links.iter().copied().filter(|link| link.client == lcore).collect()
    }

    /// Links by which an lcore takes, in the order of its server ends.
    #[must_use]
    pub fn servers(&self, lcore: LcoreId) -> Vec<LinkSpec> {
        self.links.iter().copied().filter(|link| link.server == lcore).collect()
    }

    /// The lcores that have a lambda of these NPUs: run it, or queue it. A pinned one has one; lambdas are dealt out by `turn`.
    #[must_use]
    pub fn owners(&self, npus: &[NpuId], pinned: bool, turn: usize) -> Vec<LcoreId> {
        let owner = |npu: &NpuId| self.owners.get(npu.index()).copied().flatten();
        let all: BTreeSet<LcoreId> = npus.iter().filter_map(owner).collect();
        let all: Vec<LcoreId> = all.into_iter().collect();
        if pinned && !all.is_empty() { vec![all[turn % all.len()]] } else { all }
    }

    /// NPUs whose lambdas belong to an lcore.
    pub(super) fn is_owned_by(&self, npu: NpuId, lcore: LcoreId) -> bool {
        self.owners.get(npu.index()) == Some(&Some(lcore))
    }

    /// An lcore's view of where lambdas are.
    #[must_use]
    pub fn eyes(&self, lcore: LcoreId) -> Eyes {
        let clients = self.clients(lcore);
        let end = |wanted: &dyn Fn(&LinkSpec) -> bool| clients.iter().position(wanted).map(|at| at as u8);
        let is_dispatcher = self.dispatchers.contains(&lcore);
        Eyes {
            lcore,
            peers: self
                .pollers
                .iter()
                .filter_map(|&peer| {
                    Some((peer, end(&|link| link.kind == LinkKind::Peer && link.server == peer)?))
                })
                .collect(),
            calls: end(&|link| link.kind == LinkKind::Calls),
            own: if is_dispatcher { Place::Dispatcher } else { Place::Here },
            polls: self.pollers.contains(&lcore),
        }
    }
}

/// How one lcore sees where lambdas are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eyes {
    lcore: LcoreId,
    /// Client ends that lead to other pollers.
    peers: Vec<(LcoreId, u8)>,
    /// The client end that calls take.
    calls: Option<u8>,
    /// Where lambdas go that it has.
    own: Place,
    polls: bool,
}

impl Eyes {
    /// Where frames for a lambda go that these lcores have. Of several, `turn` says which.
    #[must_use]
    pub fn place(&self, owners: &[LcoreId], turn: usize) -> Place {
        if !self.polls {
            return self.calls.map_or(Place::Here, Place::Client);
        }
        if owners.is_empty() || owners.contains(&self.lcore) {
            return self.own;
        }
        let owner = owners[turn % owners.len()];
        let end = self.peers.iter().find(|(peer, _)| *peer == owner);
        end.map_or(self.own, |(_, end)| Place::Client(*end))
    }
}

#[cfg(test)]
mod tests;
