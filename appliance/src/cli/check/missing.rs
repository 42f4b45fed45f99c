//! What keeps an appliance from starting on this machine, and how to get it.

use serde::Serialize;

use super::code::Known;
use super::memory as tiers;
use crate::control::config::machine::{Access, Capability};
use crate::control::config::{Kind, Machine, Problem};
use crate::control::topology::{DeviceKind, Driver, Pages, Topology};

/// Memory mappings of a process, but those of memories in windows; generous.
const BASE_MAPPINGS: u64 = 4_096;

/// Kernel drivers that DPDK takes a card from, or that share it with DPDK.
const USABLE_DRIVERS: [&str; 7] =
    ["vfio-pci", "igb_uio", "uio_pci_generic", "uio_hv_generic", "mlx4_core", "mlx5_core", "mana"];

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) what: String,
    /// A command, or what to change.
    pub(super) fix: String,
}

/// A capability that ports need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Privilege {
    pub(super) capability: &'static str,
    pub(super) present: bool,
    /// Ports that need it.
    pub(super) ports: Vec<String>,
}

/// Capabilities that the ports' drivers need, each once.
pub(super) fn privileges(topology: &Topology, machine: &Machine) -> Vec<Privilege> {
    const ALL: [Capability; 5] = [
        Capability::NetAdmin,
        Capability::NetRaw,
        Capability::IpcLock,
        Capability::Bpf,
        Capability::SysAdmin,
    ];
    ALL.into_iter()
        .filter_map(|capability| {
            let needs = topology.ports.iter().filter(|port| needs(&port.driver).contains(&capability));
            let ports: Vec<String> = needs.map(|port| port.name.clone()).collect();
            let present = machine.has(capability);
            (!ports.is_empty()).then(|| Privilege { capability: capability.name(), present, ports })
        })
        .collect()
}

fn needs(driver: &Driver) -> &'static [Capability] {
    let Driver::Dpdk(devargs) = driver else { return &[] };
    match devargs.kind() {
        DeviceKind::Tap { .. } => &[Capability::NetAdmin],
        DeviceKind::AfPacket { .. } => &[Capability::NetAdmin, Capability::NetRaw],
        // Without SYS_ADMIN it cannot load its program, on the kernels that were tried.
        DeviceKind::AfXdp { .. } => &[
            Capability::NetAdmin,
            Capability::NetRaw,
            Capability::IpcLock,
            Capability::Bpf,
            Capability::SysAdmin,
        ],
        DeviceKind::Pci { .. } | DeviceKind::OtherBus => &[Capability::IpcLock],
        DeviceKind::Virtio | DeviceKind::Virtual => &[],
    }
}

/// Lambdas that cannot be deployed. Files that are not there are said already.
fn lambdas(topology: &Topology, codes: &[Known], missing: &mut Vec<Missing>) {
    for (lambda, known) in topology.lambdas.iter().zip(codes) {
        if let Some(Err(error)) = known {
            missing.push(Missing {
                what: format!("lambda \"{}\": {}: {error}", lambda.name, lambda.file.display()),
                fix: "name a module that `lnic build` made, its entry, and a layout and concurrency that suit it"
                    .into(),
            });
        }
    }
}

/// Everything that is missing.
pub(super) fn missing(
    topology: &Topology,
    machine: &Machine,
    absent: Vec<Problem>,
    privileges: &[Privilege],
    codes: &[Known],
    total_bytes: u64,
) -> Vec<Missing> {
    let mut missing: Vec<Missing> = absent
        .into_iter()
        .map(|problem| Missing {
            what: problem.message,
            fix: match problem.kind {
                Kind::Absent { fix } => fix,
                Kind::Wrong => "change the configuration".into(),
            },
        })
        .collect();
    lambdas(topology, codes, &mut missing);
    memory(topology, machine, total_bytes, &mut missing);
    capabilities(privileges, &mut missing);
    devices(topology, machine, &mut missing);
    let mappings = BASE_MAPPINGS + tiers::mappings(topology, codes);
    if let Some(limit) = machine.max_map_count.filter(|limit| *limit < mappings) {
        missing.push(Missing {
            what: format!("vm.max_map_count is {limit}, {mappings} memory mappings may be needed"),
            fix: format!("sysctl -w vm.max_map_count={}", mappings.next_power_of_two()),
        });
    }
    missing
}

fn memory(topology: &Topology, machine: &Machine, total_bytes: u64, missing: &mut Vec<Missing>) {
    let pages = topology.memory.pages(machine);
    if let Err(want) = pages {
        let pages = want.reserved + want.needed - want.free;
        missing.push(Missing {
            what: want.to_string(),
            fix: format!(
                "echo {pages} > /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages",
                want.page_kib
            ),
        });
    }
    // Hugepages are not part of what is available.
    let reserved = if matches!(pages, Ok(Pages::Huge { .. })) { topology.memory.eal_bytes() } else { 0 };
    let needed = total_bytes.saturating_sub(reserved);
    if pages.is_ok() && machine.available_bytes < needed {
        missing.push(Missing {
            what: format!(
                "{} MiB of memory needed, {} are available",
                needed >> 20,
                machine.available_bytes >> 20
            ),
            fix: "lower [memory] eal_mib and pool_frames, or give the machine or container more memory"
                .into(),
        });
    }
}

fn capabilities(privileges: &[Privilege], missing: &mut Vec<Missing>) {
    let lacking: Vec<&Privilege> = privileges.iter().filter(|privilege| !privilege.present).collect();
    if lacking.is_empty() {
        return;
    }
    let list = |prefix: &str, separator: &str| {
        lacking.iter().map(|one| format!("{prefix}{}", one.capability)).collect::<Vec<_>>().join(separator)
    };
    let program = std::env::current_exe().map_or_else(|_| "lnic".into(), |path| path.display().to_string());
    // File capabilities are replaced as a whole, so those that are there already are named too.
    let all = privileges.iter().map(|one| format!("cap_{}", one.capability.to_lowercase()));
    missing.push(Missing {
        what: format!("capabilities {}", list("", ", ")),
        fix: format!(
            "setcap {}+ep {program} (or run as root; in a container: {})",
            all.collect::<Vec<_>>().join(","),
            list("--cap-add=", " ")
        ),
    });
}

fn devices(topology: &Topology, machine: &Machine, missing: &mut Vec<Missing>) {
    let devices = || {
        topology.ports.iter().filter_map(|port| match &port.driver {
            Driver::Dpdk(devargs) => Some((port, devargs)),
            Driver::Pcap { .. } | Driver::Internal => None,
        })
    };
    let tap = devices().find(|(_, devargs)| matches!(devargs.kind(), DeviceKind::Tap { .. }));
    if let (Some((port, _)), Access::Absent | Access::Denied) = (tap, machine.tun) {
        let (state, fix) = if machine.tun == Access::Denied {
            ("does not open", "chmod 0666 /dev/net/tun")
        } else {
            ("does not exist", "modprobe tun; mkdir -p /dev/net; mknod /dev/net/tun c 10 200")
        };
        missing.push(Missing {
            what: format!("port \"{}\": /dev/net/tun {state}", port.name),
            fix: format!("{fix} (in a container: --device=/dev/net/tun)"),
        });
    }
    for (port, devargs) in devices() {
        let DeviceKind::Pci { address } = devargs.kind() else { continue };
        // A card that is not there was reported with the configuration's line.
        let Some(driver) = machine.pci_devices.get(address) else { continue };
        if driver.as_deref().is_some_and(|driver| USABLE_DRIVERS.contains(&driver)) {
            continue;
        }
        let bound = driver.as_deref().unwrap_or("none");
        missing.push(Missing {
            what: format!(
                "port \"{}\": {address} is bound to driver {bound}, which DPDK cannot use",
                port.name
            ),
            fix: format!("modprobe vfio-pci; dpdk-devbind.py --bind=vfio-pci {address}"),
        });
    }
}
