//! Opens the ports of a topology.

use std::sync::Arc;

use dpdk_bindings::eal::Eal;
use dpdk_bindings::ethdev::Device;
use dpdk_bindings::mbuf::Mbuf;
use dpdk_bindings::mempool::Mempool;

use crate::control::gateway::{Network, Queue, Queues};
use crate::control::stats::{PortStats, mac_text};
use crate::control::topology::{Driver, PortSpec, Topology};
use crate::handoff::Doorbell;
use crate::ids::QueueId;
use crate::parser::{Interface, Ports};
use crate::path::Role;
use crate::port::Port;
use crate::port::dpdk::{self, PoolSource};
use crate::port::fault::Fault;
use crate::port::internal::{Dimensions, InternalPort, Peer, QueueCounters};
use crate::port::pcap::{self, PcapPort, Recorder};
use crate::port::trace::Trace;

/// MAC address of a replayed port that names none: locally administered.
const PCAP_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// Frames that wait for the lcore in each queue of the internal port; more wait in the gateway.
const TO_LCORE: u32 = 1023;
/// Frames that wait for the gateway: the windows of 63 replies of several frames. What is more is dropped.
const FROM_LCORE: u32 = 4095;

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
    /// What wakes the gateway.
    #[error("port \"{port}\": {source}")]
    Doorbell {
        /// Its name.
        port: String,
        /// What the system says.
        source: std::io::Error,
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
    internal: Option<Internal>,
}

/// What an internal port has besides.
struct Internal {
    /// Wakes the gateway.
    bell: Doorbell,
    /// The other side of each queue, until the gateway takes them.
    peers: Vec<Peer>,
    counters: Vec<Arc<QueueCounters>>,
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
        Driver::Internal => open_internal(eal, topology, spec, pool)?,
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

fn open_internal(
    eal: &Eal,
    topology: &Topology,
    spec: &PortSpec,
    pool: &Mempool,
) -> Result<OpenPort, PortError> {
    let doorbell = Doorbell::new();
    let bell = doorbell.map_err(|source| PortError::Doorbell { port: spec.name.clone(), source })?;
    let dimensions =
        Dimensions { to_lcore: TO_LCORE, from_lcore: FROM_LCORE, packet_bytes: pool.data_bytes() };
    let mut internal = Internal { bell, peers: Vec::new(), counters: Vec::new() };
    let mut queues = Vec::new();
    for queue in 0..topology.wanted_queues(spec) {
        let bell = internal.bell.clone();
        let wake = Box::new(move || {
            bell.ring_if_asleep();
        });
        let name = format!("{}-{queue}", spec.name);
        let (port, peer) = InternalPort::pair(eal, &name, dimensions, PoolSource(pool.clone()), wake)
            .map_err(|source| PortError::Dpdk { port: spec.name.clone(), source })?;
        internal.counters.push(port.counters());
        internal.peers.push(peer);
        queues.push(Some(Box::new(port) as AnyPort));
    }
    let mut open = closed(topology, spec, spec.mac.unwrap_or(PCAP_MAC), queues);
    open.driver = "internal".to_owned();
    open.internal = Some(internal);
    Ok(open)
}

/// The control side of the internal port, if there is one. `doorbells` are those of the lcores that poll, in order.
pub(super) fn gateway_queues(ports: &mut [OpenPort], doorbells: &[Doorbell]) -> Option<Queues> {
    let (interface, internal) =
        ports.iter_mut().find_map(|port| Some((port.interface, port.internal.as_mut()?)))?;
    let queues = std::mem::take(&mut internal.peers).into_iter().zip(doorbells);
    Some(Queues {
        network: Network::of(&interface)?,
        bell: internal.bell.clone(),
        queues: queues.map(|(peer, lcore)| Queue { peer, lcore: lcore.clone() }).collect(),
    })
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
            service_ports: service_ports(topology, spec),
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
        internal: None,
    }
}

/// UDP ports that replies of services come to; none where nobody asks.
fn service_ports(topology: &Topology, spec: &PortSpec) -> Ports {
    let is_asked_from = spec.driver != Driver::Internal && topology.wire_of(spec).is_none();
    if !is_asked_from || !topology.services.are_any() {
        return Ports::NONE;
    }
    let range = &topology.services.udp_ports;
    Ports::range(*range.start(), *range.end())
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
        let mac = mac_text(self.interface.mac);
        // Those whose drivers cannot tell count as up.
        let named =
            PortStats { name: self.name, driver: self.driver, mac, link_up: true, ..PortStats::default() };
        if let Some(internal) = self.internal {
            return Box::new(move || {
                let sum = |pick: &dyn Fn(&QueueCounters) -> u64| {
                    internal.counters.iter().map(|queue| pick(queue)).sum()
                };
                PortStats {
                    rx_packets: sum(&|queue| queue.rx_packets.get()),
                    rx_bytes: sum(&|queue| queue.rx_bytes.get()),
                    rx_no_buffer: sum(&|queue| queue.rx_no_buffer.get()),
                    tx_packets: sum(&|queue| queue.tx_packets.get()),
                    tx_bytes: sum(&|queue| queue.tx_bytes.get()),
                    tx_errors: sum(&|queue| queue.tx_errors.get()),
                    ..named.clone()
                }
            });
        }
        let device = self.device;
        Box::new(move || {
            let link = device.as_ref().and_then(|device| device.link().ok());
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
                link_up: link.is_none_or(|link| link.up),
                ..named.clone()
            }
        })
    }
}
