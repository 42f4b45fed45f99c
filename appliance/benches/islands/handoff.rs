//! What a dispatcher costs a frame over run-to-completion: the same 64-byte echo, on the simulated port.

use std::time::Instant;

use crate::now_ns;
use crate::report::{Better, Figure, Options};
use crate::support::frames::rpc4;
use crate::support::lab::{Deployed, Lab, Setup, SimClock};

const BURST: usize = 64;

pub fn run(options: &Options) -> Vec<Figure> {
    let (rounds, repeats) = if options.quick { (15, 500) } else { (41, 2_000) };
    println!("64-byte echo, bursts of {BURST}, {rounds} rounds, ways in turn");
    now_ns();
    let setup = |npus: u16, npu_here: bool| Setup {
        clock: SimClock::real(now_ns),
        npus,
        npu_here,
        ..Setup::dispatcher()
    };
    let plain = Setup { clock: SimClock::real(now_ns), ..Setup::default() };
    let mut ways = [
        ("run_to_completion", Lab::of(vec![Deployed::from_tree("echo", "echo")], plain)),
        (
            "dispatcher_and_npu_on_one_lcore",
            Lab::of(vec![Deployed::from_tree("echo", "echo")], setup(0, true)),
        ),
        ("npu_behind_a_link", Lab::of(vec![Deployed::from_tree("echo", "echo")], setup(1, false))),
    ];
    let frame = rpc4(1, &[0x5A; 64]);
    let mut values = vec![Vec::new(); ways.len()];
    for round in 0..=rounds {
        for ((_, lab), values) in ways.iter_mut().zip(&mut values) {
            let start = Instant::now();
            for _ in 0..repeats {
                for _ in 0..BURST {
                    lab.peers[0].send(&frame);
                }
                lab.settle();
                let mut answers = 0;
                while lab.peers[0].receive().is_some() {
                    answers += 1;
                }
                assert_eq!(answers, BURST);
            }
            // The first round warms up.
            if round > 0 {
                values.push(start.elapsed().as_nanos() as f64 / (repeats * BURST) as f64);
            }
        }
    }
    let mut figures: Vec<_> = ways
        .iter()
        .zip(&values)
        .map(|((name, _), values)| {
            Figure::of_rounds(format!("handoff/{name}"), "ns/frame", Better::Lower, values)
        })
        .collect();
    for (at, name) in [(1, "cost_of_dispatcher"), (2, "cost_of_dispatcher_and_link")] {
        let cost: Vec<f64> = values[at].iter().zip(&values[0]).map(|(this, plain)| this - plain).collect();
        let figure = Figure::of_rounds(format!("handoff/{name}"), "ns/frame", Better::Lower, &cost);
        figures.push(if at == 1 { figure.with_bar(150.0) } else { figure });
    }
    figures
}
