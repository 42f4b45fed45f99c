//! An lcore whose port blocks is seen from outside, and so is its recovery. With real threads and real time.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lnic::breath::Stop;
use lnic::breath::idle::Idle;
use lnic::breath::sleeper::{Mode, Sleeper};
use lnic::control::heartbeat::{Event, Watch, Watched};
use lnic::control::plane::Stuck;
use lnic::frame::Burst;
use lnic::handoff::Doorbell;
use lnic::port::sim::SimFrame;
use lnic::port::{Capabilities, Port};
use support::lab::Lab;

/// Longer than the lcore's sleeps.
const LONGEST: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(50);

/// A port that hangs as long as a lock is held, as a driver might.
struct Hanging {
    inner: Box<dyn Port<SimFrame>>,
    lock: Arc<Mutex<()>>,
}

impl Port<SimFrame> for Hanging {
    fn rx(&mut self, burst: &mut Burst<SimFrame>) -> usize {
        let _held = self.lock.lock().unwrap();
        self.inner.rx(burst)
    }

    fn tx(&mut self, burst: &mut Burst<SimFrame>) -> usize {
        self.inner.tx(burst)
    }
}

#[test]
fn a_port_that_blocks_stops_the_heart_and_lets_it_go_on() {
    let lock = Arc::new(Mutex::new(()));
    let stop = Arc::new(Stop::new(1));
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = std::sync::mpsc::channel();
    let lcore = std::thread::spawn({
        let (lock, stop, ended) = (Arc::clone(&lock), Arc::clone(&stop), Arc::clone(&ended));
        move || {
            let wrap =
                |inner| Box::new(Hanging { inner, lock: Arc::clone(&lock) }) as Box<dyn Port<SimFrame>>;
            let mut lab = Lab::with(vec![], false, Capabilities::default(), |_| {}, wrap);
            sender.send(Arc::clone(&lab.counters)).unwrap();
            let doorbell = Doorbell::new().unwrap();
            let longest = Duration::from_millis(100);
            let mut sleeper = Sleeper::new(Mode::Descriptor, vec![], &doorbell, longest).unwrap();
            lab.breath.run(&stop, Idle::new(Some(10), 0), &mut sleeper);
            ended.store(true, SeqCst);
        }
    });
    let watched = Watched { lcore: 1, roles: "poller".into(), counters: receiver.recv().unwrap() };
    let mut watch = Watch::new([watched], LONGEST);
    let mut look_until = |enough: &dyn Fn(&[Event]) -> bool, most: Duration| {
        let start = Instant::now();
        let mut events = Vec::new();
        while !enough(&events) && start.elapsed() < most {
            std::thread::sleep(LOOK);
            events.extend(watch.observe(Instant::now(), |_| ended.load(SeqCst)));
        }
        (events, watch.workers().remove(0))
    };

    let (events, worker) = look_until(&|_| false, 3 * LONGEST);
    assert_eq!((events, worker.stuck), (vec![], None), "it sleeps, and breathes");

    let held = lock.lock().unwrap();
    let (events, worker) = look_until(&|events| !events.is_empty(), Duration::from_secs(20));
    assert!(
        matches!(&events[..], [Event::Stuck { lcore: 1, silent, .. }] if *silent > LONGEST),
        "{events:?}"
    );
    assert_eq!(worker.stuck, Some(Stuck::Silent));
    assert!(worker.silent_ms >= 300);

    drop(held);
    let (events, worker) = look_until(&|events| !events.is_empty(), Duration::from_secs(20));
    assert!(matches!(&events[..], [Event::Recovered { lcore: 1, .. }]), "{events:?}");
    assert_eq!((worker.stuck, worker.silent_ms), (None, 0));

    stop.ask();
    let (events, worker) = look_until(&|events| !events.is_empty(), Duration::from_secs(20));
    assert_eq!(events, [Event::Ended { lcore: 1, roles: "poller".into() }]);
    assert_eq!(worker.stuck, Some(Stuck::Ended));
    lcore.join().unwrap();
}
