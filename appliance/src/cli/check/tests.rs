//! What is said to be missing, and the report as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::code;
use super::report::Report;
use crate::control::build;
use crate::control::config::machine::{Access, Capability, Hugepages};
use crate::control::config::{Cpu, Machine};
use crate::control::topology::Topology;

/// Two CPUs, no rights, nothing reserved.
fn bare() -> Machine {
    Machine {
        cpus: vec![Cpu::new(0), Cpu::new(1)],
        numa_nodes: BTreeMap::from([(Cpu::new(0), 0), (Cpu::new(1), 0)]),
        capabilities: 0,
        interfaces: BTreeSet::from(["eth0".into()]),
        pci_devices: BTreeMap::from([("0000:03:00.0".into(), Some("ixgbe".into()))]),
        hugepages: vec![Hugepages { page_bytes: 2 << 20, reserved: 4, free: 3 }],
        available_bytes: 1 << 30,
        max_map_count: Some(65_530),
        tun: Access::Absent,
    }
}

fn report(text: &str, machine: &Machine) -> Report {
    report_with(text, machine, &[])
}

/// With these modules beside `echo.wasm`.
fn report_with(text: &str, machine: &Machine, modules: &[(&str, &[u8])]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    for (name, module) in modules {
        std::fs::write(folder.path().join(name), module).unwrap();
    }
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 3 3)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
            (global (export "__data_end") i32 (i32.const 4096))
            (func (export "lnic_abi_1"))
            (func (export "echo") (param i32 i32) (result i32) i32.const 0))"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("echo.wasm"), module).unwrap();
    let path = folder.path().join("c.toml");
    let (topology, absent) = Topology::from_text(text, &path, machine).unwrap();
    Report::new(Path::new("c.toml"), &topology, machine, absent)
}

fn missing(text: &str, machine: &Machine) -> Vec<(String, String)> {
    report(text, machine).missing.into_iter().map(|missing| (missing.what, missing.fix)).collect()
}

fn pair(what: &str, fix: &str) -> (String, String) {
    (what.into(), fix.into())
}

const TAP: &str = "[[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\nipv4 = \"10.77.0.1\"\n";
const ECHO: &str = "[[lambdas]]\nname = \"echo\"\nid = 1\nfile = \"echo.wasm\"\n";

#[test]
fn a_module_that_is_no_lambda_is_missing() {
    let able = Machine { capabilities: 1 << Capability::NetAdmin as u8, tun: Access::Usable, ..bare() };
    let found = missing(&format!("{TAP}{}entry = \"other\"\n", ECHO), &able);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0.ends_with("echo.wasm: does not export \"other\": build it with `lnic build`"),
        "{found:?}"
    );
}

#[test]
fn a_tap_needs_its_device_and_its_capability() {
    let found = missing(TAP, &bare());
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].0, "capabilities NET_ADMIN");
    assert!(found[0].1.starts_with("setcap cap_net_admin+ep /"), "{found:?}");
    assert!(found[0].1.ends_with(" (or run as root; in a container: --cap-add=NET_ADMIN)"), "{found:?}");
    assert_eq!(
        found[1],
        pair(
            "port \"p0\": /dev/net/tun does not exist",
            "modprobe tun; mkdir -p /dev/net; mknod /dev/net/tun c 10 200 (in a container: --device=/dev/net/tun)"
        )
    );
    let able = Machine { capabilities: 1 << Capability::NetAdmin as u8, tun: Access::Usable, ..bare() };
    assert_eq!(missing(TAP, &able), []);
}

#[test]
fn a_card_needs_its_driver_hugepages_and_locked_memory() {
    let text = "[memory]\nhugepages = \"required\"\n[[ports]]\nname = \"p0\"\ndevargs = \"0000:03:00.0\"\n";
    let able = Machine { capabilities: u64::MAX, ..bare() };
    assert_eq!(
        missing(text, &able),
        [
            pair(
                "64 hugepages of 2048 KiB needed, 3 of 4 reserved are free",
                "echo 65 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
            ),
            pair(
                "port \"p0\": 0000:03:00.0 is bound to driver ixgbe, which DPDK cannot use",
                "modprobe vfio-pci; dpdk-devbind.py --bind=vfio-pci 0000:03:00.0"
            ),
        ]
    );
    assert_eq!(missing(text, &bare())[1].0, "capabilities IPC_LOCK");
}

#[test]
fn what_the_configuration_names_and_memory() {
    let text = "[[ports]]\nname = \"p0\"\ndevargs = \"net_null0\"\n[[lambdas]]\nname = \"e\"\nid = 1\nfile = \"x/e.wasm\"\n";
    let poor = Machine { available_bytes: 64 << 20, max_map_count: Some(100), ..bare() };
    let found = missing(text, &poor);
    assert!(
        found[0].0.starts_with("lambda \"e\": no file /") && found[0].0.ends_with("/x/e.wasm"),
        "{found:?}"
    );
    assert!(found[0].1.starts_with("run `lnic build /") && found[0].1.ends_with("/x`"), "{found:?}");
    assert_eq!(found[1].0, "128 MiB of memory needed, 64 are available");
    assert_eq!(
        found[2],
        pair(
            "vm.max_map_count is 100, 4096 memory mappings may be needed",
            "sysctl -w vm.max_map_count=4096"
        )
    );
}

#[test]
fn memory_is_summed_line_by_line() {
    let report = report(&format!("{TAP}{ECHO}"), &bare());
    let lines: Vec<(&str, u64)> =
        report.memory.lines.iter().map(|line| (line.what.as_str(), line.bytes)).collect();
    let pool = 8191 * 4096;
    assert_eq!(
        lines,
        [("frame pool", pool), ("rest of DPDK", (128 << 20) - pool), ("lambda echo", 3 * 65_536)]
    );
    assert_eq!(report.memory.total_bytes, (128 << 20) + 3 * 65_536);
}

#[test]
fn the_report_for_people() {
    let machine = Machine { capabilities: u64::MAX, tun: Access::Usable, ..bare() };
    let rule =
        "[[rules]]\nlambda = \"echo\"\npriority = 10\nprotocol = \"udp\"\ndestination_port = \"7-9\"\n";
    let report = report(&format!("{TAP}{ECHO}{rule}"), &machine);
    let text = report.to_string();
    for part in [
        "c.toml: appliance \"lnic\", socket /run/lnic/lnic.sock\n",
        "Cores (given: 0-1)\n  lcore 0  CPU 0  main             sleeps; control threads\n  lcore 1  CPU 1  NPU 0 (island0)  polls p0 queue 0, gateway queue 0\n",
        "\nScheduling: run-to-completion\n  island island0  NUMA node 0               NPU 0\n",
        "\n  budget          200 µs, at most 10000 µs  fuel per µs is measured at the start\n",
        "\n  quarantine      after 16 failures         within 1000 ms\n",
        "  total            128.2 MiB  1024.0 MiB available\n",
        "  tier ctm    each island (1)  lambdas take 0.2 MiB  of at most 4096.0 MiB   one lambda at most 256.0 MiB\n",
        "  pages: 4 KiB pages: 64 hugepages of 2048 KiB needed, 3 of 4 reserved are free\n",
        "  p0  net_tap0,iface=lnic0  made at start  10.77.0.1  mtu 1500, queues 1, partial checksums\n",
        "  echo  dense in ctm  any NPU  because nothing outlives a run that NPUs would share\n",
        "  priority 10  rule 1  protocol 17, destination_port 7-9  → echo\n",
        "  priority 0   rule 0  λ-RPC ID 1                         → echo\n",
        "  NET_ADMIN  present  for p0\n",
        "nr_hugepages\n",
        "\nNothing is missing.\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ready"], true);
    assert_eq!(json["cores"]["workers"][0]["polls"][0]["port"], "p0");
    assert_eq!(json["lambdas"][0]["memory_bytes"], 196_608);
}

/// Two islands on two nodes, a dispatcher for each, one of them beside an NPU.
const ROLES: &str = r#"
    [memory]
    eal_mib = 32
    pool_frames = 1023
    [scheduling]
    mode = "dispatcher"
    waiting_frames = 256
    [quarantine]
    failures = 0
    [budget]
    fuel_per_us = 2500
    [[islands]]
    name = "near"
    npus = [1, 2]
    [[islands]]
    name = "far"
    npus = [4, 5]
    [[dispatchers]]
    cpu = 3
    [[dispatchers]]
    cpu = 4
"#;

fn six_cpus() -> Machine {
    let cpus = [0, 1, 2, 3, 4, 5].map(Cpu::new);
    let numa_nodes = cpus.map(|cpu| (cpu, cpu.raw() / 3)).into();
    Machine { cpus: cpus.into(), numa_nodes, capabilities: u64::MAX, tun: Access::Usable, ..bare() }
}

#[test]
fn roles_for_people() {
    let card = "[[ports]]\nname = \"p0\"\ndevargs = \"0000:03:00.0\"\n";
    let lambda = format!("{ECHO}weight = 3\nislands = [\"far\"]\n");
    let text = report(&format!("{ROLES}{card}{lambda}"), &six_cpus()).to_string();
    for part in [
        "
  lcore 0  CPU 0  main                     sleeps; control threads
  lcore 1  CPU 1  NPU 0 (near)
  lcore 2  CPU 2  NPU 1 (near)
  lcore 3  CPU 3  dispatcher               polls p0 queue 0, gateway queue 0; feeds NPU 0, 1
  lcore 4  CPU 4  dispatcher, NPU 2 (far)  polls p0 queue 1, gateway queue 1; feeds NPU 2, 3
  lcore 5  CPU 5  NPU 3 (far)

Scheduling: dispatcher
  island near  NUMA node 0                 NPU 0, 1
  island far   NUMA node 1                 NPU 2, 3
  queues       256 frames for each lambda  256 for all of a dispatcher, 16 handed to an NPU
  budget       200 µs, at most 10000 µs    2500 fuel per µs
  quarantine   never
",
        "1023 frames of 2048 bytes, of which 512 (2.0 MiB) may wait in queues\n",
        "192 KiB of ctm for each of 2 NPUs\n",
        "  entry echo  weight 3  budget 200 µs  concurrency auto  on far  egress reply\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn roles_for_programs() {
    let text = format!("{ROLES}{TAP}{ECHO}concurrency = \"pinned\"\nbudget_us = 9\nislands = [\"near\"]\n");
    let json = serde_json::to_value(report(&text, &six_cpus())).unwrap();
    let island = |name: &str, node: u32, npus: [u16; 2]| serde_json::json!({"name": name, "numa_node": node, "npus": npus});
    assert_eq!(json["islands"], serde_json::json!([island("near", 0, [0, 1]), island("far", 1, [2, 3])]));
    assert_eq!(json["npus"][2], serde_json::json!({"npu": 2, "island": "far", "lcore": 4, "cpu": 4}));
    assert_eq!(
        json["dispatchers"],
        serde_json::json!([{"lcore": 3, "cpu": 3, "npus": [0, 1]}, {"lcore": 4, "cpu": 4, "npus": [2, 3]}])
    );
    assert_eq!(
        json["scheduling"],
        serde_json::json!({"mode": "dispatcher", "queue_frames": 256, "waiting_frames": 256, "in_flight": 16})
    );
    assert_eq!(json["quarantine"], serde_json::json!({"failures": 0, "window_ms": 1000}));
    assert_eq!(json["budget"], serde_json::json!({"default_us": 200, "max_us": 10000, "fuel_per_us": 2500}));
    let lambda = &json["lambdas"][0];
    assert_eq!((&lambda["weight"], &lambda["budget_us"]), (&1.into(), &9.into()));
    assert_eq!((&lambda["concurrency"], &lambda["copies"]), (&"pinned".into(), &1.into()));
    assert_eq!(lambda["islands"], serde_json::json!(["near"]));
    let workers = json["cores"]["workers"].as_array().unwrap();
    assert_eq!((&workers[2]["npu"], &workers[2]["dispatcher"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!((&workers[3]["npu"], &workers[3]["dispatcher"]), (&2.into(), &true.into()));
}

#[test]
fn roles_that_are_worth_a_word() {
    let single = report(&format!("{ROLES}{TAP}queues = 1\n"), &six_cpus());
    assert!(
        single.notes.contains(
            &"lcore 4 has nothing to poll, so its NPUs stay idle: no port has so many queues".into()
        ),
        "{:?}",
        single.notes
    );
    let across = format!("[[islands]]\nname = \"wide\"\nnpus = [1, 5]\n{TAP}");
    let note = "island \"wide\" has NPUs on several NUMA nodes: what they share is far from some of them";
    assert!(report(&across, &six_cpus()).notes.contains(&note.into()));
    let unknown = Machine { numa_nodes: BTreeMap::new(), ..six_cpus() };
    assert!(!report(&across, &unknown).notes.contains(&note.into()));
}

#[test]
fn limits_and_quotas_that_are_too_small_are_missing() {
    let lambdas = format!(
        "{ECHO}tenant = \"acme\"\n{}",
        ECHO.replace("echo\"\nid = 1", "two\"\nid = 2\nentry = \"echo\"")
    );
    let tiers = "[memory.tiers]\nctm_mib = 1\nlambda_ctm_mib = 1\n";
    let tenant = "[[tenants]]\nname = \"acme\"\nctm_mib = 1\n";
    let islands = "[[islands]]\nname = \"i\"\nnpus = [1, 2, 3]\n";
    let found = |text: &str| missing(text, &six_cpus());
    // 192 KiB for each of 3 NPUs.
    assert_eq!(
        found(&format!("{tiers}{tenant}{islands}{TAP}{lambdas}")),
        [pair("lambdas: 1179648 bytes of ctm needed, 1048576 allowed", "raise [memory.tiers] ctm_mib to 2")]
    );
    let islands = islands.replace("3]", "3, 4, 5]").replace("[1, 2", "[0, 1, 2");
    let fixes: Vec<String> = found(&format!("{tiers}{tenant}{islands}{TAP}{lambdas}"))
        .into_iter()
        .map(|(what, fix)| format!("{what}: {fix}"))
        .collect();
    assert_eq!(
        fixes,
        [
            "lambdas: 2359296 bytes of ctm needed, 1048576 allowed: raise [memory.tiers] ctm_mib to 3",
            "tenant \"acme\": 1179648 bytes of ctm needed, 1048576 allowed: raise its ctm_mib to 2",
            "lambda \"echo\": 1179648 bytes of ctm needed, 1048576 allowed: raise [memory.tiers] lambda_ctm_mib to 2",
            "lambda \"two\": 1179648 bytes of ctm needed, 1048576 allowed: raise [memory.tiers] lambda_ctm_mib to 2",
        ]
    );
}

/// A counter in C, built as `lnic build` does: `hits` as it is declared, and what a run does with it.
fn counter(hits: &str, run: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("#include <lnic.h>\n{hits};\nLAMBDA(counter) {{\n{run};\nreturn DROP;\n}}\n");
    std::fs::write(folder.path().join("counter.c"), source).unwrap();
    let output = folder.path().join("counter.wasm");
    let options = build::Options { output: Some(output.clone()), ..build::Options::default() };
    build::build(folder.path(), &options).unwrap();
    std::fs::read(output).unwrap()
}

#[test]
fn memory_is_what_the_compiler_makes_of_each_lambda() {
    let atomic = counter("static uint32_t hits", "__atomic_fetch_add(&hits, 1, __ATOMIC_SEQ_CST)");
    let plain = counter("static volatile uint32_t hits", "hits++");
    let local = counter("static volatile uint32_t hits LOCAL", "hits++");
    let modules: [(&str, &[u8]); 3] =
        [("atomic.wasm", &atomic), ("plain.wasm", &plain), ("local.wasm", &local)];
    let lambda = |number: u32, name: &str, file: &str, rest: &str| {
        format!(
            "[[lambdas]]\nname = \"{name}\"\nid = {number}\nfile = \"{file}.wasm\"\nentry = \"counter\"\n{rest}\n"
        )
    };
    let near = "islands = [\"near\"]";
    let text = [
        ROLES.to_owned(),
        TAP.to_owned(),
        lambda(1, "near", "atomic", near),
        lambda(2, "everywhere", "atomic", ""),
        lambda(3, "plain", "plain", near),
        lambda(4, "local", "local", ""),
        lambda(5, "raced", "plain", "concurrency = \"shared\""),
        lambda(6, "refused", "plain", "concurrency = \"shared\"\nlayout = \"dense\""),
    ]
    .concat();
    let report = report_with(&text, &six_cpus(), &modules);
    let how: Vec<&str> = report.memory.lines[2..].iter().map(|line| line.how.as_str()).collect();
    assert_eq!(
        how,
        [
            "28 KiB of local for each of 2 NPUs, 4 KiB of ctm for its island",
            "28 KiB of local for each of 4 NPUs, 4 KiB of imem for all",
            "28 KiB of ctm on one NPU",
            "28 KiB of local for each of 4 NPUs",
            "28 KiB of local for each of 4 NPUs, 4 KiB of imem for all",
            "none: it cannot be deployed",
        ]
    );
    let runs: Vec<_> =
        report.lambdas.iter().map(|lambda| (lambda.layout, lambda.runs, lambda.copies)).collect();
    let any = Some("any NPU");
    assert_eq!(
        runs,
        [
            (Some("windows"), any, Some(2)),
            (Some("windows"), any, Some(4)),
            (Some("dense"), Some("one NPU at a time"), Some(1)),
            (Some("dense"), any, Some(4)),
            (Some("windows"), any, Some(4)),
            (None, None, None),
        ]
    );
    // The fullest NPU has four instances; the near island's CTM has a window, and the dense memory of who is at home there.
    let planned: Vec<u64> = report.memory.tiers.iter().map(|tier| tier.planned_bytes >> 10).collect();
    assert_eq!(planned, [4 * 28, 4 + 28, 8, 0]);
    assert_eq!(report.missing.len(), 1, "{:?}", report.missing);
    let refused = &report.missing[0].what;
    assert!(
        refused.starts_with("lambda \"refused\": ") && refused.contains("\"hits\" is written"),
        "{refused}"
    );
}

#[test]
fn code_of_the_same_bytes_and_wishes_is_compiled_once() {
    let plain = counter("static volatile uint32_t hits", "hits++");
    let folder = tempfile::tempdir().unwrap();
    for name in ["one.wasm", "copy.wasm"] {
        std::fs::write(folder.path().join(name), &plain).unwrap();
    }
    let lambda = |number: usize, file: &str, rest: &str| {
        format!(
            "[[lambdas]]\nname = \"l{number}\"\nid = {number}\nfile = \"{file}.wasm\"\nentry = \"counter\"\n{rest}\n"
        )
    };
    let mut text = TAP.to_owned();
    for number in 1..=50 {
        text += &lambda(number, if number % 2 == 0 { "one" } else { "copy" }, "");
    }
    text += &lambda(51, "one", "concurrency = \"replicated\"");
    let (topology, absent) = Topology::from_text(&text, &folder.path().join("c.toml"), &bare()).unwrap();
    assert!(absent.iter().all(|problem| !problem.message.contains("lambda")), "{absent:?}");
    let codes = code::all(&topology);
    let of = |at: usize| match &codes[at] {
        Some(Ok(code)) => code,
        other => panic!("{other:?}"),
    };
    assert!((1..50).all(|at| Arc::ptr_eq(of(0), of(at))));
    assert!(!Arc::ptr_eq(of(0), of(50)));
    assert_ne!(of(0).runs, of(50).runs);
}

#[test]
fn services_and_the_ways_to_them_are_shown() {
    let tap = TAP.replace("10.77.0.1", "10.77.0.1/24");
    let services = "[lambdas.services.cache]\naddress = \"192.0.2.7:11211\"\nframing = \"memcached\"\n\
                    [lambdas.services.near]\naddress = \"10.77.0.2:7\"\n";
    let text = format!(
        "[services]\nallowed = [\"192.0.2.0/24\", \"10.77.0.2\"]\n{tap}ipv4_gateway = \"10.77.0.254\"\n{ECHO}{services}"
    );
    let report = report(&text, &bare());
    let shown = report.to_string();
    assert!(
        shown.contains("10.77.0.1/24") && shown.contains("queues 1, partial checksums, gateway 10.77.0.254"),
        "{shown}"
    );
    let (_, section) = shown.split_once("\nServices outside\n").expect("a section");
    let lines: Vec<&str> = section.lines().take(3).map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "  lambdas may ask 192.0.2.0/24, 10.77.0.2/32: 256 requests at a time on each lcore that polls, from UDP ports 61000-65535",
            "  echo  cache  192.0.2.7:11211  memcached  leaves by p0 to 10.77.0.254",
            "  echo  near   10.77.0.2:7      datagram   leaves by p0 to 10.77.0.2",
        ]
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["lambdas"][0]["services"][0]["next_hop"], "10.77.0.254");
    assert!(!self::report(TAP, &bare()).to_string().contains("Services outside"));
}
