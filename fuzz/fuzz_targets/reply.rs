//! Replies of services under memcached's framing, whatever datagrams come for whatever requests, however time passes: parts lie within the
//! reply and never twice in one place, a reply is complete when all of it has come, and every request ends once.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use lnic_fuzz::ids::PortId;
use lnic_fuzz::outside::memcached::{DATAGRAM_BYTES, Header, Taken};
use lnic_fuzz::outside::{Framing, HopId, Pending, Service};
use lnic_fuzz::words::Input;

const FIRST: u16 = 61_000;
const IN_FLIGHT: u32 = 4;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let address: SocketAddr = ([10, 77, 0, 7], 11_211).into();
    let (port, hop) = (PortId::new(0), HopId(0));
    let service = Service { address, port, hop, framing: Framing::Memcached };
    let mut pending = Pending::new(FIRST..=FIRST + 15, IN_FLIGHT);
    let (mut now_ns, mut begun, mut ended) = (0u64, 0u32, 0u32);
    // Of each request under way: its place, and which bytes of its reply are there.
    let mut under_way = Vec::new();
    while !input.is_empty() {
        match input.byte() % 8 {
            0 | 1 => {
                let deadline_ns = now_ns + u64::from(input.byte());
                let Ok(place) = pending.insert(begun, service, deadline_ns, now_ns) else {
                    assert_eq!(under_way.len(), IN_FLIGHT as usize);
                    continue;
                };
                pending.sent(place);
                under_way.push((begun, place, vec![false; lnic_abi::PAYLOAD_CAPACITY]));
                begun += 1;
            }
            2 => {
                now_ns += u64::from(input.byte());
                while let Some(late) = pending.take_late(now_ns) {
                    under_way.retain(|(number, ..)| *number != late.what);
                    ended += 1;
                }
            }
            _ if under_way.is_empty() => {}
            choice => {
                let at = usize::from(input.byte()) % under_way.len();
                let (_, place, there) = &mut under_way[at];
                let place = *place;
                let asked = pending.get_mut(place).expect("it is under way");
                let (udp_port, id) = (asked.udp_port, asked.request_id);
                // Mostly a header that fits, and one of the lengths that matter.
                let mut bytes = input.take(8).to_vec();
                if choice > 3 && bytes.len() == 8 {
                    bytes[..2].copy_from_slice(&id.to_be_bytes());
                    (bytes[2], bytes[4], bytes[6], bytes[7]) = (0, 0, 0, 0);
                    (bytes[3], bytes[5]) = (bytes[3] % 8, bytes[5] % 9);
                }
                let lengths = [0, 1, 700, DATAGRAM_BYTES - 1, DATAGRAM_BYTES, DATAGRAM_BYTES + 1, 9216, 9217];
                bytes.resize(bytes.len() + lengths[usize::from(input.byte()) % lengths.len()], 7);
                assert_eq!(pending.find(udp_port, address, port), Some(place));
                let asked = pending.get_mut(place).expect("it is under way");
                let Some((header, part)) = Header::parse(&bytes) else { continue };
                if header.request_id != id {
                    continue;
                }
                let (offset, is_whole) = match asked.assembly.take(header, part.len()) {
                    Taken::Part { offset } => (offset, false),
                    Taken::Last { offset } => (offset, true),
                    Taken::TooLong => (0, true),
                    Taken::Duplicate | Taken::Malformed => continue,
                };
                if asked.assembly.take(header, part.len()) != Taken::TooLong {
                    for byte in &mut there[offset..offset + part.len()] {
                        assert!(!std::mem::replace(byte, true), "a byte twice");
                    }
                    let bytes = there.iter().filter(|byte| **byte).count();
                    assert!(!is_whole || there[..bytes].iter().all(|byte| *byte), "a gap");
                }
                if is_whole {
                    let (number, place, _) = under_way.swap_remove(at);
                    assert_eq!(pending.remove(place).map(|asked| asked.what), Some(number));
                    assert!(pending.find(udp_port, address, port).is_none());
                    ended += 1;
                }
            }
        }
        assert_eq!(pending.len(), under_way.len());
        assert_eq!(begun - ended, under_way.len() as u32);
    }
});
