//! Statistics for people.

use std::fmt::{self, Write as _};

use super::{LambdaStats, LogStats, Snapshot, memory, services};

/// Lambdas that `lnic stats` shows: those that used most NPU time.
const LAMBDAS: usize = 20;

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, up {:.1} s, {}", self.name, self.version, self.uptime_s, self.scheduling)?;
        write!(f, "{}", self.deployment)?;
        self.frames(f)?;
        self.ports(f)?;
        self.lcores(f)?;
        let mut most: Vec<_> = self.lambdas.iter().collect();
        most.sort_by_key(|lambda| std::cmp::Reverse((lambda.npu_ns, lambda.invocations)));
        let left_out = most.split_off(most.len().min(LAMBDAS)).len();
        if left_out == 0 {
            most = self.lambdas.iter().collect();
        }
        self.lambdas(f, &most)?;
        if left_out > 0 {
            writeln!(f, "… and {left_out} more: lnic list, or --json")?;
        }
        if self.log != LogStats::default() {
            writeln!(
                f,
                "\nlog lines of lambdas: {} over their rate, {} lost",
                self.log.limited, self.log.lost
            )?;
        }
        writeln!(f, "\n{:<20} {:>10} {:>10}", "POOL", "FRAMES", "IN USE")?;
        for pool in &self.pools {
            writeln!(f, "{:<20} {:>10} {:>10}", pool.name, pool.frames, pool.in_use)?;
        }
        memory::print(f, &self.regions)?;
        services::print(f, self)
    }
}

impl Snapshot {
    fn frames(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = &self.frames;
        writeln!(
            f,
            "\nframes    received {}  sent {}  to host {}  dropped {}",
            frames.received, frames.sent, frames.to_host, frames.dropped
        )?;
        writeln!(
            f,
            "          answered {}  pongs {}  unknown lambda {}",
            frames.answered, frames.pongs, frames.unknown_lambda
        )?;
        writeln!(
            f,
            "messages  {}  long replies {}  frames placed {}, {} by an engine  frames made {}, {} without a copy  challenged {}",
            frames.messages,
            frames.long_replies,
            frames.placed,
            frames.placed_by_engine,
            frames.made,
            frames.sent_in_place,
            frames.challenged
        )?;
        if !self.drops.is_empty() {
            f.write_str("drops    ")?;
            for (reason, count) in &self.drops {
                write!(f, " {reason} {count}")?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }

    fn ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        Ok(())
    }

    fn lcores(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<6} {:>4} {:<30} {:>12} {:>12} {:>9} {:>9} {:>10} {:>11} {:>11} {:>9}",
            "LCORE",
            "CPU",
            "ROLES",
            "BUSY",
            "IDLE",
            "SLEEPS",
            "WAKES",
            "NPU MS",
            "HANDED OVER",
            "TAKEN OVER",
            "SUSPENDED"
        )?;
        for lcore in &self.lcores {
            writeln!(
                f,
                "{:<6} {:>4} {:<30} {:>12} {:>12} {:>9} {:>9} {:>10.1} {:>11} {:>11} {:>9}",
                lcore.lcore,
                lcore.cpu,
                lcore.roles,
                lcore.busy_breaths,
                lcore.idle_breaths,
                lcore.sleeps,
                lcore.wakes,
                lcore.npu_ns as f64 / 1e6,
                lcore.handed_over,
                lcore.taken_over,
                lcore.suspended
            )?;
        }
        Ok(())
    }

    fn lambdas(&self, f: &mut fmt::Formatter<'_>, lambdas: &[&LambdaStats]) -> fmt::Result {
        writeln!(
            f,
            "\n{:<20} {:>5} {:>11} {:>11} {:>8} {:>7} {:>6} {:>9} {:>5} {:>7} {:>7} {:>7} {:>9} {:>11}",
            "LAMBDA",
            "ID",
            "INVOCATIONS",
            "FORWARDED",
            "DROPPED",
            "TO HOST",
            "TRAPS",
            "EXHAUSTED",
            "BAD",
            "BUSY",
            "LATE",
            "UNAVAIL",
            "FUEL/CALL",
            "CYCLES/CALL"
        )?;
        for lambda in lambdas {
            let each = |total: u64| total.checked_div(lambda.invocations).unwrap_or(0);
            writeln!(
                f,
                "{:<20} {:>5} {:>11} {:>11} {:>8} {:>7} {:>6} {:>9} {:>5} {:>7} {:>7} {:>7} {:>9} {:>11}",
                lambda.name,
                lambda.id,
                lambda.invocations,
                lambda.forwarded,
                lambda.dropped,
                lambda.to_host,
                lambda.traps,
                lambda.exhausted,
                lambda.bad_verdicts,
                lambda.busy,
                lambda.late,
                lambda.unavailable,
                each(lambda.fuel),
                each(lambda.npu_ns.saturating_mul(self.cycles_per_us) / 1000)
            )?;
        }
        writeln!(
            f,
            "\n{:<20} {:<12} {:>9} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8} {:>9}",
            "LAMBDA",
            "STATE",
            "NPU MS",
            "QUEUE P50",
            "P99",
            "MAX µs",
            "RUN P50",
            "P99",
            "MAX µs",
            "CALLS",
            "TIMED OUT"
        )?;
        for lambda in lambdas {
            let us = |ns: u64| ns as f64 / 1000.0;
            writeln!(
                f,
                "{:<20} {:<12} {:>9.1} {:>10.1} {:>10.1} {:>10.1} {:>10.2} {:>10.2} {:>10.2} {:>8} {:>9}",
                lambda.name,
                lambda.state,
                lambda.npu_ns as f64 / 1e6,
                us(lambda.queueing.p50_ns),
                us(lambda.queueing.p99_ns),
                us(lambda.queueing.max_ns),
                us(lambda.service.p50_ns),
                us(lambda.service.p99_ns),
                us(lambda.service.max_ns),
                lambda.calls,
                lambda.calls_timed_out
            )?;
        }
        Ok(())
    }
}
