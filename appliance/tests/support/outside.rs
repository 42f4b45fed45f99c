//! The network around a simulated appliance: neighbours that answer for their addresses, services that answer requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use lnic::frame::Frame as _;
use lnic::ids::PortId;
use lnic::outside::{Framing, Neighbours, Outside, Service, Services};
use lnic::port::sim::SimPeer;

use super::deployed::{Deployed, built_from};
use super::frames::*;

/// UDP ports that requests leave from.
pub const UDP_PORTS: RangeInclusive<u16> = 61_000..=65_535;
pub const SERVICE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
pub const SERVICE_IPV4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 7);
pub const SERVICE_IPV6: Ipv6Addr = Ipv6Addr::new(0xFD77, 0, 0, 0, 0, 0, 0, 7);
pub const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
pub const SERVICE_PORT: u16 = 11_211;

/// How lambdas reach services.
#[derive(Clone)]
pub struct OutsideSetup {
    pub services: Services,
    pub neighbours: Arc<Neighbours>,
    pub udp_ports: RangeInclusive<u16>,
    pub in_flight: u32,
    /// The lcore that polls has a way to them.
    pub is_wired: bool,
}

impl Default for OutsideSetup {
    /// Handle 0 is a service over IPv4, 1 over IPv6, 2 memcached, and 3 one behind a gateway.
    fn default() -> Self {
        let neighbours = Neighbours::new(8);
        let service = |name: &str, address: IpAddr, hop: IpAddr, framing| {
            let hop = neighbours.hold(PortId::new(0), hop).expect("room");
            let address = SocketAddr::new(address, SERVICE_PORT);
            (name.into(), Service { address, port: PortId::new(0), hop, framing })
        };
        let far = Ipv4Addr::new(192, 0, 2, 9);
        let services = [
            service("four", SERVICE_IPV4.into(), SERVICE_IPV4.into(), Framing::Datagram),
            service("six", SERVICE_IPV6.into(), SERVICE_IPV6.into(), Framing::Datagram),
            service("memcached", SERVICE_IPV4.into(), SERVICE_IPV4.into(), Framing::Memcached),
            service("far", far.into(), GATEWAY_IPV4.into(), Framing::Datagram),
        ];
        Self {
            services: Services::new(services),
            neighbours,
            udp_ports: UDP_PORTS,
            in_flight: 64,
            is_wired: true,
        }
    }
}

impl OutsideSetup {
    pub fn make(&self) -> Option<Outside> {
        let outside = || Outside::new(Arc::clone(&self.neighbours), self.udp_ports.clone(), self.in_flight);
        self.is_wired.then(outside)
    }
}

const ASKER: &str = "#include <lnic.h>
    LAMBDA(asker) {
        uint8_t *payload = lnic_payload(match_data);
        uint8_t reply[PAYLOAD_CAPACITY];
        if (match_data->length < 12) {
            return lnic_reply(headers, match_data, STATUS_INVALID_ARGUMENT, 0);
        }
        int32_t result = lnic_request((int32_t)lnic_load_be32(payload), payload + 12, match_data->length - 12, reply,
                                      lnic_load_be32(payload + 4), (int32_t)lnic_load_be32(payload + 8));
        uint32_t bytes = result > 0 ? (uint32_t)result : 0, hash = 0x811c9dc5;
        for (uint32_t at = 0; at < bytes; at++) {
            hash = (hash ^ reply[at]) * 0x01000193;
        }
        lnic_store_be32(payload, (uint32_t)result);
        lnic_store_be32(payload + 4, hash);
        /* More would be more than a source without a cookie gets. */
        if (bytes > 64) {
            bytes = 64;
        }
        memcpy(payload + 8, reply, bytes);
        return lnic_reply(headers, match_data, STATUS_OK, 8 + bytes);
    }";

/// Asks the service that it is told, and answers with what came of it.
pub fn asker() -> Deployed {
    static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| built_from(ASKER, "asker"));
    Deployed { in_flight: 32, ..Deployed::new(MODULE.clone(), "asker") }
}

/// What an [`asker`] is sent.
pub fn asking(service: u32, capacity: u32, timeout_us: u32, request: &[u8]) -> Vec<u8> {
    [&[service, capacity, timeout_us].map(u32::to_be_bytes).concat(), request].concat()
}

/// What an [`asker`] answers: what `lnic_request` returned, whether this is the reply that it got, and the reply's first bytes.
pub struct Told {
    pub result: i32,
    hash: u32,
    pub first: Vec<u8>,
}

impl Told {
    pub fn of(payload: &[u8]) -> Self {
        let word = |at: usize| *payload[at..].first_chunk::<4>().expect("a result");
        let (result, hash) = (i32::from_be_bytes(word(0)), u32::from_be_bytes(word(4)));
        Self { result, hash, first: payload[8..].to_vec() }
    }

    /// The lambda has got this reply, to the last byte.
    pub fn is(&self, reply: &[u8]) -> bool {
        let hash = reply
            .iter()
            .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        self.result == reply.len() as i32 && self.hash == hash && self.first == reply[..reply.len().min(64)]
    }
}

/// A UDP datagram on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub payload: Vec<u8>,
}

impl Datagram {
    /// Takes a frame apart, and judges it; `None` for other frames.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (ip, addresses, from, to) = match frame[12..14] {
            [0x08, 0x00] if frame[23] == 17 => {
                let ip = &frame[14..];
                assert_eq!(checksum(&[&ip[..20]]), 0, "IPv4 header checksum");
                assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len(), "IPv4 total length");
                let address = |at: usize| IpAddr::from(*ip[at..].first_chunk::<4>().unwrap());
                (&ip[20..], &ip[12..20], address(12), address(16))
            }
            [0x86, 0xDD] if frame[20] == 17 => {
                let ip = &frame[14..];
                assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])) + 40, ip.len(), "payload length");
                let address = |at: usize| IpAddr::from(*ip[at..].first_chunk::<16>().unwrap());
                (&ip[40..], &ip[8..40], address(8), address(24))
            }
            _ => return None,
        };
        assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), ip.len(), "UDP length");
        assert_eq!(checksum(&[addresses, &[0, 17, ip[4], ip[5]], ip]), 0, "UDP checksum");
        let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
        Some(Self {
            source_mac: *frame[6..].first_chunk().unwrap(),
            destination_mac: *frame.first_chunk().unwrap(),
            from: SocketAddr::new(from, port(0)),
            to: SocketAddr::new(to, port(2)),
            payload: ip[8..].to_vec(),
        })
    }

    pub fn frame(&self) -> Vec<u8> {
        let header = |kind: [u8; 2]| [&self.destination_mac[..], &self.source_mac, &kind].concat();
        let (from, to) = (self.from.port(), self.to.port());
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let datagram = udp(&[&source, &destination], from, to, &self.payload);
                let mut ip = ipv4(&[], 17, &datagram);
                ip[10..20].copy_from_slice(&[&[0, 0], &source[..], &destination].concat());
                let sum = checksum(&[&ip[..20]]);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                [header([0x08, 0x00]), ip].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let datagram = udp(&[&source, &destination], from, to, &self.payload);
                let mut ip = ipv6(17, &[], &datagram);
                ip[8..40].copy_from_slice(&[source, destination].concat());
                [header([0x86, 0xDD]), ip].concat()
            }
            _ => panic!("addresses of two versions"),
        }
    }

    /// The reply of the one that it was sent to.
    pub fn reply(&self, payload: &[u8]) -> Self {
        Self {
            source_mac: self.destination_mac,
            destination_mac: self.source_mac,
            from: self.to,
            to: self.from,
            payload: payload.to_vec(),
        }
    }

    /// The replies of a memcached, which sends 1,400 bytes at a time.
    pub fn memcached_replies(&self, value: &[u8]) -> Vec<Self> {
        let parts: Vec<&[u8]> = if value.is_empty() { vec![&[]] } else { value.chunks(1392).collect() };
        let count = (parts.len() as u16).to_be_bytes();
        // A request without framing has no ID.
        let id = self.payload.first_chunk::<2>().copied().unwrap_or_default();
        let parts = parts.iter().enumerate().map(|(at, part)| {
            let header = [&id[..], &(at as u16).to_be_bytes(), &count, &[0, 0]].concat();
            self.reply(&[&header, *part].concat())
        });
        parts.collect()
    }
}

/// What a frame asks of a neighbour, if it does: for which address, and to which MAC address it was sent.
pub fn question(frame: &[u8]) -> Option<(IpAddr, [u8; 6])> {
    let to = *frame.first_chunk::<6>()?;
    match frame[12..14] {
        [0x08, 0x06] if frame[20..22] == [0, 1] => {
            assert_eq!(frame[22..32], [&OUR_MAC[..], &OUR_IPV4].concat(), "who asks");
            Some((IpAddr::from(*frame[38..].first_chunk::<4>()?), to))
        }
        [0x86, 0xDD] if frame[20] == 58 && frame[54] == 135 => {
            assert_eq!(frame[21], 255, "hop limit");
            assert_eq!(frame[22..38], OUR_IPV6, "who asks");
            assert_eq!(frame[78..86], [&[1, 1], &OUR_MAC[..]].concat(), "source link-layer address");
            assert_eq!(checksum(&[&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]]), 0);
            let target = Ipv6Addr::from(*frame[62..].first_chunk::<16>()?);
            if to[0] & 1 == 1 {
                let last = target.octets();
                assert_eq!(to, [0x33, 0x33, 0xFF, last[13], last[14], last[15]], "solicited-node group");
            }
            Some((target.into(), to))
        }
        _ => None,
    }
}

/// The frame by which `mac` says that it has an address: an ARP reply, or a solicited advertisement.
pub fn neighbour_answer(address: IpAddr, mac: [u8; 6]) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            let head = [&OUR_MAC[..], &mac, &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
            [&head[..], &mac, &address.octets(), &OUR_MAC, &OUR_IPV4].concat()
        }
        IpAddr::V6(address) => {
            let source = address.octets();
            let mut message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &source, &[2, 1], &mac].concat();
            let sum = checksum(&[&source, &OUR_IPV6, &[0, 0, 0, 32, 0, 0, 0, 58], &message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let mut ip = ipv6(58, &[], &message);
            ip[7] = 255;
            ip[8..40].copy_from_slice(&[source, OUR_IPV6].concat());
            [&OUR_MAC[..], &mac, &[0x86, 0xDD], &ip].concat()
        }
    }
}

/// What the appliance sent to the network.
#[derive(Default)]
pub struct Sent {
    /// Questions to neighbours, and the MAC addresses that they went to.
    pub questions: Vec<(IpAddr, [u8; 6])>,
    /// Requests to services.
    pub requests: Vec<Datagram>,
    /// What else: replies to λ-RPC.
    pub others: Vec<Vec<u8>>,
}

impl Sent {
    /// What came of the requests of [`asker`]s that have been answered.
    pub fn told(&self) -> Vec<Told> {
        self.others.iter().map(|frame| Told::of(&reply(frame).payload)).collect()
    }
}

/// Takes all that the appliance has sent.
pub fn sent(peer: &mut SimPeer) -> Sent {
    let mut sent = Sent::default();
    while let Some(frame) = peer.receive() {
        let bytes = frame.bytes();
        if let Some(question) = question(bytes) {
            sent.questions.push(question);
            continue;
        }
        match Datagram::parse(bytes) {
            Some(datagram) if UDP_PORTS.contains(&datagram.from.port()) => {
                assert_eq!(datagram.source_mac, OUR_MAC);
                sent.requests.push(datagram);
            }
            _ => sent.others.push(bytes.to_vec()),
        }
    }
    sent
}
