//! Memory that is not DPDK's: what is sent from it is right on the wire, and it is in use just as long as a port has it. Drivers that
//! need no root, and `net_tap` and `net_af_packet` on interfaces of a network namespace that the test makes.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use dpdk_bindings::ethdev::{Config, Device, TxQueue};
use dpdk_bindings::external::{Backing, Pages, Region, Slot};
use dpdk_bindings::mbuf::{Mbuf, TxChecksum};
use dpdk_bindings::mempool::Mempool;
use support::{eal, pool};

type Burst = ArrayVec<Mbuf, 32>;

const HEADER: [u8; 14] = [0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x88, 0xB5];
const SLOT_BYTES: usize = 1 << 20;

fn config() -> Config {
    Config { tx_segments: true, ..Config::default() }
}

/// A slot whose bytes tell where they are.
fn slot() -> Slot {
    let slot = Region::new(Pages::new(SLOT_BYTES + 4096).unwrap()).slot(17..17 + SLOT_BYTES).unwrap();
    assert!(slot.write(0, &pattern(0, SLOT_BYTES)));
    slot
}

fn pattern(offset: usize, bytes: usize) -> Vec<u8> {
    (offset..offset + bytes).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

/// A header in a fresh buffer, and `bytes` of the slot behind it.
fn frame(pool: &Mempool, slot: &Slot, offset: usize, bytes: usize) -> Mbuf {
    let mut mbuf = pool.allocate().unwrap();
    assert!(mbuf.resize(HEADER.len()));
    mbuf.data_mut().copy_from_slice(&HEADER);
    assert!(mbuf.attach(slot, offset..offset + bytes));
    mbuf
}

/// Memory that says when it is let go of.
struct Watched(Pages, Arc<AtomicBool>);

// SAFETY: as the pages.
unsafe impl Backing for Watched {
    fn base(&self) -> std::ptr::NonNull<u8> {
        self.0.base()
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn page_bytes(&self) -> usize {
        self.0.page_bytes()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_slot_keeps_its_bounds() {
    let region = Region::new(Pages::new(1).unwrap());
    assert_eq!(region.bytes(), 4096, "whole pages");
    for range in [0..4097, 4097..4097, usize::MAX..usize::MAX] {
        assert!(region.slot(range).is_none());
    }
    #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
    let reversed = 2..1;
    assert!(region.slot(reversed.clone()).is_none());
    let (slot, neighbour) = (region.slot(96..196).unwrap(), region.slot(196..296).unwrap());
    assert!(slot.write(0, &[7; 100]) && slot.write(100, &[]) && slot.write(99, &[8]));
    for (offset, bytes) in [(0, 101), (100, 1), (101, 0), (usize::MAX, 1), (usize::MAX, 100)] {
        assert!(!slot.write(offset, &vec![9; bytes]) && !slot.read(offset, &mut vec![9; bytes]), "{offset}");
        assert!(slot.hold(offset..offset.saturating_add(bytes)).is_none() || offset == usize::MAX);
    }
    assert!(slot.hold(reversed).is_none());
    let (mut own, mut next) = ([0; 100], [1; 100]);
    assert!(slot.read(0, &mut own) && neighbour.read(0, &mut next));
    assert_eq!((own[..99].iter().all(|byte| *byte == 7), own[99], next), (true, 8, [0; 100]));
}

#[test]
fn what_cannot_be_attached_changes_nothing() {
    let pool = pool("refused");
    let slot = slot();
    let mut mbuf = pool.allocate().unwrap();
    assert!(mbuf.resize(14));
    for range in [0..SLOT_BYTES + 1, SLOT_BYTES..SLOT_BYTES + 1, 0..65_536, usize::MAX - 1..usize::MAX] {
        assert!(!mbuf.attach(&slot, range.clone()), "{range:?}");
    }
    assert!(mbuf.attach(&slot, 5..5), "nothing is something that can be sent");
    assert_eq!((mbuf.segments(), mbuf.packet_bytes(), slot.in_use()), (1, 14, 0));
    // No buffer is left to point with.
    let rest: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
    assert!(!mbuf.attach(&slot, 0..10));
    assert_eq!((mbuf.segments(), slot.in_use()), (1, 0));
    drop((rest, mbuf));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn more_than_can_be_counted_is_refused() {
    let slot = slot();
    let held: Vec<_> = std::iter::from_fn(|| slot.hold(0..1)).take(1 << 17).collect();
    assert_eq!((held.len(), slot.in_use()), (59_999, 59_999));
    let pool = pool("many");
    let mut mbuf = pool.allocate().unwrap();
    assert!(!mbuf.attach(&slot, 0..1));
    drop(held);
    assert!(mbuf.attach(&slot, 0..1) && slot.in_use() == 1);
}

#[test]
fn memory_outlives_everybody_who_points_into_it() {
    let pool = pool("outlives");
    let gone = Arc::new(AtomicBool::new(false));
    let region = Region::new(Watched(Pages::new(4096).unwrap(), Arc::clone(&gone)));
    let slot = region.slot(0..4096).unwrap();
    assert!(slot.write(0, &pattern(0, 4096)));
    let mut mbuf = frame(&pool, &slot, 100, 1000);
    let hold = slot.hold(0..10).unwrap();
    assert_eq!(slot.in_use(), 2);
    drop((region, slot));
    assert!(!gone.load(Ordering::SeqCst));
    drop(hold);
    // The buffer alone has it now: its bytes are still there.
    assert!(!gone.load(Ordering::SeqCst) && mbuf.linearize());
    assert_eq!(mbuf.data()[14..], pattern(100, 1000));
    assert!(gone.load(Ordering::SeqCst), "copied out, nobody points there");
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_ring_hands_over_the_same_memory_and_closing_it_lets_go() {
    let pool = pool("ring");
    let slot = slot();
    let device = Device::probe(eal(), "net_ring_external").unwrap();
    assert!(device.info().unwrap().tx_segments);
    let (mut rx, mut tx) = device.start(&config(), &pool).unwrap().remove(0);
    let mut burst = Burst::new();
    for bytes in (1..=1440).step_by(7) {
        burst.push(frame(&pool, &slot, bytes * 3, bytes));
        assert_eq!(tx.tx_burst(&mut burst), 1);
        assert_eq!(rx.rx_burst(&mut burst), 1);
        assert_eq!((slot.in_use(), burst[0].segments()), (1, 2), "it is still that memory");
        // Not copied: what is written now is what arrives.
        assert!(slot.write(bytes * 3, &[0xEE]));
        assert!(burst[0].linearize());
        assert_eq!((burst[0].data()[14], slot.in_use()), (0xEE, 0));
        assert_eq!(burst[0].data()[15..], pattern(bytes * 3, bytes)[1..]);
        assert!(slot.write(bytes * 3, &pattern(bytes * 3, 1)));
        burst.clear();
    }
    // A full ring refuses; what is dropped for it lets go as well.
    let mut sent = 0;
    loop {
        burst.extend((0..8).map(|at| frame(&pool, &slot, at * 1440, 1440)));
        let taken = tx.tx_burst(&mut burst);
        sent += taken;
        assert_eq!(slot.in_use(), sent + burst.len());
        burst.clear();
        assert_eq!(slot.in_use(), sent);
        if taken < 8 {
            break;
        }
    }
    assert!(sent > 100, "{sent}");
    drop((device, rx, tx));
    assert_eq!((slot.in_use(), pool.in_use()), (0, 0));
}

#[test]
fn null_swallows_and_lets_go() {
    let pool = pool("null");
    let slot = slot();
    let device = Device::probe(eal(), "net_null_external").unwrap();
    let (_rx, mut tx) = device.start(&config(), &pool).unwrap().remove(0);
    let mut burst = Burst::new();
    for _ in 0..1000 {
        burst.extend((0..32).map(|at| frame(&pool, &slot, at * 100, 100)));
        assert_eq!(slot.in_use(), 32);
        assert_eq!(tx.tx_burst(&mut burst), 32);
        assert_eq!(slot.in_use(), 0);
    }
}

#[test]
fn registered_memory_is_known_once_and_forgotten_when_it_goes() {
    let device = Device::probe(eal(), "net_null_registered").unwrap();
    let region = Region::new(Pages::new(1 << 20).unwrap());
    region.register(eal(), &[&device]).unwrap();
    let error = region.register(eal(), &[&device]).unwrap_err().to_string();
    assert!(
        error.contains("register memory of 1048576 bytes in pages of 4096") && error.contains("EEXIST"),
        "{error}"
    );
    // What is forgotten makes room: there are far fewer lists of segments than that.
    drop(region);
    for _ in 0..300 {
        Region::new(Pages::new(8192).unwrap()).register(eal(), &[]).unwrap();
    }
    // All at once there are not.
    let regions: Vec<_> = (0..300).map(|_| Region::new(Pages::new(4096).unwrap())).collect();
    let registered = regions.iter().take_while(|region| region.register(eal(), &[]).is_ok()).count();
    println!("{registered} regions can be registered at once");
    assert!((50..128).contains(&registered), "{registered}");
    let error = regions[registered].register(eal(), &[]).unwrap_err().to_string();
    assert!(error.contains("ENOSPC"), "{error}");
}

/// Sends every length of payload and a few chains of several ranges, and compares what `heard` gives for each.
fn prove_on_the_wire(tx: &mut TxQueue, pool: &Mempool, mut heard: impl FnMut() -> Vec<u8>) {
    let slot = slot();
    let mut burst = Burst::new();
    for bytes in 1..=1440 {
        let offset = bytes * 641;
        burst.push(frame(pool, &slot, offset, bytes));
        assert_eq!((tx.tx_burst(&mut burst), burst.len()), (1, 0));
        let arrived = heard();
        assert_eq!(arrived[..14], HEADER, "{bytes} bytes");
        assert_eq!(arrived[14..], pattern(offset, bytes), "{bytes} bytes");
    }
    for parts in 2..8 {
        let mut mbuf = frame(pool, &slot, 0, 100);
        for part in 1..parts {
            assert!(mbuf.attach(&slot, part * 1000..part * 1000 + 100));
        }
        burst.push(mbuf);
        assert_eq!(tx.tx_burst(&mut burst), 1);
        let parts: Vec<u8> = (0..parts).flat_map(|part| pattern(part * 1000, 100)).collect();
        assert_eq!(heard()[14..], parts);
    }
    // It copied, so nothing waits for the wire.
    assert_eq!(slot.in_use(), 0);
}

/// The next frame of our kind that a packet socket hears.
fn hear(socket: &support::PacketSocket) -> Vec<u8> {
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if let Some(frame) = socket.receive(Duration::from_millis(100))
            && frame.len() >= 14
            && frame[12..14] == HEADER[12..]
        {
            return frame;
        }
    }
    panic!("nothing was heard");
}

/// Sum of 16-bit words in one's complement, as RFC 1071 has it.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xFFFF) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}

/// UDP over IPv4 with 32 bytes in the first segment and `bytes` in the slot; the port makes both checksums.
fn datagram(pool: &Mempool, slot: &Slot, offset: usize, bytes: usize) -> Mbuf {
    let udp_bytes = (8 + 32 + bytes) as u16;
    let [ip_high, ip_low] = (20 + udp_bytes).to_be_bytes();
    let [udp_high, udp_low] = udp_bytes.to_be_bytes();
    let mut headers = HEADER.to_vec();
    headers[12..14].copy_from_slice(&[0x08, 0x00]);
    headers.extend([0x45, 0, ip_high, ip_low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
    let pseudo = [&headers[26..34], &[0, 17, udp_high, udp_low]].concat();
    headers.extend([0x12, 0xB9, 0x12, 0xB9, udp_high, udp_low]);
    headers.extend(sum(&pseudo).to_be_bytes());
    headers.extend([0xA5; 32]);
    let mut mbuf = pool.allocate().unwrap();
    assert!(mbuf.resize(headers.len()));
    mbuf.data_mut().copy_from_slice(&headers);
    mbuf.set_tx_checksum(Some(TxChecksum { l2_bytes: 14, l3_bytes: 20, ipv4: true, udp: true }));
    assert!(mbuf.attach(slot, offset..offset + bytes));
    mbuf
}

#[test]
fn a_tap_makes_checksums_over_chains() {
    if !support::may_make_interfaces() {
        return;
    }
    let pool = pool("checksum");
    let slot = slot();
    let device = Device::probe(eal(), "net_tap_checksum,iface=lnicext3").unwrap();
    assert!(device.info().unwrap().tx_checksum);
    let (_rx, mut tx) = device.start(&config(), &pool).unwrap().remove(0);
    support::ip(&["link", "set", "lnicext3", "up"]);
    let socket = support::PacketSocket::open("lnicext3");
    for bytes in 1..=1400 {
        let mut burst = Burst::from_iter([datagram(&pool, &slot, bytes * 3, bytes)]);
        assert_eq!(tx.tx_burst(&mut burst), 1);
        let frame = loop {
            let frame = socket.receive(Duration::from_secs(5)).expect("a frame");
            if frame[12..14] == [0x08, 0x00] {
                break frame;
            }
        };
        assert_eq!(frame[74..], pattern(bytes * 3, bytes), "{bytes} bytes");
        assert_eq!(sum(&frame[14..34]), 0xFFFF, "IPv4, {bytes} bytes");
        let pseudo = [&frame[26..34], &[0, 17], &frame[38..40], &frame[34..]].concat();
        assert_eq!(sum(&pseudo), 0xFFFF, "UDP, {bytes} bytes");
    }
    assert_eq!(slot.in_use(), 0);
}

#[test]
fn a_tap_sends_chains_as_they_are() {
    if !support::may_make_interfaces() {
        return;
    }
    let pool = pool("tap");
    let device = Device::probe(eal(), "net_tap_external,iface=lnicext0").unwrap();
    assert!(device.info().unwrap().tx_segments);
    let (_rx, mut tx) = device.start(&config(), &pool).unwrap().remove(0);
    support::ip(&["link", "set", "lnicext0", "up"]);
    let socket = support::PacketSocket::open("lnicext0");
    prove_on_the_wire(&mut tx, &pool, || hear(&socket));
    // A dead interface takes nothing, and nothing is left behind.
    support::ip(&["link", "set", "lnicext0", "down"]);
    let slot = slot();
    let mut burst: Burst = (0..32).map(|at| frame(&pool, &slot, at, 1000)).collect();
    let sent = tx.tx_burst(&mut burst);
    println!("net_tap took {sent} of 32 frames with its interface down");
    burst.clear();
    assert_eq!(slot.in_use(), 0);
}

#[test]
fn af_packet_sends_chains_as_they_are() {
    if !support::may_make_interfaces() {
        return;
    }
    let pool = pool("packet");
    support::ip(&["link", "add", "lnicext1", "type", "veth", "peer", "name", "lnicext2"]);
    support::ip(&["link", "set", "lnicext1", "up"]);
    support::ip(&["link", "set", "lnicext2", "up"]);
    let device = Device::probe(eal(), "net_af_packet_external,iface=lnicext1").unwrap();
    assert!(device.info().unwrap().tx_segments);
    let (_rx, mut tx) = device.start(&config(), &pool).unwrap().remove(0);
    let socket = support::PacketSocket::open("lnicext2");
    prove_on_the_wire(&mut tx, &pool, || hear(&socket));
    let slot = slot();
    support::ip(&["link", "set", "lnicext2", "down"]);
    let mut taken = 0;
    for _ in 0..100 {
        let mut burst: Burst = (0..32).map(|at| frame(&pool, &slot, at, 1000)).collect();
        taken += tx.tx_burst(&mut burst);
    }
    println!("net_af_packet took {taken} of 3,200 frames without a carrier");
    assert_eq!(slot.in_use(), 0);
}
