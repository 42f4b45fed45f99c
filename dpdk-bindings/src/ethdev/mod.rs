//! Ethernet devices: probe, configure, start; queues with one owner each.

mod descriptor;
mod queue;
mod stats;

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use descriptor::{Descriptors, Wake};
pub use queue::{RxQueue, TxQueue};
pub use stats::{Link, Stats};

use crate::eal::Eal;
use crate::error::Error;
use crate::mempool::Mempool;
use crate::sys;

/// What a device is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Name of the driver, such as `net_tap`.
    pub driver: String,
    /// Most receive queues.
    pub rx_queues: u16,
    /// Most transmit queues.
    pub tx_queues: u16,
    /// Verifies IPv4, UDP and TCP checksums as it receives.
    pub rx_checksum: bool,
    /// Makes IPv4 and UDP checksums as it sends.
    pub tx_checksum: bool,
    /// Sends frames that are chains of buffers.
    pub tx_segments: bool,
    /// Kernel interface beneath it, if there is one.
    pub interface: Option<u32>,
    /// NUMA node, if it has one.
    pub numa_node: Option<u32>,
    rss: u64,
}

/// How to configure a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Queue pairs.
    pub queues: u16,
    /// Descriptors of each receive queue, as near as the device allows.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue, as near as the device allows.
    pub tx_descriptors: u16,
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// MAC address to take, if not its own.
    pub mac: Option<[u8; 6]>,
    /// Takes frames for any MAC.
    pub promiscuous: bool,
    /// Has checksums verified as frames arrive, where the device can.
    pub rx_checksum: bool,
    /// Will be given chains of buffers to send, where the device can. Costs the simplest transmit functions of some cards.
    pub tx_segments: bool,
    /// Prepares receive interrupts, where the device has them.
    pub rx_interrupts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            mac: None,
            promiscuous: false,
            rx_checksum: true,
            tx_segments: false,
            rx_interrupts: false,
        }
    }
}

/// Devices come and go one at a time: DPDK's lists of them have no lock of their own.
static CONTROL: Mutex<()> = Mutex::new(());

pub(crate) fn control() -> MutexGuard<'static, ()> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handle to a device. Clones are handles to the same; the last of them and of its queues stops and closes it, and detaches it if
/// [`probe`](Device::probe) attached it. A device has one owner: it cannot be found again meanwhile.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

/// Knows a device without keeping it open.
pub(crate) struct WeakDevice(Weak<Inner>);

impl WeakDevice {
    pub(crate) fn upgrade(&self) -> Option<Device> {
        self.0.upgrade().map(Device)
    }
}

struct Inner {
    port: u16,
    name: String,
    started: AtomicBool,
    interrupts: AtomicBool,
    /// Was attached by us, so that it is detached with us.
    attached: bool,
    /// Queues of a `net_ring`, which keeps what was sent to it; 0 for any other.
    rings: AtomicU16,
    eal: Eal,
    /// Its receive queues allocate from it as long as they live.
    pool: std::sync::OnceLock<Mempool>,
}

impl Device {
    /// Attaches a device by its devargs: `net_tap0,iface=x`, `0000:03:00.0`, …
    pub fn probe(eal: &Eal, devargs: &str) -> Result<Self, Error> {
        const ACTION: &str = "probe";
        let c_devargs = CString::new(devargs).map_err(|_| Error::new(ACTION, devargs, libc::EINVAL))?;
        let _control = control();
        // SAFETY: the string outlives the call and is copied.
        let code = unsafe { sys::rte_dev_probe(c_devargs.as_ptr()) };
        let attached = match code {
            0 => true,
            // One that was probed at start is there already.
            code if code == -libc::EEXIST => false,
            // No bus knows the name.
            code if code == -libc::EFAULT => {
                let subject = format!("{devargs}: no driver of that name");
                return Err(Error::new(ACTION, subject, libc::ENODEV));
            }
            code => return Err(Error::from_code(ACTION, devargs, code)),
        };
        Self::own(eal, &device_name(devargs), attached)
    }

    /// Finds a device that has been attached and that nobody has, by name.
    pub fn find(eal: &Eal, name: &str) -> Result<Self, Error> {
        let _control = control();
        Self::own(eal, name, false)
    }

    fn own(eal: &Eal, name: &str, attached: bool) -> Result<Self, Error> {
        const ACTION: &str = "find device";
        let c_name = CString::new(name).map_err(|_| Error::new(ACTION, name, libc::EINVAL))?;
        let mut port = 0;
        // SAFETY: name and place outlive the call.
        let code = unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut port) };
        if code != 0 {
            return Err(Error::from_code(ACTION, name, code));
        }
        let mut owner = sys::rte_eth_dev_owner::default();
        for (place, byte) in owner.name.iter_mut().zip(b"lnic") {
            *place = c_char::from_ne_bytes([*byte]);
        }
        // SAFETY: both places outlive the calls; the name is terminated.
        let code = unsafe {
            match sys::rte_eth_dev_owner_new(&raw mut owner.id) {
                0 => sys::rte_eth_dev_owner_set(port, &raw const owner),
                code => code,
            }
        };
        match code {
            0 => {}
            // Two handles would close it twice, and each hand out its queues.
            code if code == -libc::EPERM => return Err(Error::new("open", name, libc::EBUSY)),
            code => return Err(Error::from_code("open", name, code)),
        }
        Ok(Self(Arc::new(Inner {
            port,
            name: name.to_owned(),
            started: AtomicBool::new(false),
            interrupts: AtomicBool::new(false),
            attached,
            rings: AtomicU16::new(0),
            eal: eal.clone(),
            pool: std::sync::OnceLock::new(),
        })))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// DPDK's number for it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// What it is and can do.
    pub fn info(&self) -> Result<Info, Error> {
        let raw = self.raw_info()?;
        let driver = if raw.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: a driver's name is a static string.
            unsafe { CStr::from_ptr(raw.driver_name) }.to_string_lossy().into_owned()
        };
        let has = |offered: u64, wanted: u64| offered & wanted == wanted;
        // SAFETY: the port is attached.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.0.port) };
        Ok(Info {
            driver,
            rx_queues: raw.max_rx_queues,
            tx_queues: raw.max_tx_queues,
            rx_checksum: has(raw.rx_offload_capa, RX_CHECKSUM),
            tx_checksum: has(raw.tx_offload_capa, TX_CHECKSUM),
            tx_segments: has(raw.tx_offload_capa, sys::LNIC_TX_OFFLOAD_MULTI_SEGS),
            interface: (raw.if_index != 0).then_some(raw.if_index),
            numa_node: u32::try_from(node).ok(),
            rss: raw.flow_type_rss_offloads & (sys::LNIC_RSS_IP | sys::LNIC_RSS_UDP | sys::LNIC_RSS_TCP),
        })
    }

    pub(crate) fn downgrade(&self) -> WeakDevice {
        WeakDevice(Arc::downgrade(&self.0))
    }

    /// The bus's side of it, by which memory is mapped for it.
    pub(crate) fn bus_device(&self) -> Result<*mut sys::rte_device, Error> {
        Ok(self.raw_info()?.device)
    }

    fn raw_info(&self) -> Result<sys::rte_eth_dev_info, Error> {
        let mut raw = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
        // SAFETY: the place is large enough; zero is valid for every field.
        let code = unsafe { sys::rte_eth_dev_info_get(self.0.port, raw.as_mut_ptr()) };
        self.check("read info of", code)?;
        // SAFETY: zeroed, then filled.
        Ok(unsafe { raw.assume_init() })
    }

    /// Configures and starts it; its buffers come from `pool`. A device is started once.
    pub fn start(&self, config: &Config, pool: &Mempool) -> Result<Vec<(RxQueue, TxQueue)>, Error> {
        if self.0.started.swap(true, Ordering::SeqCst) {
            return Err(Error::new("start", self.name(), libc::EALREADY));
        }
        let _control = control();
        let result = self.configure_and_start(config, pool);
        if result.is_err() {
            self.0.started.store(false, Ordering::SeqCst);
        }
        result
    }

    fn configure_and_start(&self, config: &Config, pool: &Mempool) -> Result<Vec<(RxQueue, TxQueue)>, Error> {
        let info = self.info()?;
        if let Some(mac) = config.mac {
            let address = sys::rte_ether_addr { addr_bytes: mac };
            // SAFETY: the port is attached, the address outlives the call.
            let code = unsafe {
                sys::rte_eth_dev_default_mac_addr_set(self.0.port, (&raw const address).cast_mut())
            };
            self.check("set MAC of", code)?;
        }
        // Some devices refuse receive interrupts when they are configured, some only when they start.
        let with = config.rx_interrupts && self.try_start(config, &info, pool, true).is_ok();
        if !with {
            self.try_start(config, &info, pool, false)?;
        }
        self.0.interrupts.store(with, Ordering::SeqCst);
        if info.driver == "net_ring" {
            self.0.rings.store(config.queues, Ordering::SeqCst);
        }
        let port = self.0.port;
        // Neighbour solicitations go to a multicast MAC. Devices without filters answer ENOTSUP and pass everything.
        // SAFETY: the port is started.
        let code = unsafe { sys::rte_eth_allmulticast_enable(port) };
        self.check_optional("pass multicast to", code)?;
        if config.promiscuous {
            // SAFETY: the port is started.
            let code = unsafe { sys::rte_eth_promiscuous_enable(port) };
            self.check_optional("set promiscuous", code)?;
        }
        Ok((0..config.queues).map(|queue| queue::pair(self, queue)).collect())
    }

    fn try_start(&self, config: &Config, info: &Info, pool: &Mempool, interrupts: bool) -> Result<(), Error> {
        self.configure(config, info, interrupts)?;
        self.set_mtu(config.mtu, info)?;
        self.set_up_queues(config, info, pool)?;
        // SAFETY: the port is configured and its queues are set up.
        self.check("start", unsafe { sys::rte_eth_dev_start(self.0.port) })
    }

    fn configure(&self, config: &Config, info: &Info, interrupts: bool) -> Result<(), Error> {
        let mut raw = sys::rte_eth_conf::default();
        raw.rxmode.mtu =
            if is_packet_socket(info) { config.mtu.min(ETHERNET_MTU) } else { config.mtu }.into();
        raw.intr_conf.set_rxq(interrupts.into());
        if config.rx_checksum && info.rx_checksum {
            raw.rxmode.offloads |= RX_CHECKSUM;
        }
        if info.tx_checksum {
            raw.txmode.offloads |= TX_CHECKSUM;
        }
        if config.tx_segments && info.tx_segments {
            raw.txmode.offloads |= sys::LNIC_TX_OFFLOAD_MULTI_SEGS;
        }
        if config.queues > 1 && info.rss != 0 {
            raw.rxmode.mq_mode = sys::rte_eth_rx_mq_mode::RTE_ETH_MQ_RX_RSS;
            raw.rx_adv_conf.rss_conf.rss_hf = info.rss;
        }
        let queues = config.queues;
        // SAFETY: the configuration outlives the call.
        let code = unsafe { sys::rte_eth_dev_configure(self.0.port, queues, queues, &raw const raw) };
        self.check("configure", code)
    }

    /// Sets the MTU. Configuring has only written it down: `net_tap` and `net_af_packet` now give it to the kernel's interface too.
    fn set_mtu(&self, mtu: u16, info: &Info) -> Result<(), Error> {
        const ACTION: &str = "set MTU of";
        if is_packet_socket(info) && mtu > ETHERNET_MTU {
            // The driver refuses, but receives what its sockets' frames (framesz=) and the interface let through.
            let interface = info.interface.and_then(interface_mtu);
            if interface.is_some_and(|has| has >= mtu.into()) {
                return Ok(());
            }
            let has = interface.map_or("an unknown one".to_owned(), |has| has.to_string());
            let subject = format!("{}: {mtu} is wanted, the interface has {has}", self.name());
            return Err(Error::new(ACTION, subject, libc::EMSGSIZE));
        }
        // SAFETY: the port is configured.
        let code = unsafe { sys::rte_eth_dev_set_mtu(self.0.port, mtu) };
        // Devices without a limit of their own (net_ring, net_vhost, net_memif).
        if code == -libc::ENOTSUP && mtu <= ETHERNET_MTU {
            return Ok(());
        }
        self.check(ACTION, code)
    }

    fn set_up_queues(&self, config: &Config, info: &Info, pool: &Mempool) -> Result<(), Error> {
        let port = self.0.port;
        let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: the port is configured, both places outlive the call.
        let code = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(port, &raw mut rx, &raw mut tx) };
        self.check("adjust descriptors of", code)?;
        // The receive queues hold the pool's pointer until the device is closed.
        let _ = self.0.pool.set(pool.clone());
        let node = info.numa_node.unwrap_or(0);
        for queue in 0..config.queues {
            // SAFETY: the port is configured with this queue; the pool lives as long as the device; null is the default
            // configuration.
            let code = unsafe {
                sys::rte_eth_rx_queue_setup(port, queue, rx, node, std::ptr::null(), pool.as_ptr())
            };
            self.check("set up receive queue of", code)?;
            // SAFETY: as above.
            let code = unsafe { sys::rte_eth_tx_queue_setup(port, queue, tx, node, std::ptr::null()) };
            self.check("set up transmit queue of", code)?;
        }
        Ok(())
    }

    /// Its MAC address.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut address = sys::rte_ether_addr::default();
        // SAFETY: the place outlives the call.
        let code = unsafe { sys::rte_eth_macaddr_get(self.0.port, &raw mut address) };
        self.check("read MAC of", code)?;
        Ok(address.addr_bytes)
    }

    /// Its MTU in bytes.
    pub fn mtu(&self) -> Result<u16, Error> {
        let mut mtu = 0;
        // SAFETY: the place outlives the call.
        let code = unsafe { sys::rte_eth_dev_get_mtu(self.0.port, &raw mut mtu) };
        self.check("read MTU of", code)?;
        Ok(mtu)
    }

    fn check(&self, action: &'static str, code: i32) -> Result<(), Error> {
        if code == 0 { Ok(()) } else { Err(Error::from_code(action, self.name(), code)) }
    }

    fn check_optional(&self, action: &'static str, code: i32) -> Result<(), Error> {
        if code == -libc::ENOTSUP { Ok(()) } else { self.check(action, code) }
    }
}

const RX_CHECKSUM: u64 =
    sys::LNIC_RX_OFFLOAD_IPV4_CKSUM | sys::LNIC_RX_OFFLOAD_UDP_CKSUM | sys::LNIC_RX_OFFLOAD_TCP_CKSUM;
const TX_CHECKSUM: u64 = sys::LNIC_TX_OFFLOAD_IPV4_CKSUM | sys::LNIC_TX_OFFLOAD_UDP_CKSUM;

impl Drop for Inner {
    fn drop(&mut self) {
        let _control = control();
        self.drop_frames();
        let mut info = MaybeUninit::<sys::rte_eth_dev_info>::zeroed();
        // SAFETY: no handle and no queue is left, so nobody is polling. The device is asked for before the port is closed, which makes
        // the port forget it; closing does not free it, detaching does.
        unsafe {
            let known = sys::rte_eth_dev_info_get(self.port, info.as_mut_ptr()) == 0;
            if *self.started.get_mut() {
                sys::rte_eth_dev_stop(self.port);
            }
            sys::rte_eth_dev_close(self.port);
            if self.attached && known {
                sys::rte_dev_remove((*info.as_ptr()).device);
            }
        }
        // Last: this may have been the last handle.
        let _ = &self.eal;
    }
}

impl Inner {
    /// Frees the frames that rings hold: closing them would not.
    fn drop_frames(&self) {
        let mut first = MaybeUninit::<*mut sys::rte_mbuf>::uninit();
        for queue in 0..self.rings.load(Ordering::SeqCst) {
            // SAFETY: the queue is started and nobody else is polling; there is room for one pointer.
            while unsafe { sys::rte_eth_rx_burst(self.port, queue, first.as_mut_ptr(), 1) } == 1 {
                // SAFETY: written by the driver, and owned by nobody else.
                drop(unsafe { crate::mbuf::Mbuf::from_raw(first.assume_init()) });
            }
        }
    }
}

/// Largest IP packet of standard Ethernet.
const ETHERNET_MTU: u16 = 1500;

/// True for the drivers that leave the MTU to the kernel's interface, above Ethernet's.
fn is_packet_socket(info: &Info) -> bool {
    info.driver == "net_af_packet"
}

/// MTU of a kernel's interface.
fn interface_mtu(index: u32) -> Option<u32> {
    let mut name: [c_char; libc::IF_NAMESIZE] = [0; _];
    // SAFETY: the place has the length that the call writes at most.
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr()) }.is_null() {
        return None;
    }
    // SAFETY: terminated by the call.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_str().ok()?;
    std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok()
}

/// Name of the port that devargs make: PCI addresses get their domain and lose their bus.
fn device_name(devargs: &str) -> String {
    let device = devargs.split(',').next().unwrap_or_default();
    let address = device.strip_prefix("pci:").unwrap_or(device);
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match address.split_once(':') {
        Some((bus, function)) if bus.len() == 2 && hexadecimal(bus) && function.contains('.') => {
            format!("0000:{address}").to_ascii_lowercase()
        }
        Some(_) if address.contains('.') => address.to_ascii_lowercase(),
        _ => device.to_owned(),
    }
}

/// Names of the attached devices.
#[must_use]
pub fn names(_eal: &Eal) -> Vec<String> {
    let mut names = Vec::new();
    let mut port = 0;
    loop {
        // SAFETY: walks the table of ports.
        let next = unsafe { sys::rte_eth_find_next(port) };
        if u32::from(next) >= sys::RTE_MAX_ETHPORTS {
            return names;
        }
        let mut name: [c_char; sys::RTE_ETH_NAME_MAX_LEN as usize] = [0; _];
        // SAFETY: the place has the length that DPDK writes at most, zero included.
        if unsafe { sys::rte_eth_dev_get_name_by_port(next, name.as_mut_ptr()) } == 0 {
            // SAFETY: terminated by DPDK.
            names.push(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned());
        }
        port = next + 1;
    }
}
