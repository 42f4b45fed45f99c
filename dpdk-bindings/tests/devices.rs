//! The wrappers against real drivers that need no root: `net_null` and `net_ring`, 4 KiB pages, no PCI. The EAL starts once for all.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use arrayvec::ArrayVec;
use dpdk_bindings::eal::{Eal, EalArgs, Memory};
use dpdk_bindings::ethdev::{Config, Device};
use dpdk_bindings::mbuf::{Checked, Mbuf, TxChecksum};
use dpdk_bindings::mempool::{HEADROOM_BYTES, Mempool};
use dpdk_bindings::{clock, lcore, ring};

const BUFFERS: u32 = 1023;
const DATA_BYTES: u16 = 2048;

type Burst = ArrayVec<Mbuf, 32>;

/// The EAL, started by whoever comes first; it lives as long as the process.
fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let args = EalArgs::new(0, 0, Memory::SmallPages { mib: 64 }).lcore(1, 0).log_level(1);
        Eal::init(&args).unwrap()
    })
}

/// The one worker lcore, for one test at a time.
fn worker() -> MutexGuard<'static, u32> {
    static WORKER: Mutex<u32> = Mutex::new(1);
    WORKER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pool(name: &str) -> Mempool {
    Mempool::new(eal(), name, BUFFERS, 32, DATA_BYTES, None).unwrap()
}

fn fill(pool: &Mempool, burst: &mut Burst, frames: usize) {
    for number in 0..frames {
        let mut mbuf = pool.allocate().unwrap();
        assert!(mbuf.resize(64));
        mbuf.data_mut().fill(number as u8);
        burst.push(mbuf);
    }
}

#[test]
fn the_eal_starts_once() {
    eal();
    let error = Eal::init(&EalArgs::new(0, 0, Memory::SmallPages { mib: 64 })).err().unwrap().to_string();
    assert!(error.contains("EALREADY"), "{error}");
}

#[test]
fn a_closure_runs_on_its_lcore() {
    let lcore = worker();
    assert_eq!(lcore::workers(eal()), [*lcore]);
    assert_eq!(lcore::launch(eal(), *lcore, lcore::current).unwrap().join(), Ok(Some(*lcore)));
}

#[test]
fn a_panic_on_an_lcore_is_reported_and_the_lcore_goes_on() {
    let lcore = worker();
    let task = lcore::launch(eal(), *lcore, || panic!("out of {}", "cheese")).unwrap();
    assert_eq!(task.join(), Err::<(), _>("out of cheese".to_owned()));
    assert_eq!(lcore::launch(eal(), *lcore, || 7).unwrap().join(), Ok(7));
}

#[test]
fn only_workers_are_launched_on() {
    for lcore in [0, 2, 127, 128, 70_000, u32::MAX] {
        let error = lcore::launch(eal(), lcore, || ()).err().unwrap().to_string();
        assert!(error.starts_with(&format!("launch on lcore {lcore}, which is no worker")), "{error}");
    }
}

#[test]
fn time_passes() {
    eal();
    let start = clock::cycles();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let seconds = (clock::cycles() - start) as f64 / clock::cycles_per_second() as f64;
    assert!((0.019..2.0).contains(&seconds), "{seconds}");
}

#[test]
fn buffers_keep_their_bounds() {
    let pool = pool("bounds");
    let mut mbuf = pool.allocate().unwrap();
    assert_eq!((mbuf.data().len(), mbuf.segments()), (0, 1));
    assert_eq!((mbuf.capacity(), mbuf.headroom()), (DATA_BYTES.into(), HEADROOM_BYTES.into()));
    assert!(mbuf.resize(DATA_BYTES.into()) && !mbuf.resize(usize::from(DATA_BYTES) + 1));
    assert_eq!((mbuf.data().len(), mbuf.tailroom()), (DATA_BYTES.into(), 0));
    mbuf.data_mut().fill(7);
    assert!(mbuf.prepend(HEADROOM_BYTES.into()) && !mbuf.prepend(1));
    assert_eq!(mbuf.data().len(), usize::from(DATA_BYTES + HEADROOM_BYTES));
    assert_eq!(mbuf.packet_bytes() as usize, mbuf.data().len());
    assert!(!mbuf.trim_front(mbuf.data().len() + 1) && mbuf.trim_front(mbuf.data().len()));
    assert!(mbuf.data().is_empty() && mbuf.linearize());
}

#[test]
fn offload_flags_come_and_go() {
    let pool = pool("offload");
    let mut mbuf = pool.allocate().unwrap();
    for checksum in [Some(TxChecksum { l2_bytes: 14, l3_bytes: 20, ipv4: true, udp: true }), None] {
        mbuf.set_tx_checksum(checksum);
        assert_eq!((mbuf.ip_checked(), mbuf.l4_checked()), (Checked::Unknown, Checked::Unknown));
    }
}

#[test]
fn an_empty_pool_says_so_and_gets_everything_back() {
    let pool = pool("empty");
    assert_eq!((pool.available(), pool.in_use()), (BUFFERS, 0));
    let all: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!((all.len(), pool.available()), (BUFFERS as usize, 0));
    drop(all);
    assert_eq!((pool.available(), pool.in_use()), (BUFFERS, 0));
}

#[test]
fn a_buffer_outlives_its_pool() {
    let mut mbuf = pool("outlived").allocate().unwrap();
    assert!(mbuf.resize(100));
    mbuf.data_mut().fill(1);
    assert_eq!(mbuf.data().iter().map(|&byte| usize::from(byte)).sum::<usize>(), 100);
}

#[test]
fn a_pool_that_does_not_fit_is_an_error_with_its_name() {
    let error = Mempool::new(eal(), "huge", 1 << 24, 0, 9000, None).err().unwrap().to_string();
    assert!(error.starts_with("make mempool huge: ") && error.contains("ENOMEM"), "{error}");
    let error = Mempool::new(eal(), "wide", 63, 0, u16::MAX, None).err().unwrap().to_string();
    assert!(error.contains("wide") && error.contains("EINVAL"), "{error}");
}

#[test]
fn a_ring_keeps_order_is_bounded_and_frees_what_is_left() {
    let pool = pool("ring");
    let (mut producer, mut consumer) = ring::new(eal(), "ring", 31, None, ring::Sharing::Single).unwrap();
    let mut burst = Burst::new();
    fill(&pool, &mut burst, 32);
    assert_eq!((producer.enqueue(&mut burst), burst.len(), producer.len()), (31, 1, 31));
    assert_eq!(burst[0].data()[0], 31, "what does not fit is the last");
    burst.clear();
    let mut taken = ArrayVec::<Mbuf, 5>::new();
    assert_eq!(consumer.dequeue(&mut taken), 5);
    assert_eq!(taken.iter().map(|mbuf| mbuf.data()[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    drop(taken);
    assert_eq!(pool.in_use(), 26);
    drop((producer, consumer));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn devices_that_are_none_are_named() {
    for devargs in ["net_nonesuch0", "net_nonesuch0,iface=x"] {
        let error = Device::probe(eal(), devargs).err().unwrap().to_string();
        assert!(error.starts_with(&format!("probe {devargs}: no driver")), "{error}");
    }
    assert!(Device::find(eal(), "net_null77").err().unwrap().to_string().contains("net_null77"));
    assert!(Device::probe(eal(), "net_null0\0").is_err());
}

#[test]
fn a_device_has_one_owner_and_can_be_opened_again() {
    let pool = pool("owner");
    for _ in 0..3 {
        let device = Device::probe(eal(), "net_null_owned").unwrap();
        assert_eq!(device.info().unwrap().driver, "net_null");
        for second in [Device::find(eal(), "net_null_owned"), Device::probe(eal(), "net_null_owned")] {
            assert!(second.err().unwrap().to_string().contains("EBUSY"));
        }
        let queues = device.start(&Config { queues: 2, ..Config::default() }, &pool).unwrap();
        assert_eq!(queues.len(), 2);
        let error = device.start(&Config::default(), &pool).err().unwrap().to_string();
        assert!(error.contains("EALREADY"), "{error}");
        drop(device);
        // The queues hold it open.
        assert!(Device::find(eal(), "net_null_owned").is_err());
        drop(queues);
        assert!(Device::find(eal(), "net_null_owned").err().unwrap().to_string().contains("ENODEV"));
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn null_receives_and_swallows_on_an_lcore() {
    let lcore = worker();
    let pool = pool("null");
    let device = Device::probe(eal(), "net_null_burst").unwrap();
    let (mut rx, mut tx) = device.start(&Config::default(), &pool).unwrap().remove(0);
    let task = lcore::launch(eal(), *lcore, move || {
        let mut burst = Burst::new();
        let mut sent = 0;
        for _ in 0..100 {
            assert_eq!(rx.rx_burst(&mut burst), 32);
            assert!(burst.iter().all(|mbuf| mbuf.data().len() == 64));
            // A full burst has no room for more.
            assert_eq!(rx.rx_burst(&mut burst), 0);
            sent += tx.tx_burst(&mut burst);
            assert!(burst.is_empty());
        }
        sent
    });
    assert_eq!(task.unwrap().join(), Ok(3200));
    let stats = device.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (3200, 3200));
    assert!(device.extended_stats().unwrap().contains(&("rx_good_packets".to_owned(), 3200)));
    drop(device);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_ring_device_gives_back_in_order_what_was_sent_and_nothing_is_lost() {
    let pool = pool("loop");
    let device = Device::probe(eal(), "net_ring_loop").unwrap();
    let number = device.port();
    let (mut rx, mut tx) = device.start(&Config::default(), &pool).unwrap().remove(0);
    let mut burst = Burst::new();
    fill(&pool, &mut burst, 20);
    assert_eq!(tx.tx_burst(&mut burst), 20);
    assert_eq!(rx.rx_burst(&mut burst), 20);
    assert!(
        burst.iter().enumerate().all(|(at, mbuf)| mbuf.data() == [at as u8; 64] && mbuf.port() == number)
    );
    assert!(rx.interrupt().is_none());
    // A full ring takes what fits and leaves the rest, in order.
    let mut sent = 0;
    loop {
        burst.clear();
        fill(&pool, &mut burst, 32.min(pool.available() as usize));
        let count = burst.len();
        let taken = tx.tx_burst(&mut burst);
        sent += taken;
        assert_eq!(burst.len(), count - taken);
        assert!(burst.iter().enumerate().all(|(at, mbuf)| usize::from(mbuf.data()[0]) == taken + at));
        if taken < 32 {
            break;
        }
    }
    burst.clear();
    assert_eq!(pool.in_use() as usize, sent);
    // Closing frees what the ring still holds.
    drop((device, rx, tx));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_mtu_that_a_device_cannot_have_is_refused() {
    let pool = pool("mtu");
    let device = Device::probe(eal(), "net_ring_mtu").unwrap();
    let error = device.start(&Config { mtu: 9000, ..Config::default() }, &pool).err().unwrap().to_string();
    assert!(error.starts_with("set MTU of net_ring_mtu: "), "{error}");
    assert!(device.start(&Config::default(), &pool).is_ok());
}
