//! The services of a script, as the simulated network has them: they answer ARP, neighbour solicitations, and requests as it says.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use lnic_wire::{arp, checksum, ethernet, ipv6, ndp, protocol};

use super::decode::decode;
use super::frame::{Network as Header, OUR_MAC, Side, Template, Transport};
use super::judge::{Exchange, Script};
use super::payload::{Difference, shown};

/// MAC address of every service.
const SERVICE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x03];
/// Bytes of memcached's frame header.
const MEMCACHED_HEADER: usize = 8;
/// Most bytes of a memcached datagram behind it.
const MEMCACHED_BYTES: usize = 1_392;

/// All services of a script.
pub(super) struct Network {
    services: Vec<Service>,
    /// Replies on their way: when, and what.
    replies: VecDeque<(u64, Vec<u8>)>,
    /// Answers to who has a service's address, which the appliance also shows its host.
    resolved: Vec<Vec<u8>>,
    /// What was wrong with requests since it was last asked.
    complaints: Vec<Difference>,
}

struct Service {
    name: String,
    address: SocketAddr,
    is_memcached: bool,
    exchanges: VecDeque<Exchange>,
    asked: usize,
}

impl Network {
    /// The services that the manifest names; those that the script says nothing of are silent.
    pub(super) fn new(script: &Script) -> Self {
        let services = script.manifest.services.iter().filter_map(|(name, said)| {
            Some(Service {
                name: name.clone(),
                address: said.address.parse().ok()?,
                is_memcached: said.framing.as_deref() == Some("memcached"),
                exchanges: script.services.get(name).cloned().unwrap_or_default().into(),
                asked: 0,
            })
        });
        Self {
            services: services.collect(),
            replies: VecDeque::new(),
            resolved: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// Takes a frame that the appliance sent, if it is for one of the services. What comes back comes by [`due`](Self::due).
    pub(super) fn take(&mut self, frame: &[u8], now_ns: u64) -> bool {
        if self.services.is_empty() {
            return false;
        }
        if let Some(answer) = self.resolve(frame) {
            self.resolved.push(answer.clone());
            self.reply(now_ns, answer);
            return true;
        }
        self.request(frame, now_ns)
    }

    /// Is this one of its own answers about addresses, on its way to the host?
    pub(super) fn take_back(&mut self, frame: &[u8]) -> bool {
        let at = self.resolved.iter().position(|answer| answer == frame);
        at.map(|at| self.resolved.remove(at)).is_some()
    }

    /// The next frame that is to arrive at the appliance by now.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let at = self.replies.iter().position(|(then_ns, _)| *then_ns <= now_ns)?;
        self.replies.remove(at).map(|(_, frame)| frame)
    }

    /// When the next one is.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.replies.iter().map(|(then_ns, _)| *then_ns).min()
    }

    /// What was wrong with requests since the last look.
    pub(super) fn complaints(&mut self) -> Vec<Difference> {
        std::mem::take(&mut self.complaints)
    }

    /// Requests of the script that nobody has sent: their lines, and what to say of them.
    pub(super) fn unasked(&self) -> Vec<(usize, String)> {
        let left = |service: &Service| {
            let next = service.exchanges.front()?;
            let (asked, all) = (service.asked, service.asked + service.exchanges.len());
            let name = &service.name;
            Some((next.line, format!("service \"{name}\" was asked {asked} times, the script says {all}")))
        };
        self.services.iter().filter_map(left).collect()
    }

    fn reply(&mut self, then_ns: u64, frame: Vec<u8>) {
        self.replies.push_back((then_ns, frame));
    }

    /// The answer to who has a service's address.
    fn resolve(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let link = ethernet::Frame::new_checked(frame).ok()?;
        let is_ours = |address: IpAddr| self.services.iter().any(|service| service.address.ip() == address);
        if link.ether_type() == ethernet::TYPE_ARP {
            let packet = arp::Packet::new_checked(link.payload()).ok()?;
            let question = arp::Repr::parse(&packet).ok()?;
            if question.operation != arp::REQUEST || !is_ours(question.target_ipv4.into()) {
                return None;
            }
            let answer = arp::Repr {
                operation: arp::REPLY,
                source_mac: SERVICE_MAC,
                source_ipv4: question.target_ipv4,
                target_mac: question.source_mac,
                target_ipv4: question.source_ipv4,
            };
            let mut bytes = vec![0; ethernet::HEADER_BYTES + arp::PACKET_BYTES];
            let (destination, source) = (question.source_mac, SERVICE_MAC);
            ethernet::Repr { destination, source, ether_type: ethernet::TYPE_ARP }.emit(&mut bytes);
            answer.emit(&mut bytes[ethernet::HEADER_BYTES..]);
            return Some(bytes);
        }
        let packet = ipv6::Packet::new_checked(link.payload()).ok()?;
        if link.ether_type() != ethernet::TYPE_IPV6 || packet.next_header() != protocol::ICMPV6 {
            return None;
        }
        let solicitation = ndp::Packet::new_checked(packet.payload()).ok()?;
        if !is_ours(solicitation.target().into()) {
            return None;
        }
        Some(advertisement(solicitation.target(), packet.source(), link.source()))
    }

    /// A request for one of the services.
    fn request(&mut self, frame: &[u8], now_ns: u64) -> bool {
        let decoded = decode(frame);
        let field = |name| decoded.field(name);
        let (Some(source), Some(destination)) = (
            end(field("ipv4.source").or(field("ipv6.source")), field("udp.source_port")),
            end(field("ipv4.destination").or(field("ipv6.destination")), field("udp.destination_port")),
        ) else {
            return false;
        };
        let Some(service) = self.services.iter_mut().find(|service| service.address == destination) else {
            return false;
        };
        let datagram = frame.get(decoded.payload.clone()).unwrap_or_default();
        let what = format!("request to \"{}\"", service.name);
        for fault in &decoded.faults {
            self.complaints.push(Difference::new(&what, "well formed", fault));
        }
        let (header, request) = match service.is_memcached {
            true if datagram.len() >= MEMCACHED_HEADER => datagram.split_at(MEMCACHED_HEADER),
            true => {
                self.complaints.push(Difference::new(&what, "memcached's frame header", shown(datagram)));
                return true;
            }
            false => (&[][..], datagram),
        };
        service.asked += 1;
        let Some(exchange) = service.exchanges.pop_front() else {
            self.complaints.push(Difference::new(&what, "no more requests", shown(request)));
            return true;
        };
        for difference in exchange.request.differences(request) {
            self.complaints.push(Difference { what: what.clone(), ..difference });
        }
        let Some(reply) = exchange.reply else { return true };
        let is_memcached = service.is_memcached;
        for datagram in datagrams(&reply, is_memcached, header) {
            let frame = answer(destination, source, &datagram);
            self.reply(now_ns + exchange.delay_ns, frame);
        }
        true
    }
}

/// A reply as datagrams: one, or as many as memcached makes of it.
fn datagrams(reply: &[u8], is_memcached: bool, request_header: &[u8]) -> Vec<Vec<u8>> {
    if !is_memcached {
        return vec![reply.to_vec()];
    }
    let parts: Vec<&[u8]> =
        if reply.is_empty() { vec![&[]] } else { reply.chunks(MEMCACHED_BYTES).collect() };
    let total = u16::try_from(parts.len()).unwrap_or(u16::MAX);
    let id = request_header.get(..2).unwrap_or_default();
    let datagram = |(number, part): (u16, &&[u8])| {
        [id, &number.to_be_bytes(), &total.to_be_bytes(), &[0, 0], part].concat()
    };
    (0..total).zip(&parts).map(datagram).collect()
}

fn answer(from: SocketAddr, to: SocketAddr, datagram: &[u8]) -> Vec<u8> {
    let network = match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Header::V4 { source, destination, ttl: 64, traffic_class: 0, identification: 0 }
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Header::V6 { source, destination, hop_limit: 64, traffic_class: 0, flow_label: 0 }
        }
        // Both were read from one header.
        _ => Header::v4(),
    };
    let template = Template {
        side: Side::Wire,
        source_mac: SERVICE_MAC,
        destination_mac: OUR_MAC,
        ether_type: None,
        vlan: None,
        network: Some(network),
        transport: Transport::Udp { source_port: from.port(), destination_port: to.port() },
        payload: Vec::new(),
    };
    template.with_datagram(datagram)
}

fn advertisement(target: std::net::Ipv6Addr, asker: std::net::Ipv6Addr, asker_mac: [u8; 6]) -> Vec<u8> {
    let repr = ndp::Repr::Advertisement {
        router: false,
        solicited: true,
        overrides: true,
        target,
        target_link: Some(SERVICE_MAC),
    };
    let mut message = vec![0; repr.message_bytes()];
    let bytes = message.len() as u16;
    repr.emit(&mut message, checksum::pseudo_ipv6(target, asker, protocol::ICMPV6, bytes));
    let network = Header::V6 {
        source: target,
        destination: asker,
        hop_limit: ndp::HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
    };
    let template = Template {
        side: Side::Wire,
        source_mac: SERVICE_MAC,
        destination_mac: asker_mac,
        ether_type: None,
        vlan: None,
        network: Some(network),
        transport: Transport::Other(protocol::ICMPV6),
        payload: message,
    };
    template.frame()
}

/// Address and port.
fn end(address: Option<&str>, port: Option<&str>) -> Option<SocketAddr> {
    Some(SocketAddr::new(address?.parse().ok()?, port?.parse().ok()?))
}
