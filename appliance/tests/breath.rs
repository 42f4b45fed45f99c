//! The loop itself: when it ends, when it sleeps, what it drains.

mod support;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lnic::breath::idle::Idle;
use lnic::breath::sleeper::{Mode, Sleeper};
use lnic::breath::{DRAIN_BREATHS, Stop};
use lnic::frame::BURST;
use lnic::handoff::Doorbell;
use support::frames::*;
use support::lab::{Deployed, Lab};

fn sleeper(descriptors: Vec<OwnedFd>, doorbell: &Doorbell) -> Sleeper {
    Sleeper::new(Mode::Descriptor, descriptors, doorbell, Duration::from_secs(10)).unwrap()
}

#[test]
fn an_idle_worker_waits_for_the_stop_and_a_doorbell_ends_its_sleep() {
    let doorbell = Doorbell::new().unwrap();
    let stop = Arc::new(Stop::new(1));
    let (ringer, flag) = (doorbell.clone(), Arc::clone(&stop));
    let mut lab = Lab::new(vec![], false);
    let start = Instant::now();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        flag.ask();
        ringer.ring();
    });
    lab.breath.run(&stop, Idle::new(Some(10), 4), &mut sleeper(vec![], &doorbell));
    assert!(start.elapsed() >= Duration::from_millis(50), "returned on its own");
    assert!(start.elapsed() < Duration::from_secs(5), "slept through the doorbell");
    stopper.join().unwrap();
}

#[test]
fn an_idle_worker_sleeps_until_its_descriptor_is_readable() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let doorbell = Doorbell::new().unwrap();
    let stop = Arc::new(Stop::new(1));
    let flag = Arc::clone(&stop);
    let ringer = doorbell.clone();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        rustix::io::write(&writer, b"x").unwrap();
        std::thread::sleep(Duration::from_millis(30));
        flag.ask();
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
    let stop = Stop::new(1);
    stop.ask();
    let mut lab = Lab::new(vec![Deployed::from_tree("echo", "echo")], false);
    for _ in 0..400 {
        assert!(lab.peers[0].send(&rpc4(1, b"late")));
    }
    lab.breath.run(&stop, Idle::new(None, 0), &mut sleeper(vec![], &doorbell));
    assert_eq!(lab.received(0).len(), 400);
    assert!(400 < BURST * DRAIN_BREATHS as usize);
    lab.assert_balanced();
}
