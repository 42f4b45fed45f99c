//! The schema, as written. Every key is optional here; `configs/default.toml` explains each of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A value as it stands in the file, with its place.
pub(crate) type Value<T> = Option<Spanned<T>>;

/// A key that takes several kinds of values, such as `"auto"` or a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string, an integer, a boolean or a list of integers")]
pub(crate) enum Scalar {
    Boolean(bool),
    Integer(i64),
    Text(String),
    Integers(Vec<i64>),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Integers(values) => write!(f, "{values:?}"),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Configuration {
    pub(crate) name: Value<String>,
    pub(crate) socket: Value<String>,
    #[serde(default)]
    pub(crate) memory: Memory,
    #[serde(default)]
    pub(crate) eal: Eal,
    #[serde(default)]
    pub(crate) lcores: Lcores,
    #[serde(default)]
    pub(crate) idle: Idle,
    #[serde(default)]
    pub(crate) rpc: Rpc,
    #[serde(default)]
    pub(crate) scheduling: Scheduling,
    #[serde(default)]
    pub(crate) quarantine: Quarantine,
    #[serde(default)]
    pub(crate) budget: Budget,
    #[serde(default)]
    pub(crate) control: Control,
    #[serde(default)]
    pub(crate) gateway: Gateway,
    #[serde(default)]
    pub(crate) services: Services,
    #[serde(default)]
    pub(crate) islands: Vec<Spanned<Island>>,
    #[serde(default)]
    pub(crate) dispatchers: Vec<Spanned<Dispatcher>>,
    #[serde(default)]
    pub(crate) tenants: Vec<Spanned<Tenant>>,
    #[serde(default)]
    pub(crate) ports: Vec<Spanned<Port>>,
    #[serde(default)]
    pub(crate) lambdas: Vec<Spanned<Lambda>>,
    #[serde(default)]
    pub(crate) rules: Vec<Spanned<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    pub(crate) hugepages: Value<String>,
    pub(crate) eal_mib: Value<i64>,
    pub(crate) pool_frames: Value<i64>,
    pub(crate) frame_bytes: Value<i64>,
    #[serde(default)]
    pub(crate) tiers: Tiers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tiers {
    pub(crate) local_mib: Value<i64>,
    pub(crate) ctm_mib: Value<i64>,
    pub(crate) imem_mib: Value<i64>,
    pub(crate) emem_mib: Value<i64>,
    pub(crate) lambda_local_mib: Value<i64>,
    pub(crate) lambda_ctm_mib: Value<i64>,
    pub(crate) lambda_imem_mib: Value<i64>,
    pub(crate) lambda_emem_mib: Value<i64>,
    pub(crate) objects_local_kib: Value<i64>,
    pub(crate) objects_ctm_kib: Value<i64>,
    pub(crate) objects_imem_kib: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) name: Value<String>,
    pub(crate) local_mib: Value<i64>,
    pub(crate) ctm_mib: Value<i64>,
    pub(crate) imem_mib: Value<i64>,
    pub(crate) emem_mib: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Eal {
    #[serde(default)]
    pub(crate) extra_args: Vec<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lcores {
    pub(crate) main: Value<Scalar>,
    pub(crate) workers: Value<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Idle {
    pub(crate) spin_polls: Value<i64>,
    pub(crate) yield_polls: Value<i64>,
    pub(crate) sleep: Value<String>,
    pub(crate) timer_us: Value<i64>,
    pub(crate) max_sleep_ms: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rpc {
    pub(crate) port: Value<i64>,
    pub(crate) exchanges: Value<i64>,
    pub(crate) sessions: Value<i64>,
    pub(crate) reply_cache_kib: Value<i64>,
    pub(crate) require_crc: Value<bool>,
    #[serde(default)]
    pub(crate) copy_engines: Vec<Spanned<String>>,
    pub(crate) copy_engine_bytes: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scheduling {
    pub(crate) mode: Value<String>,
    pub(crate) queue_frames: Value<i64>,
    pub(crate) waiting_frames: Value<i64>,
    pub(crate) in_flight: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quarantine {
    pub(crate) failures: Value<i64>,
    pub(crate) window_ms: Value<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    pub(crate) default_us: Value<i64>,
    pub(crate) max_us: Value<i64>,
    pub(crate) fuel_per_us: Value<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Control {
    pub(crate) state: Value<String>,
    pub(crate) lambdas: Value<i64>,
    pub(crate) namespaces: Value<i64>,
    pub(crate) generations: Value<i64>,
    pub(crate) socket_mode: Value<String>,
    pub(crate) listen: Value<String>,
    pub(crate) tls_certificate: Value<String>,
    pub(crate) tls_key: Value<String>,
    pub(crate) users: Value<String>,
    #[serde(default)]
    pub(crate) etcd: Vec<Spanned<String>>,
    pub(crate) etcd_prefix: Value<String>,
    pub(crate) etcd_lease_s: Value<i64>,
    pub(crate) compile_mib: Value<i64>,
    pub(crate) compile_s: Value<i64>,
    pub(crate) log_lines: Value<i64>,
    pub(crate) stuck_ms: Value<i64>,
    pub(crate) confine: Value<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    pub(crate) enabled: Value<bool>,
    pub(crate) timeout_ms: Value<i64>,
    pub(crate) body_kib: Value<i64>,
    pub(crate) in_flight: Value<i64>,
    pub(crate) async_requests: Value<i64>,
    pub(crate) async_mib: Value<i64>,
    pub(crate) async_in_flight: Value<i64>,
    #[serde(default)]
    pub(crate) callbacks: Vec<Spanned<String>>,
}

/// What lambdas may ask outside.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Services {
    #[serde(default)]
    pub(crate) allowed: Vec<Spanned<String>>,
    pub(crate) in_flight: Value<i64>,
    pub(crate) udp_ports: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Island {
    pub(crate) name: Value<String>,
    pub(crate) npus: Value<Vec<Spanned<i64>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dispatcher {
    pub(crate) cpu: Value<i64>,
    pub(crate) islands: Value<Vec<Spanned<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    pub(crate) name: Value<String>,
    pub(crate) driver: Value<String>,
    pub(crate) devargs: Value<String>,
    pub(crate) read: Value<String>,
    pub(crate) write: Value<String>,
    pub(crate) ipv4: Value<String>,
    pub(crate) ipv6: Value<String>,
    pub(crate) ipv4_gateway: Value<String>,
    pub(crate) ipv6_gateway: Value<String>,
    pub(crate) mac: Value<String>,
    pub(crate) mtu: Value<i64>,
    pub(crate) queues: Value<Scalar>,
    pub(crate) promiscuous: Value<bool>,
    pub(crate) partial_checksums: Value<Scalar>,
    pub(crate) host: Value<String>,
    pub(crate) tx_retries: Value<i64>,
    pub(crate) fault: Option<Fault>,
    pub(crate) capture: Option<Spanned<Capture>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) seed: Value<i64>,
    pub(crate) drop: Value<f64>,
    pub(crate) duplicate: Value<f64>,
    pub(crate) corrupt: Value<f64>,
    pub(crate) reorder: Value<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Capture {
    pub(crate) file: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lambda {
    pub(crate) name: Value<String>,
    pub(crate) id: Value<i64>,
    pub(crate) tenant: Value<String>,
    pub(crate) file: Value<String>,
    pub(crate) entry: Value<String>,
    pub(crate) budget_us: Value<i64>,
    pub(crate) weight: Value<i64>,
    pub(crate) islands: Value<Vec<Spanned<String>>>,
    pub(crate) concurrency: Value<String>,
    pub(crate) layout: Value<String>,
    pub(crate) in_flight: Value<i64>,
    pub(crate) queue_frames: Value<i64>,
    pub(crate) egress: Value<String>,
    pub(crate) rpc: Value<bool>,
    pub(crate) http: Value<String>,
    pub(crate) message_slots: Value<i64>,
    pub(crate) message_kib: Value<i64>,
    #[serde(default)]
    pub(crate) services: NamedServices,
}

/// Services under names of the author's choice.
pub(crate) type NamedServices = BTreeMap<Spanned<String>, Spanned<Service>>;

/// A service outside that a lambda may ask.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) address: Value<String>,
    pub(crate) port: Value<String>,
    pub(crate) framing: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) lambda: Value<String>,
    pub(crate) priority: Value<i64>,
    pub(crate) port: Value<String>,
    pub(crate) vlan: Value<Scalar>,
    pub(crate) source: Value<String>,
    pub(crate) destination: Value<String>,
    pub(crate) protocol: Value<Scalar>,
    pub(crate) source_port: Value<Scalar>,
    pub(crate) destination_port: Value<Scalar>,
    pub(crate) ether_type: Value<i64>,
    pub(crate) parameters: Value<String>,
    pub(crate) parameters_hex: Value<String>,
}

/// `lambda.toml`: what `[[lambdas]]` has, but for what only an appliance can say, and what only a deployment has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) name: Value<String>,
    pub(crate) id: Value<i64>,
    pub(crate) entry: Value<String>,
    pub(crate) weight: Value<i64>,
    pub(crate) budget_us: Value<i64>,
    pub(crate) concurrency: Value<String>,
    pub(crate) layout: Value<String>,
    pub(crate) in_flight: Value<i64>,
    pub(crate) queue_frames: Value<i64>,
    pub(crate) egress: Value<String>,
    pub(crate) rpc: Value<bool>,
    pub(crate) http: Value<String>,
    pub(crate) message_slots: Value<i64>,
    pub(crate) message_kib: Value<i64>,
    pub(crate) islands: Value<Vec<Spanned<String>>>,
    pub(crate) replicas: Value<i64>,
    pub(crate) memory_mib: Value<i64>,
    #[serde(default)]
    pub(crate) secrets: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) environment: Texts,
    #[serde(default)]
    pub(crate) services: NamedServices,
    #[serde(default)]
    pub(crate) labels: Texts,
    #[serde(default)]
    pub(crate) annotations: Texts,
    #[serde(default)]
    pub(crate) rules: Vec<Spanned<ManifestRule>>,
}

/// A table of texts under names of the author's choice.
pub(crate) type Texts = BTreeMap<Spanned<String>, Spanned<String>>;

/// A rule of a manifest: `[[rules]]` without its lambda, which is the manifest's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestRule {
    pub(crate) priority: Value<i64>,
    pub(crate) port: Value<String>,
    pub(crate) vlan: Value<Scalar>,
    pub(crate) source: Value<String>,
    pub(crate) destination: Value<String>,
    pub(crate) protocol: Value<Scalar>,
    pub(crate) source_port: Value<Scalar>,
    pub(crate) destination_port: Value<Scalar>,
    pub(crate) ether_type: Value<i64>,
    pub(crate) parameters: Value<String>,
    pub(crate) parameters_hex: Value<String>,
}
