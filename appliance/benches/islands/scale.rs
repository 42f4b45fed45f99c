//! 1 to 10,000 distinct lambdas, 90 % of the traffic to 1 % of them: throughput, memory, deployment.

use std::time::Instant;

use lnic::ids::{Generation, LambdaId, NpuId};
use lnic::island::{Budget, Loaded};
use lnic::lambda::{Engine, HostSide, Image, Instance, Limits};
use lnic::memory::{Account, Regions, Tenant, TierBytes};

use crate::now_ns;
use crate::report::{Better, Figure, Options};
use crate::support::frames::rpc4;
use crate::support::lab::{Deployed, Lab, Setup, SimClock, built_from};

const COUNTS: [usize; 4] = [1, 100, 1_000, 10_000];
const BURST: usize = 64;
/// Stands in the module for the number of the lambda: five bytes as a signed LEB128.
const MARK: i32 = 0x4EAD_BEEF;

/// Distinct modules with distinct code: an echo that also adds up its payload, from a seed of its own.
fn modules(count: usize) -> Vec<Vec<u8>> {
    let template = built_from(
        &format!(
            "#include <lnic.h>
             LAMBDA(sum) {{
                 uint32_t sum = {MARK}u;
                 for (uint32_t at = 0; at < match_data->length; at++) {{
                     sum = sum * 31 + lnic_payload(match_data)[at];
                 }}
                 headers->rpc.credit = (uint8_t)sum;
                 return lnic_reply(headers, match_data, STATUS_OK, match_data->length);
             }}"
        ),
        "sum",
    );
    let mark = leb128(MARK);
    let at = template.windows(5).position(|bytes| bytes == mark).expect("the mark is in the code");
    (0..count)
        .map(|number| {
            let mut module = template.clone();
            // Large enough for five bytes, too.
            module[at..at + 5].copy_from_slice(&leb128(0x4000_0000 + number as i32 * 7919));
            module
        })
        .collect()
}

fn leb128(value: i32) -> [u8; 5] {
    std::array::from_fn(|at| (value >> (7 * at)) as u8 & 0x7F | if at < 4 { 0x80 } else { 0 })
}

fn resident_bytes() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).expect("resident pages") * 4096.0
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("maps").lines().count()
}

pub fn run(options: &Options) -> Vec<Figure> {
    let (rounds, bursts) = if options.quick { (7, 1_500) } else { (15, 6_000) };
    println!(
        "{COUNTS:?} lambdas, 90 % of requests to 1 % of them, 64 bytes, bursts of {BURST}, {rounds} rounds"
    );
    let all = modules(COUNTS[COUNTS.len() - 1]);
    let mut figures = deployment(&all, if options.quick { 2_000 } else { all.len() });
    for (mode, dispatcher) in [("run_to_completion", false), ("dispatcher", true)] {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); COUNTS.len()];
        let mut labs: Vec<_> = COUNTS.iter().map(|&count| lab(&all[..count], dispatcher)).collect();
        for round in 0..=rounds {
            for ((lab, rates), count) in labs.iter_mut().zip(&mut rates).zip(COUNTS) {
                let rate = throughput(lab, count, bursts, round as u64);
                // The first round warms up.
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        for (rates, count) in rates.iter().zip(COUNTS) {
            let name = format!("scale/{mode}/{count}_lambdas");
            figures.push(Figure::of_rounds(name, "Mpps", Better::Higher, rates));
        }
        let last = &rates[COUNTS.len() - 1];
        let ratio: Vec<f64> = last.iter().zip(&rates[0]).map(|(many, one)| 100.0 * many / one).collect();
        let name = format!("scale/{mode}/10000_to_1");
        figures.push(Figure::of_rounds(name, "%", Better::Higher, &ratio).with_bar(50.0));
    }
    figures
}

fn lab(modules: &[Vec<u8>], dispatcher: bool) -> (Lab, Vec<Vec<u8>>) {
    let lambdas = modules.iter().map(|module| Deployed::new(module.clone(), "sum")).collect();
    let base = if dispatcher { Setup::dispatcher() } else { Setup::default() };
    let lab = Lab::of(lambdas, Setup { clock: SimClock::real(now_ns), frames: 4096, ..base });
    // As the appliance does at its start.
    lnic::memory::gather_heap();
    let frames = (1..=modules.len() as u32).map(|id| rpc4(id, &[0x5A; 64])).collect();
    (lab, frames)
}

/// Requests a second, in millions.
fn throughput((lab, frames): &mut (Lab, Vec<Vec<u8>>), count: usize, bursts: usize, seed: u64) -> f64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let hot = (count / 100).max(1);
    let order: Vec<usize> = (0..bursts * BURST)
        .map(|_| if random.u32(..10) < 9 { random.usize(..hot) } else { random.usize(..count) })
        .collect();
    let start = Instant::now();
    for burst in order.chunks(BURST) {
        for &lambda in burst {
            lab.peers[0].send(&frames[lambda]);
        }
        lab.settle();
        let mut answers = 0;
        while lab.peers[0].receive().is_some() {
            answers += 1;
        }
        assert_eq!(answers, BURST);
    }
    order.len() as f64 / start.elapsed().as_secs_f64() / 1e6
}

/// Memory of each of 10,000, and what deploying one from its compiled code takes.
fn deployment(modules: &[Vec<u8>], timed: usize) -> Vec<Figure> {
    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let host = HostSide::detached();
    let artifacts: Vec<_> = modules
        .iter()
        .map(|wasm| Image::compile(&engine, wasm, "sum", &Limits::default()).expect("compiles").artifact())
        .collect();
    let (regions, tenant) = (Regions::standalone(), Tenant::new("default", TierBytes::UNLIMITED));
    let (before, mapped) = (resident_bytes(), mappings());
    let mut times = Vec::new();
    let mut deployed = Vec::new();
    let budget = Budget { fuel: 1_000_000, time_ns: 1_000_000 };
    for (at, artifact) in artifacts.iter().enumerate() {
        let start = Instant::now();
        let image = Image::load(&engine, artifact).expect("loads");
        let account = Account::new("sum", TierBytes::UNLIMITED, &tenant);
        let seat = image.deploy(&regions, account).expect("deploys").seat(NpuId::new(0));
        let mut instance = Instance::new(&image, budget.fuel, &host, &seat).expect("instantiates");
        // A first call, so that what it touches is there.
        instance.io().expect("not suspended").match_data.length = 0;
        let _ = instance.run(0);
        let id = LambdaId::new(at as u32);
        deployed.push(Loaded::new(id, Generation::new(1), budget, instance, vec![]));
        if at < timed {
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    let each = (resident_bytes() - before) / deployed.len() as f64 / 1024.0;
    println!("{} lambdas deployed: {} mappings more", deployed.len(), mappings() - mapped);
    times.sort_by(f64::total_cmp);
    let at = |quantile: f64| times[((times.len() - 1) as f64 * quantile) as usize];
    vec![
        Figure::single("scale/memory_per_lambda", "KiB", Better::Lower, each).with_bar(80.0),
        Figure::single("scale/deploy_p50", "µs", Better::Lower, at(0.5)),
        Figure::single("scale/deploy_p99", "µs", Better::Lower, at(0.99)).with_bar(1000.0),
    ]
}
