//! `lnic.service`, `lnic.request` and `lnic.random`: what a lambda can do with them, and what it cannot.

use std::collections::BTreeSet;

use super::*;
use crate::ids::PortId;
use crate::outside::{Framing, HopId, Service, Services};

const IMPORTS: &str = r#"
    (import "lnic" "service" (func $service (param i32 i32) (result i32)))
    (import "lnic" "request" (func $request (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "lnic" "random" (func $random (result i64)))"#;

/// Names lie at 1024, 8 bytes each; the last is no text.
const NAMES: &str = r#"(data (i32.const 1024) "cache...origin..\ff\fe")"#;

fn asking(body: &str, extra: &str) -> String {
    module(body, &format!("{NAMES}{extra}"), "(memory (export \"memory\") 1 1)").replacen(
        "(module",
        &format!("(module {IMPORTS}"),
        1,
    )
}

fn service(last: u8) -> Service {
    Service {
        address: ([10, 77, 0, last], 53).into(),
        port: PortId::new(0),
        hop: HopId(0),
        framing: Framing::Datagram,
    }
}

fn with_services(wat: &str, fuel: u64) -> Instance {
    let engine = Engine::new().unwrap();
    engine.prepare_thread();
    let image = Image::compile(&engine, &wat::parse_str(wat).unwrap(), "entry", &Limits::default()).unwrap();
    let services = Services::new([("cache".into(), service(7)), ("origin".into(), service(8))]);
    let host = HostSide::detached().with_services(services);
    Instance::new(&image, fuel, &host, &image.detached_seat().unwrap()).unwrap()
}

/// `$request` of 4 bytes at 1024, its reply to 64 at 2048.
fn request(handle: i64, timeout_us: i64) -> String {
    format!(
        "(call $request (i32.const {handle}) (i32.const 1024) (i32.const 4) (i32.const 2048) (i32.const 64) (i32.const {timeout_us}))"
    )
}

#[test]
fn services_are_found_by_their_whole_name() {
    for (name, bytes, expected) in
        [(1024, 5, 0), (1032, 6, 1), (1024, 4, -1), (1024, 6, -1), (1024, 0, -1), (1040, 2, -1), (0, 256, -1)]
    {
        let body = format!("(call $service (i32.const {name}) (i32.const {bytes}))");
        let mut instance = with_services(&asking(&body, ""), 100_000);
        assert_eq!(instance.run(0), Run::Verdict(expected), "{bytes} bytes at {name}");
        assert!(instance.fuel_used() >= 500 + bytes.min(255) as u64);
    }
    for (name, bytes) in [(65_536, 1), (65_535, 2), (-1, 1), (1, -1), (0, 65_537)] {
        let body = format!("(call $service (i32.const {name}) (i32.const {bytes}))");
        assert_eq!(with_services(&asking(&body, ""), 100_000).run(0), Run::Failed(Failure::Trap));
    }
    let body = "(call $service (i32.const 1024) (i32.const 5))";
    assert_eq!(with_services(&asking(body, ""), 500).run(0), Run::Failed(Failure::Budget));
}

#[test]
fn a_request_suspends_for_its_service_and_the_reply_resumes() {
    for handle in [0, 1] {
        let body = format!("(drop {}) (i32.load8_u (i32.const 2048))", request(handle, 500));
        let mut instance = with_services(&asking(&body, ""), 100_000);
        assert_eq!(instance.run(0), Run::Suspended);
        let target = Target::Service(service(7 + handle as u8));
        assert_eq!(instance.pending(), Some(PendingCall { target, timeout_us: 500, request: b"cach" }));
        assert!((2_000..2_100).contains(&instance.fuel_used()), "{}", instance.fuel_used());
        assert_eq!(instance.resume(Answer::Reply(b"*")), Run::Verdict(b'*'.into()));
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_without_suspending() {
    for (handle, timeout_us) in [(2, 500), (-1, 500), (i64::from(i32::MIN), 500), (0, 0), (0, -1)] {
        let mut instance = with_services(&asking(&request(handle, timeout_us), ""), 100_000);
        assert_eq!(instance.run(0), Run::Verdict(-3), "{handle} {timeout_us}");
    }
    let other_place = "(call $request (i32.const 2) (i32.const 65536) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 1))";
    assert_eq!(with_services(&asking(other_place, ""), 100_000).run(0), Run::Failed(Failure::Trap));
    assert_eq!(with_services(&asking(&request(0, 1), ""), 1_999).run(0), Run::Failed(Failure::Budget));
}

#[test]
fn init_finds_services_and_cannot_ask_them() {
    let init = format!(
        "(func (export \"init\") (i32.store (i32.const 3000) {}) (i32.store (i32.const 3004) (call $service (i32.const 1032) (i32.const 6))))",
        request(0, 500)
    );
    let body = "(i32.sub (i32.load (i32.const 3000)) (i32.load (i32.const 3004)))";
    assert_eq!(with_services(&asking(body, &init), 100_000).run(0), Run::Verdict(-14 - 1));
}

#[test]
fn random_numbers_are_each_instances_own() {
    let wat = asking("(i32.wrap_i64 (call $random))", "");
    let mut instances = [with_services(&wat, 1_000), with_services(&wat, 1_000)];
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        for instance in &mut instances {
            let Run::Verdict(number) = instance.run(0) else { panic!("a number") };
            seen.insert(number);
            assert!((300..320).contains(&instance.fuel_used()));
        }
    }
    assert!(seen.len() > 195, "{} of 200", seen.len());
    assert_eq!(with_services(&wat, 299).run(0), Run::Failed(Failure::Budget));
}

#[test]
fn only_those_who_may_wait_get_a_stack_of_their_own() {
    let with = |import: &str| {
        judge(&lambda("i32.const 0").replacen("(module", &format!("(module (import \"lnic\" {import})"), 1))
            .unwrap()
            .suspends
    };
    assert!(with(r#""request" (func (param i32 i32 i32 i32 i32 i32) (result i32))"#));
    assert!(!with(r#""service" (func (param i32 i32) (result i32))"#));
    assert!(!with(r#""random" (func (result i64))"#));
}
