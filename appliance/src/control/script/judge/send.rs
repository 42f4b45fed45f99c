//! Judges what is sent.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use lnic_wire::rpc;
use toml::Spanned;

use super::{Judge, Send};
use crate::control::config::raw::{Scalar, Value};
use crate::control::config::{nearest, quoted};
use crate::control::script::decode::KINDS;
use crate::control::script::frame::{
    ByHand, MTU, Network, OUR_MAC, PEER_MAC, PEER_PORT, Rpc, SERVICE_PORT, Segment, Side, TCP_FLAGS, Tag,
    Template, Transport,
};
use crate::control::script::raw;
use crate::port::pcap;

/// Longest frame that is sent as it is: what a buffer of the simulated ports holds.
pub(in crate::control::script) const FRAME_BYTES: usize = 2048;
/// Largest VLAN identifier.
const VID: u16 = 4094;

impl Judge<'_, '_> {
    /// What a step sends.
    pub(super) fn send(&mut self, place: &str, spanned: &Spanned<raw::Send>) -> Vec<Send> {
        let (place, raw, span) = (format!("{place}: send"), spanned.get_ref(), spanned.span());
        let side = if Self::flag(&raw.from_host) { Side::Host } else { Side::Wire };
        let kinds = [
            ("rpc", raw.rpc.as_ref().map(Spanned::span)),
            ("udp", raw.udp.as_ref().map(Spanned::span)),
            ("tcp", raw.tcp.as_ref().map(Spanned::span)),
            ("icmp", raw.icmp.as_ref().map(Spanned::span)),
            ("ip", raw.ip.as_ref().map(Spanned::span)),
            ("frame", raw.frame.as_ref().map(Spanned::span)),
            ("pcap", raw.pcap.as_ref().map(Spanned::span)),
        ];
        let mut said = kinds.iter().filter_map(|(name, span)| Some((*name, span.clone()?)));
        let first = said.next();
        if let Some((name, extra)) = said.next() {
            let other = first.map_or("", |(name, _)| name);
            self.wrong(Some(extra), format!("{place}: {other} and {name}: a packet is one of them"));
            return Vec::new();
        }
        if let Some(hex) = &raw.frame {
            let Some(frame) = self.hex(&format!("{place}: frame"), hex.get_ref(), hex.span()) else {
                return Vec::new();
            };
            self.whole_frame(&format!("{place}: frame"), &frame, hex.span());
            return vec![Send::Frame(side, frame)];
        }
        if let Some(file) = &raw.pcap {
            return self.capture(&format!("{place}: pcap"), file, side);
        }
        if first.is_none() && raw.ethernet.is_none() {
            let names = quoted(kinds.iter().map(|(name, _)| *name));
            self.wrong(
                Some(span),
                format!("{place}: says no kind of packet: one of {names} or \"ethernet\""),
            );
            return Vec::new();
        }
        let template = self.template(&place, raw, side, span);
        vec![Send::Packet(Box::new(template))]
    }

    fn whole_frame(&mut self, place: &str, frame: &[u8], span: Range<usize>) {
        if frame.is_empty() || frame.len() > FRAME_BYTES {
            self.wrong(Some(span), format!("{place}: {} bytes are not in 1–{FRAME_BYTES}", frame.len()));
        }
    }

    fn capture(&mut self, place: &str, file: &Spanned<String>, side: Side) -> Vec<Send> {
        let path = self.folder.join(file.get_ref());
        match pcap::frames(&path) {
            Ok(frames) => {
                for frame in &frames {
                    self.whole_frame(place, frame, file.span());
                }
                frames.into_iter().map(|frame| Send::Frame(side, frame)).collect()
            }
            Err(error) => {
                self.wrong(Some(file.span()), format!("{place}: {error}"));
                Vec::new()
            }
        }
    }

    fn template(&mut self, place: &str, raw: &raw::Send, side: Side, span: Range<usize>) -> Template {
        let payload = self.payload(place, &raw.into()).unwrap_or_default();
        // What the host sends goes out to the network, and what the network sends comes in.
        let (mut source_mac, mut destination_mac) = match side {
            Side::Wire => (PEER_MAC, OUR_MAC),
            Side::Host => (OUR_MAC, PEER_MAC),
        };
        let mut ether_type = None;
        if let Some(ethernet) = &raw.ethernet {
            let (place, raw) = (format!("{place}: ethernet"), ethernet.get_ref());
            source_mac = self.mac(&format!("{place}: source"), &raw.source).unwrap_or(source_mac);
            destination_mac =
                self.mac(&format!("{place}: destination"), &raw.destination).unwrap_or(destination_mac);
            ether_type = self.number(&format!("{place}: ether_type"), &raw.ether_type, u16::MAX);
        }
        let is_ip = raw.rpc.is_some()
            || raw.udp.is_some()
            || raw.tcp.is_some()
            || raw.icmp.is_some()
            || raw.ip.is_some();
        let network = is_ip.then(|| self.network(place, raw, side));
        let transport = self.transport(place, raw, side);
        let template = Template {
            side,
            source_mac,
            destination_mac,
            ether_type,
            vlan: self.tag(place, &raw.vlan),
            network,
            transport,
            payload,
        };
        // Messages of λ-RPC go in as many datagrams as they need.
        let is_message = matches!(&template.transport, Transport::Rpc { rpc, .. } if rpc.by_hand.is_none());
        let own_bytes = if network.is_some() { template.transport.header_bytes() } else { 0 };
        let own_bytes = own_bytes + if raw.rpc.is_some() { rpc::HEADER_BYTES } else { 0 };
        let room = template.room_bytes() - own_bytes;
        if !is_message && template.payload.len() > room {
            let bytes = template.payload.len();
            let text =
                format!("{place}: {bytes} bytes of payload: a packet of {MTU} bytes has room for {room}");
            self.wrong(Some(span), text);
        }
        template
    }

    fn network(&mut self, place: &str, raw: &raw::Send, side: Side) -> Network {
        if let (Some(_), Some(ipv6)) = (&raw.ipv4, &raw.ipv6) {
            self.wrong(Some(ipv6.span()), format!("{place}: ipv4 and ipv6: a packet is one of them"));
        }
        let turned = |network: Network| match (side, network) {
            (Side::Wire, network) => network,
            (Side::Host, Network::V4 { source, destination, ttl, traffic_class, identification }) => {
                let (source, destination) = (destination, source);
                Network::V4 { source, destination, ttl, traffic_class, identification }
            }
            (Side::Host, Network::V6 { source, destination, hop_limit, traffic_class, flow_label }) => {
                let (source, destination) = (destination, source);
                Network::V6 { source, destination, hop_limit, traffic_class, flow_label }
            }
        };
        match &raw.ipv6 {
            None => {
                let network = turned(Network::v4());
                raw.ipv4.as_ref().map_or(network, |ipv4| self.ipv4(place, network, ipv4.get_ref()))
            }
            Some(said) => match said.get_ref() {
                raw::Short::Is(Scalar::Boolean(true)) => turned(Network::v6()),
                raw::Short::Is(Scalar::Boolean(false)) => turned(Network::v4()),
                raw::Short::Is(other) => {
                    self.wrong(
                        Some(said.span()),
                        format!("{place}: ipv6: {other}: allowed are true and a table"),
                    );
                    Network::v6()
                }
                raw::Short::Table(table) => self.ipv6(place, turned(Network::v6()), table),
            },
        }
    }

    fn ipv4(&mut self, place: &str, base: Network, raw: &raw::Ipv4) -> Network {
        let Network::V4 { mut source, mut destination, mut ttl, mut traffic_class, mut identification } =
            base
        else {
            return base;
        };
        let place = format!("{place}: ipv4");
        source = self.address::<Ipv4Addr>(&format!("{place}: source"), &raw.source).unwrap_or(source);
        destination = self.address(&format!("{place}: destination"), &raw.destination).unwrap_or(destination);
        ttl = self.number(&format!("{place}: ttl"), &raw.ttl, u8::MAX).unwrap_or(ttl);
        traffic_class = self
            .number(&format!("{place}: traffic_class"), &raw.traffic_class, u8::MAX)
            .unwrap_or(traffic_class);
        identification = self
            .number(&format!("{place}: identification"), &raw.identification, u16::MAX)
            .unwrap_or(identification);
        Network::V4 { source, destination, ttl, traffic_class, identification }
    }

    fn ipv6(&mut self, place: &str, base: Network, raw: &raw::Ipv6) -> Network {
        const FLOW_LABEL: u32 = 0xF_FFFF;
        let Network::V6 { mut source, mut destination, mut hop_limit, mut traffic_class, mut flow_label } =
            base
        else {
            return base;
        };
        let place = format!("{place}: ipv6");
        source = self.address::<Ipv6Addr>(&format!("{place}: source"), &raw.source).unwrap_or(source);
        destination = self.address(&format!("{place}: destination"), &raw.destination).unwrap_or(destination);
        hop_limit = self.number(&format!("{place}: hop_limit"), &raw.hop_limit, u8::MAX).unwrap_or(hop_limit);
        traffic_class = self
            .number(&format!("{place}: traffic_class"), &raw.traffic_class, u8::MAX)
            .unwrap_or(traffic_class);
        flow_label =
            self.number(&format!("{place}: flow_label"), &raw.flow_label, FLOW_LABEL).unwrap_or(flow_label);
        Network::V6 { source, destination, hop_limit, traffic_class, flow_label }
    }

    fn transport(&mut self, place: &str, raw: &raw::Send, side: Side) -> Transport {
        // Where nothing is said, who sends is a client on the network, or what runs on the host.
        let (near, far) = match side {
            Side::Wire => (PEER_PORT, SERVICE_PORT),
            Side::Host => (SERVICE_PORT, PEER_PORT),
        };
        let ports = raw.udp.as_ref().map(Spanned::get_ref);
        let port = |judge: &mut Self, name: &str, value: Option<&Value<i64>>, default: u16| match value {
            Some(value) => judge.number(&format!("{place}: udp: {name}"), value, u16::MAX).unwrap_or(default),
            None => default,
        };
        let source_port = port(self, "source_port", ports.map(|ports| &ports.source_port), near);
        let destination_port =
            port(self, "destination_port", ports.map(|ports| &ports.destination_port), far);
        if let Some(rpc) = &raw.rpc {
            let rpc = self.rpc(place, rpc.get_ref());
            return Transport::Rpc { source_port: PEER_PORT, destination_port: rpc::PORT, rpc };
        }
        if let Some(tcp) = &raw.tcp {
            return Transport::Tcp(self.segment(&format!("{place}: tcp"), tcp.get_ref(), (near, far)));
        }
        if let Some(echo) = &raw.icmp {
            let place = format!("{place}: icmp");
            let number = |judge: &mut Self, name: &str, value| {
                judge.number(&format!("{place}: {name}"), value, u16::MAX).unwrap_or(1)
            };
            let identifier = number(self, "identifier", &echo.get_ref().identifier);
            return Transport::Echo {
                identifier,
                sequence: number(self, "sequence", &echo.get_ref().sequence),
            };
        }
        if let Some(ip) = &raw.ip {
            let number = self.number(&format!("{place}: ip: protocol"), &ip.get_ref().protocol, u8::MAX);
            if number.is_none() {
                self.wrong(Some(ip.span()), format!("{place}: ip: has no protocol"));
            }
            return Transport::Other(number.unwrap_or_default());
        }
        Transport::Udp { source_port, destination_port }
    }

    fn rpc(&mut self, place: &str, raw: &raw::SendRpc) -> Rpc {
        let place = format!("{place}: rpc");
        let lambda = self.lambda_id(&format!("{place}: lambda"), &raw.lambda);
        let by_hand = raw.no_reply.is_some()
            || raw.request_id.is_some()
            || raw.flags.is_some()
            || raw.kind.is_some()
            || raw.crc.is_some()
            || raw.message_length.is_some()
            || raw.fragment_bytes.is_some()
            || raw.fragment_index.is_some()
            || raw.status.is_some();
        let by_hand = by_hand.then(|| {
            let no_reply = if Self::flag(&raw.no_reply) { rpc::NOREPLY } else { 0 };
            let flags = self.number(&format!("{place}: flags"), &raw.flags, u16::MAX).unwrap_or(0);
            let id = self.number(&format!("{place}: request_id"), &raw.request_id, i64::MAX);
            ByHand {
                request_id: id.map(i64::cast_unsigned),
                kind: self.problems.choice(&format!("{place}: kind"), &raw.kind, &KINDS, rpc::Kind::Request),
                flags: flags | no_reply,
                crc: raw.crc.as_ref().is_none_or(|value| *value.get_ref()),
                message_length: self.number(
                    &format!("{place}: message_length"),
                    &raw.message_length,
                    u32::MAX,
                ),
                fragment_bytes: self.number(
                    &format!("{place}: fragment_bytes"),
                    &raw.fragment_bytes,
                    u16::MAX,
                ),
                fragment_index: self
                    .number(&format!("{place}: fragment_index"), &raw.fragment_index, u16::MAX)
                    .unwrap_or(0),
                status: self.status(&format!("{place}: status"), &raw.status).unwrap_or(rpc::Status::Ok),
            }
        });
        Rpc {
            lambda,
            priority: self.number(&format!("{place}: priority"), &raw.priority, 7).unwrap_or(0),
            budget_us: self.number(&format!("{place}: budget_us"), &raw.budget_us, u32::MAX).unwrap_or(0),
            at_most_once: Self::flag(&raw.at_most_once),
            idempotent: Self::flag(&raw.idempotent),
            by_hand,
        }
    }

    /// A λ-RPC ID, or the name of one of the script's lambdas; the one that is tested if nothing is said.
    pub(super) fn lambda_id(&mut self, place: &str, value: &Value<Scalar>) -> u32 {
        let Some(value) = value else { return self.id };
        let found = match value.get_ref() {
            Scalar::Integer(id) => u32::try_from(*id).ok(),
            Scalar::Text(name) => self.ids.get(name).copied(),
            _ => None,
        };
        found.unwrap_or_else(|| {
            let names = quoted(self.ids.keys().map(String::as_str));
            let text = format!(
                "{place}: {}: neither a λ-RPC ID nor one of the [[lambdas]]: {names}",
                value.get_ref()
            );
            self.wrong(Some(value.span()), text);
            self.id
        })
    }

    /// A λ-RPC status by its name or its number.
    pub(super) fn status(&mut self, place: &str, value: &Value<String>) -> Option<rpc::Status> {
        let value = value.as_ref()?;
        let all = || (0..=u8::MAX).map(rpc::Status::new);
        let found = all().find(|status| status.to_string() == *value.get_ref());
        if found.is_none() {
            let names: Vec<&str> = all().filter_map(rpc::Status::name).collect();
            let hint = match nearest(value.get_ref(), names.iter().copied()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("there are {}", quoted(names.into_iter())),
            };
            self.wrong(Some(value.span()), format!("{place}: no status {:?}: {hint}", value.get_ref()));
        }
        found
    }

    fn segment(&mut self, place: &str, raw: &raw::Tcp, (near, far): (u16, u16)) -> Segment {
        let port = |judge: &mut Self, name: &str, value, default| {
            judge.number(&format!("{place}: {name}"), value, u16::MAX).unwrap_or(default)
        };
        let number = |judge: &mut Self, name: &str, value| {
            judge.number(&format!("{place}: {name}"), value, u32::MAX).unwrap_or(0)
        };
        Segment {
            source_port: port(self, "source_port", &raw.source_port, near),
            destination_port: port(self, "destination_port", &raw.destination_port, far),
            sequence: number(self, "sequence", &raw.sequence),
            acknowledgement: number(self, "acknowledgement", &raw.acknowledgement),
            flags: self.tcp_flags(place, raw).unwrap_or(lnic_wire::tcp::ACK | lnic_wire::tcp::PSH),
            window: port(self, "window", &raw.window, u16::MAX),
        }
    }

    /// The flags that are named.
    pub(super) fn tcp_flags(&mut self, place: &str, raw: &raw::Tcp) -> Option<u8> {
        let names = raw.flags.as_ref()?.get_ref();
        let mut flags = 0;
        for name in names {
            let known = TCP_FLAGS.iter().map(|(name, _)| *name);
            if let Some(at) = self.problems.named(&format!("{place}: flags"), "flag", name, known) {
                flags |= TCP_FLAGS[at].1;
            }
        }
        Some(flags)
    }

    /// A VLAN tag; `None` for none.
    pub(super) fn tag(&mut self, place: &str, value: &raw::Table<raw::Short<raw::Vlan>>) -> Option<Tag> {
        let value = value.as_ref()?;
        let place = format!("{place}: vlan");
        match value.get_ref() {
            raw::Short::Is(Scalar::Boolean(false)) => None,
            raw::Short::Is(Scalar::Integer(vid)) => {
                let vid = Some(Spanned::new(value.span(), *vid));
                Some(Tag { vid: self.number(&place, &vid, VID).unwrap_or(0), priority: 0 })
            }
            raw::Short::Is(other) => {
                let text = format!("{place}: {other}: allowed are 0–{VID}, a table with `vid`, and false");
                self.wrong(Some(value.span()), text);
                None
            }
            raw::Short::Table(table) => {
                let Some(vid) = self.number(&format!("{place}: vid"), &table.vid, VID) else {
                    self.wrong(Some(value.span()), format!("{place}: has no vid"));
                    return None;
                };
                let priority = self.number(&format!("{place}: priority"), &table.priority, 7).unwrap_or(0);
                Some(Tag { vid, priority })
            }
        }
    }

    /// A MAC address.
    pub(super) fn mac(&mut self, place: &str, value: &Value<String>) -> Option<[u8; 6]> {
        let value = value.as_ref()?;
        let bytes: Option<Vec<u8>> = value
            .get_ref()
            .split([':', '-'])
            .map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2))
            .collect();
        let address = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        if address.is_none() {
            let text =
                format!("{place}: {:?} is no MAC address, such as \"02:00:00:00:00:01\"", value.get_ref());
            self.wrong(Some(value.span()), text);
        }
        address
    }

    /// An IP address of one family.
    pub(super) fn address<A: std::str::FromStr>(&mut self, place: &str, value: &Value<String>) -> Option<A> {
        let value = value.as_ref()?;
        let parsed = value.get_ref().parse();
        if parsed.is_err() {
            let text = format!("{place}: {:?} is no address of this family", value.get_ref());
            self.wrong(Some(value.span()), text);
        }
        parsed.ok()
    }
}
