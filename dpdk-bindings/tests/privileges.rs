//! Capabilities are each thread's own, and what was given up does not come back: a process of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dpdk_bindings::privileges;

const NET_ADMIN: u64 = 1 << 12;
const SETPCAP: u64 = 1 << 8;

/// A set of each thread's capabilities.
fn sets(name: &str) -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            let bits = status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            Some((task.file_name().into_string().unwrap(), u64::from_str_radix(bits, 16).unwrap()))
        })
        .collect()
}

#[test]
fn every_thread_gives_up_all_but_what_is_kept_while_threads_come_and_go() {
    let before = *sets("CapPrm:").values().next().unwrap();
    let bounding = *sets("CapBnd:").values().next().unwrap();
    let may_bound = before & SETPCAP != 0;
    let stop = Arc::new(AtomicBool::new(false));
    // One in a system call that a signal ends, one that starts others all the time.
    let (sender, receiver) = mpsc::channel::<()>();
    let waiting = std::thread::spawn(move || receiver.recv());
    let flag = Arc::clone(&stop);
    let starting = std::thread::spawn(move || {
        let mut started = 0;
        while !flag.load(SeqCst) {
            let brief = std::thread::spawn(|| std::thread::sleep(Duration::from_micros(300)));
            std::thread::sleep(Duration::from_micros(100));
            drop(brief);
            started += 1;
        }
        started
    });
    std::thread::sleep(Duration::from_millis(20));
    privileges::reduce(NET_ADMIN).unwrap();
    let kept = before & NET_ADMIN;
    for (name, kept) in [("CapPrm:", kept), ("CapEff:", kept), ("CapInh:", 0), ("CapAmb:", 0)] {
        for (thread, bits) in sets(name) {
            assert_eq!(bits, kept, "{name} of thread {thread}");
        }
    }
    if may_bound {
        assert!(sets("CapBnd:").values().all(|&bits| bits == bounding & NET_ADMIN));
    }
    // What a thread starts has no more than it.
    let inherited = std::thread::spawn(|| sets("CapEff:")).join().unwrap();
    assert_eq!(inherited.values().max(), Some(&kept));
    // Less than less.
    privileges::reduce(0).unwrap();
    assert_eq!(sets("CapPrm:").values().max(), Some(&0));
    privileges::reduce(NET_ADMIN).unwrap();
    assert_eq!(sets("CapPrm:").values().max(), Some(&0), "what was given up is gone");
    stop.store(true, SeqCst);
    assert!(starting.join().unwrap() > 0);
    sender.send(()).unwrap();
    waiting.join().unwrap().unwrap();
}
