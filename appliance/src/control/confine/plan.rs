//! What the ports' drivers need while they run.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use caps::Capability;

use super::files::Files;
use crate::control::http::Users;
use crate::control::topology::{DeviceKind, Driver, Topology};

/// What stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Capabilities, each with its reason. One may be there for several.
    pub capabilities: Vec<KeptCapability>,
    /// What drivers ask of the kernel.
    pub devices: Devices,
    /// Files that can still be opened.
    pub files: Files,
}

/// A capability that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCapability {
    /// Which.
    pub capability: Capability,
    /// Who needs it, and what for.
    pub reason: String,
}

/// System calls beyond those of every appliance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// Questions about a kernel interface, and taking it down: `net_tap`, `net_af_packet`, `net_af_xdp`.
    pub interfaces: bool,
    /// Requests to a vhost device: `net_virtio_user`.
    pub vhost: bool,
    /// eBPF maps and netlink: `net_af_xdp` takes its program off the interface when it closes.
    pub xdp: bool,
    /// Any ioctl, and netlink: drivers of cards map memory for DMA, and share the card with the kernel.
    pub cards: bool,
}

/// What a topology's drivers need while they run. Looks at nothing but who owns the folders that are written to, and
/// the files that are read again.
#[must_use]
pub fn plan(topology: &Topology) -> Plan {
    let mut plan = by_drivers(topology);
    let folders = [topology.control.state.as_deref(), topology.socket.parent()];
    let owner = |path: &Path| fs::metadata(path).ok().map(|folder| folder.uid());
    // The folder's owner is the process's user.
    let user = owner(Path::new("/proc/self"));
    for folder in folders.into_iter().flatten() {
        if let (Some(user), Some(owner)) = (user, owner(folder)) {
            plan.capabilities.extend(foreign_folder(user, owner, folder.into()));
        }
    }
    let foreign = read_again(topology).into_iter().find_map(|file| {
        // Links are followed: so mounted secrets change. Whoever owns a folder on the way can close it.
        let path = fs::canonicalize(file).ok()?;
        let owner = path.ancestors().filter_map(owner).find(|&owner| owner != 0)?;
        foreign_file(user?, owner, path)
    });
    plan.capabilities.extend(foreign);
    plan.files = Files::of(topology, plan.devices.cards);
    plan
}

/// Files that are read again when they change.
fn read_again(topology: &Topology) -> Vec<PathBuf> {
    let Some(listen) = &topology.control.listen else { return Vec::new() };
    let mut files = vec![listen.tls_certificate.clone(), listen.tls_key.clone()];
    files.extend(Users::files(&listen.users));
    files
}

/// Nor may it read what others keep to themselves, now or after the next change: who is not a user any more would stay one.
fn foreign_file(user: u32, owner: u32, file: PathBuf) -> Option<KeptCapability> {
    (user == 0 && owner != 0).then(|| KeptCapability {
        capability: Capability::CAP_DAC_READ_SEARCH,
        reason: format!("{} is read again when it changes, and user {owner} may close it", file.display()),
    })
}

/// Root without capabilities is a user like any other, and may not write to others' folders.
fn foreign_folder(user: u32, owner: u32, folder: PathBuf) -> Option<KeptCapability> {
    (user == 0 && owner != 0).then(|| KeptCapability {
        capability: Capability::CAP_DAC_OVERRIDE,
        reason: format!("{} belongs to user {owner}", folder.display()),
    })
}

fn by_drivers(topology: &Topology) -> Plan {
    let mut plan = Plan::default();
    for port in &topology.ports {
        let Driver::Dpdk(devargs) = &port.driver else { continue };
        let device = devargs.device();
        let mut keep = |capability, reason: &str| {
            let reason = format!("port \"{}\", {device}: {reason}", port.name);
            plan.capabilities.push(KeptCapability { capability, reason });
        };
        match devargs.kind() {
            // Their descriptors are open: frames need no rights.
            DeviceKind::Tap { .. } | DeviceKind::AfPacket { .. } => plan.devices.interfaces = true,
            DeviceKind::AfXdp { .. } => {
                keep(Capability::CAP_NET_ADMIN, "takes its program off the interface when it closes");
                plan.devices.interfaces = true;
                plan.devices.xdp = true;
            }
            DeviceKind::Pci { .. } | DeviceKind::OtherBus => {
                keep(Capability::CAP_IPC_LOCK, "maps memory for DMA");
                keep(Capability::CAP_NET_ADMIN, "a driver may share the card with the kernel");
                keep(Capability::CAP_NET_RAW, "a driver may make its queues through the kernel");
            }
            DeviceKind::Virtio => plan.devices.vhost = true,
            DeviceKind::Virtual => {}
        }
    }
    // DMA engines are cards too.
    if topology.has_pci() {
        plan.devices.cards = true;
        if !plan.capabilities.iter().any(|kept| kept.capability == Capability::CAP_IPC_LOCK) {
            let reason = "[rpc] copy_engines: memory is mapped for DMA".to_owned();
            plan.capabilities.push(KeptCapability { capability: Capability::CAP_IPC_LOCK, reason });
        }
    }
    plan
}

impl Devices {
    /// A line for each thing that an appliance without devices would not have.
    #[must_use]
    pub fn lines(self) -> Vec<&'static str> {
        let all = [
            (self.interfaces, "kept: ioctl on interfaces: flags, MTU, MAC and link"),
            (self.vhost, "kept: ioctl on vhost devices"),
            (self.xdp, "kept: bpf and netlink: net_af_xdp closes with them"),
            (self.cards, "kept: any ioctl, and netlink: drivers of cards differ in what they need"),
        ];
        all.into_iter().filter_map(|(is_kept, line)| is_kept.then_some(line)).collect()
    }
}

impl fmt::Display for KeptCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kept: {} ({})", self.capability, self.reason)
    }
}

impl fmt::Display for Plan {
    /// A line for each thing that stays.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.capabilities.iter().map(KeptCapability::to_string);
        let lines: Vec<String> = kept.chain(self.devices.lines().into_iter().map(str::to_owned)).collect();
        if lines.is_empty() { f.write_str("kept: nothing") } else { f.write_str(&lines.join("\n")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::Machine;
    use crate::control::topology::Listen;

    fn planned(devargs: &[&str], more: &str) -> Plan {
        let mut text = more.to_owned();
        for (number, devargs) in devargs.iter().enumerate() {
            text.push_str(&format!("[[ports]]\nname = \"p{number}\"\ndevargs = \"{devargs}\"\n"));
        }
        // What this machine lacks of it is of no matter.
        let machine = Machine::read().unwrap();
        by_drivers(&Topology::from_text(&text, Path::new("test.toml"), &machine).unwrap().0)
    }

    fn bits(plan: &Plan) -> u64 {
        plan.capabilities.iter().fold(0, |bits, kept| bits | kept.capability.bitmask())
    }

    #[test]
    fn kernel_interfaces_need_no_capability_once_they_are_open() {
        let plan = planned(&["net_tap0,iface=x0", "net_af_packet0,iface=eth0"], "");
        assert_eq!(plan.capabilities, []);
        assert_eq!(plan.devices, Devices { interfaces: true, ..Devices::default() });
        assert_eq!(plan.to_string(), "kept: ioctl on interfaces: flags, MTU, MAC and link");
    }

    #[test]
    fn devices_of_memory_need_nothing() {
        let plan = planned(&["net_null0", "net_ring0", "net_memif0"], "");
        assert_eq!(plan, Plan::default());
        assert_eq!(plan.to_string(), "kept: nothing");
        let plan = planned(&["net_vhost0,iface=/run/vm.sock"], "");
        assert_eq!((bits(&plan), plan.devices), (0, Devices { vhost: true, ..Devices::default() }));
    }

    #[test]
    fn xdp_keeps_what_it_closes_with() {
        let plan = planned(&["net_af_xdp0,iface=eth0"], "");
        assert_eq!(bits(&plan), 1 << 12);
        assert!(plan.devices.xdp && plan.devices.interfaces && !plan.devices.cards);
        let expected = "kept: CAP_NET_ADMIN (port \"p0\", net_af_xdp0: takes its program off the interface when it closes)";
        assert_eq!(plan.to_string().lines().next(), Some(expected));
    }

    #[test]
    fn cards_have_a_wider_profile_and_say_so() {
        let plan = planned(&["0000:03:00.0"], "");
        assert_eq!(bits(&plan), 1 << 12 | 1 << 13 | 1 << 14);
        assert!(plan.devices.cards && !plan.devices.xdp);
        assert_eq!(plan.to_string().lines().count(), 4, "{plan}");
        let engine = planned(&["net_null0"], "[rpc]\ncopy_engines = [\"0000:00:04.0\"]\n");
        assert_eq!((bits(&engine), engine.devices.cards), (1 << 14, true));
    }

    #[test]
    fn root_keeps_reading_what_others_may_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["certificate", "key", "password"] {
            fs::write(at(name), "password").unwrap();
        }
        let user = "[[users]]\nname = \"a\"\npassword_file = \"password\"\nrights = { \"*\" = \"read\" }\n";
        fs::write(at("users"), user).unwrap();
        let machine = Machine::read().unwrap();
        let text = "[[ports]]\nname = \"p0\"\ndevargs = \"net_null0\"\n";
        let (mut topology, _) = Topology::from_text(text, Path::new("test.toml"), &machine).unwrap();
        topology.control.state = None;
        topology.control.listen = Some(Listen {
            address: ([127, 0, 0, 1], 0).into(),
            tls_certificate: at("certificate"),
            tls_key: at("key"),
            users: at("users"),
        });
        let files: Vec<PathBuf> = ["certificate", "key", "users", "password"].map(at).to_vec();
        assert_eq!(read_again(&topology), files);
        let kept = foreign_file(0, 10_001, "/etc/users".into()).unwrap();
        assert_eq!(kept.capability, Capability::CAP_DAC_READ_SEARCH);
        assert_eq!((foreign_file(0, 0, "/x".into()), foreign_file(10_001, 0, "/x".into())), (None, None));
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            let reads = |plan: Plan| {
                plan.capabilities.iter().any(|kept| kept.capability == Capability::CAP_DAC_READ_SEARCH)
            };
            assert!(!reads(plan(&topology)));
            std::os::unix::fs::chown(at("password"), Some(10_001), None).unwrap();
            assert!(reads(plan(&topology)));
        }
    }

    #[test]
    fn root_keeps_its_way_into_others_folders_only() {
        let kept = foreign_folder(0, 10_001, "/var/lib/lnic".into()).unwrap();
        assert_eq!(kept.to_string(), "kept: CAP_DAC_OVERRIDE (/var/lib/lnic belongs to user 10001)");
        assert_eq!(foreign_folder(0, 0, "/var/lib/lnic".into()), None);
        assert_eq!(foreign_folder(10_001, 0, "/var/lib/lnic".into()), None);
    }
}
