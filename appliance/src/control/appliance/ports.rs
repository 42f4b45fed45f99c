//! Opens the ports of a topology.

use std::fmt::Write as _;

use dpdk_bindings::eal::Eal;
use dpdk_bindings::ethdev::Device;
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;

use crate::control::stats::PortStats;
use crate::control::topology::{Driver, PortSpec, Topology};
use crate::ids::QueueId;
use crate::parser::Interface;
use crate::path::Role;
use crate::port::Port;
use crate::port::dpdk::{self, PoolSource};
use crate::port::fault::Fault;
use crate::port::pcap::{self, PcapPort, Recorder};
use crate::port::trace::Trace;

/// MAC address of a replayed port that names none: locally administered.
const PCAP_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// A port that does not open.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// DPDK refuses.
    #[error(
        "port \"{port}\": {source} (the driver's own words: [eal] extra_args = [\"--log-level=pmd.net:debug\"])"
    )]
    Dpdk {
        /// Its name.
        port: String,
        /// What DPDK says.
        source: dpdk_bindings::Error,
    },
    /// A capture file.
    #[error("port \"{port}\": {source}")]
    Pcap {
        /// Its name.
        port: String,
        /// What is wrong with it.
        source: pcap::Error,
    },
    /// Fewer queues than were asked for.
    #[error("port \"{port}\": {wanted} queues, but the device has {has}")]
    Queues {
        /// Its name.
        port: String,
        /// What the configuration wants.
        wanted: u16,
        /// What there are.
        has: u16,
    },
    /// A host port with more queues than its wire port.
    #[error(
        "port \"{port}\": its device gave {queues} queues and that of its host port \"{host}\" {host_queues}: set queues = {queues} for both"
    )]
    HostQueues {
        /// The wire port's name.
        port: String,
        /// Its queues.
        queues: u16,
        /// The host port's name.
        host: String,
        /// Its queues.
        host_queues: u16,
    },
}

type AnyPort = Box<dyn Port<Mbuf> + Send>;

/// A port that is open; its queues wait for their lcores.
pub(super) struct OpenPort {
    pub(super) interface: Interface,
    pub(super) role: Role,
    pub(super) tx_checksum: bool,
    pub(super) tx_external: bool,
    name: String,
    driver: String,
    device: Option<Device>,
    queues: Vec<Option<AnyPort>>,
}

/// Opens every port.
pub(super) fn open_all(eal: &Eal, topology: &Topology, pool: &Mempool) -> Result<Vec<OpenPort>, PortError> {
    let mut ports: Vec<OpenPort> =
        topology.ports.iter().map(|spec| open(eal, topology, spec, pool)).collect::<Result<_, _>>()?;
    // A device may have fewer queues than its arguments let expect. A wire queue without its host queue can do without; a host
    // queue without its wire queue would take the host's frames and could send them nowhere.
    for spec in &topology.ports {
        if let Some(host) = spec.host
            && ports[host.index()].queues.len() > ports[spec.id.index()].queues.len()
        {
            return Err(PortError::HostQueues {
                port: spec.name.clone(),
                queues: ports[spec.id.index()].queue_count(),
                host: topology.ports[host.index()].name.clone(),
                host_queues: ports[host.index()].queue_count(),
            });
        }
    }
    for port in &mut ports {
        port.tx_checksum = port.queues.iter().flatten().all(|queue| queue.capabilities().tx_checksum);
        port.tx_external = port.queues.iter().flatten().all(|queue| queue.capabilities().tx_external);
    }
    Ok(ports)
}

fn open(eal: &Eal, topology: &Topology, spec: &PortSpec, pool: &Mempool) -> Result<OpenPort, PortError> {
    let mut open = match &spec.driver {
        Driver::Dpdk(devargs) => open_dpdk(eal, topology, spec, devargs.as_str(), pool)?,
        Driver::Pcap { read, write } => {
            let port = PcapPort::open(PoolSource(pool.clone()), read.as_deref(), write.as_deref())
                .map_err(|source| PortError::Pcap { port: spec.name.clone(), source })?;
            closed(topology, spec, spec.mac.unwrap_or(PCAP_MAC), vec![Some(Box::new(port))])
        }
    };
    for queue in &mut open.queues {
        let Some(port) = queue.take() else { continue };
        *queue = Some(wrap(spec, port, pool)?);
    }
    Ok(open)
}

fn open_dpdk(
    eal: &Eal,
    topology: &Topology,
    spec: &PortSpec,
    devargs: &str,
    pool: &Mempool,
) -> Result<OpenPort, PortError> {
    let wanted = topology.wanted_queues(spec);
    let options = dpdk::Options {
        queues: wanted,
        mtu: spec.mtu,
        mac: spec.mac,
        promiscuous: spec.promiscuous,
        // It costs some cards their simplest way to send: only for replies out of slots.
        tx_external: topology.lambdas.iter().any(|lambda| lambda.message_slots > 0),
        tx_retries: spec.tx_retries,
    };
    let opened = dpdk::open(eal, devargs, pool, &options)
        .map_err(|source| PortError::Dpdk { port: spec.name.clone(), source })?;
    let has = opened.queues.len() as u16;
    if let crate::control::topology::Queues::Count(wanted) = spec.queues
        && has < wanted
    {
        return Err(PortError::Queues { port: spec.name.clone(), wanted, has });
    }
    let queues = opened.queues.into_iter().map(|queue| Some(Box::new(queue) as AnyPort)).collect();
    let mut open = closed(topology, spec, opened.mac, queues);
    open.driver = opened.info.driver;
    open.device = Some(opened.device);
    Ok(open)
}

fn closed(topology: &Topology, spec: &PortSpec, mac: [u8; 6], queues: Vec<Option<AnyPort>>) -> OpenPort {
    // A port that is another's host side hands everything to that one.
    let wire = topology.wire_of(spec);
    OpenPort {
        interface: Interface {
            port: spec.id,
            mac,
            ipv4: spec.ipv4,
            ipv6: spec.ipv6,
            rpc_port: topology.rpc_port,
            // What the host sends is for others, and goes out whoever they are.
            promiscuous: spec.promiscuous || wire.is_some(),
            partial_checksums: spec.partial_checksums,
            mtu: spec.mtu,
        },
        role: wire.map_or(Role::Wire { host: spec.host }, |wire| Role::Host { wire: wire.id }),
        tx_checksum: false,
        tx_external: false,
        name: spec.name.clone(),
        driver: "pcap".to_owned(),
        device: None,
        queues,
    }
}

/// Adds what the configuration wants around a port: faults nearest to it, then the recorder, which so sees what the path sees.
fn wrap(spec: &PortSpec, mut port: AnyPort, pool: &Mempool) -> Result<AnyPort, PortError> {
    if let Some(faults) = spec.fault {
        port = Box::new(Fault::new(port, PoolSource(pool.clone()), faults));
    }
    if let Some(file) = &spec.capture {
        let recorder =
            Recorder::create(file).map_err(|source| PortError::Pcap { port: spec.name.clone(), source })?;
        port = Box::new(Trace::new(port, recorder));
    }
    Ok(port)
}

impl OpenPort {
    pub(super) fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    /// Hands a queue to its lcore.
    pub(super) fn take(&mut self, queue: QueueId) -> Option<AnyPort> {
        self.queues.get_mut(queue.index())?.take()
    }

    /// A reader of its counters; holds the device open.
    pub(super) fn into_stats(self) -> Box<dyn Fn() -> PortStats + Send + Sync> {
        let mac = self.interface.mac.iter().fold(String::new(), |mut text, byte| {
            let separator = if text.is_empty() { "" } else { ":" };
            let _ = write!(text, "{separator}{byte:02x}");
            text
        });
        let named = PortStats { name: self.name, driver: self.driver, mac, ..PortStats::default() };
        let device = self.device;
        Box::new(move || {
            let stats = device.as_ref().and_then(|device| device.stats().ok()).unwrap_or_default();
            PortStats {
                rx_packets: stats.rx_packets,
                rx_bytes: stats.rx_bytes,
                rx_missed: stats.rx_missed,
                rx_errors: stats.rx_errors,
                rx_no_buffer: stats.rx_no_buffer,
                tx_packets: stats.tx_packets,
                tx_bytes: stats.tx_bytes,
                tx_errors: stats.tx_errors,
                ..named.clone()
            }
        })
    }
}
