//! `scripts/bench.sh memory`: what an access from a lambda costs in each tier, and what stratification is worth.
//!
//! On a host all tiers are the same DRAM. What tells them apart is how large they are, so how near the caches keep them and
//! how many pages they take, and who else writes there. Hence three ways to touch a window, each a cache line at a time in random
//! order, reads dependent on each other:
//!
//! - *hot*: 16 KiB of it, again and again: in the first-level cache;
//! - *whole*: all of it, again and again: in whatever cache it fits into;
//! - *cold*: lines of all of it after everything, page tables too, was evicted from the last-level cache.
//!
//! Lines that another NPU writes all the time are *contended*; those that it wrote once, just before, are *moved*.
//! Writes and atomics are without what finding the next address costs.
//!
//! Windows are as large as what placement may fill of each tier (`memory.objects_…` of the configuration); EMEM has 64 MiB.

#![allow(clippy::print_stdout, unreachable_pub, reason = "a benchmark prints its figures")]

#[path = "memory/chase.rs"]
mod chase;
#[path = "memory/evict.rs"]
mod evict;
#[path = "memory/model.rs"]
mod model;
#[path = "memory/pages.rs"]
mod pages;
mod plans;
mod report;
#[path = "memory/stratified.rs"]
mod stratified;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "memory/tiers.rs"]
mod tiers;

use lnic::lambda::Engine;
use report::{Better, Figure, Options};

/// Everything that the sections have in common.
struct Bench {
    engine: Engine,
    quick: bool,
    figures: Vec<Figure>,
}

impl Bench {
    /// Adds `memory/NAME`.
    fn push(&mut self, name: &str, unit: &'static str, rounds: &[f64]) {
        self.figures.push(Figure::of_rounds(format!("memory/{name}"), unit, Better::Lower, rounds));
    }

    /// Median of what was added under a name.
    fn median(&self, name: &str) -> Option<f64> {
        let name = format!("memory/{name}");
        self.figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

fn main() {
    let options = Options::from_args();
    let engine = Engine::new().expect("engine");
    engine.prepare_thread();
    let mut bench = Bench { engine, quick: options.quick, figures: Vec::new() };
    tiers::run(&mut bench);
    pages::run(&mut bench);
    let has_compiler = stratified::run(&mut bench);
    let rounds = plans::Rounds::new(options.quick);
    bench.figures.extend(plans::stations(&rounds, "memory"));
    if has_compiler {
        bench.figures.extend(plans::paths(&rounds, "memory"));
    }
    report::report("memory", &options, &bench.figures);
    model::print(&bench);
}
