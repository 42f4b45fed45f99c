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
use support::frames::*;
use support::lab::{Deployed, LIMITS, Lab, Setup, SimClock, built, built_from, module};

/// EtherType of frames that reach a lambda without λ-RPC: nobody waits for an answer.
const RAW: u16 = 0x88B5;

/// Who runs lambdas, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    RunToCompletion,
    /// Dispatcher and NPU on one lcore.
    OneLcore,
    /// Two NPUs behind links.
    Links,
    /// One NPU beside the dispatcher and one behind a link.
    Mixed,
}

use Arrangement::{Links, Mixed, OneLcore, RunToCompletion};

const ALL: [Arrangement; 4] = [RunToCompletion, OneLcore, Links, Mixed];
const DISPATCHING: [Arrangement; 3] = [OneLcore, Links, Mixed];

impl Arrangement {
    fn setup(self) -> Setup {
        Setup {
            dispatcher: (self != RunToCompletion).then_some(LIMITS),
            npu_here: self != Links,
            npus: match self {
                RunToCompletion | OneLcore => 0,
                Links => 2,
                Mixed => 1,
            },
            stock: Stock { jobs: 600, calls: 64 },
            clock: SimClock::new(100),
            ..Setup::default()
        }
    }

    fn npus(self) -> usize {
        if matches!(self, Links | Mixed) { 2 } else { 1 }
    }

    fn lab(self, lambdas: Vec<Deployed>) -> Lab {
        Lab::of(lambdas, self.setup())
    }
}

fn echo() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built("echo"));
    Deployed::new(MODULE.clone(), "echo")
}

fn web_server() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built("web-server"));
    Deployed::new(MODULE.clone(), "web_server")
}

/// Answers how often it has run.
fn counter() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let source = "#include <lambda.h>
            static uint32_t count;
            LAMBDA(counter) {
                lambda_store_be32(lambda_payload(match_data), ++count);
                return lambda_reply(headers, match_data, STATUS_OK, 4);
            }";
        built_from(source, "counter")
    });
    Deployed { pinned: true, ..Deployed::new(MODULE.clone(), "counter") }
}

/// Traps whatever it is given.
fn trapper() -> Deployed {
    Deployed::wat(&module("unreachable"))
}

/// Runs until its budget is used up.
fn looper() -> Deployed {
    Deployed { fuel: 5_000, ..Deployed::wat(&module("(loop $again (br $again)) i32.const 0")) }
}

/// Answers nobody.
fn dropper() -> Deployed {
    Deployed::wat(&module("i32.const -1"))
}

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
