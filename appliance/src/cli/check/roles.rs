//! Which lcore does what, and by which rules lambdas share them, as data.

use serde::Serialize;

use crate::control::config::Machine;
use crate::control::topology::{DispatcherSpec, Driver, IslandSpec, NpuSpec, SchedulingMode, Topology};
use crate::ids::{LcoreId, NpuId, PortId};

#[derive(Debug, Serialize)]
pub(super) struct Cores {
    /// CPUs that the process was given.
    pub(super) given: String,
    pub(super) main_cpu: u32,
    pub(super) workers: Vec<Worker>,
}

#[derive(Debug, Serialize)]
pub(super) struct Worker {
    pub(super) lcore: u32,
    pub(super) cpu: u32,
    /// True if it hosts a dispatcher.
    pub(super) dispatcher: bool,
    /// The NPU that it hosts.
    pub(super) npu: Option<u16>,
    /// True if ports are its business.
    pub(super) poller: bool,
    /// Port queues that it polls.
    pub(super) polls: Vec<Queue>,
}

#[derive(Debug, Serialize)]
pub(super) struct Queue {
    pub(super) port: String,
    pub(super) queue: u16,
}

#[derive(Debug, Serialize)]
pub(super) struct Island {
    pub(super) name: String,
    pub(super) numa_node: Option<u32>,
    pub(super) npus: Vec<u16>,
}

#[derive(Debug, Serialize)]
pub(super) struct Npu {
    pub(super) npu: u16,
    pub(super) island: String,
    pub(super) lcore: u32,
    pub(super) cpu: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Dispatcher {
    pub(super) lcore: u32,
    pub(super) cpu: u32,
    /// NPUs that it feeds.
    pub(super) npus: Vec<u16>,
}

#[derive(Debug, Serialize)]
pub(super) struct Scheduling {
    pub(super) mode: &'static str,
    pub(super) queue_frames: u32,
    pub(super) waiting_frames: u32,
    pub(super) in_flight: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Quarantine {
    pub(super) failures: u32,
    pub(super) window_ms: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Budget {
    pub(super) default_us: u32,
    pub(super) max_us: u32,
    /// Not set: measured at the start.
    pub(super) fuel_per_us: Option<u32>,
}

/// Queue pairs that each port is to have.
pub(super) fn wanted_queues(topology: &Topology) -> Vec<u16> {
    topology.ports.iter().map(|port| topology.wanted_queues(port)).collect()
}

pub(super) fn cores(topology: &Topology, machine: &Machine) -> Cores {
    let pollers = topology.pollers();
    let mut polling = topology.polling(&wanted_queues(topology));
    let workers = topology.lcores.workers.iter().map(|lcore| {
        let place = pollers.iter().position(|poller| *poller == lcore.id);
        let polls = place.map(|place| std::mem::take(&mut polling[place])).unwrap_or_default();
        let npu = topology.npus.iter().find(|npu| npu.lcore == lcore.id);
        Worker {
            lcore: lcore.id.raw(),
            cpu: lcore.cpu.raw(),
            dispatcher: topology.dispatchers.iter().any(|dispatcher| dispatcher.lcore == lcore.id),
            npu: npu.map(|npu| npu.id.raw()),
            poller: place.is_some(),
            polls: polls
                .into_iter()
                .map(|(port, queue)| Queue {
                    port: topology.ports[port.index()].name.clone(),
                    queue: queue.raw(),
                })
                .collect(),
        }
    });
    Cores { given: machine.cpu_list(), main_cpu: topology.lcores.main.cpu.raw(), workers: workers.collect() }
}

pub(super) fn islands(topology: &Topology) -> Vec<Island> {
    let island = |island: &IslandSpec| Island {
        name: island.name.clone(),
        numa_node: island.numa_node,
        npus: raw(&island.npus),
    };
    topology.islands.iter().map(island).collect()
}

pub(super) fn npus(topology: &Topology) -> Vec<Npu> {
    let npu = |npu: &NpuSpec| Npu {
        npu: npu.id.raw(),
        island: topology.islands[npu.island.index()].name.clone(),
        lcore: npu.lcore.raw(),
        cpu: cpu(topology, npu.lcore),
    };
    topology.npus.iter().map(npu).collect()
}

pub(super) fn dispatchers(topology: &Topology) -> Vec<Dispatcher> {
    let dispatcher = |dispatcher: &DispatcherSpec| Dispatcher {
        lcore: dispatcher.lcore.raw(),
        cpu: cpu(topology, dispatcher.lcore),
        npus: raw(&dispatcher.npus),
    };
    topology.dispatchers.iter().map(dispatcher).collect()
}

pub(super) fn scheduling(topology: &Topology) -> Scheduling {
    let scheduling = &topology.scheduling;
    Scheduling {
        mode: scheduling.mode.name(),
        queue_frames: scheduling.queue_frames,
        waiting_frames: scheduling.waiting_frames,
        in_flight: scheduling.in_flight,
    }
}

pub(super) fn quarantine(topology: &Topology) -> Quarantine {
    let quarantine = &topology.quarantine;
    Quarantine { failures: quarantine.failures, window_ms: quarantine.window_ms }
}

pub(super) fn budget(topology: &Topology) -> Budget {
    let budget = &topology.budget;
    Budget { default_us: budget.default_us, max_us: budget.max_us, fuel_per_us: budget.fuel_per_us }
}

/// Frames that may wait in all dispatchers' queues together.
pub(super) fn waiting_frames(topology: &Topology) -> u64 {
    u64::from(topology.scheduling.waiting_frames) * topology.dispatchers.len() as u64
}

/// What works, but perhaps not as meant.
pub(super) fn notes(topology: &Topology, machine: &Machine, notes: &mut Vec<String>) {
    let lcores = &topology.lcores;
    if lcores.workers.iter().any(|worker| worker.cpu == lcores.main.cpu) {
        notes.push(format!("{} is shared by a worker and the control threads", lcores.main.cpu));
    }
    for (poller, polls) in topology.pollers().iter().zip(topology.polling(&wanted_queues(topology))) {
        // The gateway's port has a queue for everybody.
        let is_wire = |port: &PortId| topology.ports[port.index()].driver != Driver::Internal;
        if !polls.iter().any(|(port, _)| is_wire(port)) {
            let idle = match topology.scheduling.mode {
                SchedulingMode::RunToCompletion => "has nothing to poll",
                SchedulingMode::Dispatcher => "has nothing to poll, so its NPUs stay idle",
            };
            notes.push(format!("{poller} {idle}: no port has so many queues"));
        }
    }
    for island in &topology.islands {
        if island.numa_node.is_none() && !machine.numa_nodes.is_empty() {
            notes.push(format!(
                "island \"{}\" has NPUs on several NUMA nodes: what they share is far from some of them",
                island.name
            ));
        }
    }
}

fn raw(npus: &[NpuId]) -> Vec<u16> {
    npus.iter().map(|npu| npu.raw()).collect()
}

fn cpu(topology: &Topology, lcore: LcoreId) -> u32 {
    let host = topology.lcores.workers.iter().find(|worker| worker.id == lcore);
    host.map_or(topology.lcores.main.cpu, |host| host.cpu).raw()
}
