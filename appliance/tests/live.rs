//! Lambdas come, change and go while packets flow, in all arrangements of lcores, under the control that the real appliance has: no frame
//! is lost, every request gets one answer, and everything that goes is freed.

mod support;

#[path = "live/calls.rs"]
mod calls;
#[path = "live/death.rs"]
mod death;
#[path = "live/errors.rs"]
mod errors;
#[path = "live/messages.rs"]
mod messages;
#[path = "live/random.rs"]
mod random;
#[path = "live/services.rs"]
mod services;
#[path = "live/sleep.rs"]
mod sleep;
#[path = "live/statistics.rs"]
mod statistics;
#[path = "live/upgrade.rs"]
mod upgrade;

use std::sync::LazyLock;

use lnic::control::appliance::live::{DeployError, Wanted};
use lnic_registry::LambdaKey;
use lnic_wire::rpc::Status;
use support::fleet::{ALL, Arrangement, Behind, Beside, Fleet, One, Several, Two};
use support::frames::*;
use support::lab::built_from;

/// Versions of a lambda that differ in what they answer.
const VERSIONS: u32 = 4;

/// Modules that answer their version, and behind it what they were sent behind the first four bytes.
static MODULES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let source = |version| {
        format!(
            "#include <lnic.h>
            LAMBDA(version) {{
                if (match_data->length < 4) {{
                    return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
                }}
                lnic_store_be32(lnic_payload(match_data), {version});
                return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
            }}"
        )
    };
    (1..=VERSIONS).map(|version| built_from(&source(version), "version")).collect()
});

/// Answers how often it has run: it has a variable, so that it is on one NPU at a time.
static COUNTER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let source = "#include <lnic.h>
        static uint32_t count;
        LAMBDA(counter) {
            lnic_store_be32(lnic_payload(match_data), ++count);
            return lnic_reply(headers, match_data, STATUS_OK, 4);
        }";
    built_from(source, "counter")
});

fn key(name: &str) -> LambdaKey {
    LambdaKey::new("default", name)
}

/// The lambda "it" with ID 1, in a version from 1.
fn it(fleet: &mut Fleet, version: u32) -> Wanted {
    named(fleet, "it", 1, version)
}

fn named(fleet: &mut Fleet, name: &str, id: u32, version: u32) -> Wanted {
    let module = &MODULES[version as usize - 1];
    Wanted { generation: version.into(), ..fleet.wanted(name, id, module, "version") }
}

fn counter(fleet: &mut Fleet, name: &str, id: u32) -> Wanted {
    fleet.wanted(name, id, &COUNTER, "counter")
}

/// What one request is answered: the status, and the first four bytes.
fn ask(fleet: &mut Fleet, poller: usize, lambda: u32) -> (Status, Option<u32>) {
    let mut frames = fleet.exchange(poller, &rpc4(lambda, &[0; 16]));
    assert_eq!(frames.len(), 1, "one reply to one request");
    let reply = reply(&frames.remove(0));
    let first = reply.payload.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
    (reply.header.status(), first)
}

fn ok(version: u32) -> (Status, Option<u32>) {
    (Status::Ok, Some(version))
}

const UNKNOWN: (Status, Option<u32>) = (Status::Unimplemented, None);
