//! Judges `[[ports]]`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::memory::{FRAMING_BYTES, Memory};
use super::{Devargs, DeviceKind, Driver, PortSpec, Queues, addresses, system};
use crate::control::config::raw::{self, Scalar, Value};
use crate::control::config::{Machine, Problems, nearest, quoted};
use crate::ids::PortId;
use crate::port::fault::Faults;

/// DPDK's ports (`RTE_MAX_ETHPORTS`).
const PORTS: usize = 32;
/// Smallest MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200).
const MTU_IPV4: u16 = 68;
const MTU_IPV6: u16 = 1280;
/// Largest MTU: such a packet's payload fits a lambda's payload area.
const MTU: u16 = lnic_abi::PAYLOAD_CAPACITY as u16;

/// Name of the gateway's port.
const GATEWAY: &str = "gateway";
/// Its MAC address: "lnic" behind the bit of addresses that are administered locally.
const GATEWAY_MAC: [u8; 6] = [0x02, b'l', b'n', b'i', b'c', 0x01];

/// What ports are judged by.
pub(super) struct Context<'a> {
    pub(super) folder: &'a Path,
    pub(super) machine: &'a Machine,
    pub(super) memory: &'a Memory,
    /// Lcores that poll, and what they are called.
    pub(super) pollers: u16,
    pub(super) polled_by: &'static str,
}

/// Judges all ports.
pub(super) fn ports(
    raw: &raw::Configuration,
    context: &Context<'_>,
    with_gateway: bool,
    problems: &mut Problems<'_>,
) -> Vec<PortSpec> {
    if raw.ports.is_empty() {
        problems.wrong(None, "no [[ports]]: at least one is needed, as in configs/tap.toml");
    }
    if let Some(extra) = raw.ports.get(PORTS) {
        problems
            .wrong(Some(extra.span()), format!("{} [[ports]], over the limit of {PORTS}", raw.ports.len()));
    }
    let mut ports = Vec::new();
    for (id, port) in (0..).zip(raw.ports.iter().take(PORTS)) {
        ports.push(one(PortId::new(id), port, context, problems));
    }
    duplicates(&raw.ports, &ports, problems);
    written_files(&raw.ports, &ports, problems);
    hosts(&raw.ports, &mut ports, problems);
    if with_gateway {
        if let Some(at) = ports.iter().position(|port| port.name == GATEWAY) {
            problems.wrong(
                raw.ports[at].get_ref().name.as_ref().map(Spanned::span),
                format!("port \"{GATEWAY}\": the gateway's internal port is named so; [gateway] enabled = false does without it"),
            );
        }
        ports.push(internal(&ports, context.memory));
    }
    ports
}

/// The port that the gateway's requests come in by. Its network has two hosts, which know each other, and addresses that no other
/// port has: link-local ones (RFC 3927), and a MAC that is administered locally.
fn internal(others: &[PortSpec], memory: &Memory) -> PortSpec {
    let is_free = |address: &Ipv4Addr| others.iter().all(|port| port.ipv4 != Some(*address));
    // There are fewer ports than candidates.
    let ipv4 = (1..=u8::MAX).map(|network| Ipv4Addr::new(169, 254, network, 1)).find(is_free);
    let room = u32::from(memory.frame_bytes).saturating_sub(FRAMING_BYTES);
    PortSpec {
        id: PortId::new(others.len() as u16),
        name: GATEWAY.to_owned(),
        driver: Driver::Internal,
        ipv4,
        ipv6: None,
        ipv4_network: None,
        ipv6_network: None,
        ipv4_gateway: None,
        ipv6_gateway: None,
        mac: Some(GATEWAY_MAC),
        mtu: u16::try_from(room).unwrap_or(MTU).min(MTU),
        queues: Queues::PerPoller,
        promiscuous: false,
        partial_checksums: false,
        host: None,
        tx_retries: 0,
        fault: None,
        capture: None,
    }
}

/// How messages name a port: by its name, or by its place if it has none.
fn called(id: PortId, name: &str) -> String {
    if name.is_empty() { format!("[[ports]] number {}", id.raw() + 1) } else { format!("port \"{name}\"") }
}

fn one(id: PortId, raw: &Spanned<raw::Port>, context: &Context<'_>, problems: &mut Problems<'_>) -> PortSpec {
    let span = Some(raw.span());
    let raw = raw.get_ref();
    let name = raw.name.as_ref().map(|name| name.get_ref().clone()).unwrap_or_default();
    let place = called(id, &name);
    judge_name(&place, &raw.name, span.clone(), problems);
    let driver = driver(&place, raw, span, context, problems);
    let (virtual_checksums, device_queues) = match &driver {
        Driver::Dpdk(devargs) => (devargs.has_partial_checksums(), devargs.queue_limit()),
        Driver::Pcap { .. } | Driver::Internal => (false, Some(1)),
    };
    let addresses = addresses::judge(&place, raw, problems);
    PortSpec {
        id,
        mac: addresses.mac,
        mtu: mtu(&place, raw, addresses.ipv6.is_some(), context.memory, problems),
        queues: queues(&place, raw, &driver, device_queues, context, problems),
        promiscuous: raw.promiscuous.as_ref().is_some_and(|value| *value.get_ref()),
        partial_checksums: automatic(
            &format!("{place}: partial_checksums"),
            &raw.partial_checksums,
            virtual_checksums,
            problems,
        ),
        host: None,
        tx_retries: problems.integer(&format!("{place}: tx_retries"), &raw.tx_retries, 0..=1_000, 8),
        fault: raw.fault.as_ref().map(|fault| faults(&place, fault, problems)),
        capture: raw
            .capture
            .as_ref()
            .and_then(|capture| self::capture(&place, capture, context.folder, problems)),
        ipv4: addresses.ipv4,
        ipv6: addresses.ipv6,
        ipv4_network: addresses.ipv4_network,
        ipv6_network: addresses.ipv6_network,
        ipv4_gateway: addresses.ipv4_gateway,
        ipv6_gateway: addresses.ipv6_gateway,
        name,
        driver,
    }
}

/// Ports and islands are named alike.
pub(super) fn judge_name(
    place: &str,
    value: &Value<String>,
    span: Option<Range<usize>>,
    problems: &mut Problems<'_>,
) {
    match value {
        None => problems.wrong(span, format!("{place}: has no name")),
        Some(name) if !is_name(name.get_ref()) => problems.wrong(
            Some(name.span()),
            format!("{place}: name: allowed are 1–32 letters, digits, \".\", \"-\" and \"_\""),
        ),
        Some(_) => {}
    }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn driver(
    place: &str,
    raw: &raw::Port,
    span: Option<Range<usize>>,
    context: &Context<'_>,
    problems: &mut Problems<'_>,
) -> Driver {
    #[derive(Clone, Copy, PartialEq)]
    enum Named {
        Dpdk,
        Pcap,
    }
    let names = [("dpdk", Named::Dpdk), ("pcap", Named::Pcap)];
    let named = problems.choice(&format!("{place}: driver"), &raw.driver, &names, Named::Dpdk);
    let mut foreign = |key: &str, value: &Value<String>, driver: &str| {
        if let Some(value) = value {
            problems.wrong(Some(value.span()), format!("{place}: {key}: only for driver = \"{driver}\""));
        }
    };
    match named {
        Named::Dpdk => {
            foreign("read", &raw.read, "pcap");
            foreign("write", &raw.write, "pcap");
            Driver::Dpdk(devargs(place, &raw.devargs, span, context.machine, problems))
        }
        Named::Pcap => {
            foreign("devargs", &raw.devargs, "dpdk");
            if raw.read.is_none() && raw.write.is_none() {
                problems.wrong(span, format!("{place}: driver \"pcap\" needs read, write or both"));
            }
            let path = |value: &Value<String>| {
                value.as_ref().map(|value| system::resolve(context.folder, value.get_ref()))
            };
            let (read, write) = (path(&raw.read), path(&raw.write));
            if let (Some(file), Some(value)) = (&read, &raw.read)
                && !file.is_file()
            {
                problems.absent(
                    Some(value.span()),
                    format!("{place}: no file {}", file.display()),
                    "name a capture in pcap format",
                );
            }
            if let (Some(file), Some(value)) = (&write, &raw.write) {
                folder_of(place, file, value.span(), problems);
            }
            Driver::Pcap { read, write }
        }
    }
}

/// Files are created, their folders are not.
fn folder_of(place: &str, file: &Path, span: Range<usize>, problems: &mut Problems<'_>) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        problems.absent(
            Some(span),
            format!("{place}: no folder {}", folder.display()),
            format!("mkdir -p {}", folder.display()),
        );
    }
}

fn devargs(
    place: &str,
    value: &Value<String>,
    span: Option<Range<usize>>,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Devargs {
    let Some(value) = value else {
        problems
            .wrong(span, format!("{place}: driver \"dpdk\" needs devargs, such as \"net_tap0,iface=lnic0\""));
        return Devargs::null();
    };
    let devargs = match Devargs::new(value.get_ref()) {
        Ok(devargs) => devargs,
        Err(error) => {
            problems.wrong(Some(value.span()), format!("{place}: devargs: {error}"));
            return Devargs::null();
        }
    };
    if let Some(interface) = devargs.existing_interface().filter(|name| !machine.interfaces.contains(*name)) {
        let all = machine.interfaces.iter().map(String::as_str);
        let fix = match nearest(interface, all.clone()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("there are {}", quoted(all)),
        };
        problems.absent(Some(value.span()), format!("{place}: no such interface \"{interface}\""), fix);
    }
    if let DeviceKind::Tap { interface: Some(name) } = devargs.kind()
        && machine.interfaces.contains(name)
    {
        problems.absent(
            Some(value.span()),
            format!("{place}: interface \"{name}\" exists already, and net_tap has to make it"),
            format!("stop the appliance that made it, remove it (ip link del {name}), or name another"),
        );
    }
    if let DeviceKind::Pci { address } = devargs.kind()
        && !machine.pci_devices.contains_key(address)
    {
        problems.absent(
            Some(value.span()),
            format!("{place}: no PCI device {address}"),
            "`lspci -D` lists those that there are",
        );
    }
    devargs
}

fn mtu(place: &str, raw: &raw::Port, has_ipv6: bool, memory: &Memory, problems: &mut Problems<'_>) -> u16 {
    let least = if has_ipv6 { MTU_IPV6 } else { MTU_IPV4 };
    let key = format!("{place}: mtu");
    let mtu = problems.integer(&key, &raw.mtu, least..=MTU, 1500);
    let needed = u32::from(mtu) + FRAMING_BYTES;
    let frame = memory.frame_bytes;
    if needed > u32::from(frame) {
        problems.wrong(
            raw.mtu.as_ref().map(Spanned::span),
            format!("{key}: {mtu} does not fit frames of {frame} bytes: [memory] frame_bytes must be at least {needed}"),
        );
    }
    mtu
}

fn queues(
    place: &str,
    raw: &raw::Port,
    driver: &Driver,
    device: Option<u16>,
    context: &Context<'_>,
    problems: &mut Problems<'_>,
) -> Queues {
    let Some(value) = &raw.queues else { return Queues::PerPoller };
    let count = match value.get_ref() {
        Scalar::Text(text) if text == "auto" => return Queues::PerPoller,
        Scalar::Integer(count) => u16::try_from(*count).ok().filter(|count| *count > 0),
        _ => None,
    };
    let Some(count) = count else {
        problems.wrong(
            Some(value.span()),
            format!("{place}: queues: {}: allowed are \"auto\" and a number from 1", value.get_ref()),
        );
        return Queues::PerPoller;
    };
    let Context { pollers, polled_by, .. } = context;
    if count > *pollers {
        problems.wrong(
            Some(value.span()),
            format!(
                "{place}: queues: {count}, over the number of {polled_by}, {pollers}: nobody would poll the rest"
            ),
        );
    }
    if let Some(device) = device.filter(|device| count > *device) {
        let fix = match driver {
            Driver::Dpdk(devargs) => {
                devargs.queue_argument().map(|name| format!(": add {name}={count} to devargs"))
            }
            Driver::Pcap { .. } | Driver::Internal => None,
        };
        problems.wrong(
            Some(value.span()),
            format!("{place}: queues: {count}, but the device has {device}{}", fix.unwrap_or_default()),
        );
    }
    Queues::Count(count)
}

/// `"auto"` or a boolean.
fn automatic(place: &str, value: &Value<Scalar>, automatic: bool, problems: &mut Problems<'_>) -> bool {
    match value.as_ref().map(|value| (value.get_ref(), value.span())) {
        None => automatic,
        Some((Scalar::Boolean(chosen), _)) => *chosen,
        Some((Scalar::Text(text), _)) if text == "auto" => automatic,
        Some((other, span)) => {
            problems.wrong(Some(span), format!("{place}: {other}: allowed are \"auto\", true and false"));
            automatic
        }
    }
}

fn faults(place: &str, raw: &raw::Fault, problems: &mut Problems<'_>) -> Faults {
    let mut probability = |key: &str, value: &Value<f64>| {
        let Some(value) = value else { return 0.0 };
        let chance = *value.get_ref();
        if !(0.0..=1.0).contains(&chance) {
            problems.wrong(Some(value.span()), format!("{place}: fault.{key}: {chance} is not in 0–1"));
            return 0.0;
        }
        chance
    };
    Faults {
        drop: probability("drop", &raw.drop),
        duplicate: probability("duplicate", &raw.duplicate),
        corrupt: probability("corrupt", &raw.corrupt),
        reorder: probability("reorder", &raw.reorder),
        seed: problems.integer(&format!("{place}: fault.seed"), &raw.seed, 0..=i64::MAX as u64, 0),
    }
}

fn capture(
    place: &str,
    raw: &Spanned<raw::Capture>,
    folder: &Path,
    problems: &mut Problems<'_>,
) -> Option<PathBuf> {
    let Some(file) = &raw.get_ref().file else {
        problems.wrong(Some(raw.span()), format!("{place}: capture needs a file"));
        return None;
    };
    let path = system::resolve(folder, file.get_ref());
    folder_of(place, &path, file.span(), problems);
    Some(path)
}

/// Nothing that tells ports apart may be shared.
fn duplicates(raw: &[Spanned<raw::Port>], ports: &[PortSpec], problems: &mut Problems<'_>) {
    fn note<T: Eq + Hash>(
        what: &str,
        values: impl Iterator<Item = (usize, Option<T>, Range<usize>)>,
        ports: &[PortSpec],
        problems: &mut Problems<'_>,
    ) {
        let mut first = HashMap::new();
        for (at, value, span) in values {
            let Some(value) = value else { continue };
            if let Some(&earlier) = first.get(&value) {
                let (here, there): (&PortSpec, &PortSpec) = (&ports[at], &ports[earlier]);
                let text = if what == "name" {
                    format!("port \"{}\": there is another port of this name", here.name)
                } else {
                    let other = called(there.id, &there.name);
                    format!("{}: {what} is {other}'s already", called(here.id, &here.name))
                };
                problems.wrong(Some(span), text);
            } else {
                first.insert(value, at);
            }
        }
    }
    fn devargs(port: &PortSpec) -> Option<&Devargs> {
        match &port.driver {
            Driver::Dpdk(devargs) => Some(devargs),
            Driver::Pcap { .. } | Driver::Internal => None,
        }
    }
    fn place<T>(raw: &Spanned<raw::Port>, value: &Value<T>) -> Range<usize> {
        value.as_ref().map_or(raw.span(), Spanned::span)
    }
    let both = || raw.iter().zip(ports).enumerate();
    let named = both().map(|(at, (raw, port))| {
        let name = Some(port.name.as_str()).filter(|name| !name.is_empty());
        (at, name, place(raw, &raw.get_ref().name))
    });
    note("name", named, ports, problems);
    let ipv4 = both().map(|(at, (raw, port))| (at, port.ipv4, place(raw, &raw.get_ref().ipv4)));
    note("ipv4", ipv4, ports, problems);
    let ipv6 = both().map(|(at, (raw, port))| (at, port.ipv6, place(raw, &raw.get_ref().ipv6)));
    note("ipv6", ipv6, ports, problems);
    let macs = both().map(|(at, (raw, port))| (at, port.mac, place(raw, &raw.get_ref().mac)));
    note("mac", macs, ports, problems);
    let devices = both().map(|(at, (raw, port))| {
        // A port without devargs was refused already; its stand-in is nobody's double.
        let device = raw.get_ref().devargs.as_ref().and(devargs(port)).map(Devargs::device);
        (at, device, place(raw, &raw.get_ref().devargs))
    });
    note("the device", devices, ports, problems);
    let interfaces = both().map(|(at, (raw, port))| {
        (at, devargs(port).and_then(Devargs::interface), place(raw, &raw.get_ref().devargs))
    });
    note("the interface", interfaces, ports, problems);
}

/// A file that is written may be nobody else's: not another port's, and not the capture that is replayed.
fn written_files(raw: &[Spanned<raw::Port>], ports: &[PortSpec], problems: &mut Problems<'_>) {
    let mut seen: Vec<(&Path, bool)> = Vec::new();
    for (raw, port) in raw.iter().zip(ports) {
        let (read, write) = match &port.driver {
            Driver::Pcap { read, write } => (read.as_deref(), write.as_deref()),
            Driver::Dpdk(_) | Driver::Internal => (None, None),
        };
        let files = [(read, false), (write, true), (port.capture.as_deref(), true)];
        for (file, written) in files.into_iter().filter_map(|(file, written)| Some((file?, written))) {
            if seen.iter().any(|&(other, other_written)| other == file && (written || other_written)) {
                problems.wrong(
                    Some(raw.span()),
                    format!(
                        "{}: {} is written, and used a second time",
                        called(port.id, &port.name),
                        file.display()
                    ),
                );
            }
            seen.push((file, written));
        }
    }
}

/// Resolves `host`: another port, which is the host of one port only and has no host itself.
fn hosts(raw: &[Spanned<raw::Port>], ports: &mut [PortSpec], problems: &mut Problems<'_>) {
    let mut taken: HashMap<PortId, usize> = HashMap::new();
    for (at, raw) in raw.iter().take(ports.len()).enumerate() {
        let Some(value) = &raw.get_ref().host else { continue };
        let (host, span) = (value.get_ref(), Some(value.span()));
        let place = called(ports[at].id, &ports[at].name);
        let names = || ports.iter().map(|port| port.name.as_str());
        let Some(index) = names().position(|name| name == host) else {
            let others = names().filter(|name| *name != ports[at].name);
            let hint = match nearest(host, others.clone()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None if others.clone().next().is_none() => "there is no other".into(),
                None => format!("there are {}", quoted(others)),
            };
            problems.wrong(span, format!("{place}: host: no port \"{host}\": {hint}"));
            continue;
        };
        if index == at {
            problems.wrong(span, format!("{place}: host: a port cannot be its own host"));
        } else if let Some(&other) = taken.get(&ports[index].id) {
            let other = &ports[other].name;
            problems
                .wrong(span, format!("{place}: host: \"{host}\" is the host of port \"{other}\" already"));
        } else {
            taken.insert(ports[index].id, at);
            ports[at].host = Some(ports[index].id);
        }
    }
    for (at, raw) in raw.iter().take(ports.len()).enumerate() {
        if let (Some(of), Some(_), Some(value)) =
            (taken.get(&ports[at].id), ports[at].host, &raw.get_ref().host)
        {
            let text = format!(
                "{}: host: it is the host of port \"{}\", and a host port has no host",
                called(ports[at].id, &ports[at].name),
                ports[*of].name
            );
            problems.wrong(Some(value.span()), text);
        }
    }
}
