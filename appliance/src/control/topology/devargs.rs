//! DPDK device arguments, as far as a configuration can be judged by them: `net_tap0,iface=lnic0`, `0000:03:00.0`.

use std::fmt;

/// Queue pairs of a `net_tap` device (`TAP_MAX_QUEUES`).
const TAP_QUEUES: u16 = 16;

/// Arguments that make or name a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devargs {
    text: String,
    kind: DeviceKind,
}

/// What kind of device it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `net_tap`: an interface that the device makes.
    Tap {
        /// Its name, if given.
        interface: Option<String>,
    },
    /// `net_af_packet`: a packet socket on an interface that exists.
    AfPacket {
        /// The interface.
        interface: String,
    },
    /// `net_af_xdp`: an XDP socket on an interface that exists.
    AfXdp {
        /// The interface.
        interface: String,
    },
    /// `net_vhost`, `net_virtio_user`: shared memory with a virtual machine or another process.
    Virtio,
    /// Any other virtual device: `net_null`, `net_ring`, `net_memif`, `net_pcap`.
    Virtual,
    /// A card, by its PCI address with domain.
    Pci {
        /// As in `/sys/bus/pci/devices`.
        address: String,
    },
    /// A device of another bus, such as `auxiliary:mlx5_core.sf.2`.
    OtherBus,
}

/// Device arguments that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither PCI nor virtual.
    #[error("\"{0}\" is neither a PCI address such as 0000:03:00.0 nor a virtual device such as net_tap0")]
    Device(String),
    /// An argument without value, or an empty one.
    #[error("argument \"{0}\" is not of the form name=value")]
    Argument(String),
    /// The driver needs an interface.
    #[error("\"{device}\" needs iface=NAME")]
    Interface {
        /// The device.
        device: String,
    },
    /// Not the name of an interface.
    #[error("iface \"{0}\" is not a name of 1–15 bytes")]
    InterfaceName(String),
}

impl Devargs {
    /// Judges device arguments.
    pub fn new(text: &str) -> Result<Self, Error> {
        let (device, arguments) = text.split_once(',').unwrap_or((text, ""));
        for argument in arguments.split(',').filter(|_| !arguments.is_empty()) {
            if !argument.split_once('=').is_some_and(|(name, value)| !name.is_empty() && !value.is_empty()) {
                return Err(Error::Argument(argument.into()));
            }
        }
        let interface = || match value(arguments, "iface") {
            Some(name) if name.len() > 15 || name.contains(['/', ' ']) => {
                Err(Error::InterfaceName(name.into()))
            }
            name => Ok(name.map(str::to_owned)),
        };
        let needed = || interface()?.ok_or(Error::Interface { device: device.into() });
        let kind = if let Some(address) = pci_address(device) {
            DeviceKind::Pci { address }
        } else if is(device, "tap") {
            DeviceKind::Tap { interface: interface()? }
        } else if is(device, "af_packet") {
            DeviceKind::AfPacket { interface: needed()? }
        } else if is(device, "af_xdp") {
            DeviceKind::AfXdp { interface: needed()? }
        } else if is(device, "vhost") || is(device, "virtio_user") || device.starts_with("virtio_user") {
            DeviceKind::Virtio
        } else if is(device, "") {
            DeviceKind::Virtual
        } else if device.split_once(':').is_some_and(|(bus, name)| is_word(bus) && !name.is_empty()) {
            DeviceKind::OtherBus
        } else {
            return Err(Error::Device(device.into()));
        };
        Ok(Self { text: text.into(), kind })
    }

    /// A device that receives nothing: stands in for arguments that were refused, so that the rest of a port is judged too.
    pub(super) fn null() -> Self {
        Self { text: "net_null0".into(), kind: DeviceKind::Virtual }
    }

    /// As DPDK takes them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The device's name: what stands before the first comma.
    #[must_use]
    pub fn device(&self) -> &str {
        self.text.split(',').next().unwrap_or(&self.text)
    }

    /// What kind of device it is.
    #[must_use]
    pub fn kind(&self) -> &DeviceKind {
        &self.kind
    }

    /// The interface that the device opens and that must exist.
    #[must_use]
    pub fn existing_interface(&self) -> Option<&str> {
        match &self.kind {
            DeviceKind::AfPacket { interface } | DeviceKind::AfXdp { interface } => Some(interface),
            _ => None,
        }
    }

    /// The interface that the device opens or makes.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        match &self.kind {
            DeviceKind::Tap { interface } => interface.as_deref(),
            _ => self.existing_interface(),
        }
    }

    /// True for devices whose peer is a kernel or hypervisor that leaves checksums to a card.
    #[must_use]
    pub fn has_partial_checksums(&self) -> bool {
        matches!(
            self.kind,
            DeviceKind::Tap { .. }
                | DeviceKind::AfPacket { .. }
                | DeviceKind::AfXdp { .. }
                | DeviceKind::Virtio
        )
    }

    /// Argument that says how many queue pairs the device has, for those where one does.
    #[must_use]
    pub fn queue_argument(&self) -> Option<&'static str> {
        match self.kind {
            DeviceKind::AfPacket { .. } => Some("qpairs"),
            DeviceKind::AfXdp { .. } => Some("queue_count"),
            DeviceKind::Virtio => Some("queues"),
            _ => None,
        }
    }

    /// Queue pairs that the device has, if its kind and arguments tell.
    #[must_use]
    pub fn queue_limit(&self) -> Option<u16> {
        if let Some(argument) = self.queue_argument() {
            let arguments = self.text.split_once(',').map_or("", |(_, arguments)| arguments);
            return Some(value(arguments, argument).and_then(|count| count.parse().ok()).unwrap_or(1));
        }
        matches!(self.kind, DeviceKind::Tap { .. }).then_some(TAP_QUEUES)
    }
}

impl fmt::Display for Devargs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Value of an argument.
fn value<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    arguments.split(',').find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}

/// True for `net_KIND…` and its older spelling `eth_KIND…`.
fn is(device: &str, kind: &str) -> bool {
    let name = device.strip_prefix("net_").or_else(|| device.strip_prefix("eth_"));
    name.is_some_and(|name| name.starts_with(kind) && is_word(name))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The address with its domain, for `0000:03:00.0`, `03:00.0` and `pci:…`.
fn pci_address(device: &str) -> Option<String> {
    let device = device.strip_prefix("pci:").unwrap_or(device);
    let (path, function) = device.split_once('.')?;
    let parts: Vec<&str> = path.split(':').collect();
    let (domain, bus, slot) = match parts[..] {
        [bus, slot] => ("0000", bus, slot),
        [domain, bus, slot] => (domain, bus, slot),
        _ => return None,
    };
    let hex =
        |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && matches!(function.as_bytes(), [b'0'..=b'7']);
    fits.then(|| format!("{domain}:{bus}:{slot}.{function}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> DeviceKind {
        Devargs::new(text).unwrap().kind
    }

    #[test]
    fn kinds() {
        assert_eq!(kind("net_tap0,iface=lnic0"), DeviceKind::Tap { interface: Some("lnic0".into()) });
        assert_eq!(kind("net_tap"), DeviceKind::Tap { interface: None });
        assert_eq!(kind("net_af_packet0,iface=eth0"), DeviceKind::AfPacket { interface: "eth0".into() });
        assert_eq!(
            kind("net_af_xdp0,iface=eth0,start_queue=0"),
            DeviceKind::AfXdp { interface: "eth0".into() }
        );
        assert_eq!(kind("net_vhost0,iface=/run/lnic/vhost.sock"), DeviceKind::Virtio);
        assert_eq!(kind("net_virtio_user0,path=s.sock"), DeviceKind::Virtio);
        assert_eq!(kind("net_null0"), DeviceKind::Virtual);
        assert_eq!(kind("0000:03:00.0"), DeviceKind::Pci { address: "0000:03:00.0".into() });
        assert_eq!(kind("3B:00.1,representor=0"), DeviceKind::Pci { address: "0000:3b:00.1".into() });
        assert_eq!(kind("auxiliary:mlx5_core.sf.2"), DeviceKind::OtherBus);
    }

    #[test]
    fn queues() {
        let limit = |text| Devargs::new(text).unwrap().queue_limit();
        assert_eq!(limit("net_af_packet0,iface=eth0"), Some(1));
        assert_eq!(limit("net_af_packet0,iface=eth0,qpairs=4"), Some(4));
        assert_eq!(limit("net_virtio_user0,path=s,queues=2"), Some(2));
        assert_eq!(limit("net_tap0"), Some(16));
        assert_eq!(limit("0000:03:00.0"), None);
    }

    #[test]
    fn errors() {
        let text = |text| Devargs::new(text).unwrap_err().to_string();
        assert_eq!(
            text("tap0,iface=x"),
            "\"tap0\" is neither a PCI address such as 0000:03:00.0 nor a virtual device such as net_tap0"
        );
        assert_eq!(text("net_af_packet0"), "\"net_af_packet0\" needs iface=NAME");
        assert_eq!(text("net_tap0,iface"), "argument \"iface\" is not of the form name=value");
        assert_eq!(
            text("net_tap0,iface=an-interface-name"),
            "iface \"an-interface-name\" is not a name of 1–15 bytes"
        );
    }
}
