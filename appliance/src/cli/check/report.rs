//! What `lnic check` found, as data: printed for people, serialised for programs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lnic_compiler::placement::Runs;
use serde::Serialize;

use super::code::{self, Known};
use super::memory::{self, Memory};
use super::missing::{self, Missing, Privilege};
use super::roles::{self, Budget, Cores, Dispatcher, Island, Npu, Quarantine, Scheduling};
use crate::control::config::{Machine, Problem};
use crate::control::stats::{ServiceStats, mac_text};
use crate::control::topology::{DeviceKind, Driver, Pages, PortSpec, Topology};
use crate::matcher::{Egress, Prefix, Table};
use crate::memory::Tier;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) configuration: PathBuf,
    pub(super) name: String,
    pub(super) socket: PathBuf,
    /// Nothing is missing.
    pub(super) ready: bool,
    pub(super) cores: Cores,
    pub(super) islands: Vec<Island>,
    pub(super) npus: Vec<Npu>,
    pub(super) dispatchers: Vec<Dispatcher>,
    pub(super) scheduling: Scheduling,
    pub(super) quarantine: Quarantine,
    pub(super) budget: Budget,
    pub(super) memory: Memory,
    pub(super) ports: Vec<Port>,
    pub(super) services: Services,
    pub(super) lambdas: Vec<Lambda>,
    pub(super) rules: Vec<MatchRule>,
    /// What the table and the parser make of the rules.
    pub(super) matching: Option<Matching>,
    pub(super) privileges: Vec<Privilege>,
    /// Worth knowing, but nothing that keeps the appliance from starting.
    pub(super) notes: Vec<String>,
    pub(super) missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) device: String,
    /// Whether the interface, card or file is there.
    pub(super) state: String,
    pub(super) addresses: Vec<String>,
    pub(super) mtu: u16,
    pub(super) queues: u16,
    pub(super) promiscuous: bool,
    pub(super) partial_checksums: bool,
    pub(super) gateways: Vec<String>,
    pub(super) host: Option<String>,
}

/// What lambdas may ask outside.
#[derive(Debug, Serialize)]
pub(super) struct Services {
    pub(super) allowed: Vec<String>,
    /// Requests under way on each lcore that polls.
    pub(super) in_flight: u32,
    pub(super) udp_ports: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Lambda {
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) file: PathBuf,
    pub(super) entry: String,
    pub(super) weight: u32,
    pub(super) budget_us: u32,
    pub(super) concurrency: &'static str,
    pub(super) islands: Vec<String>,
    /// Instances of it, each with a memory; what of it they share, the memory's line says.
    pub(super) copies: Option<u64>,
    /// `any NPU`, or `one NPU at a time`.
    pub(super) runs: Option<&'static str>,
    /// Why.
    pub(super) because: Option<String>,
    /// `dense` or `windows`.
    pub(super) layout: Option<&'static str>,
    /// The tiers that its memory is in, nearest first.
    pub(super) tiers: Vec<&'static str>,
    pub(super) in_flight: u32,
    pub(super) queue_frames: u32,
    pub(super) egress: &'static str,
    pub(super) rpc: bool,
    pub(super) services: Vec<ServiceStats>,
    /// Bytes of an instance's linear memory.
    pub(super) memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct MatchRule {
    /// Its number in match data.
    pub(super) rule: u32,
    pub(super) priority: u32,
    pub(super) conditions: String,
    pub(super) lambda: String,
}

/// What the table and the parser make of the rules.
#[derive(Debug, Serialize)]
pub(super) struct Matching {
    pub(super) rules: usize,
    pub(super) tuples: usize,
    /// Match reduction, in words.
    pub(super) reduction: String,
    /// What the parser decodes.
    pub(super) parser: String,
}

impl Report {
    /// Puts together what is known; `absent` is what the configuration names and the machine lacks.
    pub(super) fn new(path: &Path, topology: &Topology, machine: &Machine, absent: Vec<Problem>) -> Self {
        let codes = code::all(topology);
        let lambdas = codes.iter().enumerate().map(|(at, known)| lambda(at, known, topology)).collect();
        let memory = memory::memory(topology, machine, &codes);
        let privileges = missing::privileges(topology, machine);
        let mut missing =
            missing::missing(topology, machine, absent, &privileges, &codes, memory.total_bytes);
        missing.extend(memory::missing(topology, &codes));
        Self {
            configuration: path.into(),
            name: topology.name.clone(),
            socket: topology.socket.clone(),
            ready: missing.is_empty(),
            cores: roles::cores(topology, machine),
            islands: roles::islands(topology),
            npus: roles::npus(topology),
            dispatchers: roles::dispatchers(topology),
            scheduling: roles::scheduling(topology),
            quarantine: roles::quarantine(topology),
            budget: roles::budget(topology),
            // The gateway's opens nothing; who polls it is said above.
            ports: topology
                .ports
                .iter()
                .filter(|spec| spec.driver != Driver::Internal)
                .map(|spec| port(spec, topology, machine))
                .collect(),
            services: services(topology),
            rules: rules(topology),
            matching: matching(topology),
            notes: notes(topology, machine),
            memory,
            lambdas,
            privileges,
            missing,
        }
    }
}

fn services(topology: &Topology) -> Services {
    let limits = &topology.services;
    Services {
        allowed: limits.allowed.iter().map(ToString::to_string).collect(),
        in_flight: limits.in_flight,
        udp_ports: format!("{}-{}", limits.udp_ports.start(), limits.udp_ports.end()),
    }
}

/// An address with the length of its network's prefix, if that is known.
fn address(address: Option<IpAddr>, network: Option<Prefix>) -> Option<String> {
    let bits = network.map(|network| format!("/{}", network.bits())).unwrap_or_default();
    address.map(|address| format!("{address}{bits}"))
}

fn port(spec: &PortSpec, topology: &Topology, machine: &Machine) -> Port {
    let [ipv4, ipv6] = [true, false].map(|ipv4| address(spec.address(ipv4), spec.network(ipv4)));
    let mac = spec.mac.map(mac_text);
    Port {
        name: spec.name.clone(),
        device: match &spec.driver {
            Driver::Dpdk(devargs) => devargs.to_string(),
            Driver::Internal => "the gateway's requests".into(),
            Driver::Pcap { read, write } => {
                let file = |way: &str, path: &Option<PathBuf>| {
                    path.as_ref().map(|path| format!("{way} {}", path.display()))
                };
                [file("replays", read), file("records", write)]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join(", ")
            }
        },
        state: state(&spec.driver, machine),
        addresses: [ipv4, ipv6, mac].into_iter().flatten().collect(),
        mtu: spec.mtu,
        queues: topology.wanted_queues(spec),
        promiscuous: spec.promiscuous,
        partial_checksums: spec.partial_checksums,
        gateways: [true, false].iter().filter_map(|ipv4| Some(spec.gateway(*ipv4)?.to_string())).collect(),
        host: spec.host.map(|host| topology.ports[host.index()].name.clone()),
    }
}

/// Whether what the port opens is there.
fn state(driver: &Driver, machine: &Machine) -> String {
    let devargs = match driver {
        Driver::Dpdk(devargs) => devargs,
        Driver::Pcap { read: Some(file), .. } if !file.is_file() => return "no such file".into(),
        Driver::Pcap { .. } => return "files".into(),
        Driver::Internal => return "internal".into(),
    };
    match devargs.kind() {
        DeviceKind::Tap { interface: Some(name) } if machine.interfaces.contains(name) => {
            format!("{name} exists already")
        }
        DeviceKind::Tap { .. } => "made at start".into(),
        DeviceKind::AfPacket { interface } | DeviceKind::AfXdp { interface } => {
            let there = machine.interfaces.contains(interface);
            format!("{interface} {}", if there { "exists" } else { "does not exist" })
        }
        DeviceKind::Pci { address } => match machine.pci_devices.get(address) {
            None => "no such device".into(),
            Some(None) => "bound to no driver".into(),
            Some(Some(driver)) => format!("bound to {driver}"),
        },
        DeviceKind::Virtio | DeviceKind::Virtual => "made at start".into(),
        DeviceKind::OtherBus => "not checked".into(),
    }
}

fn lambda(at: usize, known: &Known, topology: &Topology) -> Lambda {
    let spec = &topology.lambdas[at];
    let islands = || spec.islands.iter().map(|island| &topology.islands[island.index()]);
    let code = match known {
        Some(Ok(code)) => Some(code),
        _ => None,
    };
    let tiers: BTreeSet<Tier> =
        code.iter().flat_map(|code| &code.plan.windows).map(|window| window.tier).collect();
    Lambda {
        name: spec.name.clone(),
        id: spec.id.raw(),
        file: spec.file.clone(),
        entry: spec.entry.clone(),
        weight: spec.weight,
        budget_us: spec.budget_us,
        concurrency: spec.concurrency.name(),
        islands: islands().map(|island| island.name.clone()).collect(),
        copies: code.map(|code| {
            let (npus, each) = code.instances(topology, spec, at);
            npus.len() as u64 * each
        }),
        runs: code.map(|code| match code.runs {
            Runs::Anywhere => "any NPU",
            Runs::OnOneNpu => "one NPU at a time",
        }),
        because: code.map(|code| code.because.clone()),
        layout: code.map(|code| if code.plan.is_dense() { "dense" } else { "windows" }),
        tiers: tiers.into_iter().map(Tier::name).collect(),
        in_flight: spec.in_flight,
        queue_frames: spec.queue_frames,
        egress: match spec.egress {
            Egress::Reply => "reply",
            Egress::Any => "any",
        },
        rpc: spec.rpc,
        services: spec.services.iter().map(|service| ServiceStats::of(service, topology)).collect(),
        memory_bytes: code.map(|code| code.plan.bytes()),
    }
}

/// Rules in order of precedence.
fn rules(topology: &Topology) -> Vec<MatchRule> {
    let references = topology.references();
    let Ok(table) = Table::build(topology.match_rules(&references)) else { return Vec::new() };
    let rule = |found: crate::matcher::Match<'_>| MatchRule {
        rule: found.index,
        priority: found.rule.priority,
        conditions: topology.conditions(found.rule),
        lambda: topology.lambdas[found.rule.lambda.slot.index()].name.clone(),
    };
    table.iter().map(rule).collect()
}

fn matching(topology: &Topology) -> Option<Matching> {
    let (table, reduction) = Table::reduced(topology.match_rules(&topology.references())).ok()?;
    Some(Matching {
        rules: table.len(),
        tuples: table.tuples(),
        reduction: reduction.to_string(),
        parser: table.plan().to_string(),
    })
}

/// What works, but perhaps not as meant.
fn notes(topology: &Topology, machine: &Machine) -> Vec<String> {
    let mut notes = Vec::new();
    roles::notes(topology, machine, &mut notes);
    if let Ok(Pages::SmallForWant(want)) = topology.memory.pages(machine) {
        let kib = want.page_kib;
        let pages = want.reserved + want.needed - want.free;
        notes.push(format!(
            "4 KiB pages will be used; for hugepages: echo {pages} > /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"
        ));
    }
    let queues = roles::wanted_queues(topology);
    for (port, &count) in topology.ports.iter().zip(&queues) {
        if let Some(host) = port.host
            && queues[host.index()] < count
        {
            notes.push(format!(
                "port \"{}\" has {count} queues, its host \"{}\" only {}",
                port.name,
                topology.ports[host.index()].name,
                queues[host.index()]
            ));
        }
    }
    if topology.lambdas.is_empty() {
        notes
            .push("no [[lambdas]]: frames are answered for the ports' addresses, or go to host ports".into());
    }
    notes
}
