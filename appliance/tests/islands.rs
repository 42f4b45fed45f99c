//! The appliance's arrangements, simulated in virtual time: run-to-completion, a dispatcher with the NPU on its own lcore, NPUs
//! behind links, and one of each. What must hold in all of them is tested in all of them.

mod support;

#[path = "islands/calls.rs"]
mod calls;
#[path = "islands/calls_limits.rs"]
mod calls_limits;
#[path = "islands/death.rs"]
mod death;
#[path = "islands/overload.rs"]
mod overload;
#[path = "islands/overrun.rs"]
mod overrun;
#[path = "islands/pinned.rs"]
mod pinned;
#[path = "islands/quarantine.rs"]
mod quarantine;
#[path = "islands/same.rs"]
mod same;

use std::sync::LazyLock;

use lnic::matcher::Rule;
use lnic::path::Stock;
use lnic_wire::rpc::{Header, NOREPLY, Status};
use support::arrangements::*;
use support::frames::*;
use support::lab::{Deployed, LIMITS, Lab, Setup, SimClock, built_from, module};

/// EtherType of frames that reach a lambda without λ-RPC: nobody waits for an answer.
const RAW: u16 = 0x88B5;

/// The lambda also gets frames of the EtherType [`RAW`].
fn with_raw(lambda: Deployed) -> Deployed {
    Deployed { rules: vec![|rule| Rule { ether_type: Some(RAW), ..rule }], ..lambda }
}

fn raw() -> Vec<u8> {
    ethernet(None, RAW, &[1; 50])
}

fn rpc4_with(lambda: u32, payload: &[u8], adjust: impl Fn(&mut Header)) -> Vec<u8> {
    ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(RPC_PORT, &request_with(lambda, payload, adjust))))
}

/// A request that gives its lambda this long.
fn within_us(lambda: u32, payload: &[u8], budget_us: u32) -> Vec<u8> {
    rpc4_with(lambda, payload, |header| header.aux = budget_us)
}

/// A request for no reply.
fn silent(lambda: u32, payload: &[u8]) -> Vec<u8> {
    rpc4_with(lambda, payload, |header| header.flags |= NOREPLY)
}

fn send(lab: &mut Lab, frame: &[u8], times: usize) {
    for _ in 0..times {
        assert!(lab.peers[0].send(frame), "the pool is empty");
    }
}

/// The replies that have left since the last look.
fn replies(lab: &mut Lab) -> Vec<Reply> {
    lab.received(0).iter().map(|frame| reply(frame)).collect()
}

/// Sends one request and returns its reply.
fn ask(lab: &mut Lab, frame: &[u8]) -> Reply {
    let mut received = lab.exchange(frame);
    assert_eq!(received.len(), 1, "one reply to one request");
    reply(&received.remove(0))
}

/// How many of the replies have this status.
fn with_status(replies: &[Reply], status: Status) -> usize {
    replies.iter().filter(|reply| reply.header.status() == status).count()
}

/// The only reply's status and payload.
fn answer(lab: &mut Lab, lambda: u32, payload: &[u8]) -> (Status, Vec<u8>) {
    let reply = ask(lab, &rpc4(lambda, payload));
    (reply.header.status(), reply.payload)
}
