//! `scripts/bench.sh path`: what a frame costs at each station, and on the whole path, on the simulated port.
//!
//! A 64-byte echo over λ-RPC: 138 bytes of frame, CRC32C and UDP checksum verified and made. Stations are measured alone, in
//! turn, on the same frames; `path/all` is the whole breath, simulated port included, and is more than their sum only by what
//! joins them.

#![allow(clippy::print_stdout, unreachable_pub, reason = "a benchmark prints its figures")]

mod plans;
mod report;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use lnic::deparser::{Exit, deparse};
use lnic::frame::{BURST, Checksum, Frame as _, FrameSource as _};
use lnic::ids::{Generation, LambdaId, LambdaRef, LambdaSlot};
use lnic::island::{Budget, Loaded, Npu, Outcome, Task};
use lnic::lambda::{
    Engine, HostSide, Image, Instance, Limits, Run,
    extract::{extract, extract_only},
};
use lnic::matcher::{Egress, Parameters, PortRange, Rule, Table};
use lnic::parser::HeaderSet;
use lnic::port::sim::SimPool;
use lnic::{local, message, parser};
use report::{Better, Figure, Options};
use support::frames::*;
use support::lab::{Deployed, Lab, built, interface, module};

fn main() {
    let options = Options::from_args();
    let rounds = plans::Rounds::new(options.quick);
    let ns = |name: &str, values: &[f64]| {
        Figure::of_rounds(format!("path/{name}"), "ns/frame", Better::Lower, values)
    };
    let frame = rpc4(1, &[0x5A; 64]);
    let interface = interface(0);
    let parse = || parser::parse(black_box(&frame), Checksum::Unknown, Checksum::Unknown, &interface);
    let parsed = parse().expect("the frame is valid");
    println!("64-byte echo, frame of {} bytes, bursts of {BURST}, {} rounds", frame.len(), rounds.rounds);
    let mut figures = Vec::new();

    // Station 1: the simulated port alone, two copies and two queues a frame.
    let mut lab = Lab::new(vec![Deployed::wat(&module("i32.const -1"))], false);
    let mut idle = Lab::new(vec![], true);
    let values = rounds.measure(BURST, || {
        // Frames from a host port take no other station.
        for _ in 0..BURST {
            idle.peers[1].send(&frame);
        }
        idle.breath.once();
        while idle.peers[0].receive().is_some() {}
    });
    figures.push(ns("port", &values));

    let values = rounds.each(|| black_box(parse()));
    figures.push(ns("parser", &values));
    let hardware = || parser::parse(black_box(&frame), Checksum::Good, Checksum::Good, &interface);
    let values = rounds.each(|| black_box(hardware()));
    figures.push(ns("parser_checksum_offload", &values));

    figures.extend(plans::stations(&rounds, "path"));

    let values = rounds.each(|| message::judge(black_box(&frame), black_box(&parsed), &interface));
    figures.push(ns("message", &values));

    let lambda = LambdaRef { slot: LambdaSlot::new(0), generation: Generation::new(1) };
    for rules in [1u32, 10_000] {
        let table = Table::build(
            (1..=rules).map(|id| Rule { rpc_lambda: Some(LambdaId::new(id)), ..Rule::any(lambda) }).collect(),
        )
        .expect("rules");
        let mut key = parsed.key;
        let mut id = 0;
        let values = rounds.measure(BURST, || {
            for _ in 0..BURST {
                id = (id + 7919) % rules;
                key.lambda = id + 1;
                black_box(table.lookup(black_box(&key)));
            }
        });
        figures.push(ns(&format!("matcher_{rules}_lambdas"), &values));
    }

    let mut headers = lnic_abi::Headers::default();
    let values = rounds.each(|| extract(black_box(&frame), black_box(&parsed), 1, black_box(&mut headers)));
    figures.push(ns("extract", &values));
    let none = HeaderSet::NONE;
    let values = rounds.each(|| {
        extract_only(black_box(&frame), black_box(&parsed), 1, black_box(none), black_box(&mut headers))
    });
    figures.push(ns("extract_nothing", &values));

    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let load = |wasm: &[u8], entry: &str| {
        let image = Image::compile(&engine, wasm, entry, &Limits::default()).expect("compiles");
        let mut npu = Npu::new(1);
        let instance =
            Instance::new(&image, 1_000_000, &HostSide::detached(), &image.detached_seat().expect("seat"))
                .expect("instantiates");
        let budget = Budget { fuel: 1_000_000, time_ns: 1_000_000 };
        npu.load(lambda, Loaded::new(LambdaId::new(1), lambda.generation, budget, instance, vec![]));
        npu
    };
    let parameters = Parameters::default();
    let task = Task {
        bytes: &frame,
        parsed: &parsed,
        time_ns: 1,
        rule: 0,
        parameters: &parameters,
        capacity: 1400,
        slot: None,
    };
    let trivial = Image::compile(
        &engine,
        &wat::parse_str(module("i32.const -1")).expect("module"),
        "entry",
        &Limits::default(),
    )
    .expect("compiles");
    let seat = trivial.detached_seat().expect("seat");
    let mut trivial = Instance::new(&trivial, 1_000_000, &HostSide::detached(), &seat).expect("instantiates");
    let values = rounds.each(|| matches!(trivial.run(0), Run::Verdict(_)));
    figures.push(ns("sandbox_call", &values));
    let mut echo = load(&built("echo"), "echo");
    let values = rounds.each(|| echo.run(lambda, black_box(&task)).1);
    figures.push(ns("npu", &values));

    let (Outcome::Forward { headers, payload }, _) = echo.run(lambda, &task) else { panic!("echo replies") };
    let mut pool = SimPool::new(1, 2048);
    let mut out = pool.frame(&frame).expect("a frame");
    let exit = Exit { interface: &interface, mtu: 1500, tx_checksum: false };
    let values = rounds.measure(BURST, || {
        for _ in 0..BURST {
            // The reply of a reply is refused, so the addresses are put back: 12 bytes, less than a nanosecond.
            out.bytes_mut()[..12].copy_from_slice(&frame[..12]);
            deparse(&mut out, black_box(&parsed), black_box(headers), payload, Egress::Reply, &exit)
                .expect("a reply");
        }
    });
    figures.push(ns("deparser", &values));

    let arp = arp_request();
    let parsed_arp =
        parser::parse(&arp, Checksum::Unknown, Checksum::Unknown, &interface).expect("the frame is valid");
    let mut arp_frame = SimPool::new(1, 2048).frame(&arp).expect("a frame");
    let values = rounds.measure(BURST, || {
        for _ in 0..BURST {
            arp_frame.bytes_mut().copy_from_slice(&arp);
            black_box(local::answer(&mut arp_frame, &parsed_arp, &interface));
        }
    });
    figures.push(ns("local_arp", &values));

    let values = rounds.measure(BURST, || {
        for _ in 0..BURST {
            lab.peers[0].send(&frame);
        }
        lab.breath.once();
    });
    figures.push(ns("all_but_reply", &values));

    let mut whole = Lab::new(vec![Deployed::from_tree("echo", "echo")], false);
    let values = rounds.measure(BURST, || {
        for _ in 0..BURST {
            whole.peers[0].send(&frame);
        }
        whole.breath.once();
        while whole.peers[0].receive().is_some() {}
    });
    figures.push(ns("all", &values).with_bar(250.0));
    let udp = ethernet(None, 0x0800, &ipv4(&[], 17, &udp4(9, &[0x5A; 22])));
    let mut ruled = Deployed::from_tree("echo", "echo");
    ruled.rules = vec![|rule| Rule { protocol: Some(17), destination_port: PortRange::Exact(9), ..rule }];
    let mut by_rule = Lab::new(vec![ruled], false);
    let values = rounds.measure(BURST, || {
        for _ in 0..BURST {
            by_rule.peers[0].send(&udp);
        }
        by_rule.breath.once();
        while by_rule.peers[0].receive().is_some() {}
    });
    figures.push(ns("all_64_byte_udp_by_rule", &values));
    figures.extend(plans::paths(&rounds, "path"));
    let single = rounds.measure(1, || {
        whole.peers[0].send(&frame);
        whole.breath.once();
        while whole.peers[0].receive().is_some() {}
    });
    figures.push(ns("all_burst_of_1", &single));
    report::report("path", &options, &figures);
}
