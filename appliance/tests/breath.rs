//! The loop itself: when it ends, when it sleeps, what it drains.

mod support;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lnic::breath::idle::Idle;
use lnic::breath::sleeper::{Doorbell, Mode, Sleeper};
use lnic::breath::{Breath, DRAIN_BREATHS};
use lnic::frame::BURST;
use lnic::island::Npu;
use lnic::matcher::Table;
use lnic::observe::counters::LcoreCounters;
use lnic::path::Path;
use lnic::port::sim::SimFrame;
use support::frames::*;
use support::lab::{Deployed, Lab, SimBreath};

fn sleeper(descriptors: Vec<OwnedFd>, doorbell: &Doorbell) -> Sleeper {
    Sleeper::new(Mode::Descriptor, descriptors, doorbell, Duration::from_secs(10)).unwrap()
}

#[test]
fn a_worker_without_ports_waits_for_the_stop_and_a_doorbell_ends_its_sleep() {
    let doorbell = Doorbell::new().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (ringer, flag) = (doorbell.clone(), Arc::clone(&stop));
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        flag.store(true, Ordering::SeqCst);
        ringer.ring();
    });
    let counters = Arc::new(LcoreCounters::new(0));
    let table = Arc::new(Table::build(vec![]).unwrap());
    let path: Path<SimFrame> = Path::new(vec![], table, Npu::new(), Arc::clone(&counters));
    let clock: fn() -> u64 = || 0;
    let mut breath: SimBreath = Breath::new(vec![None], path, clock, counters);
    let start = Instant::now();
    breath.run(&stop, Idle::new(Some(10), 4), &mut sleeper(vec![], &doorbell));
    assert!(start.elapsed() >= Duration::from_millis(50), "returned on its own");
    assert!(start.elapsed() < Duration::from_secs(5), "slept through the doorbell");
    stopper.join().unwrap();
}

#[test]
fn an_idle_worker_sleeps_until_its_descriptor_is_readable() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let doorbell = Doorbell::new().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let ringer = doorbell.clone();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        rustix::io::write(&writer, b"x").unwrap();
        std::thread::sleep(Duration::from_millis(30));
        flag.store(true, Ordering::SeqCst);
        ringer.ring();
    });
    let mut lab = Lab::new(vec![], false);
    lab.breath.run(&stop, Idle::new(Some(10), 0), &mut sleeper(vec![reader.into()], &doorbell));
    waker.join().unwrap();
    assert!(lab.counters.sleeps.get() >= 1);
    assert!(lab.counters.wakes.get() >= 1);
}

#[test]
fn a_stop_drains_what_waits_but_not_for_ever() {
    let doorbell = Doorbell::new().unwrap();
    let stop = AtomicBool::new(true);
    let mut lab = Lab::new(vec![Deployed::from_tree("echo", "echo")], false);
    for _ in 0..400 {
        assert!(lab.peers[0].send(&rpc4(1, b"late")));
    }
    lab.breath.run(&stop, Idle::new(None, 0), &mut sleeper(vec![], &doorbell));
    assert_eq!(lab.received(0).len(), 400);
    assert!(400 < BURST * DRAIN_BREATHS as usize);
    lab.assert_balanced();
}
