//! What is said to be missing, and the report as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::report::Report;
use crate::control::config::machine::{Access, Capability, Hugepages};
use crate::control::config::{Cpu, Machine};
use crate::control::topology::Topology;

/// Two CPUs, no rights, nothing reserved.
fn bare() -> Machine {
    Machine {
        cpus: vec![Cpu::new(0), Cpu::new(1)],
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
    let folder = tempfile::tempdir().unwrap();
    let module = wat::parse_str(
        r#"(module (memory (export "memory") 3 3)
            (global (export "__stack_pointer") (mut i32) (i32.const 4096))
            (global (export "__heap_base") i32 (i32.const 8192))
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
            "vm.max_map_count is 100, 4104 memory mappings may be needed",
            "sysctl -w vm.max_map_count=8192"
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
        "Cores (given: 0-1)\n  main    lcore 0  CPU 0  sleeps; control threads\n  worker  lcore 1  CPU 1  polls p0 queue 0\n",
        "  total            128.2 MiB  1024.0 MiB available\n",
        "  pages: 4 KiB pages: 64 hugepages of 2048 KiB needed, 3 of 4 reserved are free\n",
        "  p0  net_tap0,iface=lnic0  made at start  10.77.0.1  mtu 1500, queues 1, partial checksums\n",
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
