//! Judges what is expected.

use std::net::{Ipv4Addr, Ipv6Addr};

use toml::Spanned;

use super::Judge;
use crate::control::config::raw::{Scalar, Value};
use crate::control::script::compare::{Ending, Expect, Layer};
use crate::control::script::decode::{Fields, KINDS, flags, mac};
use crate::control::script::frame::Side;
use crate::control::script::raw;
use crate::observe::DropReason;

impl Judge<'_, '_> {
    /// What has to come, in this order.
    pub(super) fn expectations(
        &mut self,
        place: &str,
        spanned: &Spanned<raw::OneOrMany<raw::Expect>>,
    ) -> Vec<Expect> {
        let all = &spanned.get_ref().0;
        if all.is_empty() {
            let text = format!("{place}: expect: an empty list: `expect = {{ nothing = true }}` says that");
            self.wrong(Some(spanned.span()), text);
        }
        let judged = (1..).zip(all).map(|(number, raw)| {
            let place = match all.len() {
                1 => format!("{place}: expect"),
                _ => format!("{place}: expect {number}"),
            };
            self.expectation(&place, raw, spanned.span())
        });
        judged.collect()
    }

    fn expectation(&mut self, place: &str, raw: &raw::Expect, span: std::ops::Range<usize>) -> Expect {
        let payload = self.pattern(place, &raw.into());
        let fields = self.fields(place, raw);
        let frame = raw
            .frame
            .as_ref()
            .and_then(|hex| self.hex(&format!("{place}: frame"), hex.get_ref(), hex.span()));
        let dropped = self.dropped(place, &raw.dropped);
        let sides = [Self::flag(&raw.to_host), Self::flag(&raw.to_wire)];
        let nothing = Self::flag(&raw.nothing);
        let layer = match (&raw.rpc, &raw.udp) {
            (Some(_), _) => Layer::Message,
            (None, Some(_)) => Layer::Datagram,
            (None, None) => Layer::Innermost,
        };
        let endings = usize::from(dropped.is_some())
            + usize::from(nothing)
            + sides.map(usize::from).iter().sum::<usize>();
        let says_frame = !fields.is_empty() || !payload.is_any() || frame.is_some();
        if endings > 1 {
            let text = format!("{place}: to_host, to_wire, dropped and nothing: a frame ends in one way");
            self.wrong(Some(span), text);
        } else if says_frame && (dropped.is_some() || nothing) {
            self.wrong(
                Some(span),
                format!("{place}: a frame that does not come has no fields and no payload"),
            );
        } else if endings == 0 && !says_frame {
            self.wrong(Some(span), format!("{place}: says nothing: what comes?"));
        }
        let ending = match (dropped, nothing, sides) {
            (Some(reason), ..) => Ending::Dropped(reason),
            (None, true, _) => Ending::Nothing,
            (None, false, [true, _]) => Ending::Leaves(Some(Side::Host)),
            (None, false, [false, true]) => Ending::Leaves(Some(Side::Wire)),
            (None, false, [false, false]) => Ending::Leaves(None),
        };
        Expect { ending, fields, layer, payload, frame }
    }

    /// `true` for any reason, or one by name.
    fn dropped(&mut self, place: &str, value: &Value<Scalar>) -> Option<Option<DropReason>> {
        let value = value.as_ref()?;
        match value.get_ref() {
            Scalar::Boolean(true) => Some(None),
            Scalar::Boolean(false) => None,
            Scalar::Text(name) => {
                let named = Spanned::new(value.span(), name.clone());
                let names = DropReason::ALL.iter().map(|reason| reason.name());
                let at = self.problems.named(&format!("{place}: dropped"), "reason", &named, names);
                Some(at.map(|at| DropReason::ALL[at]))
            }
            other => {
                let text = format!("{place}: dropped: {other}: allowed are true and the name of a reason");
                self.wrong(Some(value.span()), text);
                None
            }
        }
    }

    fn fields(&mut self, place: &str, raw: &raw::Expect) -> Fields {
        let mut fields = Fields::new();
        if let Some(ethernet) = &raw.ethernet {
            let (place, raw) = (format!("{place}: ethernet"), ethernet.get_ref());
            let source = self.mac(&format!("{place}: source"), &raw.source);
            let destination = self.mac(&format!("{place}: destination"), &raw.destination);
            let ether_type = self.number(&format!("{place}: ether_type"), &raw.ether_type, u16::MAX);
            set(&mut fields, "ethernet.source", source.map(mac));
            set(&mut fields, "ethernet.destination", destination.map(mac));
            set(&mut fields, "ethernet.ether_type", ether_type.map(|value| format!("{value:#06x}")));
        }
        if let Some(vlan) = &raw.vlan {
            self.vlan_fields(place, raw, vlan, &mut fields);
        }
        if let Some(ipv4) = &raw.ipv4 {
            let (place, raw) = (format!("{place}: ipv4"), ipv4.get_ref());
            set(&mut fields, "ethernet.ether_type", Some("0x0800"));
            set(
                &mut fields,
                "ipv4.source",
                self.address::<Ipv4Addr>(&format!("{place}: source"), &raw.source),
            );
            let destination = self.address::<Ipv4Addr>(&format!("{place}: destination"), &raw.destination);
            set(&mut fields, "ipv4.destination", destination);
            set(&mut fields, "ipv4.ttl", self.number(&format!("{place}: ttl"), &raw.ttl, u8::MAX));
            let class = self.number(&format!("{place}: traffic_class"), &raw.traffic_class, u8::MAX);
            set(&mut fields, "ipv4.traffic_class", class);
            let identification =
                self.number(&format!("{place}: identification"), &raw.identification, u16::MAX);
            set(&mut fields, "ipv4.identification", identification);
        }
        match raw.ipv6.as_ref().map(|value| (value.span(), value.get_ref())) {
            None => {}
            Some((_, raw::Short::Is(Scalar::Boolean(is)))) => {
                set(&mut fields, "ethernet.ether_type", Some(if *is { "0x86dd" } else { "0x0800" }));
            }
            Some((span, raw::Short::Is(other))) => {
                self.wrong(
                    Some(span),
                    format!("{place}: ipv6: {other}: allowed are true, false and a table"),
                );
            }
            Some((_, raw::Short::Table(raw))) => {
                self.ipv6_fields(&format!("{place}: ipv6"), raw, &mut fields)
            }
        }
        self.transport_fields(place, raw, &mut fields);
        fields
    }

    fn vlan_fields(
        &mut self,
        place: &str,
        raw: &raw::Expect,
        vlan: &Spanned<raw::Short<raw::Vlan>>,
        fields: &mut Fields,
    ) {
        let with_priority = matches!(vlan.get_ref(), raw::Short::Table(table) if table.priority.is_some());
        match self.tag(place, &raw.vlan) {
            Some(tag) => {
                set(fields, "vlan.vid", Some(tag.vid));
                set(fields, "vlan.priority", with_priority.then_some(tag.priority));
            }
            None => set(fields, "vlan.vid", Some("none")),
        }
    }

    fn ipv6_fields(&mut self, place: &str, raw: &raw::Ipv6, fields: &mut Fields) {
        set(fields, "ethernet.ether_type", Some("0x86dd"));
        set(fields, "ipv6.source", self.address::<Ipv6Addr>(&format!("{place}: source"), &raw.source));
        let destination = self.address::<Ipv6Addr>(&format!("{place}: destination"), &raw.destination);
        set(fields, "ipv6.destination", destination);
        set(fields, "ipv6.hop_limit", self.number(&format!("{place}: hop_limit"), &raw.hop_limit, u8::MAX));
        let class = self.number(&format!("{place}: traffic_class"), &raw.traffic_class, u8::MAX);
        set(fields, "ipv6.traffic_class", class);
        set(
            fields,
            "ipv6.flow_label",
            self.number(&format!("{place}: flow_label"), &raw.flow_label, 0xF_FFFF),
        );
    }

    fn transport_fields(&mut self, place: &str, raw: &raw::Expect, fields: &mut Fields) {
        if let Some(ip) = &raw.ip {
            let protocol = self.number(&format!("{place}: ip: protocol"), &ip.get_ref().protocol, u8::MAX);
            set(fields, "ip.protocol", protocol);
        }
        if let Some(udp) = &raw.udp {
            set(fields, "ip.protocol", Some(lnic_wire::protocol::UDP));
            let (place, udp) = (format!("{place}: udp"), udp.get_ref());
            self.field(fields, "udp.source_port", &place, &udp.source_port, u16::MAX.into());
            self.field(fields, "udp.destination_port", &place, &udp.destination_port, u16::MAX.into());
        }
        if let Some(tcp) = &raw.tcp {
            set(fields, "ip.protocol", Some(lnic_wire::protocol::TCP));
            let (place, tcp) = (format!("{place}: tcp"), tcp.get_ref());
            self.field(fields, "tcp.source_port", &place, &tcp.source_port, u16::MAX.into());
            self.field(fields, "tcp.destination_port", &place, &tcp.destination_port, u16::MAX.into());
            self.field(fields, "tcp.sequence", &place, &tcp.sequence, u32::MAX);
            self.field(fields, "tcp.acknowledgement", &place, &tcp.acknowledgement, u32::MAX);
            self.field(fields, "tcp.window", &place, &tcp.window, u16::MAX.into());
            let named = self.tcp_flags(&place, tcp);
            set(fields, "tcp.flags", named.map(flags));
        }
        if let Some(echo) = &raw.icmp {
            let (place, echo) = (format!("{place}: icmp"), echo.get_ref());
            set(fields, "icmp.kind", Some("reply"));
            self.field(fields, "icmp.identifier", &place, &echo.identifier, u16::MAX.into());
            self.field(fields, "icmp.sequence", &place, &echo.sequence, u16::MAX.into());
        }
        if let Some(rpc) = &raw.rpc {
            let (place, rpc) = (format!("{place}: rpc"), rpc.get_ref());
            let kinds = KINDS.map(|(name, _)| (name, name));
            let kind = self.problems.choice(&format!("{place}: kind"), &rpc.kind, &kinds, "reply");
            set(fields, "rpc.kind", Some(kind));
            set(fields, "rpc.status", self.status(&format!("{place}: status"), &rpc.status));
            let lambda =
                rpc.lambda.is_some().then(|| self.lambda_id(&format!("{place}: lambda"), &rpc.lambda));
            set(fields, "rpc.lambda", lambda);
            let id = self.number(&format!("{place}: request_id"), &rpc.request_id, i64::MAX);
            set(fields, "rpc.request_id", id);
            self.field(fields, "rpc.priority", &place, &rpc.priority, 7);
            self.field(fields, "rpc.message_length", &place, &rpc.message_length, u32::MAX);
            self.field(fields, "rpc.credit", &place, &rpc.credit, u8::MAX.into());
        }
    }

    /// A number that a field has to have, if one is said.
    fn field(&mut self, fields: &mut Fields, name: &'static str, place: &str, value: &Value<i64>, most: u32) {
        let key = name.split_once('.').map_or(name, |(_, key)| key);
        set(fields, name, self.number(&format!("{place}: {key}"), value, most));
    }
}

fn set(fields: &mut Fields, name: &'static str, value: Option<impl ToString>) {
    if let Some(value) = value {
        fields.push((name, value.to_string()));
    }
}
