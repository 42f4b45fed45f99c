//! The hot path does not allocate: a counting allocator watches a thousand bursts.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lnic::frame::BURST;
use lnic::path::Stock;
use support::frames::*;
use support::lab::{Deployed, Lab, Setup};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; this one only counts and passes on")]
// SAFETY: every call goes to `System` unchanged; counting touches a const-initialised thread local without a destructor, which
// does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is System's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator while `work` runs on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// All that may happen to well-meant traffic: both lambdas, both IP versions, an unknown lambda, a frame for the host, neighbour
/// discovery's work, and what is dropped. The third lambda has room for one request: where there are queues, others find it busy.
fn watch(setup: Setup) {
    let dispatching = setup.dispatcher.is_some();
    let mut lab = Lab::of(
        vec![
            Deployed::from_tree("echo", "echo"),
            Deployed::from_tree("web-server", "web_server"),
            Deployed { queue: 1, ..Deployed::from_tree("echo", "echo") },
        ],
        Setup { host_port: true, ..setup },
    );
    let mix = [
        rpc4(1, &[7; 64]),
        rpc6(1, &[7; 1024]),
        rpc4(2, b"GET /"),
        rpc4(3, b"busy"),
        rpc4(99, b"unknown"),
        ethernet(None, 0x88CC, b"for the host"),
        arp_request(),
        rpc4(1, &[7; 64])[..50].to_vec(),
    ];
    let burst = |lab: &mut Lab| {
        for frame in mix.iter().cycle().take(BURST) {
            assert!(lab.peers[0].send(frame));
        }
        lab.settle();
        let mut answers = 0;
        for port in 0..2 {
            while lab.peers[port].receive().is_some() {
                answers += 1;
            }
        }
        assert_eq!(answers, BURST / mix.len() * (mix.len() - 1));
    };
    // The simulated queues grow to their size once.
    burst(&mut lab);
    let count = allocations(|| (0..1000).for_each(|_| burst(&mut lab)));
    assert_eq!(count, 0, "calls of the allocator in 1,000 bursts of {BURST} frames");
    let busy = if dispatching { 1001 * (BURST / mix.len() - 1) as u64 } else { 0 };
    assert_eq!(lab.count(3, |count| &count.busy), busy);
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 10]))) >= 2, "the counter counts");
}

#[test]
fn a_thousand_bursts_allocate_nothing() {
    watch(Setup::default());
}

#[test]
fn nor_do_they_with_a_dispatcher() {
    watch(Setup::dispatcher());
}

#[test]
fn nor_do_they_over_links() {
    watch(Setup { npu_here: false, npus: 2, ..Setup::dispatcher() });
    watch(Setup { npus: 1, ..Setup::dispatcher() });
}

#[test]
fn nor_where_the_store_is_empty() {
    // Every burst finds too few jobs: most callers are told so.
    watch_busy(Setup { stock: Stock { jobs: 3, calls: 0 }, ..Setup::dispatcher() });
}

/// Bursts of which all but three requests are refused.
fn watch_busy(setup: Setup) {
    let mut lab = Lab::of(vec![Deployed::from_tree("echo", "echo")], setup);
    let frame = rpc4(1, &[7; 64]);
    let burst = |lab: &mut Lab| {
        for _ in 0..BURST {
            assert!(lab.peers[0].send(&frame));
        }
        lab.settle();
        assert_eq!(std::iter::from_fn(|| lab.peers[0].receive()).count(), BURST);
    };
    burst(&mut lab);
    assert_eq!(allocations(|| (0..1000).for_each(|_| burst(&mut lab))), 0);
    assert_eq!(lab.count(1, |count| &count.busy), 1001 * (BURST as u64 - 3));
}
