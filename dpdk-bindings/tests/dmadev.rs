//! The DMA wrapper against `dma_skeleton`, the engine in software: what it copies is right, what it may touch stays, and what cannot
//! be copied is given back.

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dpdk_bindings::dmadev::{self, DmaDevice, DmaQueue};
use dpdk_bindings::external::{Pages, Region, Slot};
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;
use support::{eal, pool};

/// There is one skeleton in a process: one test at a time has it.
fn alone() -> MutexGuard<'static, ()> {
    static ENGINE: Mutex<()> = Mutex::new(());
    ENGINE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn skeleton() -> DmaDevice {
    DmaDevice::probe(eal(), "dma_skeleton_lnic").unwrap()
}

fn slot(bytes: usize) -> Slot {
    Region::new(Pages::new(bytes).unwrap()).slot(0..bytes).unwrap()
}

fn frame(pool: &Mempool, bytes: usize, seed: usize) -> Mbuf {
    let mut mbuf = pool.allocate().unwrap();
    assert!(mbuf.resize(bytes));
    for (at, byte) in mbuf.data_mut().iter_mut().enumerate() {
        *byte = (at * 7 + seed) as u8;
    }
    mbuf
}

/// Waits for everything; the tags in the order in which they came.
fn drain(queue: &mut DmaQueue) -> Vec<u32> {
    let until = Instant::now() + Duration::from_secs(10);
    let mut tags = Vec::new();
    queue.submit();
    while queue.in_flight() > 0 {
        assert!(Instant::now() < until, "{} copies do not end", queue.in_flight());
        queue.completed(64, |complete| {
            assert!(complete.is_copied);
            tags.push(complete.tag);
        });
        std::thread::yield_now();
    }
    tags
}

#[test]
fn an_engine_is_found_has_one_owner_and_can_be_attached_again() {
    let _alone = alone();
    for _ in 0..3 {
        let engine = skeleton();
        let info = engine.info().unwrap();
        assert_eq!((engine.name(), info.name.as_str()), ("dma_skeleton_lnic", "dma_skeleton_lnic"));
        assert!(info.copies && info.shared_addresses && info.most_descriptors >= info.least_descriptors);
        assert_eq!(dmadev::names(eal()), ["dma_skeleton_lnic"]);
        for second in
            [DmaDevice::find(eal(), "dma_skeleton_lnic"), DmaDevice::probe(eal(), "dma_skeleton_lnic")]
        {
            assert!(second.err().unwrap().to_string().contains("EBUSY"));
        }
        drop(engine.start(64).unwrap());
        assert!(dmadev::names(eal()).is_empty());
    }
    for devargs in ["dma_nonesuch0", "dma_skeleton0\0", "net_null_no_engine"] {
        let error = DmaDevice::probe(eal(), devargs).err().unwrap().to_string();
        assert!(error.contains(devargs.trim_end_matches('\0')), "{error}");
    }
    assert!(DmaDevice::find(eal(), "dma_skeleton9").err().unwrap().to_string().contains("ENODEV"));
    // What was no engine has been detached again.
    dpdk_bindings::ethdev::Device::find(eal(), "net_null_no_engine").err().unwrap();
}

#[test]
fn a_depth_is_what_the_engine_allows() {
    let _alone = alone();
    for (wanted, depth) in [(0, 32), (33, 64), (100, 128), (u16::MAX, 8192)] {
        assert_eq!(skeleton().start(wanted).unwrap().depth(), depth, "{wanted} wanted");
    }
}

#[test]
fn what_is_copied_is_right_and_comes_in_order_for_longer_than_the_numbers_last() {
    let _alone = alone();
    let pool = pool("order");
    let mut queue = skeleton().start(64).unwrap();
    let slot = slot(1 << 16);
    // DPDK numbers copies by 16 bits.
    let (mut tags, mut next) = (Vec::new(), 0u32);
    while next < 70_000 {
        for _ in 0..32 {
            let (bytes, at) = (1 + next as usize % 1440, next as usize % 32 * 2000);
            let to = slot.hold(at..at + bytes).unwrap();
            queue.copy(frame(&pool, bytes + 10, next as usize), 10..10 + bytes, to, next).unwrap();
            next += 1;
        }
        assert_eq!(slot.in_use(), 32);
        tags.extend(drain(&mut queue));
        assert_eq!((slot.in_use(), queue.in_flight()), (0, 0));
        for copy in next - 32..next {
            let (bytes, at) = (1 + copy as usize % 1440, copy as usize % 32 * 2000);
            let mut copied = vec![0; bytes];
            assert!(slot.read(at, &mut copied));
            assert_eq!(copied, frame(&pool, bytes + 10, copy as usize).data()[10..], "copy {copy}");
        }
    }
    assert_eq!(tags, (0..next).collect::<Vec<_>>());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_does_not_fit_is_given_back() {
    let _alone = alone();
    let pool = pool("full");
    let mut queue = skeleton().start(32).unwrap();
    let slot = slot(1 << 16);
    for (range, bytes) in [(0..101, 101), (0..50, 49), (50..50, 0), (101..102, 1)] {
        let given_back = queue.copy(frame(&pool, 100, 0), range.clone(), slot.hold(0..bytes).unwrap(), 0);
        assert!(given_back.is_err(), "{range:?} to {bytes} bytes");
    }
    assert_eq!((slot.in_use(), pool.in_use(), queue.in_flight()), (0, 0, 0));
    // Nothing was submitted, so the channel fills up.
    let mut taken = 0;
    loop {
        let to = slot.hold(taken * 100..taken * 100 + 100).unwrap();
        match queue.copy(frame(&pool, 100, taken), 0..100, to, taken as u32) {
            Ok(()) => taken += 1,
            Err((from, to)) => {
                assert_eq!((from.data(), to.bytes()), (frame(&pool, 100, taken).data(), 100));
                break;
            }
        }
    }
    assert!((31..=32).contains(&taken), "{taken}");
    assert_eq!((slot.in_use(), queue.in_flight()), (taken, taken));
    assert_eq!(drain(&mut queue).len(), taken);
    assert_eq!((slot.in_use(), pool.in_use()), (0, 0));
}

#[test]
fn who_goes_first_waits_for_the_engine() {
    let _alone = alone();
    let pool = pool("stopped");
    for submitted in [false, true] {
        let mut queue = skeleton().start(1024).unwrap();
        let slot = slot(1 << 20);
        for at in 0..500 {
            let to = slot.hold(at * 2000..at * 2000 + 1440).unwrap();
            queue.copy(frame(&pool, 1440, at), 0..1440, to, 0).unwrap();
        }
        if submitted {
            queue.submit();
        }
        // The memory is unmapped when the engine has let go of it: a copy that went on would end the process.
        drop(slot);
        drop(queue);
        assert_eq!(pool.in_use(), 0);
    }
}
