//! The schema of a packet script, as written. Every key is optional here; `judge` says which have to be there.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use crate::control::config::raw::{Manifest, Scalar, Texts, Value};

/// A table with its place.
pub(super) type Table<T> = Option<Spanned<T>>;

/// A value, or a table that says more.
#[derive(Debug)]
pub(super) enum Short<T> {
    Is(Scalar),
    Table(Box<T>),
}

/// One, or a list of them.
#[derive(Debug)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    #[serde(default)]
    pub(super) lambda: Manifest,
    #[serde(default)]
    pub(super) secrets: Texts,
    #[serde(default)]
    pub(super) appliance: Appliance,
    #[serde(default)]
    pub(super) lambdas: Vec<Spanned<Companion>>,
    #[serde(default)]
    pub(super) services: BTreeMap<Spanned<String>, Vec<Spanned<Exchange>>>,
    #[serde(default)]
    pub(super) packets: Vec<Spanned<Step>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Appliance {
    pub(super) scheduling: Value<String>,
    pub(super) host_port: Value<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Companion {
    pub(super) source: Value<String>,
    pub(super) name: Value<String>,
    pub(super) id: Value<i64>,
    #[serde(default)]
    pub(super) environment: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    pub(super) expect: Table<Matching>,
    pub(super) reply: Table<Bytes>,
    pub(super) nothing: Value<bool>,
    pub(super) delay_ms: Value<i64>,
    pub(super) repeat: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bytes {
    pub(super) text: Value<String>,
    pub(super) hex: Value<String>,
    pub(super) bytes: Value<Vec<Spanned<i64>>>,
    pub(super) file: Value<String>,
    pub(super) length: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Matching {
    pub(super) text: Value<String>,
    pub(super) hex: Value<String>,
    pub(super) bytes: Value<Vec<Spanned<i64>>>,
    pub(super) file: Value<String>,
    pub(super) length: Value<i64>,
    pub(super) prefix: Value<String>,
    pub(super) prefix_hex: Value<String>,
    pub(super) contains: Table<OneOrMany<String>>,
    pub(super) contains_hex: Table<OneOrMany<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) name: Value<String>,
    pub(super) after_ms: Value<f64>,
    pub(super) wait_ms: Value<i64>,
    pub(super) repeat: Value<i64>,
    pub(super) send: Table<Send>,
    pub(super) expect: Table<OneOrMany<Expect>>,
    pub(super) log: Value<Vec<Spanned<String>>>,
    pub(super) max_fuel: Value<i64>,
    #[serde(default)]
    pub(super) counters: BTreeMap<Spanned<String>, Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    pub(super) rpc: Table<SendRpc>,
    pub(super) udp: Table<Ports>,
    pub(super) tcp: Table<Tcp>,
    pub(super) icmp: Table<Echo>,
    pub(super) ip: Table<Protocol>,
    pub(super) frame: Value<String>,
    pub(super) pcap: Value<String>,
    pub(super) ethernet: Table<Ethernet>,
    pub(super) vlan: Table<Short<Vlan>>,
    pub(super) ipv4: Table<Ipv4>,
    pub(super) ipv6: Table<Short<Ipv6>>,
    pub(super) from_host: Value<bool>,
    pub(super) text: Value<String>,
    pub(super) hex: Value<String>,
    pub(super) bytes: Value<Vec<Spanned<i64>>>,
    pub(super) file: Value<String>,
    pub(super) length: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) rpc: Table<ExpectRpc>,
    pub(super) udp: Table<Ports>,
    pub(super) tcp: Table<Tcp>,
    pub(super) icmp: Table<Echo>,
    pub(super) ip: Table<Protocol>,
    pub(super) frame: Value<String>,
    pub(super) ethernet: Table<Ethernet>,
    pub(super) vlan: Table<Short<Vlan>>,
    pub(super) ipv4: Table<Ipv4>,
    pub(super) ipv6: Table<Short<Ipv6>>,
    pub(super) to_host: Value<bool>,
    pub(super) to_wire: Value<bool>,
    pub(super) dropped: Value<Scalar>,
    pub(super) nothing: Value<bool>,
    pub(super) text: Value<String>,
    pub(super) hex: Value<String>,
    pub(super) bytes: Value<Vec<Spanned<i64>>>,
    pub(super) file: Value<String>,
    pub(super) length: Value<i64>,
    pub(super) prefix: Value<String>,
    pub(super) prefix_hex: Value<String>,
    pub(super) contains: Table<OneOrMany<String>>,
    pub(super) contains_hex: Table<OneOrMany<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendRpc {
    pub(super) lambda: Value<Scalar>,
    pub(super) priority: Value<i64>,
    pub(super) budget_us: Value<i64>,
    pub(super) at_most_once: Value<bool>,
    pub(super) idempotent: Value<bool>,
    pub(super) no_reply: Value<bool>,
    pub(super) request_id: Value<i64>,
    pub(super) flags: Value<i64>,
    pub(super) kind: Value<String>,
    pub(super) crc: Value<bool>,
    pub(super) message_length: Value<i64>,
    pub(super) fragment_bytes: Value<i64>,
    pub(super) fragment_index: Value<i64>,
    pub(super) status: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectRpc {
    pub(super) status: Value<String>,
    pub(super) kind: Value<String>,
    pub(super) request_id: Value<i64>,
    pub(super) lambda: Value<Scalar>,
    pub(super) priority: Value<i64>,
    pub(super) message_length: Value<i64>,
    pub(super) credit: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ports {
    pub(super) source_port: Value<i64>,
    pub(super) destination_port: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tcp {
    pub(super) source_port: Value<i64>,
    pub(super) destination_port: Value<i64>,
    pub(super) sequence: Value<i64>,
    pub(super) acknowledgement: Value<i64>,
    pub(super) flags: Value<Vec<Spanned<String>>>,
    pub(super) window: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Echo {
    pub(super) identifier: Value<i64>,
    pub(super) sequence: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Protocol {
    pub(super) protocol: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ethernet {
    pub(super) source: Value<String>,
    pub(super) destination: Value<String>,
    pub(super) ether_type: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vlan {
    pub(super) vid: Value<i64>,
    pub(super) priority: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ipv4 {
    pub(super) source: Value<String>,
    pub(super) destination: Value<String>,
    pub(super) ttl: Value<i64>,
    pub(super) traffic_class: Value<i64>,
    pub(super) identification: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ipv6 {
    pub(super) source: Value<String>,
    pub(super) destination: Value<String>,
    pub(super) hop_limit: Value<i64>,
    pub(super) traffic_class: Value<i64>,
    pub(super) flow_label: Value<i64>,
}

/// Reads a scalar or a table, without a detour that would lose places.
struct ShortVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ShortVisitor<T> {
    type Value = Short<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, a number, a string or a table")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Short::Is(Scalar::Boolean(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Short::Is(Scalar::Integer(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Short::Is(Scalar::Text(value.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|table| Short::Table(Box::new(table)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShortVisitor(PhantomData))
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one, or a list")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}
