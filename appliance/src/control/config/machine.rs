//! What a configuration is held against: the CPUs, interfaces, memory and rights that this process was given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A CPU, by the kernel's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

impl Cpu {
    /// Wraps a raw number.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number, for affinity masks and printing.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}", self.0)
    }
}

/// A part of the machine that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading a file of the kernel's.
    #[error("{path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line that is not there, or not as expected.
    #[error("{path}: no usable \"{line}\" line")]
    Line {
        /// Its path.
        path: PathBuf,
        /// The line that was looked for.
        line: &'static str,
    },
}

/// Hugepages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages reserved.
    pub reserved: u64,
    /// Pages that nobody uses.
    pub free: u64,
}

/// Whether a device file can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It opens for reading and writing.
    Usable,
    /// It is there, but does not open.
    Denied,
    /// It is not there.
    Absent,
}

/// A Linux capability that ports may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Capability {
    /// Configure interfaces.
    NetAdmin = 12,
    /// Raw and packet sockets.
    NetRaw = 13,
    /// Lock memory.
    IpcLock = 14,
    /// Administer the system.
    SysAdmin = 21,
    /// Load BPF programs.
    Bpf = 39,
}

impl Capability {
    /// Name as `setcap` and container engines take it, without `CAP_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "NET_ADMIN",
            Self::NetRaw => "NET_RAW",
            Self::IpcLock => "IPC_LOCK",
            Self::SysAdmin => "SYS_ADMIN",
            Self::Bpf => "BPF",
        }
    }
}

/// The machine as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that this process may run on, ascending; never empty.
    pub cpus: Vec<Cpu>,
    /// NUMA node of each of the machine's CPUs; empty if the kernel does not tell.
    pub numa_nodes: BTreeMap<Cpu, u32>,
    /// Effective capabilities, as bits.
    pub capabilities: u64,
    /// Network interfaces of this network namespace.
    pub interfaces: BTreeSet<String>,
    /// PCI devices by address, each with the kernel driver that it is bound to.
    pub pci_devices: BTreeMap<String, Option<String>>,
    /// Hugepages, smallest size first.
    pub hugepages: Vec<Hugepages>,
    /// Memory that can be allocated without swapping.
    pub available_bytes: u64,
    /// Most memory mappings of a process (`vm.max_map_count`), if the kernel tells.
    pub max_map_count: Option<u64>,
    /// `/dev/net/tun`, which tap ports are made with.
    pub tun: Access,
}

impl Machine {
    /// Looks at the machine that this runs on.
    pub fn read() -> Result<Self, Error> {
        Self::read_at(Path::new("/"))
    }

    /// Looks at `proc`, `sys` and `dev` under another root.
    pub fn read_at(root: &Path) -> Result<Self, Error> {
        // Not core_affinity: this file names the CPUs and the capabilities alike, and is what a test can write.
        let path = root.join("proc/self/status");
        let status =
            fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let line =
            |name: &'static str| field(&status, name).ok_or(Error::Line { path: path.clone(), line: name });
        let cpus = parse_cpus(line("Cpus_allowed_list")?)
            .filter(|cpus| !cpus.is_empty())
            .ok_or(Error::Line { path: path.clone(), line: "Cpus_allowed_list" })?;
        let capabilities = u64::from_str_radix(line("CapEff")?, 16)
            .map_err(|_| Error::Line { path: path.clone(), line: "CapEff" })?;
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let available_kib =
            field(&meminfo, "MemAvailable").and_then(|value| number(value.trim_end_matches(" kB")));
        let map_count = fs::read_to_string(root.join("proc/sys/vm/max_map_count")).ok();
        Ok(Self {
            cpus,
            numa_nodes: numa_nodes(&root.join("sys/devices/system/node")),
            capabilities,
            interfaces: names(&root.join("sys/class/net")).collect(),
            pci_devices: pci_devices(&root.join("sys/bus/pci/devices")),
            hugepages: hugepages(&root.join("sys/kernel/mm/hugepages")),
            available_bytes: available_kib.unwrap_or(0) * 1024,
            max_map_count: map_count.and_then(|value| number(&value)),
            tun: access(&root.join("dev/net/tun")),
        })
    }

    /// True if this process has the capability.
    #[must_use]
    pub const fn has(&self, capability: Capability) -> bool {
        self.capabilities >> capability as u8 & 1 == 1
    }

    /// NUMA node of a CPU, if the kernel tells.
    #[must_use]
    pub fn numa_node(&self, cpu: Cpu) -> Option<u32> {
        self.numa_nodes.get(&cpu).copied()
    }

    /// The CPUs as the kernel lists them, such as `0-3,8`.
    #[must_use]
    pub fn cpu_list(&self) -> String {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for cpu in &self.cpus {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu.raw() => *last = cpu.raw(),
                _ => ranges.push((cpu.raw(), cpu.raw())),
            }
        }
        let text = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
        ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
    }
}

/// Value of a `Name: value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Parses the kernel's list format: `0-3,8`.
fn parse_cpus(list: &str) -> Option<Vec<Cpu>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        cpus.extend((first..=last.min(first.saturating_add(65_535))).map(Cpu::new));
    }
    Some(cpus)
}

/// Names in a folder; none if it cannot be read.
fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).ok().into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

/// `node0/cpulist` and so on; a node that has only memory lists nothing.
fn numa_nodes(folder: &Path) -> BTreeMap<Cpu, u32> {
    let nodes = names(folder).filter_map(|name| {
        let node: u32 = name.strip_prefix("node")?.parse().ok()?;
        let cpus = parse_cpus(fs::read_to_string(folder.join(&name).join("cpulist")).ok()?.trim())?;
        Some(cpus.into_iter().map(move |cpu| (cpu, node)))
    });
    nodes.flatten().collect()
}

fn pci_devices(folder: &Path) -> BTreeMap<String, Option<String>> {
    names(folder)
        .map(|address| {
            let driver = fs::read_link(folder.join(&address).join("driver")).ok();
            let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            (address, driver)
        })
        .collect()
}

fn hugepages(folder: &Path) -> Vec<Hugepages> {
    let mut sizes: Vec<Hugepages> = names(folder)
        .filter_map(|name| {
            let page_bytes = number(name.strip_prefix("hugepages-")?.strip_suffix("kB")?)? * 1024;
            let count = |file: &str| number(&fs::read_to_string(folder.join(&name).join(file)).ok()?);
            Some(Hugepages { page_bytes, reserved: count("nr_hugepages")?, free: count("free_hugepages")? })
        })
        .collect();
    sizes.sort_by_key(|size| size.page_bytes);
    sizes
}

/// Opening `/dev/net/tun` makes no interface; that takes an ioctl.
fn access(path: &Path) -> Access {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Access::Usable,
        // ENXIO, ENODEV: the file is there, but the kernel has no driver for it.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(6 | 19)) =>
        {
            Access::Absent
        }
        Err(_) => Access::Denied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/status", "Name:\tlnic\nCapEff:\t0000000000003000\nCpus_allowed_list:\t0-2,8\n");
        write("proc/meminfo", "MemTotal: 10 kB\nMemAvailable:     1024 kB\n");
        write("proc/sys/vm/max_map_count", "65530\n");
        write("sys/class/net/eth7/mtu", "1500\n");
        write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n");
        write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "60\n");
        write("sys/bus/pci/devices/0000:03:00.0/vendor", "0x8086\n");
        write("sys/devices/system/node/node0/cpulist", "0-1,8\n");
        write("sys/devices/system/node/node1/cpulist", "2\n");
        write("sys/devices/system/node/node2/cpulist", "\n");
        write("sys/devices/system/node/power/cpulist", "7\n");
        write("sys/devices/system/node/online", "0-2\n");
        let machine = Machine::read_at(root.path()).unwrap();
        assert_eq!(machine.cpus, [0, 1, 2, 8].map(Cpu::new));
        assert_eq!(machine.cpu_list(), "0-2,8");
        assert_eq!(
            machine.numa_nodes,
            BTreeMap::from([(0, 0), (1, 0), (2, 1), (8, 0)].map(|(cpu, node)| (Cpu::new(cpu), node)))
        );
        assert_eq!((machine.numa_node(Cpu::new(2)), machine.numa_node(Cpu::new(3))), (Some(1), None));
        assert!(machine.has(Capability::NetAdmin) && machine.has(Capability::NetRaw));
        assert!(!machine.has(Capability::IpcLock));
        assert_eq!(machine.available_bytes, 1 << 20);
        assert_eq!(machine.max_map_count, Some(65_530));
        assert!(machine.interfaces.contains("eth7"));
        assert_eq!(machine.hugepages, [Hugepages { page_bytes: 2 << 20, reserved: 64, free: 60 }]);
        assert_eq!(machine.pci_devices.get("0000:03:00.0"), Some(&None));
        assert_eq!(machine.tun, Access::Absent);
    }

    #[test]
    fn a_machine_that_says_nothing_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let error = Machine::read_at(root.path()).unwrap_err().to_string();
        assert!(error.ends_with("proc/self/status: No such file or directory (os error 2)"), "{error}");
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/status"), "CapEff: 0\nCpus_allowed_list: \n").unwrap();
        let error = Machine::read_at(root.path()).unwrap_err().to_string();
        assert!(error.ends_with("no usable \"Cpus_allowed_list\" line"), "{error}");
    }

    #[test]
    fn a_machine_without_numa_has_no_nodes() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        fs::write(root.path().join("proc/self/status"), "CapEff: 0\nCpus_allowed_list: 0-1\n").unwrap();
        assert_eq!(Machine::read_at(root.path()).unwrap().numa_nodes, BTreeMap::new());
    }

    #[test]
    fn reads_this_machine() {
        assert!(!Machine::read().unwrap().cpus.is_empty());
    }
}
