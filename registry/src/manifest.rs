//! What an author says about a lambda beside its code: `lambda.toml`, or the body of a deployment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an author says about a lambda. What is left out is the appliance's default; ranges and meanings are those of `[[lambdas]]` in
/// `configs/default.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name: 1–63 lower-case letters, digits and, between them, "-", a letter first.
    pub name: String,
    /// λ-RPC lambda ID. Left out, the appliance picks one that is free and keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Exported function to call; the name with "_" for "-" if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Its share of the NPUs' time, against other lambdas' weights. 1–1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Longest time of one invocation, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_us: Option<u32>,
    /// `auto`, `pinned`, `shared` or `replicated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<String>,
    /// `auto`, `dense` or `windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Requests of it that may run or be suspended at once on one NPU. 1–64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Requests that may wait for it in one dispatcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_frames: Option<u32>,
    /// Where its frames may go: `reply` or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// λ-RPC messages with its ID reach it without a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc: Option<bool>,
    /// What it gets of a request over HTTP, and what its reply is there: `body` or `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Message slots for each lcore that polls. 0–1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_slots: Option<u32>,
    /// KiB of a message slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_kib: Option<u32>,
    /// Names of the islands that it runs on; all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub islands: Option<Vec<String>>,
    /// NPUs that run it at once: 0 lets it sleep until a request comes, as many as there are if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Most MiB of memory that all its instances may have together, over all tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// What `lnic_environment` answers. Names: letters, digits and "_"; at most 64, 4 KiB together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Names of the namespace's secrets that `lnic_secret` answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Services outside the appliance that it may ask, by the names that `lnic_service` knows them by. At most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, ManifestService>,
    /// For people and programs that manage lambdas; nothing here reads them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The same, for longer texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Frames that it gets, besides λ-RPC messages with its ID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ManifestRule>,
}

/// A service outside the appliance, asked by UDP datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestService {
    /// IP address and UDP port: `192.0.2.7:11211`, `[2001:db8::7]:53`. The appliance says which it lets lambdas ask.
    pub address: String,
    /// Name of the port that requests leave on; if left out, the one whose network the address is in, or that has a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// `datagram`, a request and its reply are one datagram each; or `memcached`, with its frame header before them. `datagram` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<String>,
}

/// A match rule of a lambda: all conditions together. Meanings are those of `[[rules]]` in `configs/default.toml`; a number may be written
/// as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManifestRule {
    /// The higher wins; 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Name of the port that frames come in on; `host` for every host port. Left out, every port that is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// VLAN ID, or `untagged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<String>,
    /// Source address or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Destination address or prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// IP protocol: a name or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Source port, or a range: `8000-8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<String>,
    /// Destination port, or a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<String>,
    /// EtherType.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ether_type: Option<u16>,
    /// What the lambda finds as the rule's parameters: text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// The same, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_hex: Option<String>,
}
