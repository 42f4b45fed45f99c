//! Lambdas with services: their next hops are there for as long as anything of them is.

use std::net::{IpAddr, SocketAddr};

use lnic::control::appliance::layout::LinkKind;
use lnic::control::appliance::live::Live;
use lnic::control::topology::{ServiceSpec, Topology};
use lnic::handoff::Bell;
use lnic::ids::{PortId, QueueId};
use lnic::lambda::HostSide;
use lnic::memory::{NpuPlace, RegionSettings, Regions};
use lnic::port::sim::SimFrame;

use crate::*;

/// A version of `it` that may ask services behind these hosts of 10.77.0.0/16.
fn asking(fleet: &mut Fleet, version: u32, hosts: &[u16]) -> Wanted {
    let mut wanted = it(fleet, version);
    wanted.spec.services = (0..).zip(hosts).map(|(at, host)| service(at, *host)).collect();
    wanted
}

fn service(number: u16, host: u16) -> ServiceSpec {
    let hop = hop(host);
    ServiceSpec {
        name: format!("s{number:02}"),
        address: SocketAddr::new(hop, 7000 + number),
        port: PortId::new(0),
        hop,
        framing: lnic::outside::Framing::Datagram,
    }
}

fn hop(host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    IpAddr::from([10, 77, high, low])
}

/// Next hops that are held, and how often.
fn held(fleet: &Fleet) -> Vec<(IpAddr, u32)> {
    let mut held: Vec<_> = fleet.live.neighbours().list().iter().map(|hop| (hop.address, hop.held)).collect();
    held.sort();
    held
}

#[test]
fn next_hops_come_and_go_with_generations() {
    for arrangement in ALL {
        let mut fleet = Fleet::new(arrangement);
        let wanted = asking(&mut fleet, 1, &[2, 3, 3]);
        fleet.deploy(wanted).expect("it is deployed");
        assert_eq!(held(&fleet), [(hop(2), 1), (hop(3), 2)], "{arrangement:?}");
        let wanted = asking(&mut fleet, 2, &[3, 4]);
        fleet.deploy(wanted).expect("it is deployed");
        fleet.drain();
        assert_eq!(held(&fleet), [(hop(3), 1), (hop(4), 1)], "{arrangement:?}");
        // Asleep and awake, it has them: who wakes it up asks at once.
        fleet.scale(&key("it"), Some(0)).expect("it sleeps");
        fleet.settle();
        assert_eq!(held(&fleet), [(hop(3), 1), (hop(4), 1)], "{arrangement:?}");
        fleet.wake(&key("it")).expect("it wakes");
        assert_eq!(ask(&mut fleet, 0, 1), ok(2));
        fleet.scale(&key("it"), Some(1)).expect("it has fewer NPUs");
        fleet.drain();
        assert_eq!(held(&fleet), [(hop(3), 1), (hop(4), 1)], "{arrangement:?}");
        fleet.scale(&key("it"), Some(0)).expect("it sleeps");
        fleet.remove(&key("it")).expect("it is removed");
        fleet.assert_empty();
        assert_eq!(held(&fleet), [], "{arrangement:?}");
    }
}

#[test]
fn what_is_under_way_keeps_its_next_hops() {
    for arrangement in [Beside, Behind, Two] {
        let mut fleet = Fleet::new(arrangement);
        let wanted = asking(&mut fleet, 1, &[2]);
        fleet.deploy(wanted).expect("it is deployed");
        for _ in 0..40 {
            assert!(fleet.peers[0].send(&rpc4(1, &[0; 8])));
        }
        // Polled and queued, few of them run.
        fleet.lcores[0].as_mut().unwrap().once();
        assert!(fleet.live.remove(&[&key("it")])[0].is_ok());
        assert_eq!(held(&fleet), [(hop(2), 1)], "{arrangement:?}");
        fleet.assert_empty();
        assert_eq!(held(&fleet), [], "{arrangement:?}");
    }
}

#[test]
fn more_next_hops_than_there_is_room_for_are_refused_and_leave_nothing() {
    let mut fleet = Fleet::with(One, 80);
    for at in 0..64 {
        let hosts: Vec<u16> = (0..16).map(|host| 1 + at * 16 + host).collect();
        let mut wanted = named(&mut fleet, &format!("it-{at}"), 100 + u32::from(at), 1);
        wanted.spec.services = (0..).zip(&hosts).map(|(number, host)| service(number, *host)).collect();
        fleet.deploy(wanted).expect("it is deployed");
    }
    assert_eq!(held(&fleet).len(), 1024);
    let before = (held(&fleet), fleet.live.slots_taken());
    let wanted = asking(&mut fleet, 1, &[1, 2, 2000]);
    let refused = fleet.deploy(wanted).expect_err("there is no room");
    assert!(matches!(refused, DeployError::Neighbours { limit: 1024, .. }), "{refused}");
    assert_eq!((held(&fleet), fleet.live.slots_taken()), before);
    // One of them makes room.
    fleet.remove(&key("it-0")).expect("it is removed");
    fleet.drain();
    let wanted = asking(&mut fleet, 1, &[1, 2, 2000]);
    fleet.deploy(wanted).expect("it is deployed");
}

/// Control of an appliance whose lambdas may ask neighbours.
fn control(roles: &str, allowed: &str) -> (Topology, Live<SimFrame>) {
    let topology = support::fleet::topology(&format!("{roles}\n[services]\nallowed = {allowed}"), 4, 4);
    let npus: Vec<NpuPlace> =
        topology.npus.iter().map(|npu| NpuPlace { island: npu.island, numa_node: None }).collect();
    let regions = Regions::new(&RegionSettings::default(), &npus);
    let bell = Bell::new().expect("bell");
    let live = Live::new(&topology, &HostSide::new(1), &regions, 1_000, bell).expect("control");
    (topology, live)
}

#[test]
fn each_lcore_that_polls_knows_whose_a_reply_is() {
    let (topology, live) = control("[lcores]\nworkers = [1, 2, 3]", "[\"10.77.0.0/24\"]");
    let port = PortId::new(0);
    // The port has a queue for the first of them only.
    let polling = [vec![(port, QueueId::new(0))], vec![], vec![]];
    let pollers = topology.pollers();
    let all: Vec<_> = pollers.iter().map(|lcore| live.outside(*lcore, &polling).expect("it polls")).collect();
    for (at, outside) in all.iter().enumerate() {
        let server = |end: u8| {
            let link = live.layout().clients(pollers[at])[usize::from(end)];
            assert_eq!(link.kind, LinkKind::Peer);
            link.server
        };
        let shares: Vec<_> =
            outside.others.iter().map(|(range, end)| (range.clone(), server(*end))).collect();
        let expected: Vec<_> = (0..3)
            .filter(|other| *other != at)
            .map(|other| (all[other].udp_ports.clone(), pollers[other]))
            .collect();
        assert_eq!(shares, expected);
        assert!(outside.udp_ports.clone().count() >= 2 * outside.in_flight as usize);
        let elsewhere: Vec<_> = outside.elsewhere.iter().map(|(port, end)| (*port, server(*end))).collect();
        let gateway = topology.gateway_port().expect("the gateway's").id;
        assert!(!elsewhere.iter().any(|(port, _)| *port == gateway), "nobody has a queue of it here");
        assert_eq!(elsewhere, if at == 0 { vec![] } else { vec![(port, pollers[0])] });
    }
}

#[test]
fn who_does_not_poll_or_has_nobody_to_ask_reaches_nothing_outside() {
    let dispatcher = "[scheduling]\nmode = \"dispatcher\"\n[[islands]]\nname = \"a\"\nnpus = [2, 3]\n\
                      [[dispatchers]]\ncpu = 1\n";
    let reaches = |roles: &str, allowed: &str| -> Vec<bool> {
        let (topology, live) = control(roles, allowed);
        let workers = topology.lcores.workers.iter();
        workers.map(|worker| live.outside(worker.id, &[]).is_some()).collect()
    };
    assert_eq!(reaches(dispatcher, "[\"::/0\"]"), [true, false, false]);
    assert_eq!(reaches(dispatcher, "[]"), [false, false, false]);
    assert_eq!(reaches("", "[]"), [false, false, false]);
}
