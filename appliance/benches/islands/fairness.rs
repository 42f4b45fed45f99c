//! Three lambdas that cost 1:4:16 and weigh 1:2:4, all overloaded: each gets NPU time by its weight, whatever it costs.

use crate::report::{Better, Figure, Options};
use crate::support::frames::rpc4;
use crate::support::lab::{Deployed, Lab, Setup, SimClock, spinner};
use crate::{now_ns, turns_per_us};

const COSTS_US: [u32; 3] = [1, 4, 16];
const WEIGHTS: [u32; 3] = [1, 2, 4];

pub fn run(options: &Options) -> Vec<Figure> {
    let turns = turns_per_us();
    let (rounds, round_ns) = if options.quick { (7, 500_000_000) } else { (11, 2_000_000_000) };
    println!("costs {COSTS_US:?} µs, weights {WEIGHTS:?}, {rounds} rounds of {} ms", round_ns / 1_000_000);
    let mut figures = Vec::new();
    for (name, npus) in [("one_lcore", 0), ("behind_links", 2)] {
        let lambdas = COSTS_US.iter().zip(WEIGHTS).map(|(cost, weight)| Deployed {
            weight,
            fuel: 100_000_000,
            ..Deployed::new(spinner(cost * turns), "spin")
        });
        let mut lab = Lab::of(
            lambdas.collect(),
            Setup {
                clock: SimClock::real(now_ns),
                npus,
                npu_here: npus == 0,
                frames: 8192,
                ..Setup::dispatcher()
            },
        );
        let frames: Vec<_> = (1..=3).map(|id| rpc4(id, &[0x5A; 64])).collect();
        // Requests of a lambda that are answered with BUSY once its queue is full: more of them than can ever run.
        let load = |lab: &mut Lab| {
            for frame in frames.iter().cycle().take(48) {
                lab.peers[0].send(frame);
            }
            lab.breathe();
            while lab.peers[0].receive().is_some() {}
        };
        let mut shares: Vec<Vec<f64>> = vec![Vec::new(); 3];
        let mut worst = Vec::new();
        let until = now_ns() + round_ns / 4;
        while now_ns() < until {
            load(&mut lab);
        }
        for _ in 0..rounds {
            let used = |lab: &Lab| [1, 2, 3].map(|id| lab.count(id, |count| &count.npu_ns));
            let before = used(&lab);
            let until = now_ns() + round_ns;
            while now_ns() < until {
                load(&mut lab);
            }
            let used = used(&lab);
            let used: Vec<f64> = used.iter().zip(before).map(|(now, before)| (now - before) as f64).collect();
            let (total, weights): (f64, u32) = (used.iter().sum(), WEIGHTS.iter().sum());
            let mut deviation = 0f64;
            for ((shares, used), weight) in shares.iter_mut().zip(&used).zip(WEIGHTS) {
                let due = total * f64::from(weight) / f64::from(weights);
                shares.push(100.0 * used / total);
                deviation = deviation.max(100.0 * (used / due - 1.0).abs());
            }
            worst.push(deviation);
        }
        for ((shares, weight), cost) in shares.iter().zip(WEIGHTS).zip(COSTS_US) {
            let name = format!("fairness/{name}/share_of_weight_{weight}_cost_{cost}");
            figures.push(Figure::of_rounds(name, "% of NPU time", Better::Higher, shares));
        }
        let name = format!("fairness/{name}/worst_deviation");
        figures.push(Figure::of_rounds(name, "%", Better::Lower, &worst).with_bar(5.0));
    }
    figures
}
