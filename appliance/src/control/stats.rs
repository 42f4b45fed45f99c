//! Statistics: summed from the lcores' counters when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lnic_registry::LambdaKey;
use serde::{Deserialize, Serialize};

use super::compile::CompileStatistics;
use super::inspect::{BeforeAfter, DeployedInspection, Inspection};
use crate::lambda::HostSide;
use crate::memory::Regions;
use crate::observe::DropReason;
use crate::observe::counters::{Counter, LcoreCounters};

mod deployment;
mod deployments;
mod memory;
mod print;
mod services;

pub use deployment::{DeploymentStats, RuleStats};
pub use deployments::{Deployments, LambdaSource};
pub use memory::RegionStats;
pub use services::{NeighbourStats, ServiceStats};

/// Everything that `lnic stats` shows. Counts are since start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Snapshot {
    /// Name from the configuration.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: f64,
    /// How requests get to lambdas: `run-to-completion` or `dispatcher`.
    pub scheduling: String,
    /// Cycles of a microsecond, to turn NPU time into cycles.
    pub cycles_per_us: u64,
    /// How frames ended: `received + made = sent + to_host + dropped + placed` once traffic rests.
    pub frames: Frames,
    /// Dropped frames by reason; reasons that never happened are left out.
    pub drops: BTreeMap<String, u64>,
    /// Ports, in configuration order.
    pub ports: Vec<PortStats>,
    /// Polling lcores.
    pub lcores: Vec<LcoreStats>,
    /// Deployed lambdas, in the order in which they were first deployed.
    pub lambdas: Vec<LambdaStats>,
    /// Generations of lambdas that were deployed.
    pub deployments: u64,
    /// Frame pools.
    pub pools: Vec<PoolStats>,
    /// Memory of lambdas by region, nearest tier first; regions that nobody uses are left out.
    pub regions: Vec<RegionStats>,
    /// Next hops of services that lambdas may ask.
    #[serde(default)]
    pub neighbours: Vec<NeighbourStats>,
    /// Lines that lambdas logged and nobody saw.
    pub log: LogStats,
    /// What compiling modules came to.
    #[serde(default)]
    pub compiler: CompileStatistics,
    /// What was derived from lambdas and rules together.
    pub deployment: DeploymentStats,
}

/// Lines that lambdas logged and nobody saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogStats {
    /// Over a lambda's rate.
    pub limited: u64,
    /// For want of room.
    pub lost: u64,
}

/// How frames ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Frames {
    /// Polled from ports.
    pub received: u64,
    /// Taken by ports.
    pub sent: u64,
    /// Taken by host ports.
    pub to_host: u64,
    /// Dropped, for all reasons.
    pub dropped: u64,
    /// Of those sent: ARP, neighbour discovery and echo answered.
    pub answered: u64,
    /// Of those sent: λ-RPC PINGs answered.
    pub pongs: u64,
    /// λ-RPC requests for a lambda that is not deployed.
    pub unknown_lambda: u64,
    /// Frames that became part of a message, or were a word about one.
    pub placed: u64,
    /// Of those placed: by a DMA engine.
    pub placed_by_engine: u64,
    /// Frames that the appliance made: fragments of replies, and words about messages.
    pub made: u64,
    /// Messages that ran: of several frames, at most once, or for a lambda with slots.
    pub messages: u64,
    /// Replies that left in several fragments.
    pub long_replies: u64,
    /// Fragments of replies that left without a copy.
    pub sent_in_place: u64,
    /// Requests answered by a challenge, because the reply was too long for a source without a cookie.
    pub challenged: u64,
    /// Frames that waited for a lambda to wake up.
    pub parked: u64,
}

/// A port as its driver counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PortStats {
    /// Name from the configuration.
    pub name: String,
    /// Driver that runs it.
    pub driver: String,
    /// MAC address.
    pub mac: String,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the device had no room for.
    pub rx_missed: u64,
    /// Frames received in error.
    pub rx_errors: u64,
    /// Frames for which no buffer was free.
    pub rx_no_buffer: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames not sent for an error.
    pub tx_errors: u64,
    /// Its link is up, or its driver cannot tell.
    #[serde(default)]
    pub link_up: bool,
}

/// An lcore that polls or runs lambdas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LcoreStats {
    /// DPDK's number.
    pub lcore: u32,
    /// CPU that it runs on.
    pub cpu: u32,
    /// What it is: dispatcher, poller, NPU.
    pub roles: String,
    /// Breaths that found frames.
    pub busy_breaths: u64,
    /// Breaths that found none.
    pub idle_breaths: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Sleeps that a descriptor or a doorbell ended.
    pub wakes: u64,
    /// NPU time spent on lambdas, in ns.
    pub npu_ns: u64,
    /// Requests handed to other lcores.
    pub handed_over: u64,
    /// Requests taken from other lcores.
    pub taken_over: u64,
    /// Doorbells rung for lcores that slept.
    pub doorbells: u64,
    /// Times that a request waited for a call's answer.
    pub suspended: u64,
    /// Requests to services outside that it sent.
    #[serde(default)]
    pub requests: u64,
    /// Replies of services that were whole.
    #[serde(default)]
    pub replies: u64,
    /// Requests that got no reply in time.
    #[serde(default)]
    pub requests_timed_out: u64,
    /// Requests that were not sent, because the next hop did not answer.
    #[serde(default)]
    pub requests_unresolved: u64,
    /// Questions to neighbours: ARP requests and neighbour solicitations.
    #[serde(default)]
    pub neighbours_asked: u64,
    /// Commands of control's that it carried out: lambdas to take in or to give back, tables.
    pub commands: u64,
    /// Longest time that one of them took, in ns.
    pub longest_command_ns: u64,
}

/// A lambda, summed over NPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LambdaStats {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub namespace: String,
    /// Number of its generation.
    pub generation: u64,
    /// λ-RPC lambda ID.
    pub id: u32,
    /// `active`, `quarantined`, `lost` while it has no instance because its NPU died, or `asleep` until it is wanted.
    pub state: String,
    /// NPU time relative to others.
    pub weight: u32,
    /// Time that an invocation may take, in µs.
    pub budget_us: u32,
    /// `pinned`: on one NPU at a time; `replicated`: on all of its islands.
    pub concurrency: String,
    /// NPUs that may run it now: 0 while it sleeps.
    pub replicas: u32,
    /// Islands whose NPUs may run it.
    pub islands: Vec<String>,
    /// Services outside that it may ask, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStats>,
    /// Bytes of memory that it has, by tier; tiers that it has nothing of are left out.
    pub memory_bytes: BTreeMap<String, u64>,
    /// Times that it ran, over all generations.
    pub invocations: u64,
    /// Verdict FORWARD, and the frame was made.
    pub forwarded: u64,
    /// Verdict DROP.
    pub dropped: u64,
    /// Verdict `TO_HOST`.
    pub to_host: u64,
    /// Traps.
    pub traps: u64,
    /// Budgets used up.
    pub exhausted: u64,
    /// Verdicts that mean nothing, or headers that make no frame that may leave.
    pub bad_verdicts: u64,
    /// Fuel used.
    pub fuel: u64,
    /// Refused because too many waited or ran: BUSY.
    pub busy: u64,
    /// Refused because the caller's budget had passed: `DEADLINE_EXCEEDED`.
    pub late: u64,
    /// Refused because it was not active: UNAVAILABLE.
    pub unavailable: u64,
    /// Calls to other lambdas.
    pub calls: u64,
    /// Calls that got no answer in time.
    pub calls_timed_out: u64,
    /// NPU time used, in ns: exact in mode `dispatcher`, else by samples.
    pub npu_ns: u64,
    /// Requests to services outside: each ends as a reply, timed out, or failed.
    #[serde(default)]
    pub requests: u64,
    /// Those that got a reply.
    #[serde(default)]
    pub replies: u64,
    /// Those that got none in time.
    #[serde(default)]
    pub requests_timed_out: u64,
    /// Those that could not be sent, or whose reply could not be taken.
    #[serde(default)]
    pub requests_failed: u64,
    /// From a request's arrival until it runs.
    pub queueing: Times,
    /// NPU time of a request.
    pub service: Times,
}

/// Percentiles in ns, each at most 19 % too high; 0 if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Times {
    /// Median.
    pub p50_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
}

/// A pool of frame buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PoolStats {
    /// Its name.
    pub name: String,
    /// Buffers in all.
    pub frames: u64,
    /// Buffers in use, those that wait in receive queues included.
    pub in_use: u64,
}

/// One polling lcore's counters, and who it is.
#[derive(Clone)]
pub struct LcoreSource {
    /// DPDK's number.
    pub lcore: u32,
    /// CPU that it runs on.
    pub cpu: u32,
    /// What it is.
    pub roles: String,
    /// Its counters.
    pub counters: Arc<LcoreCounters>,
}

/// Where a snapshot comes from. Shared by those who ask; nobody waits for an lcore.
pub struct Sources {
    /// Name from the configuration.
    pub name: String,
    /// When the appliance started.
    pub started: Instant,
    /// How requests get to lambdas.
    pub scheduling: &'static str,
    /// Lcores that poll or run lambdas.
    pub lcores: Vec<LcoreSource>,
    /// Lambdas that are deployed.
    pub deployments: Arc<Deployments>,
    /// Reads a port's counters from its driver.
    pub ports: Vec<Box<dyn Fn() -> PortStats + Send + Sync>>,
    /// Reads a pool's use.
    pub pools: Vec<Box<dyn Fn() -> PoolStats + Send + Sync>>,
    /// Reads next hops.
    pub neighbours: Box<dyn Fn() -> Vec<NeighbourStats> + Send + Sync>,
    /// Memory of lambdas.
    pub regions: Regions,
    /// Names of islands.
    pub islands: Vec<String>,
    /// What lambdas log.
    pub host: HostSide,
}

impl Sources {
    /// What is known of a lambda; `None` if there is none of this name.
    #[must_use]
    pub fn inspect(&self, name: &str) -> Option<Inspection> {
        self.inspect_key(&self.deployments.key(name)?)
    }

    /// What is known of a lambda; `None` if there is no such lambda.
    #[must_use]
    pub fn inspect_key(&self, key: &LambdaKey) -> Option<Inspection> {
        let lambda = self.deployments.source(key)?;
        let derived = self.deployments.derived();
        let rules = &derived.rules;
        let copies = self.deployments.alike(&lambda.inspection);
        let deployed = DeployedInspection {
            name: key.name.clone(),
            parser_plan: derived.parser.clone(),
            rules: BeforeAfter { before: rules.rules_before as f64, after: rules.rules as f64 },
            copies: BeforeAfter { before: copies as f64, after: 1.0 },
        };
        Some(Inspection { deployed: Some(deployed), ..(*lambda.inspection).clone() })
    }

    /// Sums up.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let sum = |pick: fn(&LcoreCounters) -> &Counter| -> u64 {
            self.lcores.iter().map(|lcore| pick(&lcore.counters).get()).sum()
        };
        let drops: BTreeMap<String, u64> = DropReason::ALL
            .iter()
            .map(|&reason| {
                let frames = self.lcores.iter().map(|lcore| lcore.counters.dropped(reason)).sum();
                (reason.name().to_owned(), frames)
            })
            .filter(|&(_, frames)| frames > 0)
            .collect();
        Snapshot {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            scheduling: self.scheduling.to_owned(),
            cycles_per_us: dpdk_bindings::clock::cycles_per_second() / 1_000_000,
            frames: Frames {
                received: sum(|counters| &counters.received),
                sent: sum(|counters| &counters.sent),
                to_host: sum(|counters| &counters.to_host),
                dropped: drops.values().sum(),
                answered: sum(|counters| &counters.answered),
                pongs: sum(|counters| &counters.pongs),
                unknown_lambda: sum(|counters| &counters.unknown_lambda),
                placed: sum(|counters| &counters.placed),
                placed_by_engine: sum(|counters| &counters.placed_by_engine),
                made: sum(|counters| &counters.made),
                messages: sum(|counters| &counters.messages),
                long_replies: sum(|counters| &counters.long_replies),
                sent_in_place: sum(|counters| &counters.sent_in_place),
                challenged: sum(|counters| &counters.challenged),
                parked: sum(|counters| &counters.parked),
            },
            drops,
            ports: self.ports.iter().map(|read| read()).collect(),
            lcores: self.lcores.iter().map(LcoreSource::stats).collect(),
            lambdas: self.deployments.stats(),
            pools: self.pools.iter().map(|read| read()).collect(),
            regions: memory::stats(&self.regions, &self.islands),
            neighbours: (self.neighbours)(),
            log: LogStats { limited: self.host.lines_limited(), lost: self.host.lines_lost() },
            deployments: self.deployments.made(),
            compiler: CompileStatistics::default(),
            deployment: self.deployments.derived(),
        }
    }

    /// Lets a quarantined lambda run again. `None` if there is no such lambda, else whether it was quarantined.
    #[must_use]
    pub fn release(&self, name: &str) -> Option<bool> {
        self.deployments.release(&self.deployments.key(name)?)
    }
}

/// A MAC address for people.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl LcoreSource {
    fn stats(&self) -> LcoreStats {
        LcoreStats {
            lcore: self.lcore,
            cpu: self.cpu,
            roles: self.roles.clone(),
            busy_breaths: self.counters.busy_breaths.get(),
            idle_breaths: self.counters.idle_breaths.get(),
            sleeps: self.counters.sleeps.get(),
            wakes: self.counters.wakes.get(),
            npu_ns: self.counters.npu_ns.get(),
            handed_over: self.counters.handed_over.get(),
            taken_over: self.counters.taken_over.get(),
            doorbells: self.counters.doorbells.get(),
            suspended: self.counters.suspended.get(),
            requests: self.counters.requests.get(),
            replies: self.counters.replies.get(),
            requests_timed_out: self.counters.requests_timed_out.get(),
            requests_unresolved: self.counters.requests_unresolved.get(),
            neighbours_asked: self.counters.neighbours_asked.get(),
            commands: self.counters.commands.get(),
            longest_command_ns: self.counters.longest_command_ns.get(),
        }
    }
}
