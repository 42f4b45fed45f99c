//! Lambdas that ask services outside the appliance, in all arrangements, in virtual time: the network is a simulated peer that answers,
//! stays silent, reorders, repeats and lies.

mod support;

#[path = "outside/asking.rs"]
mod asking;
#[path = "outside/hostile.rs"]
mod hostile;
#[path = "outside/limits.rs"]
mod limits;
#[path = "outside/lost.rs"]
mod lost;
#[path = "outside/memcached.rs"]
mod memcached;
#[path = "outside/neighbours.rs"]
mod neighbours;
#[path = "outside/pollers.rs"]
mod pollers;

use std::net::IpAddr;

use lnic::ids::LambdaSlot;
use support::arrangements::*;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup, built_from};
use support::outside::*;

const FOUR: u32 = 0;
const SIX: u32 = 1;
const MEMCACHED: u32 = 2;
const FAR: u32 = 3;

/// Long enough for whatever is not late on purpose.
const PATIENCE_US: u32 = 100_000;

fn lab_with(arrangement: Arrangement, lambdas: Vec<Deployed>, outside: OutsideSetup) -> Lab {
    Lab::of(lambdas, Setup { outside: Some(outside), ..arrangement.setup() })
}

fn lab(arrangement: Arrangement) -> Lab {
    lab_with(arrangement, vec![asker()], OutsideSetup::default())
}

/// Has the lambda ask a service.
fn ask(lab: &mut Lab, service: u32, timeout_us: u32, request: &[u8]) {
    assert!(lab.peers[0].send(&rpc4(1, &asking(service, 9216, timeout_us, request))));
}

fn pass_us(lab: &mut Lab, us: u64) {
    lab.clock.pass(us * 1000);
    lab.settle();
}

/// What the appliance has sent, once nothing is left to do.
fn settled(lab: &mut Lab) -> Sent {
    lab.settle();
    sent(&mut lab.peers[0])
}

/// Says where an address is, and lets it be heard.
fn tell(lab: &mut Lab, address: impl Into<IpAddr>, mac: [u8; 6]) {
    assert!(lab.peers[0].send(&neighbour_answer(address.into(), mac)));
    lab.settle();
}

/// Answers the questions that the appliance asked its neighbours; what it sent then.
fn resolved(lab: &mut Lab) -> Sent {
    let first = settled(lab);
    assert!(first.requests.is_empty(), "before it knows where");
    for (address, _) in first.questions {
        tell(lab, address, SERVICE_MAC);
    }
    pass_us(lab, 300);
    let mut then = sent(&mut lab.peers[0]);
    then.others.extend(first.others);
    then
}

fn deliver(lab: &mut Lab, datagram: &Datagram) {
    assert!(lab.peers[0].send(&datagram.frame()));
}

/// A service's short reply, with its framing.
fn answer_of(service: u32, request: &Datagram, reply: &[u8]) -> Datagram {
    if service == MEMCACHED { request.memcached_replies(reply).remove(0) } else { request.reply(reply) }
}

/// What came of the requests that have been answered since the last look.
fn told(lab: &mut Lab) -> Vec<Told> {
    settled(lab).told()
}

/// What came of the only one.
fn told_once(lab: &mut Lab) -> Told {
    let mut all = told(lab);
    assert_eq!(all.len(), 1, "one has been answered");
    all.remove(0)
}

/// Has the lambda ask, and the service answer.
fn exchange(lab: &mut Lab, service: u32, request: &[u8], reply: &[u8]) -> Told {
    ask(lab, service, PATIENCE_US, request);
    let mut sent = settled(lab);
    if sent.requests.is_empty() {
        for (address, _) in sent.questions {
            tell(lab, address, SERVICE_MAC);
        }
        pass_us(lab, 300);
        sent = support::outside::sent(&mut lab.peers[0]);
    }
    assert_eq!(sent.requests.len(), 1, "one request");
    let request = &sent.requests[0];
    let replies =
        if service == MEMCACHED { request.memcached_replies(reply) } else { vec![request.reply(reply)] };
    replies.iter().for_each(|reply| deliver(lab, reply));
    told_once(lab)
}

/// What control sees to be under way for the lambda.
fn outstanding(lab: &Lab) -> u32 {
    let all = std::iter::once(&lab.counters).chain(&lab.npu_counters);
    all.map(|counters| counters.outstanding.get(LambdaSlot::new(0))).sum()
}

/// All requests have ended in one way, and nothing is under way.
fn assert_ended(lab: &mut Lab) {
    lab.rest();
    let ended = lab.count(1, |count| &count.replies)
        + lab.count(1, |count| &count.requests_timed_out)
        + lab.count(1, |count| &count.requests_failed);
    assert_eq!(lab.count(1, |count| &count.requests), ended, "requests = replies + timed out + failed");
    assert_eq!(outstanding(lab), 0, "nothing needs the lambda any more");
    assert!(lab.breath.path().is_at_rest());
    lab.assert_balanced();
}
