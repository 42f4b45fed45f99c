//! Reads, writes and atomics in a window of each tier, alone and beside another NPU.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use lnic::control::topology::Memory;
use lnic::memory::{Hugepages, Tier};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Bench;
use crate::chase::{Access, Chased, Chaser, Reach};
use crate::evict::Evictor;

/// Steps of a measured run: tens of microseconds, so that what interrupts it is rare.
const STEPS: u32 = 4096;
/// Lines of a cold run, each touched once.
const COLD_STEPS: u32 = 256;
/// Steps of a run of the other NPU.
const OTHER_STEPS: u32 = 256;
/// Of EMEM, which is as large as one likes.
const EMEM_BYTES: u64 = 64 << 20;

/// Bytes of a tier that objects of a lambda may fill.
fn window_bytes(tier: Tier) -> u64 {
    match tier {
        // Stack and I/O area of an instance take the rest.
        Tier::Local => Memory::default().tiers.objects.of(tier) / 2,
        Tier::Ctm | Tier::Imem => Memory::default().tiers.objects.of(tier),
        Tier::Emem => EMEM_BYTES,
    }
}

const ACCESSES: [(Access, &str); 3] =
    [(Access::Read, "read"), (Access::Write, "write"), (Access::Atomic, "atomic")];
const REACHES: [(Reach, &str); 2] = [(Reach::Hot, "hot"), (Reach::Whole, "whole")];

pub fn run(bench: &mut Bench) {
    let (rounds, colds) = if bench.quick { (41, 5) } else { (401, 31) };
    let chased =
        Tier::ALL.map(|tier| Chased::new(&bench.engine, tier, window_bytes(tier), false, Hugepages::Off));
    let mut chasers: Vec<Chaser> =
        chased.iter().map(|chased| chased.instance(0).expect("memory for a window")).collect();
    println!("windows of Local 32 KiB, CTM 256 KiB, IMEM 4 MiB, EMEM 64 MiB in 4 KiB pages, {rounds} rounds");
    alone(bench, &mut chasers, rounds);
    cold(bench, &mut chasers, colds);
    let Some(cpus) = two_cpus() else {
        println!("*_contended and *_moved skipped: there is no CPU for a second NPU");
        return;
    };
    let before = sched_getaffinity(None).expect("affinity");
    pin(cpus[0]);
    for (at, tier) in Tier::ALL.into_iter().enumerate().skip(1) {
        let mut other = chased[at].instance(1).expect("memory for a window");
        contended(bench, tier, &mut chasers[at], &mut other, (rounds, cpus[1]));
        moved(bench, tier, &mut chasers[at], &mut other, (rounds, cpus[1]));
    }
    sched_setaffinity(None, &before).expect("affinity");
}

/// Two that this thread may run on. On one CPU no line would ever move.
fn two_cpus() -> Option<[usize; 2]> {
    let allowed = sched_getaffinity(None).ok()?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    Some([cpus.next()?, cpus.next()?])
}

fn pin(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).expect("a CPU that is allowed");
}

/// What addressing costs without an access, of a step.
fn addressing(chaser: &mut Chaser, steps: u32) -> f64 {
    chaser.run(Access::Nothing, Reach::Hot, steps) / f64::from(steps)
}

/// One round of every case after another, so that noise meets all alike.
fn alone(bench: &mut Bench, chasers: &mut [Chaser], rounds: usize) {
    let cases: Vec<_> =
        REACHES.iter().flat_map(|reach| ACCESSES.iter().map(move |access| (reach, access))).collect();
    let mut values = vec![vec![Vec::with_capacity(rounds); cases.len()]; chasers.len()];
    for (at, chaser) in chasers.iter_mut().enumerate() {
        for (case, ((reach, _), (access, _))) in cases.iter().enumerate() {
            // A lap, so that what fits into a cache is there.
            chaser.run(*access, *reach, STEPS * 16);
            for _ in 0..rounds {
                let base = if *access == Access::Read { 0.0 } else { addressing(chaser, STEPS) };
                values[at][case].push(chaser.run(*access, *reach, STEPS) / f64::from(STEPS) - base);
            }
        }
    }
    for (tier, values) in Tier::ALL.into_iter().zip(&values) {
        for (((_, reach), (_, access)), values) in cases.iter().zip(values) {
            bench.push(&format!("{tier}/{access}_{reach}"), "ns/access", values);
        }
    }
}

/// Code, registers and arguments are warm again before each cold run: only the window is not.
fn cold(bench: &mut Bench, chasers: &mut [Chaser], rounds: usize) {
    let evictor = Evictor::new();
    for (access, name) in ACCESSES {
        let mut values = vec![Vec::with_capacity(rounds); chasers.len()];
        for _ in 0..rounds {
            evictor.evict();
            for (chaser, values) in chasers.iter_mut().zip(&mut values) {
                for _ in 0..4 {
                    chaser.run(access, Reach::Whole, 0);
                    chaser.run(Access::Nothing, Reach::Whole, 8);
                }
                let call = chaser.run(access, Reach::Whole, 0);
                let base = if access == Access::Read { 0.0 } else { addressing(chaser, COLD_STEPS) };
                let ns = (chaser.run(access, Reach::Whole, COLD_STEPS) - call) / f64::from(COLD_STEPS);
                values.push(ns - base);
            }
        }
        for (tier, values) in Tier::ALL.into_iter().zip(&values) {
            bench.push(&format!("{tier}/{name}_cold"), "ns/access", values);
        }
    }
}

/// Atomics while another NPU adds to the same lines. Rounds in which it had no CPU do not count.
fn contended(
    bench: &mut Bench,
    tier: Tier,
    chaser: &mut Chaser,
    other: &mut Chaser,
    (rounds, cpu): (usize, usize),
) {
    for (reach, reach_name) in REACHES {
        let (ends, added) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut values = Vec::with_capacity(rounds);
        thread::scope(|scope| {
            scope.spawn(|| {
                pin(cpu);
                bench.engine.prepare_thread();
                while !ends.load(Ordering::Relaxed) {
                    other.run(Access::Atomic, reach, OTHER_STEPS);
                    added.fetch_add(OTHER_STEPS, Ordering::Relaxed);
                }
            });
            for _ in 0..rounds * 4 {
                let base = addressing(chaser, STEPS);
                let before = added.load(Ordering::Relaxed);
                let ns = chaser.run(Access::Atomic, reach, STEPS) / f64::from(STEPS) - base;
                let of_other = added.load(Ordering::Relaxed).wrapping_sub(before);
                if of_other >= STEPS / 4 && values.len() < rounds {
                    values.push(ns);
                }
            }
            ends.store(true, Ordering::Relaxed);
        });
        let name = format!("{tier}/atomic_{reach_name}_contended");
        if values.len() < rounds / 4 {
            println!("{name} skipped: the second NPU had too little of its CPU");
            continue;
        }
        bench.push(&name, "ns/access", &values);
    }
}

/// Accesses to lines that another NPU has just written, all of them: it adds to some, and then it is our turn on the same.
fn moved(
    bench: &mut Bench,
    tier: Tier,
    chaser: &mut Chaser,
    other: &mut Chaser,
    (rounds, cpu): (usize, usize),
) {
    for (access, name) in ACCESSES {
        let (turn, laps) = (AtomicU32::new(0), rounds as u32 * 2);
        let mut values = Vec::with_capacity(rounds);
        chaser.restart();
        other.restart();
        thread::scope(|scope| {
            scope.spawn(|| {
                pin(cpu);
                bench.engine.prepare_thread();
                for lap in 0..laps {
                    wait(&turn, lap * 2);
                    other.run(Access::Atomic, Reach::Whole, OTHER_STEPS);
                    turn.store(lap * 2 + 1, Ordering::Release);
                }
            });
            for lap in 0..laps {
                wait(&turn, lap * 2 + 1);
                let call = chaser.run(access, Reach::Whole, 0);
                let base = if access == Access::Read { 0.0 } else { addressing(chaser, OTHER_STEPS) };
                let ns = chaser.run(access, Reach::Whole, OTHER_STEPS) - call;
                // The first laps warm up.
                if lap as usize >= rounds {
                    values.push(ns / f64::from(OTHER_STEPS) - base);
                }
                turn.store(lap * 2 + 2, Ordering::Release);
            }
        });
        bench.push(&format!("{tier}/{name}_moved"), "ns/access", &values);
    }
}

/// Spins: each has its CPU, but others may want it too.
fn wait(turn: &AtomicU32, value: u32) {
    let mut spins = 0u32;
    while turn.load(Ordering::Acquire) != value {
        spins = spins.wrapping_add(1);
        if spins.is_multiple_of(1 << 12) {
            thread::yield_now();
        }
        hint::spin_loop();
    }
}
