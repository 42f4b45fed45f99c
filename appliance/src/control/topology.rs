//! The validated configuration: lcores, memory, ports, lambdas and rules as plain values. Whoever holds a [`Topology`] need not
//! check anything again.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::control::config::{self, Error, Kind, Machine, Problem, Problems, raw};
use crate::ids::{Generation, LambdaRef, LambdaSlot, LcoreId, PortId, QueueId};
use crate::matcher::{Prefix, Rule};
use crate::port::fault::Faults;

mod addresses;
mod control;
mod devargs;
mod dispatchers;
mod islands;
mod lambdas;
mod lcores;
mod manifest;
mod memory;
mod ports;
mod rules;
mod scheduling;
mod services;
mod system;
mod tenants;

#[cfg(test)]
mod tests;

pub use control::{Control, Etcd, Gateway, Listen};
pub use devargs::{Devargs, DeviceKind};
pub use dispatchers::DispatcherSpec;
pub use islands::{IslandSpec, NpuSpec};
pub use lambdas::{HttpMode, LambdaSpec};
pub use lcores::{Lcore, Lcores};
pub use lnic_compiler::placement::{Concurrency, LayoutWish};
pub(crate) use manifest::{Surroundings, judge as judge_manifest};
pub use memory::{HugepageMode, Memory, NoHugepages, Pages, SMALL_PAGE_BYTES, Tiers};
pub use scheduling::{Budget, Quarantine, Scheduling, SchedulingMode};
pub use services::{ServiceLimits, ServiceSpec, framing_name};
pub use tenants::TenantSpec;

/// Where a configuration that names none has its control socket.
pub const DEFAULT_SOCKET: &str = "/run/lnic/lnic.sock";

/// Everything that an appliance is started from.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Name of the appliance.
    pub name: String,
    /// Unix socket of the control plane.
    pub socket: PathBuf,
    /// Memory of the data path.
    pub memory: Memory,
    /// Further arguments for DPDK's EAL, as they are.
    pub eal_extra_args: Vec<String>,
    /// CPUs and their lcores.
    pub lcores: Lcores,
    /// What a worker does that has nothing to do.
    pub idle: Idle,
    /// UDP port of λ-RPC on the ports' own addresses.
    pub rpc_port: u16,
    /// Bounds of messages, for each lcore that polls.
    pub messages: MessageLimits,
    /// How requests get to lambdas.
    pub scheduling: Scheduling,
    /// When a lambda that fails is taken out of service.
    pub quarantine: Quarantine,
    /// Budgets of lambdas.
    pub budget: Budget,
    /// The control plane.
    pub control: Control,
    /// Lambdas over HTTP.
    pub gateway: Gateway,
    /// What lambdas may ask outside.
    pub services: ServiceLimits,
    /// Islands; [`IslandId`](crate::ids::IslandId)s are places in this list.
    pub islands: Vec<IslandSpec>,
    /// NPUs; [`NpuId`](crate::ids::NpuId)s are places in this list.
    pub npus: Vec<NpuSpec>,
    /// Dispatchers; none in run-to-completion.
    pub dispatchers: Vec<DispatcherSpec>,
    /// Whose lambdas share a quota of memory; one is named "default".
    pub tenants: Vec<TenantSpec>,
    /// Ports; [`PortId`]s are places in this list.
    pub ports: Vec<PortSpec>,
    /// Lambdas; [`LambdaSlot`]s are places in this list.
    pub lambdas: Vec<LambdaSpec>,
    /// Rules that the configuration writes out, each with its lambda's slot and the first generation.
    pub rules: Vec<Rule>,
}

/// What a worker does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Empty polls before it sleeps.
    pub spin_polls: u32,
    /// Empty polls between two offers of the CPU to others; 0 is never.
    pub yield_polls: u32,
    /// How it sleeps.
    pub sleep: Sleep,
    /// Length of a sleep by timer.
    pub timer_us: u32,
    /// Longest sleep on a descriptor.
    pub max_sleep_ms: u32,
}

impl Default for Idle {
    fn default() -> Self {
        Self { spin_polls: 2_000, yield_polls: 32, sleep: Sleep::Auto, timer_us: 50, max_sleep_ms: 100 }
    }
}

/// How an idle worker sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// On the ports' descriptors if all of them have one, else by timer.
    Auto,
    /// On the ports' descriptors; a port without one is an error at start.
    Descriptor,
    /// By timer.
    Timer,
    /// It polls for ever.
    Never,
}

/// Bounds of messages of λ-RPC, for each lcore that polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Messages of several frames, requests and replies, at a time.
    pub exchanges: u32,
    /// Sessions whose at-most-once requests are remembered.
    pub sessions: u32,
    /// Bytes of their replies.
    pub reply_cache_bytes: u32,
    /// Parts of messages without a CRC are dropped.
    pub require_crc: bool,
    /// DMA engines that place payloads, as DPDK names them: one for each lcore that polls, as far as they go.
    pub copy_engines: Vec<String>,
    /// What is shorter, the lcore copies itself.
    pub copy_engine_bytes: u32,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self {
            exchanges: 256,
            sessions: 4096,
            reply_cache_bytes: 4 << 20,
            require_crc: true,
            copy_engines: Vec::new(),
            copy_engine_bytes: 512,
        }
    }
}

/// One port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortSpec {
    /// Its place in the configuration.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// What drives it.
    pub driver: Driver,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The network that its IPv4 address is in, if it is known.
    pub ipv4_network: Option<Prefix>,
    /// The network that its IPv6 address is in, if it is known.
    pub ipv6_network: Option<Prefix>,
    /// Who passes IPv4 packets on to other networks.
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// Who passes IPv6 packets on to other networks.
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// The MAC address that it shall have; else the device's own.
    pub mac: Option<[u8; 6]>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Queue pairs.
    pub queues: Queues,
    /// Takes frames for any MAC.
    pub promiscuous: bool,
    /// Accepts checksums that hold only the pseudo-header's sum.
    pub partial_checksums: bool,
    /// Port that gets unmatched frames; its own frames leave through this one.
    pub host: Option<PortId>,
    /// Times that a full transmit queue is tried again before frames are dropped.
    pub tx_retries: u16,
    /// Faults to inject, for tests.
    pub fault: Option<Faults>,
    /// Everything that passes is recorded here.
    pub capture: Option<PathBuf>,
}

/// What drives a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A device of DPDK's.
    Dpdk(Devargs),
    /// Files: replays one, records into the other. At least one is set.
    Pcap {
        /// Replayed.
        read: Option<PathBuf>,
        /// Recorded into.
        write: Option<PathBuf>,
    },
    /// The control plane, in this process.
    Internal,
}

/// Queue pairs of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// One for each lcore that polls, as far as the device has them.
    PerPoller,
    /// This many, at most one for each lcore that polls.
    Count(u16),
}

/// A name of the author's choice, as of a variable or a service.
pub(super) fn is_variable(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

impl Topology {
    /// Reads and judges a configuration on this machine. Anything wrong, and anything that it names and the machine lacks, is
    /// an error.
    pub fn load(path: &Path, machine: &Machine) -> Result<Self, Error> {
        let (topology, absent) = Self::examine(path, machine)?;
        if absent.is_empty() {
            Ok(topology)
        } else {
            Err(Error::Invalid { path: path.into(), problems: absent })
        }
    }

    /// Like [`load`](Self::load), but what the machine lacks is returned beside the topology.
    pub fn examine(path: &Path, machine: &Machine) -> Result<(Self, Vec<Problem>), Error> {
        let text = config::read(path)?;
        Self::from_text(&text, path, machine)
    }

    /// Judges the text of a configuration; relative paths start at the folder of `path`.
    pub fn from_text(text: &str, path: &Path, machine: &Machine) -> Result<(Self, Vec<Problem>), Error> {
        let mut problems = Problems::new(text);
        let raw: raw::Configuration = config::parse(text, &mut problems);
        let folder = path.parent().unwrap_or(Path::new(""));
        let topology = system::topology(&raw, folder, machine, &mut problems);
        let problems = problems.into_sorted();
        if problems.iter().any(|problem| problem.kind == Kind::Wrong) {
            return Err(Error::Invalid { path: path.into(), problems });
        }
        Ok((topology, problems))
    }

    /// All rules for [`Table::build`](crate::matcher::Table::build): first λ-RPC ID → lambda for every lambda that has it, at
    /// priority 0, then the written ones; so a written rule needs priority 1 to take a lambda's messages away. `references`
    /// are the deployed lambdas by slot; rules of a slot that is not among them are left out.
    #[must_use]
    pub fn match_rules(&self, references: &[LambdaRef]) -> Vec<Rule> {
        let by_id = self.lambdas.iter().zip(references).filter(|(lambda, _)| lambda.rpc);
        let by_id = by_id
            .map(|(lambda, &reference)| Rule { egress: lambda.egress, ..Rule::rpc(lambda.id, reference) });
        let written = self.rules.iter().filter_map(|rule| {
            let lambda = *references.get(rule.lambda.slot.index())?;
            Some(Rule { lambda, ..rule.clone() })
        });
        by_id.chain(written).collect()
    }

    /// The lambdas as they are first deployed, by slot.
    #[must_use]
    pub fn references(&self) -> Vec<LambdaRef> {
        let slots = (0..).take(self.lambdas.len()).map(LambdaSlot::new);
        slots.map(|slot| LambdaRef { slot, generation: Generation::default() }).collect()
    }

    /// The internal port of the gateway, if there is one.
    #[must_use]
    pub fn gateway_port(&self) -> Option<&PortSpec> {
        self.ports.iter().find(|port| port.driver == Driver::Internal)
    }

    /// True if a port's device is on a bus that DPDK has to scan.
    #[must_use]
    pub fn has_pci(&self) -> bool {
        let on_a_bus = |kind: &DeviceKind| matches!(kind, DeviceKind::Pci { .. } | DeviceKind::OtherBus);
        let engines = self.messages.copy_engines.iter();
        // Engines without a bus are devices of software, and named after their driver.
        engines.clone().any(|engine| engine.starts_with(|first: char| first.is_ascii_digit()))
            || self
                .ports
                .iter()
                .any(|port| matches!(&port.driver, Driver::Dpdk(devargs) if on_a_bus(devargs.kind())))
    }

    /// Queue pairs to ask a port's device for. The device may have fewer where it does not say so in its arguments.
    #[must_use]
    pub fn wanted_queues(&self, port: &PortSpec) -> u16 {
        let own = self.own_queues(port);
        // A wire port and its host port have as many as each other: a frame changes sides on the lcore that polled it.
        let host = port.host.and_then(|host| self.ports.get(host.index()));
        let other = host.or_else(|| self.wire_of(port));
        other.map_or(own, |other| own.min(self.own_queues(other)))
    }

    fn own_queues(&self, port: &PortSpec) -> u16 {
        let limit = match &port.driver {
            Driver::Dpdk(devargs) => devargs.queue_limit().unwrap_or(u16::MAX),
            Driver::Pcap { .. } => 1,
            Driver::Internal => u16::MAX,
        };
        match port.queues {
            Queues::Count(count) => count,
            Queues::PerPoller => limit.min(self.pollers().len() as u16),
        }
    }

    /// The wire port that a host port serves.
    #[must_use]
    pub fn wire_of(&self, host: &PortSpec) -> Option<&PortSpec> {
        self.ports.iter().find(|port| port.host == Some(host.id))
    }

    /// The lcores that poll ports: dispatchers, or in run-to-completion all workers.
    #[must_use]
    pub fn pollers(&self) -> Vec<LcoreId> {
        match self.scheduling.mode {
            SchedulingMode::RunToCompletion => self.lcores.workers.iter().map(|worker| worker.id).collect(),
            SchedulingMode::Dispatcher => {
                self.dispatchers.iter().map(|dispatcher| dispatcher.lcore).collect()
            }
        }
    }

    /// Which queues each of the [`pollers`](Self::pollers) polls, given how many each port has: queue n belongs to poller n, so
    /// that the first has a queue on every port.
    #[must_use]
    pub fn polling(&self, queues: &[u16]) -> Vec<Vec<(PortId, QueueId)>> {
        let pollers = self.pollers().len();
        let mut plan = vec![Vec::new(); pollers];
        for (port, &count) in self.ports.iter().zip(queues) {
            for queue in 0..count {
                plan[usize::from(queue) % pollers].push((port.id, QueueId::new(queue)));
            }
        }
        plan
    }
}
