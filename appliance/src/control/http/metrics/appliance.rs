//! Families of the appliance: frames, ports, lcores, memory, readiness.

use std::collections::BTreeMap;

use super::exposition::{Exposition, Field, Labels, labels};
use super::{Scrape, seconds};
use crate::control::stats::{LcoreStats, NeighbourStats, PortStats, RegionStats};
use crate::observe::DropReason;

impl Scrape<'_> {
    /// All families but those of lambdas.
    pub(super) fn appliance(&self, text: &mut Exposition) {
        self.program(text);
        self.readiness(text);
        self.frames(text);
        self.messages(text);
        self.ports(text);
        self.lcores(text);
        self.services(text);
        self.memory(text);
        self.deployment(text);
    }

    fn program(&self, text: &mut Exposition) {
        let snapshot = self.snapshot;
        let build = labels(&[
            ("version", &snapshot.version),
            ("appliance", &snapshot.name),
            ("scheduling", &snapshot.scheduling),
        ]);
        text.gauge("lnic_build_info", "The program, as labels.").sample(&build, 1);
        text.gauge("lnic_uptime_seconds", "Time since the appliance started.")
            .sample(&none(), snapshot.uptime_s);
    }

    fn readiness(&self, text: &mut Exposition) {
        let readiness = self.readiness;
        text.gauge("lnic_ready", "Whether traffic may be sent here.")
            .sample(&none(), u8::from(readiness.ready));
        text.gauge("lnic_registry_up", "Whether the registry answers.")
            .sample(&none(), u8::from(self.lambdas.is_some()));
        let mut up = text.gauge("lnic_port_up", "Whether the port's link is up.");
        for port in &readiness.ports {
            up.sample(&labels(&[("port", &port.name)]), u8::from(port.up));
        }
        let lcores: Vec<_> =
            readiness.lcores.iter().map(|lcore| (lcore_labels(lcore.lcore), lcore)).collect();
        let mut stuck =
            text.gauge("lnic_lcore_stuck", "Whether the lcore has ended or is silent for too long.");
        for (labels, lcore) in &lcores {
            stuck.sample(labels, u8::from(lcore.stuck.is_some()));
        }
        let mut silent = text.gauge("lnic_lcore_silent_seconds", "Time since the lcore's last heartbeat.");
        for (labels, lcore) in &lcores {
            silent.sample(labels, lcore.silent_ms as f64 / 1e3);
        }
    }

    fn frames(&self, text: &mut Exposition) {
        let frames = &self.snapshot.frames;
        let mut counter = |name, help, value: u64| text.counter(name, help).sample(&none(), value);
        counter("lnic_frames_received_total", "Frames polled from ports.", frames.received);
        counter("lnic_frames_made_total", "Frames that the appliance made.", frames.made);
        let mut ended = text.counter("lnic_frames_ended_total", "Frames by how they ended.");
        let ends = [
            ("sent", frames.sent),
            ("to_host", frames.to_host),
            ("dropped", frames.dropped),
            ("placed", frames.placed),
        ];
        for (end, value) in ends {
            ended.sample_of(&none(), ("end", end), value);
        }
        let mut dropped = text.counter("lnic_frames_dropped_total", "Dropped frames by reason.");
        // The snapshot leaves out what never happened; a series that begins with its first event hides that event from rate().
        for reason in DropReason::ALL.iter().map(|reason| reason.name()) {
            let value = self.snapshot.drops.get(reason).copied().unwrap_or(0);
            dropped.sample_of(&none(), ("reason", reason), value);
        }
        let mut counter = |name, help, value: u64| text.counter(name, help).sample(&none(), value);
        counter(
            "lnic_frames_answered_total",
            "ARP, neighbour discovery and echo requests answered.",
            frames.answered,
        );
        counter("lnic_pongs_total", "λ-RPC PINGs answered.", frames.pongs);
        counter(
            "lnic_unknown_lambda_requests_total",
            "λ-RPC requests for a lambda that is not deployed.",
            frames.unknown_lambda,
        );
    }

    fn messages(&self, text: &mut Exposition) {
        let frames = &self.snapshot.frames;
        let mut counter = |name, help, value: u64| text.counter(name, help).sample(&none(), value);
        counter("lnic_messages_total", "Messages of several frames that ran.", frames.messages);
        counter("lnic_long_replies_total", "Replies that left in several fragments.", frames.long_replies);
        counter(
            "lnic_fragments_sent_in_place_total",
            "Fragments of replies that left without a copy.",
            frames.sent_in_place,
        );
        counter(
            "lnic_frames_placed_by_engine_total",
            "Frames placed in a message by a DMA engine.",
            frames.placed_by_engine,
        );
        counter(
            "lnic_challenges_total",
            "Requests answered by a challenge, for want of a cookie.",
            frames.challenged,
        );
    }

    fn ports(&self, text: &mut Exposition) {
        let ports: Vec<(Labels, &PortStats)> =
            self.snapshot.ports.iter().map(|port| (labels(&[("port", &port.name)]), port)).collect();
        let mut info = text.gauge("lnic_port_info", "The port, as labels.");
        for (_, port) in &ports {
            let labels = labels(&[("port", &port.name), ("driver", &port.driver), ("mac", &port.mac)]);
            info.sample(&labels, 1);
        }
        let counters: [Field<PortStats>; 8] = [
            ("lnic_port_receive_packets_total", "Frames received.", |port| port.rx_packets),
            ("lnic_port_receive_bytes_total", "Bytes received.", |port| port.rx_bytes),
            ("lnic_port_receive_missed_total", "Frames that the device had no room for.", |port| {
                port.rx_missed
            }),
            ("lnic_port_receive_errors_total", "Frames received in error.", |port| port.rx_errors),
            ("lnic_port_receive_no_buffer_total", "Frames for which no buffer was free.", |port| {
                port.rx_no_buffer
            }),
            ("lnic_port_transmit_packets_total", "Frames sent.", |port| port.tx_packets),
            ("lnic_port_transmit_bytes_total", "Bytes sent.", |port| port.tx_bytes),
            ("lnic_port_transmit_errors_total", "Frames not sent for an error.", |port| port.tx_errors),
        ];
        for (name, help, pick) in counters {
            let mut family = text.counter(name, help);
            for (labels, port) in &ports {
                family.sample(labels, pick(port));
            }
        }
    }

    fn lcores(&self, text: &mut Exposition) {
        let lcores: Vec<(Labels, &LcoreStats)> =
            self.snapshot.lcores.iter().map(|lcore| (lcore_labels(lcore.lcore), lcore)).collect();
        let mut info = text.gauge("lnic_lcore_info", "The lcore, as labels.");
        for (_, lcore) in &lcores {
            let (number, cpu) = (lcore.lcore.to_string(), lcore.cpu.to_string());
            info.sample(&labels(&[("lcore", &number), ("cpu", &cpu), ("roles", &lcore.roles)]), 1);
        }
        let mut breaths = text.counter("lnic_lcore_breaths_total", "Turns of the polling loop.");
        for (labels, lcore) in &lcores {
            breaths.sample_of(labels, ("kind", "busy"), lcore.busy_breaths);
            breaths.sample_of(labels, ("kind", "idle"), lcore.idle_breaths);
        }
        let mut npu =
            text.counter("lnic_lcore_npu_seconds_total", "Time that the lcore's NPU spent on lambdas.");
        for (labels, lcore) in &lcores {
            npu.sample(labels, seconds(lcore.npu_ns));
        }
        let counters: [Field<LcoreStats>; 6] = [
            ("lnic_lcore_sleeps_total", "Times that the lcore slept.", |lcore| lcore.sleeps),
            ("lnic_lcore_wakes_total", "Sleeps that a descriptor or a doorbell ended.", |lcore| lcore.wakes),
            ("lnic_lcore_handed_over_total", "Requests handed to other lcores.", |lcore| lcore.handed_over),
            ("lnic_lcore_taken_over_total", "Requests taken from other lcores.", |lcore| lcore.taken_over),
            ("lnic_lcore_doorbells_total", "Doorbells rung for lcores that slept.", |lcore| lcore.doorbells),
            ("lnic_lcore_suspended_total", "Times that a request waited for a call's answer.", |lcore| {
                lcore.suspended
            }),
        ];
        for (name, help, pick) in counters {
            let mut family = text.counter(name, help);
            for (labels, lcore) in &lcores {
                family.sample(labels, pick(lcore));
            }
        }
    }

    fn services(&self, text: &mut Exposition) {
        let lcores: Vec<(Labels, &LcoreStats)> =
            self.snapshot.lcores.iter().map(|lcore| (lcore_labels(lcore.lcore), lcore)).collect();
        let counters: [Field<LcoreStats>; 5] = [
            ("lnic_lcore_service_requests_total", "Requests to services outside that were sent.", |lcore| {
                lcore.requests
            }),
            ("lnic_lcore_service_replies_total", "Replies of services that were whole.", |lcore| {
                lcore.replies
            }),
            ("lnic_lcore_service_timeouts_total", "Requests that got no reply in time.", |lcore| {
                lcore.requests_timed_out
            }),
            (
                "lnic_lcore_service_unresolved_total",
                "Requests that were not sent, because the next hop did not answer.",
                |lcore| lcore.requests_unresolved,
            ),
            (
                "lnic_lcore_neighbours_asked_total",
                "ARP requests and neighbour solicitations that were sent.",
                |lcore| lcore.neighbours_asked,
            ),
        ];
        for (name, help, pick) in counters {
            let mut family = text.counter(name, help);
            for (labels, lcore) in &lcores {
                family.sample(labels, pick(lcore));
            }
        }
        let hops: Vec<(Labels, &NeighbourStats)> =
            self.snapshot.neighbours.iter().map(|hop| (hop_labels(hop), hop)).collect();
        let mut known =
            text.gauge("lnic_neighbour_known", "Whether the MAC address of a next hop of services is known.");
        for (labels, hop) in &hops {
            known.sample(labels, u8::from(hop.mac.is_some()));
        }
        let mut age =
            text.gauge("lnic_neighbour_answered_seconds", "Time since a next hop of services answered.");
        for (labels, seconds) in hops.iter().filter_map(|(labels, hop)| Some((labels, hop.answered_s_ago?))) {
            age.sample(labels, seconds);
        }
    }

    fn memory(&self, text: &mut Exposition) {
        let pools: Vec<_> =
            self.snapshot.pools.iter().map(|pool| (labels(&[("pool", &pool.name)]), pool)).collect();
        let mut frames = text.gauge("lnic_pool_frames", "Frame buffers of the pool.");
        for (labels, pool) in &pools {
            frames.sample(labels, pool.frames);
        }
        let mut in_use = text.gauge("lnic_pool_frames_in_use", "Frame buffers in use.");
        for (labels, pool) in &pools {
            in_use.sample(labels, pool.in_use);
        }
        let regions: Vec<(Labels, &RegionStats)> =
            self.snapshot.regions.iter().map(|region| (region_labels(region), region)).collect();
        let gauges: [Field<RegionStats>; 4] = [
            ("lnic_region_limit_bytes", "Memory that the region may have.", |region| region.limit_bytes),
            ("lnic_region_slab_bytes", "Memory that it has taken from the system.", |region| {
                region.slab_bytes
            }),
            ("lnic_region_used_bytes", "Memory that lambdas have of it.", |region| region.used_bytes),
            ("lnic_region_largest_free_bytes", "Its largest range that is free.", |region| {
                region.largest_free_bytes
            }),
        ];
        for (name, help, pick) in gauges {
            let mut family = text.gauge(name, help);
            for (labels, region) in &regions {
                family.sample(labels, pick(region));
            }
        }
        let mut fragmentation = text.gauge(
            "lnic_region_fragmentation_ratio",
            "Share of what is free that is not in its largest range.",
        );
        for (labels, region) in &regions {
            fragmentation.sample(labels, region.fragmentation);
        }
        let mut pages = text.gauge("lnic_region_pages_bytes", "Memory of the region by its pages.");
        for (labels, region) in &regions {
            for (kind, bytes) in &region.pages {
                pages.sample_of(labels, ("pages", kind), bytes);
            }
        }
    }

    fn deployment(&self, text: &mut Exposition) {
        let snapshot = self.snapshot;
        let mut lost = text.counter("lnic_log_lines_lost_total", "Lines that lambdas logged and nobody saw.");
        lost.sample_of(&none(), ("cause", "limited"), snapshot.log.limited);
        lost.sample_of(&none(), ("cause", "full"), snapshot.log.lost);
        let compiler = &snapshot.compiler;
        let mut counter = |name, help, value: u64| text.counter(name, help).sample(&none(), value);
        counter(
            "lnic_deployments_total",
            "Generations that were published to the lcores.",
            snapshot.deployments,
        );
        counter("lnic_compile_jobs_total", "Modules that had to be compiled.", compiler.misses);
        counter("lnic_compile_failures_total", "Compilations that made nothing.", compiler.failures);
        counter("lnic_compile_rejected_total", "Compiled code that was not authentic.", compiler.rejected);
        let deployment = &snapshot.deployment;
        let mut gauge = |name, help, value: u64| text.gauge(name, help).sample(&none(), value);
        gauge("lnic_rules", "Match rules in the table.", deployment.rules.rules as u64);
        gauge(
            "lnic_rules_configured",
            "Match rules as they were asked for.",
            deployment.rules.rules_before as u64,
        );
        gauge("lnic_tuples", "Tuples of the match table.", deployment.rules.tuples as u64);
        gauge("lnic_modules", "Modules whose code is loaded.", deployment.code.modules as u64);
        gauge("lnic_code_bytes", "Compiled code that is loaded.", deployment.code.code_bytes);
        // Phases that no lambda is in are told too, so that an alert finds its series.
        let mut phases = BTreeMap::from(super::lambdas::PHASES.map(|phase| (phase, 0_u64)));
        for lambda in self.lambdas.unwrap_or_default() {
            *phases.entry(super::lambdas::phase(lambda.phase)).or_default() += 1;
        }
        let mut lambdas = text.gauge("lnic_lambdas", "Lambdas by what they do now.");
        for (phase, value) in phases {
            lambdas.sample_of(&none(), ("phase", phase), value);
        }
    }
}

fn none() -> Labels {
    labels(&[])
}

fn lcore_labels(lcore: u32) -> Labels {
    labels(&[("lcore", &lcore.to_string())])
}

fn hop_labels(hop: &NeighbourStats) -> Labels {
    labels(&[("port", &hop.port), ("address", &hop.address)])
}

fn region_labels(region: &RegionStats) -> Labels {
    labels(&[("tier", &region.tier), ("owner", region.owner.as_deref().unwrap_or("all"))])
}
