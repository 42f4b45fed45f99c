//! Statistics: summed from the lcores' counters when somebody asks.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::ids::{LambdaId, LambdaSlot};
use crate::observe::DropReason;
use crate::observe::counters::{Counter, LambdaCounters, LcoreCounters};

/// Everything that `lnic stats` shows. Counts are since start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Name from the configuration.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: f64,
    /// How frames ended: `received = sent + to_host + dropped` once traffic rests.
    pub frames: Frames,
    /// Dropped frames by reason; reasons that never happened are left out.
    pub drops: BTreeMap<String, u64>,
    /// Ports, in configuration order.
    pub ports: Vec<PortStats>,
    /// Polling lcores.
    pub lcores: Vec<LcoreStats>,
    /// Deployed lambdas.
    pub lambdas: Vec<LambdaStats>,
    /// Frame pools.
    pub pools: Vec<PoolStats>,
}

/// How frames ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// λ-RPC requests in several fragments, refused.
    pub multi_fragment: u64,
}

/// A port as its driver counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A polling lcore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LcoreStats {
    /// DPDK's number.
    pub lcore: u32,
    /// CPU that it runs on.
    pub cpu: u32,
    /// Breaths that found frames.
    pub busy_breaths: u64,
    /// Breaths that found none.
    pub idle_breaths: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Sleeps that a descriptor ended.
    pub wakes: u64,
}

/// A lambda, summed over NPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LambdaStats {
    /// Name from the configuration.
    pub name: String,
    /// λ-RPC lambda ID.
    pub id: u32,
    /// Times that it ran.
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
}

/// A pool of frame buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its counters.
    pub counters: Arc<LcoreCounters>,
}

/// Where a snapshot comes from. Shared by those who ask; nobody waits for an lcore.
pub struct Sources {
    /// Name from the configuration.
    pub name: String,
    /// When the appliance started.
    pub started: Instant,
    /// Polling lcores.
    pub lcores: Vec<LcoreSource>,
    /// Name and ID of each lambda, by slot.
    pub lambdas: Vec<(String, LambdaId)>,
    /// Reads a port's counters from its driver.
    pub ports: Vec<Box<dyn Fn() -> PortStats + Send + Sync>>,
    /// Reads a pool's use.
    pub pools: Vec<Box<dyn Fn() -> PoolStats + Send + Sync>>,
}

impl Sources {
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
            frames: Frames {
                received: sum(|counters| &counters.received),
                sent: sum(|counters| &counters.sent),
                to_host: sum(|counters| &counters.to_host),
                dropped: drops.values().sum(),
                answered: sum(|counters| &counters.answered),
                pongs: sum(|counters| &counters.pongs),
                unknown_lambda: sum(|counters| &counters.unknown_lambda),
                multi_fragment: sum(|counters| &counters.multi_fragment),
            },
            drops,
            ports: self.ports.iter().map(|read| read()).collect(),
            lcores: self.lcores.iter().map(LcoreSource::stats).collect(),
            lambdas: (0u32..)
                .zip(&self.lambdas)
                .map(|(slot, (name, id))| self.lambda(LambdaSlot::new(slot), name, *id))
                .collect(),
            pools: self.pools.iter().map(|read| read()).collect(),
        }
    }

    fn lambda(&self, slot: LambdaSlot, name: &str, id: LambdaId) -> LambdaStats {
        let sum = |pick: fn(&LambdaCounters) -> &Counter| -> u64 {
            self.lcores
                .iter()
                .filter_map(|lcore| lcore.counters.lambda(slot))
                .map(|count| pick(count).get())
                .sum()
        };
        LambdaStats {
            name: name.to_owned(),
            id: id.raw(),
            invocations: sum(|count| &count.invocations),
            forwarded: sum(|count| &count.forwarded),
            dropped: sum(|count| &count.dropped),
            to_host: sum(|count| &count.to_host),
            traps: sum(|count| &count.traps),
            exhausted: sum(|count| &count.exhausted),
            bad_verdicts: sum(|count| &count.bad_verdicts),
            fuel: sum(|count| &count.fuel),
        }
    }
}

impl LcoreSource {
    fn stats(&self) -> LcoreStats {
        LcoreStats {
            lcore: self.lcore,
            cpu: self.cpu,
            busy_breaths: self.counters.busy_breaths.get(),
            idle_breaths: self.counters.idle_breaths.get(),
            sleeps: self.counters.sleeps.get(),
            wakes: self.counters.wakes.get(),
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, up {:.1} s", self.name, self.version, self.uptime_s)?;
        let frames = &self.frames;
        writeln!(
            f,
            "\nframes    received {}  sent {}  to host {}  dropped {}",
            frames.received, frames.sent, frames.to_host, frames.dropped
        )?;
        writeln!(
            f,
            "          answered {}  pongs {}  unknown lambda {}  multi-fragment {}",
            frames.answered, frames.pongs, frames.unknown_lambda, frames.multi_fragment
        )?;
        if !self.drops.is_empty() {
            f.write_str("drops    ")?;
            for (reason, count) in &self.drops {
                write!(f, " {reason} {count}")?;
            }
            f.write_char('\n')?;
        }
        writeln!(
            f,
            "\n{:<12} {:<16} {:<17} {:>12} {:>14} {:>12} {:>14} {:>8} {:>8} {:>8}",
            "PORT",
            "DRIVER",
            "MAC",
            "RX PACKETS",
            "RX BYTES",
            "TX PACKETS",
            "TX BYTES",
            "MISSED",
            "NO BUF",
            "ERRORS"
        )?;
        for port in &self.ports {
            writeln!(
                f,
                "{:<12} {:<16} {:<17} {:>12} {:>14} {:>12} {:>14} {:>8} {:>8} {:>8}",
                port.name,
                port.driver,
                port.mac,
                port.rx_packets,
                port.rx_bytes,
                port.tx_packets,
                port.tx_bytes,
                port.rx_missed,
                port.rx_no_buffer,
                port.rx_errors + port.tx_errors
            )?;
        }
        writeln!(
            f,
            "\n{:<12} {:>4} {:>14} {:>14} {:>10} {:>10}",
            "LCORE", "CPU", "BUSY", "IDLE", "SLEEPS", "WAKES"
        )?;
        for lcore in &self.lcores {
            writeln!(
                f,
                "{:<12} {:>4} {:>14} {:>14} {:>10} {:>10}",
                lcore.lcore, lcore.cpu, lcore.busy_breaths, lcore.idle_breaths, lcore.sleeps, lcore.wakes
            )?;
        }
        writeln!(
            f,
            "\n{:<20} {:>10} {:>12} {:>12} {:>10} {:>8} {:>8} {:>9} {:>8} {:>11}",
            "LAMBDA",
            "ID",
            "INVOCATIONS",
            "FORWARDED",
            "DROPPED",
            "TO HOST",
            "TRAPS",
            "EXHAUSTED",
            "BAD",
            "FUEL/CALL"
        )?;
        for lambda in &self.lambdas {
            writeln!(
                f,
                "{:<20} {:>10} {:>12} {:>12} {:>10} {:>8} {:>8} {:>9} {:>8} {:>11}",
                lambda.name,
                lambda.id,
                lambda.invocations,
                lambda.forwarded,
                lambda.dropped,
                lambda.to_host,
                lambda.traps,
                lambda.exhausted,
                lambda.bad_verdicts,
                lambda.fuel.checked_div(lambda.invocations).unwrap_or(0)
            )?;
        }
        writeln!(f, "\n{:<20} {:>10} {:>10}", "POOL", "FRAMES", "IN USE")?;
        for pool in &self.pools {
            writeln!(f, "{:<20} {:>10} {:>10}", pool.name, pool.frames, pool.in_use)?;
        }
        Ok(())
    }
}
