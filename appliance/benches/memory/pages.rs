//! Hugepages against 4 KiB: dependent reads of random lines.

use lnic::memory::{Hugepages, Tier};

use crate::Bench;
use crate::chase::{Access, Chased, Reach};

const STEPS: u32 = 4096;

pub fn run(bench: &mut Bench) {
    let rounds = if bench.quick { 41 } else { 401 };
    for mib in [16u64, 64] {
        let ways = [
            ("4_kib_window", false, Hugepages::Off),
            ("hugetlb_window", false, Hugepages::Required),
            ("dense", true, Hugepages::Off),
        ];
        let mut chasers = Vec::new();
        for (name, dense, hugepages) in ways {
            let chased = Chased::new(&bench.engine, Tier::Emem, mib << 20, dense, hugepages);
            match chased.instance(0) {
                Ok(chaser) => {
                    println!("pages/{name}_{mib}_mib: {}", chased.pages());
                    chasers.push((name, chaser, Vec::with_capacity(rounds)));
                }
                Err(error) => println!("pages/{name}_{mib}_mib skipped: {error}"),
            }
        }
        for (_, chaser, _) in &mut chasers {
            chaser.run(Access::Read, Reach::Whole, STEPS * 256);
        }
        // In turn: noise meets all alike.
        for _ in 0..rounds {
            for (_, chaser, values) in &mut chasers {
                values.push(chaser.run(Access::Read, Reach::Whole, STEPS) / f64::from(STEPS));
            }
        }
        for (name, _, values) in &chasers {
            bench.push(&format!("pages/{name}_{mib}_mib"), "ns/read", values);
        }
    }
}
