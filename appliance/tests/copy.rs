//! Payload on real drivers: placed by a DMA engine, sent from external memory, and nothing allocated on the way. One test, because DPDK
//! starts once per process.

#[path = "support/allocations.rs"]
mod allocations;

use std::time::{Duration, Instant};

use allocations::allocations;
use dpdk_bindings::dmadev::DmaDevice;
use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::external::{Pages, Region, Slot};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use lnic::frame::{BURST, Burst, Frame as _, FrameSource};
use lnic::message::copy::dma::{Dma, THRESHOLD_BYTES};
use lnic::message::copy::{Copied, Copies, CopyEngine, Inline, Tags};
use lnic::port::Port;
use lnic::port::dpdk::{self, DpdkPort, Options, PoolSource};
use lnic::port::trace::{Direction, Sink, Trace};

const HEADERS: usize = 78;
const FRAGMENT: usize = 1440;
const MESSAGE: usize = 1 << 20;

fn slot(bytes: usize) -> Slot {
    Region::new(Pages::new(bytes).unwrap()).slot(0..bytes).unwrap()
}

fn message() -> Vec<u8> {
    (0..MESSAGE).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// The fragment's frame: headers, then its part of the message.
fn fragment(source: &mut PoolSource, message: &[u8], offset: usize) -> Option<Mbuf> {
    let end = (offset + FRAGMENT).min(message.len());
    let mut frame = source.frame(&[0x48; HEADERS])?;
    assert!(frame.resize(HEADERS + end - offset));
    frame.bytes_mut()[HEADERS..].copy_from_slice(&message[offset..end]);
    Some(frame)
}

/// Places a whole message; the frames that are done go home.
fn place(engine: &mut dyn CopyEngine<Mbuf>, source: &mut PoolSource, message: &[u8], to: &Slot) -> usize {
    let mut tags = Tags::new();
    let mut ended = 0;
    let until = Instant::now() + Duration::from_secs(20);
    for (tag, offset) in (0..message.len()).step_by(FRAGMENT).enumerate() {
        let frame = loop {
            if let Some(frame) = fragment(source, message, offset) {
                break frame;
            }
            // The engine has them all.
            engine.flush();
            ended += drain(engine, &mut tags);
            assert!(Instant::now() < until);
        };
        let bytes = frame.bytes().len();
        match engine.copy(frame, HEADERS..bytes, to, offset, tag as u32) {
            Copied::Done(_) => ended += 1,
            Copied::UnderWay => {}
            Copied::Refused(_) => panic!("fragment {tag} fits"),
        }
        if tag % BURST == 0 {
            engine.flush();
            ended += drain(engine, &mut tags);
        }
    }
    engine.flush();
    while engine.in_flight() > 0 {
        assert!(Instant::now() < until, "{} copies do not end", engine.in_flight());
        ended += drain(engine, &mut tags);
        std::thread::yield_now();
    }
    ended
}

fn drain(engine: &mut dyn CopyEngine<Mbuf>, tags: &mut Tags) -> usize {
    tags.clear();
    assert_eq!(engine.poll(tags), !tags.is_empty());
    assert!(tags.is_sorted());
    tags.len()
}

fn options() -> Options {
    Options { queues: 1, mtu: 1500, mac: None, promiscuous: true, tx_external: true, tx_retries: 0 }
}

fn open(eal: &Eal, devargs: &str, pool: &Mempool, options: &Options) -> DpdkPort {
    dpdk::open(eal, devargs, pool, options).unwrap().queues.remove(0)
}

struct Nobody;

impl Sink for Nobody {
    fn see(&mut self, _direction: Direction, _bytes: &[u8]) {}
}

#[test]
fn payload_is_placed_and_sent_with_one_copy_or_none() {
    let args = EalArgs::new(0, 0, Memory::SmallPages { mib: 64 }).log_level(1);
    let eal = Eal::init(&args).unwrap();
    let pool = Mempool::new(&eal, "frames", 1023, 32, 2048, None).unwrap();
    let mut source = PoolSource(pool.clone());
    placed(&eal, &mut source);
    refused(&eal, &mut source);
    sent(&eal, &mut source);
    let capable = |port: &dyn Port<Mbuf>| port.capabilities().tx_external;
    let ring = open(&eal, "net_ring_capable", &pool, &options());
    assert!(capable(&ring) && !capable(&Trace::new(ring, Nobody)), "who records sees one slice");
    let unasked = Options { tx_external: false, ..options() };
    assert!(!capable(&open(&eal, "net_ring_unasked", &pool, &unasked)));
    assert_eq!(pool.in_use(), 0);
}

/// Both engines place the same bytes, whatever the room in the channel; frames and slot are free afterwards.
fn placed(eal: &Eal, source: &mut PoolSource) {
    let message = message();
    let fragments = MESSAGE.div_ceil(FRAGMENT);
    let check = |engine: &mut dyn CopyEngine<Mbuf>, source: &mut PoolSource| {
        let to = slot(MESSAGE);
        let mut ended = 0;
        let count = allocations(|| ended = place(engine, source, &message, &to));
        assert_eq!((ended, count), (fragments, 0), "every copy ends once, without the allocator");
        let mut bytes = vec![0; MESSAGE];
        assert!(to.read(0, &mut bytes));
        assert!(bytes == message, "what was placed is what was sent");
        assert_eq!((to.in_use(), source.0.in_use()), (0, 0));
        engine.copies()
    };
    let inline = check(&mut Inline::default(), source);
    assert_eq!(inline, Copies { inline: fragments as u64, ..Copies::default() });
    for depth in [32, 4096] {
        let queue = DmaDevice::probe(eal, "dma_skeleton_copy").unwrap().start(depth).unwrap();
        let mut engine = Dma::new(queue, THRESHOLD_BYTES);
        let copies = check(&mut engine, source);
        assert_eq!((copies.inline + copies.engine, copies.failed), (fragments as u64, 0));
        assert!(copies.engine >= 31, "{copies:?}");
        // The message's last fragment is short of the threshold; the rest is inline only because the channel was full.
        let short = u64::from(!MESSAGE.is_multiple_of(FRAGMENT) && MESSAGE % FRAGMENT < THRESHOLD_BYTES);
        assert_eq!(copies.inline, copies.full + short, "{copies:?}");
        assert!(depth == 32 || copies.full == 0, "{copies:?}");
    }
}

/// What is not within is refused, by the engine as by the lcore, and nothing is changed.
fn refused(eal: &Eal, source: &mut PoolSource) {
    let queue = DmaDevice::probe(eal, "dma_skeleton_copy").unwrap().start(64).unwrap();
    let to = slot(4096);
    let mut engines: [Box<dyn CopyEngine<Mbuf>>; 2] =
        [Box::new(Inline::default()), Box::new(Dma::new(queue, 16))];
    for engine in &mut engines {
        let before = engine.copies();
        for (range, offset) in [(0..1000, 3097), (0..1001, 0), (999..1001, 0), (0..500, usize::MAX - 10)] {
            let frame = source.frame(&[7; 1000]).unwrap();
            let copied = engine.copy(frame, range.clone(), &to, offset, 0);
            assert!(matches!(copied, Copied::Refused(_)), "{range:?} to {offset}");
        }
        assert_eq!((engine.copies(), engine.in_flight()), (before, 0));
    }
    let mut bytes = [1; 4096];
    assert!(to.read(0, &mut bytes) && bytes == [0; 4096]);
}

/// A message leaves as fragments out of its slot, over a ring that hands the memory on, without the allocator.
fn sent(eal: &Eal, source: &mut PoolSource) {
    let message = message();
    let from = slot(MESSAGE);
    assert!(from.write(0, &message));
    let mut port = open(eal, "net_ring_send", &source.0, &options());
    let mut source: Box<dyn FrameSource<Frame = Mbuf>> = Box::new(source.clone());
    let (mut burst, mut heard) = (Burst::new(), vec![0; MESSAGE]);
    let mut dropped = 0;
    let mut odd = source.frame(&[0x48; HEADERS + 1]).unwrap();
    assert!(!odd.append_external(&from, 0..10) && odd.is_whole());
    drop(odd);
    let count = allocations(|| {
        let mut next = 0;
        while next < MESSAGE {
            let first = next;
            while next < MESSAGE && !burst.is_full() {
                let end = (next + FRAGMENT).min(MESSAGE);
                let mut frame = source.frame(&[0x48; HEADERS]).unwrap();
                assert!(frame.append_external(&from, next..end) && !frame.is_whole());
                assert!(!frame.resize(HEADERS + 1), "its length is fixed");
                burst.push(frame);
                next = end;
            }
            let frames = burst.len();
            assert_eq!(from.in_use(), frames);
            assert_eq!(port.tx(&mut burst), frames);
            assert_eq!(from.in_use(), frames, "the port has them");
            // Receiving joins the segments: that is where the ring's other end lets go.
            assert_eq!((port.rx(&mut burst), from.in_use()), (frames, 0));
            let mut at = first;
            for frame in burst.drain(..) {
                let payload = &frame.bytes()[HEADERS..];
                assert!(frame.is_whole() && frame.bytes()[..HEADERS] == [0x48; HEADERS]);
                heard[at..at + payload.len()].copy_from_slice(payload);
                at += payload.len();
            }
            assert_eq!(at, next);
        }
        // Frames that the port does not take let go when they are dropped.
        for _ in 0..BURST {
            let mut frame = source.frame(&[0x48; HEADERS]).unwrap();
            assert!(frame.append_external(&from, 0..FRAGMENT));
            burst.push(frame);
        }
        dropped = from.in_use();
        burst.clear();
    });
    assert_eq!((count, dropped, from.in_use()), (0, BURST, 0));
    assert!(heard == message, "what arrived is what lies in the slot");
}
