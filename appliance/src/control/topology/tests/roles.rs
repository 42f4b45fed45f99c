//! Which CPU becomes what: defaults for the CPUs that were given, and what the configuration writes.

use super::*;

/// The roles as one line: each worker's lcore and CPU with its roles, then islands, then who feeds what.
fn roles_on(text: &str, machine: &Machine) -> String {
    let (topology, absent) = Folder::new().judge(&format!("{text}\n{PORT}"), machine).unwrap();
    assert_eq!(absent, []);
    consistent(&topology);
    let lcores = topology.lcores.workers.iter().map(|worker| {
        let dispatcher =
            topology.dispatchers.iter().any(|one| one.lcore == worker.id).then(|| "D".to_owned());
        let npu =
            topology.npus.iter().find(|npu| npu.lcore == worker.id).map(|npu| format!("N{}", npu.id.raw()));
        let roles: Vec<String> = dispatcher.into_iter().chain(npu).collect();
        format!("{}:{}={}", worker.id.raw(), worker.cpu.raw(), roles.join("+"))
    });
    let npus = |npus: &[NpuId]| npus.iter().map(|npu| npu.raw().to_string()).collect::<Vec<_>>().join(",");
    let islands = topology.islands.iter().map(|island| {
        let node = island.numa_node.map(|node| format!("@{node}")).unwrap_or_default();
        format!("{}{node}[{}]", island.name, npus(&island.npus))
    });
    let feeds = topology.dispatchers.iter().map(|one| format!("{}→{}", one.lcore.raw(), npus(&one.npus)));
    let main = format!("main:{}", topology.lcores.main.cpu.raw());
    std::iter::once(main).chain(lcores).chain(islands).chain(feeds).collect::<Vec<_>>().join(" ")
}

fn roles(text: &str, cpus: &[u32]) -> String {
    roles_on(text, &machine(cpus))
}

/// What holds for every topology.
fn consistent(topology: &Topology) {
    for (index, island) in topology.islands.iter().enumerate() {
        assert_eq!(island.id.index(), index);
        assert!(!island.npus.is_empty(), "{island:?}");
        for npu in &island.npus {
            assert_eq!(topology.npus[npu.index()].island, island.id);
        }
    }
    let of_islands: Vec<NpuId> = topology.islands.iter().flat_map(|island| &island.npus).copied().collect();
    let all: Vec<NpuId> = topology.npus.iter().map(|npu| npu.id).collect();
    assert_eq!(of_islands, all);
    assert_eq!(all, (0..all.len() as u16).map(NpuId::new).collect::<Vec<_>>());
    let npu_hosts: BTreeSet<LcoreId> = topology.npus.iter().map(|npu| npu.lcore).collect();
    assert_eq!(npu_hosts.len(), topology.npus.len(), "two NPUs on one lcore");
    let dispatcher_hosts = topology.dispatchers.iter().map(|dispatcher| dispatcher.lcore);
    let hosts: BTreeSet<LcoreId> = npu_hosts.into_iter().chain(dispatcher_hosts).collect();
    let workers: BTreeSet<LcoreId> = topology.lcores.workers.iter().map(|worker| worker.id).collect();
    assert_eq!(hosts, workers, "every worker has a role, and nobody else");
    let mut fed: Vec<NpuId> =
        topology.dispatchers.iter().flat_map(|dispatcher| &dispatcher.npus).copied().collect();
    fed.sort();
    match topology.scheduling.mode {
        SchedulingMode::RunToCompletion => {
            assert_eq!(topology.dispatchers, []);
            assert_eq!(topology.pollers().len(), topology.lcores.workers.len());
        }
        SchedulingMode::Dispatcher => {
            assert_eq!(fed, all, "every NPU has exactly one dispatcher");
            assert_eq!(topology.pollers().len(), topology.dispatchers.len());
        }
    }
}

const DISPATCHER: &str = "[scheduling]\nmode = \"dispatcher\"\n";

#[test]
fn run_to_completion_makes_every_worker_an_npu() {
    assert_eq!(roles("", &[0]), "main:0 1:0=N0 island0[0]");
    assert_eq!(roles("", &[0, 1]), "main:0 1:1=N0 island0[0]");
    assert_eq!(roles("", &[0, 1, 2, 3]), "main:0 1:1=N0 2:2=N1 3:3=N2 island0[0,1,2]");
    assert_eq!(roles("[lcores]\nworkers = [3, 1]", &[0, 1, 2, 3]), "main:0 1:3=N0 2:1=N1 island0[0,1]");
}

#[test]
fn a_dispatcher_shares_a_cpu_only_where_there_are_few() {
    assert_eq!(roles(DISPATCHER, &[0]), "main:0 1:0=D+N0 island0[0] 1→0");
    assert_eq!(roles(DISPATCHER, &[0, 1]), "main:0 1:1=D+N0 island0[0] 1→0");
    assert_eq!(roles(DISPATCHER, &[0, 1, 2]), "main:0 1:1=D+N0 2:2=N1 island0[0,1] 1→0,1");
    assert_eq!(roles(DISPATCHER, &[0, 1, 2, 3]), "main:0 1:1=D 2:2=N0 3:3=N1 island0[0,1] 1→0,1");
    let both = format!("{DISPATCHER}[lcores]\nworkers = [0, 1]\n");
    assert_eq!(roles(&both, &[0, 1]), "main:0 1:0=D+N0 2:1=N1 island0[0,1] 1→0,1");
}

#[test]
fn numa_nodes_are_islands() {
    let nodes = |cpus: &[u32], nodes: &[u32]| {
        let numa_nodes = cpus.iter().map(|&cpu| Cpu::new(cpu)).zip(nodes.iter().copied()).collect();
        Machine { numa_nodes, ..machine(cpus) }
    };
    let interleaved = nodes(&[0, 1, 2, 3, 4], &[0, 1, 0, 1, 0]);
    assert_eq!(
        roles_on("", &interleaved),
        "main:0 1:1=N2 2:2=N0 3:3=N3 4:4=N1 island0@0[0,1] island1@1[2,3]"
    );
    assert_eq!(
        roles_on(DISPATCHER, &interleaved),
        "main:0 1:1=N1 2:2=D 3:3=N2 4:4=N0 island0@0[0] island1@1[1,2] 2→0,1,2"
    );
    // Only one CPU of the first node is left to work: its island would be empty without it.
    assert_eq!(
        roles_on(DISPATCHER, &nodes(&[0, 1, 2, 3], &[0, 0, 1, 1])),
        "main:0 1:1=D+N0 2:2=N1 3:3=N2 island0@0[0] island1@1[1,2] 1→0,1,2"
    );
    assert_eq!(roles_on("", &nodes(&[0, 1, 2], &[0, 1, 1])), "main:0 1:1=N0 2:2=N1 island0@1[0,1]");
    let across = "[[islands]]\nname = \"a\"\nnpus = [1, 2]\n[[islands]]\nname = \"b\"\nnpus = [3]\n";
    assert_eq!(roles_on(across, &interleaved), "main:0 1:1=N0 2:2=N1 3:3=N2 a[0,1] b@1[2]");
}

#[test]
fn written_islands_are_the_workers() {
    let two = "[lcores]\nworkers = \"auto\"\n[[islands]]\nname = \"a\"\nnpus = [5, 3]\n[[islands]]\nname = \"b\"\nnpus = [1]\n";
    assert_eq!(roles(two, &[0, 1, 2, 3, 4, 5]), "main:0 1:1=N2 2:3=N1 3:5=N0 a[0,1] b[2]");
    // Main evades them, or shares the only CPU.
    assert_eq!(roles("[[islands]]\nname = \"a\"\nnpus = [0]\n", &[0, 1]), "main:1 1:0=N0 a[0]");
    assert_eq!(
        roles("[lcores]\nmain = 0\n[[islands]]\nname = \"a\"\nnpus = [0]\n", &[0]),
        "main:0 1:0=N0 a[0]"
    );
    // The default dispatcher takes the first CPU from three on.
    let island = |npus| format!("{DISPATCHER}[[islands]]\nname = \"a\"\nnpus = {npus}\n");
    assert_eq!(roles(&island("[1, 2]"), &[0, 1, 2, 3]), "main:0 1:1=D+N0 2:2=N1 a[0,1] 1→0,1");
    assert_eq!(roles(&island("[3, 2, 1]"), &[0, 1, 2, 3]), "main:0 1:1=N1 2:2=N0 3:3=D a[0,1] 3→0,1");
}

#[test]
fn written_dispatchers() {
    let on = |cpu: u32| format!("{DISPATCHER}[[dispatchers]]\ncpu = {cpu}\n");
    assert_eq!(roles(&on(0), &[0]), "main:0 1:0=D+N0 island0[0] 1→0");
    assert_eq!(roles(&on(0), &[0, 1]), "main:1 1:0=D+N0 island0[0] 1→0");
    assert_eq!(roles(&on(2), &[0, 1, 2]), "main:0 1:1=N0 2:2=D+N1 island0[0,1] 2→0,1");
    assert_eq!(roles(&on(2), &[0, 1, 2, 3]), "main:0 1:1=N0 2:2=D 3:3=N1 island0[0,1] 2→0,1");
    let islands = "[[islands]]\nname = \"a\"\nnpus = [2, 3]\n[[islands]]\nname = \"b\"\nnpus = [4]\n[[islands]]\nname = \"c\"\nnpus = [5]\n";
    let text = format!("{}{islands}", on(1));
    let cpus = [0, 1, 2, 3, 4, 5, 6];
    assert_eq!(roles(&text, &cpus), "main:0 1:1=D 2:2=N0 3:3=N1 4:4=N2 5:5=N3 a[0,1] b[2] c[3] 1→0,1,2,3");
    let dealt = format!("{text}[[dispatchers]]\ncpu = 4\n");
    assert_eq!(
        roles(&dealt, &cpus),
        "main:0 1:1=D 2:2=N0 3:3=N1 4:4=D+N2 5:5=N3 a[0,1] b[2] c[3] 1→0,1,3 4→2"
    );
    let named = format!("{text}[[dispatchers]]\ncpu = 6\nislands = [\"c\", \"a\"]\n");
    assert_eq!(
        roles(&named, &cpus),
        "main:0 1:1=D 2:2=N0 3:3=N1 4:4=N2 5:5=N3 6:6=D a[0,1] b[2] c[3] 1→2 6→0,1,3"
    );
    let default_name = format!("{}islands = [\"island0\"]\n", on(1));
    assert_eq!(roles(&default_name, &[0, 1]), "main:0 1:1=D+N0 island0[0] 1→0");
}

#[test]
fn dispatchers_poll_the_ports() {
    let judge = |text: &str| Folder::new().judge(text, &machine(&[0, 1, 2, 3])).unwrap().0;
    let one = judge(&format!("{DISPATCHER}{PORT}"));
    assert_eq!(one.pollers(), [LcoreId::new(1)]);
    assert_eq!(one.wanted_queues(&one.ports[0]), 1);
    assert_eq!(
        one.polling(&[2]),
        [vec![(PortId::new(0), QueueId::new(0)), (PortId::new(0), QueueId::new(1))]]
    );
    let islands = "[[islands]]\nname = \"a\"\nnpus = [1]\n[[islands]]\nname = \"b\"\nnpus = [2]\n";
    let two =
        judge(&format!("{DISPATCHER}{islands}[[dispatchers]]\ncpu = 3\n[[dispatchers]]\ncpu = 1\n{PORT}"));
    assert_eq!(two.pollers(), [LcoreId::new(3), LcoreId::new(1)]);
    assert_eq!(two.wanted_queues(&two.ports[0]), 2);
    assert_eq!(
        two.polling(&[2]),
        [vec![(PortId::new(0), QueueId::new(0))], vec![(PortId::new(0), QueueId::new(1))]]
    );
    let all = judge(PORT);
    assert_eq!(all.pollers(), [1, 2, 3].map(LcoreId::new));
    assert_eq!(all.wanted_queues(&all.ports[0]), 3);
}

#[test]
fn many_cpus_are_127_npus() {
    let cpus: Vec<u32> = (0..200).collect();
    let (topology, _) = Folder::new().judge(PORT, &machine(&cpus)).unwrap();
    assert_eq!((topology.lcores.workers.len(), topology.npus.len()), (127, 127));
    consistent(&topology);
    let far = format!("{DISPATCHER}[[dispatchers]]\ncpu = 199\n{PORT}");
    let (topology, _) = Folder::new().judge(&far, &machine(&cpus)).unwrap();
    assert_eq!((topology.lcores.workers.len(), topology.npus.len()), (127, 126));
    assert_eq!(topology.lcores.workers[126].cpu, Cpu::new(199));
    consistent(&topology);
}

#[test]
fn what_lambdas_say_of_roles() {
    let islands = "[[islands]]\nname = \"a\"\nnpus = [1]\n[[islands]]\nname = \"b\"\nnpus = [2]\n";
    let lambda = |lines: &str| {
        let text = format!(
            "[scheduling]\nqueue_frames = 99\n[budget]\ndefault_us = 7\nmax_us = 70\n{islands}{PORT}{LAMBDA}{lines}\n"
        );
        valid(&text).lambdas.remove(0)
    };
    let defaults = lambda("");
    assert_eq!(defaults.islands, [0, 1].map(IslandId::new));
    assert_eq!((defaults.weight, defaults.budget_us, defaults.in_flight), (1, 7, 8));
    assert_eq!((defaults.concurrency, defaults.queue_frames), (Concurrency::Auto, 99));
    let written = lambda(
        "weight = 1000\nbudget_us = 70\nin_flight = 64\nconcurrency = \"replicated\"\nqueue_frames = 65536\nislands = [\"b\"]",
    );
    assert_eq!(written.islands, [IslandId::new(1)]);
    assert_eq!((written.weight, written.budget_us, written.in_flight), (1000, 70, 64));
    assert_eq!((written.concurrency, written.queue_frames), (Concurrency::Replicated, 65_536));
    assert_eq!(lambda("islands = [\"b\", \"a\"]").islands, [0, 1].map(IslandId::new));
    assert_eq!(lambda("concurrency = \"pinned\"").concurrency, Concurrency::Pinned);
}

#[test]
fn scheduling_quarantine_and_budget_as_written() {
    let topology = valid(&format!(
        "[memory]\npool_frames = 1023\n[scheduling]\nmode = \"dispatcher\"\nqueue_frames = 1\nwaiting_frames = 512\nin_flight = 256\n\
         [quarantine]\nfailures = 0\nwindow_ms = 3600000\n[budget]\ndefault_us = 1\nmax_us = 10000000\nfuel_per_us = 3000\n{PORT}"
    ));
    assert_eq!(
        topology.scheduling,
        Scheduling { mode: SchedulingMode::Dispatcher, queue_frames: 1, waiting_frames: 512, in_flight: 256 }
    );
    assert_eq!(topology.quarantine, Quarantine { failures: 0, window_ms: 3_600_000 });
    assert_eq!(topology.budget, Budget { default_us: 1, max_us: 10_000_000, fuel_per_us: Some(3_000) });
    // A small pool has short queues, and a low limit a low default.
    let small = valid(&format!("[memory]\npool_frames = 512\n[budget]\nmax_us = 50\n{PORT}"));
    assert_eq!((small.scheduling.waiting_frames, small.budget.default_us), (256, 50));
    assert_eq!(valid(&format!("[budget]\nfuel_per_us = \"auto\"\n{PORT}")).budget.fuel_per_us, None);
}
