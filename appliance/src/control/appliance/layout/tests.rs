//! Layouts of hand-made topologies: what each lcore sees, and that whatever it is told leads to whom it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;
use crate::control::config::machine::Access;
use crate::control::config::{Cpu, Machine};
use crate::control::topology::Topology;
use crate::ids::IslandId;

const DISPATCHER: &str = "[scheduling]\nmode = \"dispatcher\"\n";
/// Two islands with a dispatcher each, on lcores of their own.
const TWO_DISPATCHERS: &str = "[scheduling]\nmode = \"dispatcher\"\n\
    [[islands]]\nname = \"a\"\nnpus = [2, 3]\n[[islands]]\nname = \"b\"\nnpus = [5]\n\
    [[dispatchers]]\ncpu = 1\nislands = [\"a\"]\n[[dispatchers]]\ncpu = 4\nislands = [\"b\"]\n";
/// The second dispatcher shares its lcore with an NPU that the first feeds.
const CROSSED: &str = "[scheduling]\nmode = \"dispatcher\"\n\
    [[islands]]\nname = \"a\"\nnpus = [2]\n[[islands]]\nname = \"b\"\nnpus = [3]\n\
    [[dispatchers]]\ncpu = 1\nislands = [\"b\"]\n[[dispatchers]]\ncpu = 3\nislands = [\"a\"]\n";

fn topology(text: &str, cpus: u32) -> Topology {
    let machine = Machine {
        cpus: (0..cpus).map(Cpu::new).collect(),
        numa_nodes: BTreeMap::new(),
        capabilities: u64::MAX,
        interfaces: BTreeSet::new(),
        pci_devices: BTreeMap::new(),
        hugepages: Vec::new(),
        available_bytes: 4 << 30,
        max_map_count: Some(65_530),
        tun: Access::Usable,
    };
    let text = format!("{text}\n[[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\n");
    let (topology, absent) = Topology::from_text(&text, Path::new("test.toml"), &machine).unwrap();
    assert!(absent.is_empty(), "{absent:?}");
    topology
}

/// What a layout needs to know of a lambda.
#[derive(Clone)]
struct Lambda {
    npus: Vec<NpuId>,
    pinned: bool,
}

/// A layout, and lambdas in their slots.
struct Planned {
    layout: Layout,
    lambdas: Vec<Lambda>,
    links: Vec<LinkSpec>,
}

impl Planned {
    fn owners(&self, at: usize) -> Vec<LcoreId> {
        let Some(lambda) = self.lambdas.get(at) else { return Vec::new() };
        self.layout.owners(&lambda.npus, lambda.pinned, at)
    }

    fn places(&self, lcore: LcoreId) -> Vec<Place> {
        let eyes = self.layout.eyes(lcore);
        (0..self.lambdas.len()).map(|at| eyes.place(&self.owners(at), at)).collect()
    }

    fn has(&self, lcore: LcoreId, at: usize) -> bool {
        self.owners(at).contains(&lcore)
    }

    fn clients(&self, lcore: LcoreId) -> Vec<LinkSpec> {
        self.layout.clients(lcore)
    }
}

/// On all NPUs.
fn everywhere(topology: &Topology) -> Lambda {
    Lambda { npus: topology.npus.iter().map(|npu| npu.id).collect(), pinned: false }
}

fn pinned(topology: &Topology) -> Lambda {
    Lambda { pinned: true, ..everywhere(topology) }
}

fn on_island(topology: &Topology, island: u16) -> Lambda {
    let npus = topology.npus.iter().filter(|npu| npu.island == IslandId::new(island));
    Lambda { npus: npus.map(|npu| npu.id).collect(), ..everywhere(topology) }
}

fn lcore(id: u32) -> LcoreId {
    LcoreId::new(id)
}

fn link(client: u32, server: u32, kind: LinkKind) -> LinkSpec {
    LinkSpec { client: lcore(client), server: lcore(server), kind }
}

/// The dispatcher that feeds an lcore's NPU, or would.
fn feeder(topology: &Topology, lcore: LcoreId) -> Option<LcoreId> {
    let npu = topology.npus.iter().find(|npu| npu.lcore == lcore)?.id;
    let mut dispatchers = topology.dispatchers.iter();
    dispatchers.find(|dispatcher| dispatcher.npus.contains(&npu)).map(|dispatcher| dispatcher.lcore)
}

/// Plans a layout, and follows from every lcore the way of every lambda's frames and calls to whom it belongs.
fn plan(topology: &Topology, lambdas: &[Lambda]) -> Planned {
    let layout = Layout::plan(topology);
    let layout = Planned { links: layout.links().to_vec(), lambdas: lambdas.to_vec(), layout };
    let links: BTreeSet<_> = layout.links.iter().collect();
    assert_eq!(links.len(), layout.links.len(), "a link twice");
    assert!(layout.links.iter().all(|link| link.client != link.server), "a link to itself");
    for (at, lambda) in lambdas.iter().enumerate() {
        let workers = || topology.lcores.workers.iter().map(|worker| worker.id);
        let owners: Vec<LcoreId> = workers().filter(|&lcore| layout.has(lcore, at)).collect();
        assert!(!owners.is_empty(), "lambda {at} has no owner");
        assert!(!lambda.pinned || owners.len() == 1, "lambda {at} is at {owners:?}");
        for owner in &owners {
            let npus = topology.npus.iter().filter(|npu| lambda.npus.contains(&npu.id));
            let mut theirs = npus.map(|npu| feeder(topology, npu.lcore).unwrap_or(npu.lcore));
            assert!(theirs.any(|lcore| lcore == *owner), "{owner} has lambda {at} and no NPU for it");
        }
        for start in workers() {
            let polls = topology.pollers().contains(&start);
            let (mut here, mut hops) = (start, 0);
            loop {
                let place = layout.places(here)[at];
                let at_dispatcher = topology.dispatchers.iter().any(|one| one.lcore == here);
                match place {
                    Place::Client(end) => {
                        let link = layout.clients(here)[usize::from(end)];
                        let wanted = if polls || hops > 0 { LinkKind::Peer } else { LinkKind::Calls };
                        assert_eq!((link.client, link.kind), (here, wanted), "lambda {at} from {start}");
                        here = link.server;
                        hops += 1;
                        assert!(hops <= 2, "lambda {at} from {start} goes round");
                    }
                    place => {
                        let expected = if at_dispatcher { Place::Dispatcher } else { Place::Here };
                        assert_eq!(place, expected, "lambda {at} from {start} at {here}");
                        assert!(layout.has(here, at), "lambda {at} from {start} ends at {here}");
                        break;
                    }
                }
            }
        }
    }
    for dispatcher in &topology.dispatchers {
        for npu in &dispatcher.npus {
            let server = topology.npus[npu.index()].lcore;
            let feed = LinkSpec { client: dispatcher.lcore, server, kind: LinkKind::Feed };
            assert_eq!(links.contains(&feed), server != dispatcher.lcore, "{npu} of {}", dispatcher.lcore);
        }
    }
    layout
}

#[test]
fn run_to_completion_shares_only_what_is_pinned() {
    let topology = topology("", 4);
    let peer = |client, server| link(client, server, LinkKind::Peer);
    // Links are there whether something is pinned or not: it may be later.
    let links = [peer(1, 2), peer(1, 3), peer(2, 1), peer(2, 3), peer(3, 1), peer(3, 2)];
    let layout = plan(&topology, &[everywhere(&topology), everywhere(&topology)]);
    assert_eq!(layout.links, links);
    assert_eq!(layout.places(lcore(2)), [Place::Here; 2]);
    // Pinned ones are dealt out in turn, the first of these to the second lcore.
    let layout = plan(&topology, &[everywhere(&topology), pinned(&topology), pinned(&topology)]);
    assert_eq!(layout.links, links);
    assert_eq!(layout.places(lcore(1)), [Place::Here, Place::Client(0), Place::Client(1)]);
    assert_eq!(layout.places(lcore(2)), [Place::Here, Place::Here, Place::Client(1)]);
    assert_eq!(layout.places(lcore(3)), [Place::Here, Place::Client(1), Place::Here]);
    assert_eq!([1, 2, 3].map(|id| layout.has(lcore(id), 2)), [false, false, true]);
    assert!(!layout.has(lcore(1), 99) && !layout.has(lcore(99), 0));
}

#[test]
fn one_lcore_needs_no_links() {
    let topology = topology("", 2);
    let layout = plan(&topology, &[everywhere(&topology), pinned(&topology)]);
    assert_eq!((layout.links.len(), layout.places(lcore(1))), (0, vec![Place::Here; 2]));
}

#[test]
fn lambdas_of_an_island_are_reached_from_the_others() {
    let text = "[[islands]]\nname = \"a\"\nnpus = [1, 2]\n[[islands]]\nname = \"b\"\nnpus = [3]\n";
    let topology = topology(text, 4);
    let layout = plan(&topology, &[on_island(&topology, 0), on_island(&topology, 1)]);
    assert_eq!(layout.places(lcore(1)), [Place::Here, Place::Client(1)]);
    assert_eq!(layout.places(lcore(3)), [Place::Client(0), Place::Here]);
}

#[test]
fn one_dispatcher_feeds_its_npus() {
    let topology = topology(DISPATCHER, 5);
    let feeds = [2, 3, 4].map(|server| link(1, server, LinkKind::Feed));
    // Every NPU can reach the dispatcher: something that calls may come.
    let calls = [2, 3, 4].map(|client| link(client, 1, LinkKind::Calls));
    let layout = plan(&topology, &[everywhere(&topology), pinned(&topology)]);
    assert_eq!(layout.links, [&feeds[..], &calls].concat());
    assert_eq!(layout.places(lcore(1)), [Place::Dispatcher; 2]);
    assert!(layout.has(lcore(1), 1) && !layout.has(lcore(2), 1));
    assert_eq!(layout.places(lcore(3)), [Place::Client(0); 2]);
    assert_eq!(layout.clients(lcore(3)), [calls[1]]);
    assert_eq!(layout.layout.servers(lcore(1)), calls);
}

#[test]
fn a_dispatcher_with_its_npu_beside_it_needs_no_link() {
    let topology = topology(DISPATCHER, 2);
    let layout = plan(&topology, &[everywhere(&topology), pinned(&topology)]);
    assert_eq!(layout.links, []);
    assert_eq!(layout.places(lcore(1)), [Place::Dispatcher; 2]);
}

#[test]
fn two_dispatchers_pass_on_what_is_not_theirs() {
    let topology = topology(TWO_DISPATCHERS, 6);
    let lambdas =
        [everywhere(&topology), on_island(&topology, 0), on_island(&topology, 1), pinned(&topology)];
    let layout = plan(&topology, &lambdas);
    let (first, second) = (lcore(1), lcore(4));
    assert_eq!([0, 1, 2, 3].map(|at| layout.has(first, at)), [true, true, false, false]);
    assert_eq!([0, 1, 2, 3].map(|at| layout.has(second, at)), [true, false, true, true]);
    let peers: Vec<_> = layout.links.iter().filter(|link| link.kind == LinkKind::Peer).collect();
    assert_eq!(peers, [&link(1, 4, LinkKind::Peer), &link(4, 1, LinkKind::Peer)]);
    let to = |lcore: LcoreId| {
        let ends = layout.clients(lcore);
        Place::Client(ends.iter().position(|link| link.kind == LinkKind::Peer).unwrap() as u8)
    };
    let own = Place::Dispatcher;
    assert_eq!(layout.places(first), [own, own, to(first), to(first)]);
    assert_eq!(layout.places(second), [own, to(second), own, own]);
}

#[test]
fn every_way_leads_to_an_owner() {
    for text in ["", DISPATCHER, TWO_DISPATCHERS, CROSSED] {
        for cpus in if text.len() > DISPATCHER.len() { 6..=6 } else { 1..=8 } {
            let topology = topology(text, cpus);
            let islands = topology.islands.len() as u16;
            let lambdas: Vec<Lambda> = (0..24u16)
                .map(|at| Lambda {
                    pinned: at % 2 == 1,
                    ..if at % 3 == 0 { everywhere(&topology) } else { on_island(&topology, at % islands) }
                })
                .collect();
            plan(&topology, &lambdas);
        }
    }
}
