//! Ethernet devices: probe, configure, start; queues with one owner each.

mod descriptor;
mod queue;
mod stats;

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use descriptor::Descriptors;
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
    /// Kernel interface beneath it, if there is one.
    pub interface: Option<u32>,
    /// NUMA node, if it has one.
    pub numa_node: Option<u32>,
    fast_free: bool,
    rss: u64,
    rx_offloads: u64,
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
            rx_interrupts: false,
        }
    }
}

/// Handle to a device. Clones are handles to the same; the last of them and of its queues stops and closes it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    port: u16,
    name: String,
    started: AtomicBool,
    interrupts: AtomicBool,
    eal: Eal,
    /// Its receive queues allocate from it as long as they live.
    pool: std::sync::OnceLock<Mempool>,
}

impl Device {
    /// Attaches a device by its devargs: `net_tap0,iface=x`, `0000:03:00.0`, …
    pub fn probe(eal: &Eal, devargs: &str) -> Result<Self, Error> {
        const ACTION: &str = "probe";
        let c_devargs = CString::new(devargs).map_err(|_| Error::new(ACTION, devargs, libc::EINVAL))?;
        // SAFETY: the string outlives the call and is copied.
        let code = unsafe { sys::rte_dev_probe(c_devargs.as_ptr()) };
        // A device that was probed at start is there already.
        if code != 0 && code != -libc::EEXIST {
            return Err(Error::from_code(ACTION, devargs, code));
        }
        let name = devargs.split(',').next().unwrap_or_default();
        Self::find(eal, name)
    }

    /// Finds a device that has been attached, by name.
    pub fn find(eal: &Eal, name: &str) -> Result<Self, Error> {
        const ACTION: &str = "find device";
        let c_name = CString::new(name).map_err(|_| Error::new(ACTION, name, libc::EINVAL))?;
        let mut port = 0;
        // SAFETY: name and place outlive the call.
        let code = unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut port) };
        if code != 0 {
            return Err(Error::from_code(ACTION, name, code));
        }
        Ok(Self(Arc::new(Inner {
            port,
            name: name.to_owned(),
            started: AtomicBool::new(false),
            interrupts: AtomicBool::new(false),
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
            interface: (raw.if_index != 0).then_some(raw.if_index),
            numa_node: u32::try_from(node).ok(),
            fast_free: has(raw.tx_offload_capa, sys::LNIC_TX_OFFLOAD_MBUF_FAST_FREE),
            rss: raw.flow_type_rss_offloads & (sys::LNIC_RSS_IP | sys::LNIC_RSS_UDP | sys::LNIC_RSS_TCP),
            rx_offloads: raw.rx_offload_capa,
        })
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
        self.configure(config, &info)?;
        self.set_up_queues(config, &info, pool)?;
        let port = self.0.port;
        // SAFETY: the port is configured and its queues are set up.
        self.check("start", unsafe { sys::rte_eth_dev_start(port) })?;
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

    fn configure(&self, config: &Config, info: &Info) -> Result<(), Error> {
        let mut raw = sys::rte_eth_conf::default();
        raw.rxmode.mtu = config.mtu.into();
        if config.rx_checksum && info.rx_checksum {
            raw.rxmode.offloads |= RX_CHECKSUM;
        }
        if info.tx_checksum {
            raw.txmode.offloads |= TX_CHECKSUM;
        }
        if info.fast_free {
            raw.txmode.offloads |= sys::LNIC_TX_OFFLOAD_MBUF_FAST_FREE;
        }
        if config.queues > 1 && info.rss != 0 {
            raw.rxmode.mq_mode = sys::rte_eth_rx_mq_mode::RTE_ETH_MQ_RX_RSS;
            raw.rx_adv_conf.rss_conf.rss_hf = info.rss;
        }
        let (port, queues) = (self.0.port, config.queues);
        if config.rx_interrupts {
            raw.intr_conf.set_rxq(1);
            // SAFETY: the configuration outlives the call.
            let code = unsafe { sys::rte_eth_dev_configure(port, queues, queues, &raw const raw) };
            if code == 0 {
                self.0.interrupts.store(true, Ordering::SeqCst);
                return self.set_mtu(config.mtu);
            }
            // It has none.
            raw.intr_conf.set_rxq(0);
        }
        // SAFETY: the configuration outlives the call.
        let code = unsafe { sys::rte_eth_dev_configure(port, queues, queues, &raw const raw) };
        self.check("configure", code)?;
        self.set_mtu(config.mtu)
    }

    /// Sets the MTU. A device that cannot is left alone if it has it already, or if the wish is Ethernet's 1,500.
    fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        if self.mtu()? == mtu {
            return Ok(());
        }
        // SAFETY: the port is configured.
        let code = unsafe { sys::rte_eth_dev_set_mtu(self.0.port, mtu) };
        if code == -libc::ENOTSUP && mtu == 1500 {
            return Ok(());
        }
        self.check("set MTU of", code)
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
        // SAFETY: no handle and no queue is left, so nobody is polling.
        unsafe {
            if *self.started.get_mut() {
                sys::rte_eth_dev_stop(self.port);
            }
            sys::rte_eth_dev_close(self.port);
        }
        let _ = &self.eal;
    }
}

/// Names of the attached devices.
#[must_use]
pub fn names(_eal: &Eal) -> Vec<String> {
    let mut names = Vec::new();
    let mut port = 0;
    loop {
        // SAFETY: walks the table of ports; owner 0 is nobody's.
        let found = unsafe { sys::rte_eth_find_next_owned_by(port, 0) };
        let Ok(next) = u16::try_from(found) else { return names };
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
