//! `scripts/bench.sh copy`: what a fragment of a message costs the lcore that places or sends it.
//!
//! *place*: payload out of a frame into a slot, by the lcore (`inline`) and by a DMA engine (`dma`). The engine is `dma_skeleton`: a thread on
//! another CPU that polls and copies by memcpy. What it tells is what handing a copy over costs the lcore (`lcore`: enqueue, doorbell,
//! completion, frame freed), which is DPDK's and the same for a card's engine but for the driver's descriptors. How long copies take
//! (`elapsed`) is the thread's, and no card's. Handing over is worth it where `inline` is more than `lcore`.
//!
//! *send*: headers in a fresh frame and payload out of a slot, to `net_null`, which frees what it gets (chains too, though it does not say
//! that it takes any): payload copied behind the headers,
//! or appended as external memory. A card reads it then; the lcore does not.
//!
//! `cold` slots have 64 MiB, more than caches hold; the others 1 MiB.

#![allow(clippy::print_stdout, unreachable_pub, reason = "a benchmark prints its figures")]

mod report;

use std::time::{Duration, Instant};

use dpdk_bindings::dmadev::DmaDevice;
use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::external::{Pages, Region, Slot};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use lnic::frame::{BURST, Burst, Frame as _, FrameSource as _};
use lnic::message::copy::dma::Dma;
use lnic::message::copy::{Copied, CopyEngine, Inline, Tags};
use lnic::port::Port as _;
use lnic::port::dpdk::{self, Options, PoolSource};
use report::{Better, Figure};

/// Ethernet, IPv4, UDP and λ-RPC.
const HEADERS: usize = 74;
const LARGEST: usize = 1440;
const WARM: usize = 1 << 20;
const COLD: usize = 64 << 20;
/// Between two polls: about what the engine takes for a burst.
const BREATH: Duration = Duration::from_micros(50);

fn slot(bytes: usize) -> Slot {
    Region::new(Pages::new(bytes).expect("memory")).slot(0..bytes).expect("it is as long")
}

/// Offsets of fragments in a slot, for ever.
struct Offsets {
    next: usize,
    bytes: usize,
}

impl Offsets {
    fn of(slot: &Slot) -> Self {
        Self { next: 0, bytes: slot.bytes() }
    }

    fn take(&mut self) -> usize {
        let offset = self.next;
        self.next = if offset + 2 * LARGEST > self.bytes { 0 } else { offset + LARGEST };
        offset
    }
}

/// The lcore's time and the time that passed, each for one fragment.
struct Spent {
    lcore_ns: Vec<f64>,
    elapsed_ns: Vec<f64>,
}

fn fill(source: &mut PoolSource, frames: &mut Burst<Mbuf>, bytes: usize) {
    while !frames.is_full() {
        let mut frame = source.frame(&[0x5A; HEADERS]).expect("a frame");
        assert!(frame.resize(HEADERS + bytes));
        // As if it had just arrived: in the caches.
        frame.bytes_mut()[HEADERS..].fill(0x5A);
        frames.push(frame);
    }
}

fn place(
    engine: &mut dyn CopyEngine<Mbuf>,
    source: &mut PoolSource,
    to: &Slot,
    bytes: usize,
    rounds: usize,
) -> Spent {
    let mut spent = Spent { lcore_ns: Vec::new(), elapsed_ns: Vec::new() };
    let (mut offsets, mut frames, mut tags) = (Offsets::of(to), Burst::new(), Tags::new());
    for round in 0..=rounds {
        let (mut lcore, mut elapsed) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..50 {
            fill(source, &mut frames, bytes);
            let start = Instant::now();
            for frame in frames.drain(..) {
                let copied = engine.copy(frame, HEADERS..HEADERS + bytes, to, offsets.take(), 0);
                assert!(!matches!(copied, Copied::Refused(_)));
            }
            engine.flush();
            lcore += start.elapsed();
            // Other work of the lcore goes here: a breath with nothing to do does not count.
            while engine.in_flight() > 0 {
                let breath = Instant::now();
                while breath.elapsed() < BREATH {
                    std::hint::spin_loop();
                }
                tags.clear();
                let poll = Instant::now();
                if engine.poll(&mut tags) {
                    lcore += poll.elapsed();
                }
            }
            // And once more, as fast as it goes.
            fill(source, &mut frames, bytes);
            let start = Instant::now();
            for frame in frames.drain(..) {
                engine.copy(frame, HEADERS..HEADERS + bytes, to, offsets.take(), 0);
            }
            engine.flush();
            while engine.in_flight() > 0 {
                tags.clear();
                engine.poll(&mut tags);
            }
            elapsed += start.elapsed();
        }
        // The first round warms up.
        if round > 0 {
            spent.lcore_ns.push(lcore.as_nanos() as f64 / (50 * BURST) as f64);
            spent.elapsed_ns.push(elapsed.as_nanos() as f64 / (50 * BURST) as f64);
        }
    }
    spent
}

fn send(eal: &Eal, source: &mut PoolSource, from: &Slot, external: bool, rounds: usize) -> Vec<f64> {
    let options =
        Options { queues: 1, mtu: 1500, mac: None, promiscuous: true, tx_external: true, tx_retries: 0 };
    let mut port = dpdk::open(eal, "net_null_copy", &source.0, &options).expect("net_null").queues.remove(0);
    let (mut offsets, mut burst) = (Offsets::of(from), Burst::new());
    let mut values = Vec::new();
    for round in 0..=rounds {
        let start = Instant::now();
        for _ in 0..100 {
            while !burst.is_full() {
                let mut frame = source.frame(&[0x5A; HEADERS]).expect("a frame");
                let offset = offsets.take();
                let done = if external {
                    frame.append_external(from, offset..offset + LARGEST)
                } else {
                    frame.resize(HEADERS + LARGEST) && from.read(offset, &mut frame.bytes_mut()[HEADERS..])
                };
                assert!(done);
                burst.push(frame);
            }
            assert_eq!(port.tx(&mut burst), BURST);
        }
        if round > 0 {
            values.push(start.elapsed().as_nanos() as f64 / (100 * BURST) as f64);
        }
    }
    values
}

fn main() {
    let options = report::Options::from_args();
    let rounds = if options.quick { 11 } else { 41 };
    // The engine's thread takes a CPU that no lcore has.
    let cpu = u32::from(std::thread::available_parallelism().is_ok_and(|count| count.get() > 1));
    let eal = Eal::init(&EalArgs::new(0, cpu, Memory::SmallPages { mib: 64 }).log_level(1)).expect("EAL");
    let pool = Mempool::new(&eal, "frames", 1023, 128, 2048, None).expect("pool");
    let mut source = PoolSource(pool);
    let mut figures = Vec::new();
    let ns = |name: String, values: &[f64]| {
        Figure::of_rounds(format!("copy/{name}"), "ns/fragment", Better::Lower, values)
    };
    for (heat, to) in [("", slot(WARM)), ("_cold", slot(COLD))] {
        for bytes in [64, 256, LARGEST] {
            let spent = place(&mut Inline::default(), &mut source, &to, bytes, rounds);
            figures.push(ns(format!("place_inline_{bytes}{heat}"), &spent.lcore_ns));
            let queue = DmaDevice::probe(&eal, "dma_skeleton0").and_then(|engine| engine.start(1024));
            let mut engine = Dma::new(queue.expect("dma_skeleton"), 1);
            let spent = place(&mut engine, &mut source, &to, bytes, rounds);
            assert_eq!(engine.copies().inline, 0, "all of it is the engine's");
            figures.push(ns(format!("place_dma_{bytes}{heat}_lcore"), &spent.lcore_ns));
            figures.push(ns(format!("place_dma_{bytes}{heat}_elapsed"), &spent.elapsed_ns));
        }
        let values = send(&eal, &mut source, &to, false, rounds);
        figures.push(ns(format!("send_copied_{LARGEST}{heat}"), &values));
        let values = send(&eal, &mut source, &to, true, rounds);
        figures.push(ns(format!("send_external_{LARGEST}{heat}"), &values));
    }
    report::report("copy", &options, &figures);
}
