//! The pieces against what they must do, without frames.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::memcached::{Assembly, DATAGRAM_BYTES, HEADER_BYTES, Header, Taken};
use super::*;

const FIRST: u16 = 61_000;

fn service(framing: Framing) -> Service {
    Service { address: "10.77.0.7:11211".parse().unwrap(), port: PortId::new(0), hop: HopId(0), framing }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, last).into()
}

#[test]
fn random_numbers_differ_and_stay_below_their_bound() {
    let (mut one, mut other) = (Random::new(), Random::new());
    let drawn: BTreeSet<u64> = (0..1000).flat_map(|_| [one.number(), other.number()]).collect();
    assert_eq!(drawn.len(), 2000);
    let below: BTreeSet<u32> = (0..1000).map(|_| one.below(7)).collect();
    assert_eq!(below, (0..7).collect());
    assert_eq!(one.below(0), 0);
}

#[test]
fn services_are_found_by_name_and_by_handle() {
    let services =
        Services::new([("a".into(), service(Framing::Datagram)), ("b".into(), service(Framing::Memcached))]);
    assert_eq!((services.handle("b"), services.handle("c")), (Some(1), None));
    assert_eq!(services.get(1).map(|service| service.framing), Some(Framing::Memcached));
    assert!(services.get(2).is_none() && services.get(u32::MAX).is_none());
}

#[test]
fn udp_ports_end_and_come_back() {
    let mut random = Random::new();
    assert!(UdpPorts::new(RangeInclusive::new(2, 1)).take(&mut random).is_none());
    let mut ports = UdpPorts::new(FIRST..=FIRST + 7);
    let taken: Vec<u16> = std::iter::from_fn(|| ports.take(&mut random)).collect();
    assert_eq!(taken.len(), 4);
    taken.iter().for_each(|port| ports.give_back(*port));
    assert!(ports.take(&mut random).is_some_and(|port| !taken.contains(&port)), "they rest");
}

/// What a lambda, a service or the clock may do.
#[derive(Clone, Debug)]
enum Event {
    Ask { framing: Framing, wait_ns: u64 },
    Send(prop::sample::Index),
    Answer(prop::sample::Index),
    Pass { ns: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let framing = prop::sample::select(vec![Framing::Datagram, Framing::Memcached]);
    prop_oneof![
        3 => (framing, 0u64..100).prop_map(|(framing, wait_ns)| Event::Ask { framing, wait_ns }),
        2 => any::<prop::sample::Index>().prop_map(Event::Send),
        2 => any::<prop::sample::Index>().prop_map(Event::Answer),
        1 => (0u64..60).prop_map(|ns| Event::Pass { ns }),
    ]
}

/// A request as the model knows it.
struct Known {
    number: usize,
    place: Place,
    deadline_ns: u64,
    has_left: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn requests_end_once_and_are_found_by_their_ports_alone(
        in_flight in 0u32..9,
        ports in 1u16..40,
        events in prop::collection::vec(event(), 0..300),
    ) {
        let mut pending = Pending::new(FIRST..=FIRST + ports - 1, in_flight);
        let room = (in_flight as usize).min(usize::from(ports) / 2);
        let (mut known, mut now_ns, mut number) = (Vec::<Known>::new(), 0, 0);
        // Those that were given back last, half of all: none comes again so soon.
        let mut resting = VecDeque::new();
        let rests = usize::from(ports) / 2;
        let from: SocketAddr = service(Framing::Datagram).address;
        for event in events {
            match event {
                Event::Ask { framing, wait_ns } => {
                    let deadline_ns = now_ns + wait_ns;
                    let asked = pending.insert(number, service(framing), deadline_ns, now_ns);
                    prop_assert_eq!(asked.is_ok(), known.len() < room);
                    if let Ok(place) = asked {
                        let port = pending.get(place).unwrap().udp_port;
                        prop_assert!(pending.has_port(port) && !resting.contains(&port));
                        known.push(Known { number, place, deadline_ns, has_left: false });
                    }
                    number += 1;
                }
                Event::Send(which) if !known.is_empty() => {
                    let at = which.index(known.len());
                    pending.sent(known[at].place);
                    known[at].has_left = true;
                }
                Event::Answer(which) if !known.is_empty() => {
                    let one = known.swap_remove(which.index(known.len()));
                    let port = pending.get(one.place).unwrap().udp_port;
                    prop_assert_eq!(pending.find(port, from, PortId::new(0)), one.has_left.then_some(one.place));
                    prop_assert!(pending.find(port, from, PortId::new(1)).is_none());
                    prop_assert!(pending.find(port, (address(8), from.port()).into(), PortId::new(0)).is_none());
                    prop_assert!(pending.find(port, (from.ip(), 7).into(), PortId::new(0)).is_none());
                    prop_assert_eq!(pending.remove(one.place).map(|asked| asked.what), Some(one.number));
                    prop_assert!(pending.remove(one.place).is_none());
                    prop_assert!(pending.find(port, from, PortId::new(0)).is_none(), "it rests");
                    resting.push_back(port);
                }
                Event::Send(_) | Event::Answer(_) => {}
                Event::Pass { ns } => {
                    now_ns += ns;
                    while let Some(late) = pending.take_late(now_ns) {
                        let at = known.iter().position(|one| one.number == late.what).expect("it is under way");
                        prop_assert!(known.swap_remove(at).deadline_ns <= now_ns);
                        resting.push_back(late.udp_port);
                    }
                    prop_assert!(known.iter().all(|one| one.deadline_ns > now_ns));
                }
            }
            while resting.len() > rests {
                resting.pop_front();
            }
            prop_assert_eq!(pending.len(), known.len());
            prop_assert_eq!(pending.is_empty(), known.is_empty());
            let earliest_ns = known.iter().map(|one| one.deadline_ns).min().unwrap_or(u64::MAX);
            prop_assert!(pending.next_deadline_ns() <= earliest_ns);
            let waiting: BTreeSet<usize> = (0..pending.waiting())
                .map(|nth| pending.get(pending.waits(nth).unwrap()).unwrap().what)
                .collect();
            let unsent = known.iter().filter(|one| !one.has_left).map(|one| one.number);
            prop_assert_eq!(waiting, unsent.collect());
            let asked = || known.iter().map(|one| pending.get(one.place).unwrap());
            let used: BTreeSet<u16> = asked().map(|asked| asked.udp_port).collect();
            prop_assert_eq!(used.len(), known.len(), "a port each");
            let framed = || asked().filter(|asked| asked.service.framing == Framing::Memcached);
            let ids: BTreeSet<u16> = framed().map(|asked| asked.request_id).collect();
            prop_assert_eq!(ids.len(), framed().count(), "an ID each");
        }
    }

    #[test]
    fn a_reply_is_put_together_however_its_datagrams_come(
        bytes in 0usize..=lnic_abi::PAYLOAD_CAPACITY,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let value: Vec<u8> = (0..bytes).map(|at| ((at * 31) >> 3) as u8).collect();
        let parts: Vec<&[u8]> = if bytes == 0 { vec![&[]] } else { value.chunks(DATAGRAM_BYTES).collect() };
        let (mut assembly, mut joined, mut came) = (Assembly::default(), vec![0; bytes], BTreeSet::new());
        let drawn = order.iter().map(|at| at.index(parts.len())).chain(0..parts.len());
        for sequence in drawn {
            let header = Header { request_id: 7, sequence: sequence as u16, datagrams: parts.len() as u16 };
            let datagram = [&header.bytes(), parts[sequence]].concat();
            let (read, part) = Header::parse(&datagram).expect("a header");
            prop_assert_eq!(read, header);
            let (offset, is_last) = match assembly.take(read, part.len()) {
                Taken::Part { offset } => (offset, false),
                Taken::Last { offset } => (offset, true),
                Taken::Duplicate => {
                    prop_assert!(came.contains(&sequence));
                    continue;
                }
                other => panic!("{other:?}"),
            };
            joined[offset..offset + part.len()].copy_from_slice(part);
            prop_assert!(came.insert(sequence));
            prop_assert_eq!(is_last, came.len() == parts.len());
        }
        prop_assert_eq!(joined, value);
    }

    #[test]
    fn no_datagram_reaches_beyond_a_reply_or_ends_it_early(
        datagrams in prop::collection::vec((any::<[u8; HEADER_BYTES]>(), 0u16..12, 0u16..12, 0usize..1500), 0..60),
    ) {
        let mut assembly = Assembly::default();
        let (mut taken, mut total) = (BTreeSet::new(), None);
        for (mut header, sequence, count, bytes) in datagrams {
            header[2..4].copy_from_slice(&sequence.to_be_bytes());
            header[4..6].copy_from_slice(&count.to_be_bytes());
            if bytes % 3 > 0 {
                header[6..].fill(0);
            }
            let datagram = [&header[..], &vec![0; bytes]].concat();
            let Some((header, part)) = Header::parse(&datagram) else {
                prop_assert!(sequence >= count || datagram[6..8] != [0, 0]);
                continue;
            };
            let (offset, is_last) = match assembly.take(header, part.len()) {
                Taken::Part { offset } => (offset, false),
                Taken::Last { offset } => (offset, true),
                Taken::Duplicate | Taken::Malformed | Taken::TooLong => continue,
            };
            prop_assert_eq!(*total.get_or_insert(count), count, "all say the same");
            prop_assert!(taken.insert(sequence));
            prop_assert!(offset == usize::from(sequence) * DATAGRAM_BYTES);
            prop_assert!(offset + part.len() <= lnic_abi::PAYLOAD_CAPACITY);
            prop_assert!(sequence + 1 == count || part.len() == DATAGRAM_BYTES, "no gap");
            prop_assert_eq!(is_last, taken.len() == usize::from(count));
        }
    }
}

#[test]
fn a_frame_header_that_contradicts_itself_is_none() {
    let bytes = [0x12, 0x34, 0, 1, 0, 2, 0, 0, b'x'];
    let header = Header { request_id: 0x1234, sequence: 1, datagrams: 2 };
    assert_eq!(Header::parse(&bytes), Some((header, &b"x"[..])));
    assert!((0..HEADER_BYTES).all(|bytes_there| Header::parse(&bytes[..bytes_there]).is_none()));
    for (at, value) in [(3, 2), (3, 3), (5, 0), (5, 1), (6, 1), (7, 1)] {
        let mut wrong = bytes;
        wrong[at] = value;
        assert!(Header::parse(&wrong).is_none(), "byte {at} is {value}");
    }
    assert_eq!(Header::request(0x1234).bytes(), [0x12, 0x34, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_reply_that_is_too_long_or_has_another_length_is_told_apart() {
    let header = |sequence, datagrams| Header { request_id: 1, sequence, datagrams };
    let first = |header, bytes| Assembly::default().take(header, bytes);
    assert_eq!(first(header(0, 1), 9216), Taken::Last { offset: 0 });
    assert_eq!(first(header(0, 1), 9217), Taken::TooLong);
    assert_eq!(first(header(0, 8), DATAGRAM_BYTES), Taken::TooLong);
    assert_eq!(first(header(6, 7), 9216 - 6 * DATAGRAM_BYTES), Taken::Part { offset: 6 * DATAGRAM_BYTES });
    assert_eq!(first(header(6, 7), 9216 - 6 * DATAGRAM_BYTES + 1), Taken::TooLong);
    assert_eq!(first(header(0, 2), DATAGRAM_BYTES - 1), Taken::Malformed);
    assert_eq!(first(header(1, 2), 0), Taken::Malformed);
    assert_eq!(first(header(1, 2), DATAGRAM_BYTES + 1), Taken::Malformed);
    let mut assembly = Assembly::default();
    assert_eq!(assembly.take(header(0, 3), DATAGRAM_BYTES), Taken::Part { offset: 0 });
    assert_eq!(assembly.take(header(1, 2), 5), Taken::Malformed);
    assert_eq!(assembly.take(header(0, 3), DATAGRAM_BYTES), Taken::Duplicate);
}

const SECOND: u64 = 1_000_000_000;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 8];

#[test]
fn hops_are_held_as_often_as_they_are_released() {
    let neighbours = Neighbours::new(2);
    let (port, other) = (PortId::new(0), PortId::new(1));
    let first = neighbours.hold(port, address(7)).unwrap();
    assert_eq!(neighbours.hold(port, address(7)), Some(first));
    let second = neighbours.hold(other, address(7)).unwrap();
    assert_ne!(first, second);
    assert!(neighbours.hold(port, address(8)).is_none(), "no room");
    assert_eq!(neighbours.address(second), Some((other, address(7))));
    let held = |neighbours: &Neighbours| neighbours.list().iter().map(|it| it.held).collect::<Vec<_>>();
    assert_eq!(held(&neighbours), [2, 1]);
    neighbours.release(first);
    assert!(neighbours.hold(port, address(8)).is_none(), "it is held once more");
    neighbours.release(first);
    assert_eq!(held(&neighbours), [1]);
    neighbours.release(first);
    neighbours.release(HopId(9));
    let v6: IpAddr = "fd77::7".parse().unwrap();
    let third = neighbours.hold(port, v6).unwrap();
    assert_eq!((third, neighbours.address(third)), (first, Some((port, v6))));
}

#[test]
fn a_place_that_is_given_out_again_knows_nothing_of_before() {
    let neighbours = Neighbours::new(1);
    let hop = neighbours.hold(PortId::new(0), address(7)).unwrap();
    assert_eq!(neighbours.look(hop, SECOND), Look::Ask);
    assert!(neighbours.told(PortId::new(0), address(7), MAC, SECOND));
    assert_eq!(neighbours.look(hop, SECOND), Look::Known(MAC));
    neighbours.release(hop);
    assert!(!neighbours.told(PortId::new(0), address(7), MAC, SECOND), "nobody holds it");
    assert_eq!(neighbours.hold(PortId::new(0), address(7)), Some(hop));
    assert!(!neighbours.told(PortId::new(0), address(7), MAC, SECOND), "it has not been asked");
    assert_eq!(neighbours.look(hop, SECOND), Look::Ask);
}

#[test]
fn only_answers_to_questions_are_believed() {
    let neighbours = Neighbours::new(4);
    let port = PortId::new(0);
    let hop = neighbours.hold(port, address(7)).unwrap();
    assert!(!neighbours.told(port, address(7), MAC, 5), "not asked");
    assert_eq!(neighbours.look(hop, 0), Look::Ask, "at the first moment too");
    assert_eq!(neighbours.look(hop, 1), Look::Wait);
    assert!(!neighbours.told(PortId::new(1), address(7), MAC, 5), "on another port");
    assert!(!neighbours.told(port, address(8), MAC, 5), "another one");
    assert_eq!(neighbours.look(hop, SECOND / 10 - 1), Look::Wait);
    assert_eq!(neighbours.look(hop, SECOND / 10 + 1), Look::Ask);
    assert!(!neighbours.told(port, address(7), MAC, SECOND / 10 + 2 + SECOND), "too late");
    assert_eq!(neighbours.list()[0].state, NeighbourState::Unanswered);
    assert_eq!(neighbours.look(hop, 2 * SECOND), Look::Ask);
    assert!(neighbours.told(port, address(7), MAC, 3 * SECOND));
    assert!(!neighbours.told(port, address(7), OTHER_MAC, 3 * SECOND), "the first answer is taken");
    assert_eq!(neighbours.look(hop, 4 * SECOND), Look::Known(MAC));
}

#[test]
fn a_mac_address_is_confirmed_while_it_is_used_and_dropped_without_an_answer() {
    let neighbours = Neighbours::new(1);
    let port = PortId::new(0);
    let hop = neighbours.hold(port, address(7)).unwrap();
    assert_eq!(neighbours.look(hop, SECOND), Look::Ask);
    assert!(neighbours.told(port, address(7), MAC, SECOND));
    assert_eq!(neighbours.look(hop, 31 * SECOND - 1), Look::Known(MAC));
    // Asked once a second, by whoever is first.
    assert_eq!(neighbours.look(hop, 31 * SECOND), Look::Confirm(MAC));
    assert_eq!(neighbours.look(hop, 31 * SECOND + 1), Look::Known(MAC));
    assert!(neighbours.told(port, address(7), MAC, 31 * SECOND + 2));
    assert_eq!(neighbours.look(hop, 61 * SECOND), Look::Known(MAC));
    // It moves to another station.
    assert_eq!(neighbours.look(hop, 62 * SECOND), Look::Confirm(MAC));
    assert!(neighbours.told(port, address(7), OTHER_MAC, 62 * SECOND));
    assert_eq!(neighbours.look(hop, 63 * SECOND), Look::Known(OTHER_MAC));
    for at in 100..103 {
        assert_eq!(neighbours.look(hop, at * SECOND), Look::Confirm(OTHER_MAC));
        assert_eq!(neighbours.look(hop, at * SECOND + SECOND / 2), Look::Known(OTHER_MAC));
    }
    let state = NeighbourState::Known { mac: OTHER_MAC, confirmed_ns: 62 * SECOND, unanswered: 3 };
    assert_eq!(neighbours.list()[0].state, state);
    assert_eq!(neighbours.look(hop, 103 * SECOND), Look::Ask);
    assert_eq!(neighbours.look(hop, 103 * SECOND + 1), Look::Wait);
    // Nobody has used it for long: whoever had the address then need not have it any more.
    assert!(neighbours.told(port, address(7), MAC, 103 * SECOND + 2));
    assert_eq!(neighbours.look(hop, 222 * SECOND), Look::Confirm(MAC));
    assert!(neighbours.told(port, address(7), MAC, 222 * SECOND));
    assert_eq!(neighbours.look(hop, 342 * SECOND), Look::Ask);
    assert!(neighbours.told(port, address(7), MAC, 103 * SECOND + 2));
    assert_eq!(neighbours.look(hop, 104 * SECOND), Look::Known(MAC));
}

#[test]
fn many_threads_ask_one_question() {
    let neighbours = Neighbours::new(1);
    let port = PortId::new(0);
    let hop = neighbours.hold(port, address(7)).unwrap();
    for round in 1..200 {
        let now_ns = round * SECOND;
        let asked: usize = std::thread::scope(|scope| {
            let look = || usize::from(neighbours.look(hop, now_ns) == Look::Ask);
            let all: Vec<_> = (0..4).map(|_| scope.spawn(look)).collect();
            all.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(asked, 1);
        let told: usize = std::thread::scope(|scope| {
            let tell = || usize::from(neighbours.told(port, address(7), MAC, now_ns));
            let all: Vec<_> = (0..4).map(|_| scope.spawn(tell)).collect();
            all.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(told, 1);
        neighbours.release(hop);
        assert_eq!(neighbours.hold(port, address(7)), Some(hop));
    }
}
