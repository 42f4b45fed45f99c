//! What becomes of a right configuration; [`errors`] holds what is said about a wrong one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::*;
use crate::control::config::Cpu;
use crate::control::config::machine::{Access, Hugepages};
use crate::ids::{IslandId, LambdaId, NpuId};
use crate::matcher::{Egress, PortRange, Side, Table, VlanMatch};
use crate::memory::TierBytes;

mod errors;
mod role_errors;
mod roles;
mod services;

/// A machine with these CPUs, an interface, a card and 64 free hugepages.
fn machine(cpus: &[u32]) -> Machine {
    Machine {
        cpus: cpus.iter().copied().map(Cpu::new).collect(),
        numa_nodes: BTreeMap::new(),
        capabilities: u64::MAX,
        interfaces: BTreeSet::from(["eth0".into(), "lo".into()]),
        pci_devices: BTreeMap::from([("0000:03:00.0".into(), Some("vfio-pci".into()))]),
        hugepages: vec![Hugepages { page_bytes: 2 << 20, reserved: 64, free: 64 }],
        available_bytes: 4 << 30,
        max_map_count: Some(65_530),
        tun: Access::Usable,
    }
}

/// A folder with a module in it, and the path that a configuration would have there.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("echo.wasm"), b"\0asm").unwrap();
        Self(folder)
    }

    fn judge(&self, text: &str, machine: &Machine) -> Result<(Topology, Vec<Problem>), Error> {
        Topology::from_text(text, &self.0.path().join("test.toml"), machine)
    }
}

const PORT: &str = "[[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\n";
const LAMBDA: &str = "[[lambdas]]\nname = \"echo\"\nid = 1\nfile = \"echo.wasm\"\n";

fn valid(text: &str) -> Topology {
    let (topology, absent) = Folder::new().judge(text, &machine(&[0, 1, 2])).unwrap();
    assert_eq!(absent, []);
    topology
}

#[test]
fn defaults() {
    let topology = valid(&format!("{PORT}{LAMBDA}"));
    assert_eq!(
        (topology.name.as_str(), topology.socket.as_path()),
        ("lnic", Path::new("/run/lnic/lnic.sock"))
    );
    assert_eq!(topology.memory, Memory::default());
    assert_eq!((topology.idle, topology.budget), (Idle::default(), Budget::default()));
    assert_eq!((topology.scheduling, topology.quarantine), (Scheduling::default(), Quarantine::default()));
    assert_eq!((topology.rpc_port, topology.rules.len()), (4793, 0));
    let port = &topology.ports[0];
    assert_eq!(
        (port.id, port.mtu, port.queues, port.tx_retries),
        (PortId::new(0), 1500, Queues::PerPoller, 8)
    );
    assert!(port.partial_checksums && !port.promiscuous);
    let lambda = &topology.lambdas[0];
    assert_eq!((lambda.entry.as_str(), lambda.budget_us, lambda.rpc), ("echo", 200, true));
    assert_eq!(lambda.egress, Egress::Reply);
}

#[test]
fn the_default_configuration_is_the_default() {
    let text = include_str!("../../../../configs/default.toml");
    let mut topology = valid(text);
    assert_eq!(topology.ports[0].fault.take(), Some(Faults::default()));
    assert_eq!(topology, valid(PORT));
}

#[test]
fn the_examples_are_right() {
    let built = Folder::new();
    for name in ["echo", "web-server"] {
        let folder = built.0.path().join("lambdas").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.wasm")), b"\0asm").unwrap();
    }
    let path = built.0.path().join("configs/x.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut machine = machine(&[0, 1, 2, 3, 4]);
    machine.interfaces.insert("eth1".into());
    for (name, text) in [
        ("tap", include_str!("../../../../configs/tap.toml")),
        ("af_packet", include_str!("../../../../configs/af_packet.toml")),
        ("bare-metal", include_str!("../../../../configs/bare-metal.toml")),
    ] {
        let (topology, absent) = Topology::from_text(text, &path, &machine).unwrap();
        assert_eq!(absent, [], "{name}");
        let ids: Vec<u32> = topology.lambdas.iter().map(|lambda| lambda.id.raw()).collect();
        assert_eq!(ids, [1, 2], "{name}");
        assert_eq!(topology.lambdas[1].entry, "web_server");
        let roles = (topology.scheduling.mode, topology.npus.len(), topology.dispatchers.len());
        let expected = match name {
            "bare-metal" => (SchedulingMode::Dispatcher, 3, 1),
            _ => (SchedulingMode::RunToCompletion, 4, 0),
        };
        assert_eq!(roles, expected, "{name}");
    }
}

#[test]
fn relative_paths_start_at_the_configuration() {
    let folder = Folder::new();
    let real = folder.0.path().join("real/configs");
    fs::create_dir_all(&real).unwrap();
    let link = folder.0.path().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let file = |folder: &Path| {
        let text = format!("{PORT}{}", LAMBDA.replace("echo.wasm", "../x/echo.wasm"));
        let (topology, _) = Topology::from_text(&text, &folder.join("test.toml"), &machine(&[0])).unwrap();
        topology.lambdas[0].file.clone()
    };
    assert_eq!(file(&real), folder.0.path().join("real/x/echo.wasm"));
    assert_eq!(file(&link), link.join("../x/echo.wasm"));
    assert_eq!(file(Path::new("")), Path::new("../x/echo.wasm"));
    assert_eq!(file(Path::new("../configs")), Path::new("../x/echo.wasm"));
}

#[test]
fn lcores_follow_the_cpus_given() {
    let cpus = |text: &str, given: &[u32]| {
        let (topology, _) = Folder::new().judge(&format!("{text}\n{PORT}"), &machine(given)).unwrap();
        let workers: Vec<u32> = topology.lcores.workers.iter().map(|worker| worker.cpu.raw()).collect();
        let ids: Vec<u32> = topology.lcores.workers.iter().map(|worker| worker.id.raw()).collect();
        assert_eq!(ids, (1..=workers.len() as u32).collect::<Vec<_>>());
        (topology.lcores.main.cpu.raw(), workers)
    };
    assert_eq!(cpus("", &[0, 1]), (0, vec![1]));
    assert_eq!(cpus("", &[4, 6, 7]), (4, vec![6, 7]));
    assert_eq!(cpus("", &[5]), (5, vec![5]));
    assert_eq!(cpus("[lcores]\nworkers = [0]", &[0, 1]), (1, vec![0]));
    assert_eq!(cpus("[lcores]\nworkers = [0, 1]", &[0, 1]), (0, vec![0, 1]));
    assert_eq!(cpus("[lcores]\nmain = 1", &[0, 1, 2]), (1, vec![0, 2]));
    assert_eq!(cpus("[lcores]\nmain = 2\nworkers = [1]", &[0, 1, 2]), (2, vec![1]));
}

#[test]
fn what_the_machine_lacks_stops_a_start_but_not_an_examination() {
    let folder = Folder::new();
    let path = folder.0.path().join("test.toml");
    fs::write(&path, "[[ports]]\nname = \"p0\"\ndevargs = \"net_af_packet0,iface=eth7\"\n").unwrap();
    let (topology, absent) = Topology::examine(&path, &machine(&[0])).unwrap();
    // The gateway's is there in any case.
    assert_eq!((topology.ports.len(), absent.len()), (2, 1));
    let error = Topology::load(&path, &machine(&[0])).unwrap_err().to_string();
    assert!(
        error.ends_with("test.toml:3: port \"p0\": no such interface \"eth7\": did you mean \"eth0\"?"),
        "{error}"
    );
}

#[test]
fn rules_become_a_table() {
    let topology = valid(&format!(
        "{PORT}{LAMBDA}egress = \"any\"\n{}rpc = false\n[[rules]]\nlambda = \"b\"\npriority = 3\nport = \"p0\"\nvlan = 5\n\
         source = \"10.0.0.0/8\"\ndestination = \"10.77.0.1\"\nprotocol = \"udp\"\nsource_port = \"1000-2000\"\n\
         destination_port = 53\nether_type = 0x0800\nparameters_hex = \"00fF\"\n",
        LAMBDA.replace("echo\"", "b\"").replace("id = 1", "id = 2")
    ));
    let reference =
        |slot, generation| LambdaRef { slot: LambdaSlot::new(slot), generation: Generation::new(generation) };
    let rules = topology.match_rules(&[reference(0, 7), reference(1, 9)]);
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0], Rule { egress: Egress::Any, ..Rule::rpc(LambdaId::new(1), reference(0, 7)) });
    let written = &rules[1];
    assert_eq!((written.lambda, written.priority, written.port), (reference(1, 9), 3, Some(PortId::new(0))));
    assert_eq!((written.vlan, written.protocol), (VlanMatch::Exact(5), Some(17)));
    assert_eq!(written.source_port, PortRange::Inclusive(1000, 2000));
    assert_eq!((written.destination_port, written.ether_type), (PortRange::Exact(53), Some(0x0800)));
    assert_eq!(written.source.unwrap().to_string(), "10.0.0.0/8");
    assert_eq!(written.destination.unwrap().to_string(), "10.77.0.1/32");
    assert_eq!((written.parameters.as_slice(), written.egress), (&b"\x00\xff"[..], Egress::Reply));
    assert_eq!(Table::build(rules).unwrap().len(), 2);
    assert_eq!(topology.match_rules(&[]).len(), 0);
}

#[test]
fn rules_for_host_ports() {
    let ports = format!(
        "{PORT}host = \"h0\"\n[[ports]]\nname = \"h0\"\ndevargs = \"net_null0\"\n[[ports]]\nname = \"p1\"\n\
         devargs = \"net_null1\"\n"
    );
    let rule = |line: &str| {
        let topology = valid(&format!("{ports}{LAMBDA}[[rules]]\nlambda = \"echo\"\n{line}\n"));
        let rule = topology.rules[0].clone();
        (rule.side, rule.port.map(PortId::raw), topology.conditions(&rule))
    };
    assert_eq!(rule(""), (Side::Wire, None, "every frame".into()));
    assert_eq!(rule("port = \"p1\""), (Side::Wire, Some(2), "port p1".into()));
    assert_eq!(rule("port = \"h0\""), (Side::Host, Some(1), "port h0".into()));
    assert_eq!(rule("port = \"host\""), (Side::Host, None, "port host".into()));
    // A port may be named so if it is one.
    let named =
        ports.replace("\"h0\"", "\"host\"") + LAMBDA + "[[rules]]\nlambda = \"echo\"\nport = \"host\"\n";
    assert_eq!(valid(&named).rules[0].side, Side::Host);
}

#[test]
fn queues_go_to_workers() {
    let topology = valid(&format!(
        "{PORT}[[ports]]\nname = \"p1\"\ndevargs = \"net_af_packet0,iface=eth0\"\n[[ports]]\nname = \"p2\"\n\
         devargs = \"0000:03:00.0\"\nqueues = 1\n"
    ));
    let wanted: Vec<u16> = topology.ports.iter().map(|port| topology.wanted_queues(port)).collect();
    assert_eq!(wanted, [2, 1, 1, 2], "the last is the gateway's");
    let pair = |port, queue| (PortId::new(port), QueueId::new(queue));
    assert_eq!(
        topology.polling(&wanted),
        [vec![pair(0, 0), pair(1, 0), pair(2, 0), pair(3, 0)], vec![pair(0, 1), pair(3, 1)]]
    );
    assert!(!topology.ports[2].partial_checksums);
}

#[test]
fn pages_follow_mode_and_machine() {
    let memory = Memory::default();
    let with = |free| {
        let mut machine = machine(&[0]);
        machine.hugepages[0].free = free;
        machine
    };
    assert_eq!(memory.pages(&with(64)), Ok(Pages::Huge { page_bytes: 2 << 20, pages: 64 }));
    assert!(matches!(memory.pages(&with(63)), Ok(Pages::SmallForWant(_))));
    let mut large_too = with(0);
    large_too.hugepages.push(Hugepages { page_bytes: 1 << 30, reserved: 0, free: 0 });
    assert!(matches!(memory.pages(&large_too), Ok(Pages::SmallForWant(want)) if want.page_kib == 2048));
    let required = Memory { hugepages: HugepageMode::Required, ..memory };
    assert_eq!(
        required.pages(&with(63)).unwrap_err().to_string(),
        "64 hugepages of 2048 KiB needed, 63 of 64 reserved are free"
    );
    assert_eq!(Memory { hugepages: HugepageMode::Off, ..memory }.pages(&with(64)), Ok(Pages::Small));
    assert_eq!(memory.pool_bytes(4096), 8191 * 4096);
    assert_eq!(memory.pool_bytes(2 << 20), 10 * (2 << 20));
    let jumbo = Memory { frame_bytes: 9216, pool_frames: 1000, ..memory };
    assert_eq!(jumbo.pool_bytes(4096), 1000 * 12_288);
}

#[test]
fn tenants_and_tiers() {
    let mib = |tiers: [u64; 4]| TierBytes(tiers.map(|mib| mib << 20));
    let tiers = "[memory.tiers]\nlocal_mib = 1\nctm_mib = 2\nimem_mib = 3\nemem_mib = 4\nlambda_local_mib = 5\nlambda_ctm_mib = 6\nlambda_imem_mib = 7\nlambda_emem_mib = 8\nobjects_local_kib = 9\n";
    let topology = valid(&format!("{tiers}{PORT}"));
    let objects = TierBytes([9 << 10, 256 << 10, 4 << 20, 8 << 20]);
    assert_eq!(
        topology.memory.tiers,
        Tiers { regions: mib([1, 2, 3, 4]), lambda: mib([5, 6, 7, 8]), objects }
    );
    let default = TenantSpec { name: "default".into(), quota: TierBytes::UNLIMITED };
    assert_eq!(topology.tenants, std::slice::from_ref(&default));
    let acme = "[[tenants]]\nname = \"acme\"\nimem_mib = 9\n";
    let topology = valid(&format!("{acme}{PORT}{LAMBDA}tenant = \"acme\"\n"));
    let quota = TierBytes([u64::MAX, u64::MAX, 9 << 20, u64::MAX]);
    assert_eq!(topology.tenants, [default, TenantSpec { name: "acme".into(), quota }]);
    assert_eq!(topology.lambdas[0].tenant, 1);
    assert_eq!(valid(&format!("{acme}{PORT}{LAMBDA}")).lambdas[0].tenant, 0);
    // "default" may be given quotas of its own.
    let topology = valid(&format!("{acme}[[tenants]]\nname = \"default\"\nemem_mib = 1\n{PORT}{LAMBDA}"));
    assert_eq!((topology.tenants.len(), topology.lambdas[0].tenant), (2, 1));
}

#[test]
fn the_gateway_has_a_port_of_its_own() {
    let topology = valid(&format!(
        "{PORT}ipv4 = \"169.254.1.1/16\"\n{LAMBDA}[[rules]]\nlambda = \"echo\"\nport = \"gateway\"\n"
    ));
    let port = topology.gateway_port().expect("a port");
    assert_eq!((port.id, port.name.as_str(), port.host), (PortId::new(1), "gateway", None));
    assert_eq!(port.ipv4, Some("169.254.2.1".parse().unwrap()), "the first is another port's");
    assert_eq!(port.mtu, 2026, "a frame's worth");
    assert_eq!(topology.rules[0].port, Some(port.id));
    let without = valid(&format!("{PORT}[gateway]\nenabled = false\n"));
    assert_eq!((without.gateway_port(), without.ports.len()), (None, 1));
    let named = PORT.replace("p0", "gateway");
    let error = Folder::new().judge(&named, &machine(&[0, 1])).unwrap_err().to_string();
    assert!(error.contains("2: port \"gateway\": the gateway's internal port is named so"), "{error}");
    valid(&format!("{named}[gateway]\nenabled = false\n"));
}
