//! Every message that a configuration can get.

use super::*;

/// Messages without the path, one a line, on a machine with CPUs 0–2.
pub(super) fn errors(text: &str) -> Vec<String> {
    errors_on(text, &machine(&[0, 1, 2]))
}

pub(super) fn errors_on(text: &str, machine: &Machine) -> Vec<String> {
    let folder = Folder::new();
    let found = match folder.judge(text, machine) {
        Err(Error::Invalid { problems, .. }) => problems,
        Ok((_, absent)) => absent,
        Err(other) => panic!("{other}"),
    };
    let error = Error::Invalid { path: "F".into(), problems: found };
    let text = error.to_string().replace(&format!("{}/", folder.0.path().display()), "");
    let text = text.replace(&folder.0.path().display().to_string(), "DIR");
    text.lines().map(|line| line.strip_prefix("F:").unwrap_or(line).trim_start().to_owned()).collect()
}

/// The message of one more line in a port's table.
fn port(line: &str) -> String {
    one(&errors(&format!("{PORT}{line}\n")))
}

fn lambda(line: &str) -> String {
    one(&errors(&format!("{PORT}{LAMBDA}{line}\n")))
}

fn rule(lines: &str) -> String {
    one(&errors(&format!("{PORT}{LAMBDA}[[rules]]\nlambda = \"echo\"\n{lines}\n")))
}

pub(super) fn one(found: &[String]) -> String {
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn lcore_errors() {
    let lcores = |lines: &str| one(&errors(&format!("[lcores]\n{lines}\n{PORT}")));
    assert_eq!(lcores("main = 7"), "2: [lcores] main: CPU 7 was not given to this process: it may use 0-2");
    assert_eq!(
        lcores("workers = [1, 9]"),
        "2: [lcores] workers: CPU 9 was not given to this process: it may use 0-2"
    );
    assert_eq!(lcores("workers = [1, 1]"), "2: [lcores] workers: CPU 1 is listed twice");
    assert_eq!(
        lcores("main = 1\nworkers = [1, 2]"),
        "2: [lcores] main: CPU 1 is a worker's too: a worker would starve the control threads"
    );
    assert_eq!(
        lcores("workers = 2"),
        "2: [lcores] workers: 2: allowed are \"auto\" and a list of CPUs such as [1, 2]"
    );
    assert_eq!(
        lcores("workers = []"),
        "2: [lcores] workers: 0 CPUs, not 1–127: allowed are \"auto\" and a list of CPUs such as [1, 2]"
    );
    assert_eq!(
        lcores("main = \"first\""),
        "2: [lcores] main: \"first\": allowed are \"auto\" and the number of a CPU"
    );
}

#[test]
fn system_errors() {
    let system = |lines: &str| one(&errors(&format!("{lines}\n{PORT}")));
    assert_eq!(system("name = \"a b\""), "1: name: \"a b\": allowed are 1–32 letters, digits, - and _");
    let long = "x".repeat(120);
    assert_eq!(
        system(&format!("socket = \"/{long}\"")),
        "1: socket: a path of 121 bytes; a unix socket's has 1–107"
    );
    assert_eq!(
        system("[memory]\nhugepages = \"yes\""),
        "2: [memory] hugepages: \"yes\": allowed are \"auto\", \"required\", \"off\""
    );
    assert_eq!(system("[memory]\neal_mib = 0"), "2: [memory] eal_mib: 0 is not in 32–1048576");
    assert_eq!(
        system("[memory]\npool_frames = 100000"),
        "2: [memory] eal_mib: 128 do not hold 100000 frames of 2048 bytes: at least 407 are needed"
    );
    assert_eq!(
        system("[eal]\nextra_args = [\"--lcores=0-3\"]"),
        "2: [eal] extra_args: \"--lcores\" is not allowed here: use [lcores]"
    );
    assert_eq!(
        system("[eal]\nextra_args = [\"-l0-3\"]"),
        "2: [eal] extra_args: \"-l\" is not allowed here: use [lcores]"
    );
    assert_eq!(
        system("[eal]\nextra_args = [\"--help\"]"),
        "2: [eal] extra_args: \"--help\" would end the appliance: `lnic run --help` is its own"
    );
    assert_eq!(
        system("[idle]\nsleep = \"deep\""),
        "2: [idle] sleep: \"deep\": allowed are \"auto\", \"descriptor\", \"timer\", \"never\""
    );
    assert_eq!(system("[rpc]\nport = 65536"), "2: [rpc] port: 65536 is not in 1–65535");
    assert_eq!(one(&errors("")), "no [[ports]]: at least one is needed, as in configs/tap.toml");
}

#[test]
fn port_errors() {
    assert_eq!(one(&errors("[[ports]]\ndevargs = \"net_null0\"\n")), "1: [[ports]] number 1: has no name");
    assert_eq!(
        one(&errors("[[ports]]\nname = \"p0\"\n")),
        "1: port \"p0\": driver \"dpdk\" needs devargs, such as \"net_tap0,iface=lnic0\""
    );
    assert_eq!(
        port("driver = \"linux\""),
        "4: port \"p0\": driver: \"linux\": allowed are \"dpdk\", \"pcap\""
    );
    assert_eq!(port("read = \"x\""), "4: port \"p0\": read: only for driver = \"pcap\"");
    assert_eq!(
        port("ipv4 = \"10.0.0\""),
        "4: port \"p0\": ipv4: \"10.0.0\" is no address such as 10.77.0.1 or 10.77.0.1/24"
    );
    assert_eq!(
        port("ipv4 = \"10.0.0.1/33\""),
        "4: port \"p0\": ipv4: \"10.0.0.1/33\" is no address such as 10.77.0.1 or 10.77.0.1/24"
    );
    assert_eq!(
        port("ipv4 = \"224.0.0.1\""),
        "4: port \"p0\": ipv4: 224.0.0.1 is no address that a port can have"
    );
    assert_eq!(port("ipv6 = \"::\""), "4: port \"p0\": ipv6: :: is no address that a port can have");
    assert_eq!(
        port("mac = \"2:0:0\""),
        "4: port \"p0\": mac: \"2:0:0\" is no MAC address such as 02:00:00:00:00:01"
    );
    assert_eq!(
        port("mac = \"01:00:00:00:00:01\""),
        "4: port \"p0\": mac: 01:00:00:00:00:01 is not a unicast address"
    );
    assert_eq!(port("mtu = 70000"), "4: port \"p0\": mtu: 70000 is not in 68–9216");
    assert_eq!(port("ipv6 = \"fd00::1\"\nmtu = 1000"), "5: port \"p0\": mtu: 1000 is not in 1280–9216");
    assert_eq!(
        port("mtu = 9000"),
        "4: port \"p0\": mtu: 9000 does not fit frames of 2048 bytes: [memory] frame_bytes must be at least 9022"
    );
    assert_eq!(port("queues = 0"), "4: port \"p0\": queues: 0: allowed are \"auto\" and a number from 1");
    assert_eq!(
        port("queues = 3"),
        "4: port \"p0\": queues: 3, over the number of workers, 2: nobody would poll the rest"
    );
    assert_eq!(
        port("partial_checksums = 1"),
        "4: port \"p0\": partial_checksums: 1: allowed are \"auto\", true and false"
    );
    assert_eq!(port("host = \"p0\""), "4: port \"p0\": host: a port cannot be its own host");
    assert_eq!(port("host = \"h0\""), "4: port \"p0\": host: no port \"h0\": there is no other");
    assert_eq!(port("[ports.fault]\ndrop = 1.5"), "5: port \"p0\": fault.drop: 1.5 is not in 0–1");
    assert_eq!(port("[ports.capture]"), "4: port \"p0\": capture needs a file");
    assert_eq!(port("[ports.capture]\nfile = \"no/p0.pcap\""), "5: port \"p0\": no folder no: mkdir -p no");
    assert_eq!(port("tx_retries = 1001"), "4: port \"p0\": tx_retries: 1001 is not in 0–1000");
}

#[test]
fn device_errors() {
    let device = |line: &str| one(&errors(&format!("[[ports]]\nname = \"p0\"\n{line}\n")));
    assert_eq!(
        device("devargs = \"net_af_packet0,iface=eth7\""),
        "3: port \"p0\": no such interface \"eth7\": did you mean \"eth0\"?"
    );
    assert_eq!(
        device("devargs = \"net_af_xdp0,iface=wire\""),
        "3: port \"p0\": no such interface \"wire\": there are \"eth0\", \"lo\""
    );
    assert_eq!(
        device("devargs = \"0000:04:00.0\""),
        "3: port \"p0\": no PCI device 0000:04:00.0: `lspci -D` lists those that there are"
    );
    assert_eq!(
        device("devargs = \"net_af_packet0,iface=eth0\"\nqueues = 2"),
        "4: port \"p0\": queues: 2, but the device has 1: add qpairs=2 to devargs"
    );
    assert_eq!(
        device("devargs = \"net_af_packet0\""),
        "3: port \"p0\": devargs: \"net_af_packet0\" needs iface=NAME"
    );
    assert_eq!(device("driver = \"pcap\""), "1: port \"p0\": driver \"pcap\" needs read, write or both");
    assert_eq!(
        device("driver = \"pcap\"\nread = \"in.pcap\""),
        "4: port \"p0\": no file in.pcap: name a capture in pcap format"
    );
}

#[test]
fn errors_between_ports() {
    let second = |lines: &str| {
        one(&errors(&format!(
            "{PORT}ipv4 = \"10.0.0.1\"\nipv6 = \"fd00::1\"\nmac = \"02:00:00:00:00:01\"\n[[ports]]\n{lines}\n"
        )))
    };
    let h0 = "name = \"h0\"\ndevargs = \"net_null0\"\n";
    assert_eq!(
        second("name = \"p0\"\ndevargs = \"net_null0\""),
        "8: port \"p0\": there is another port of this name"
    );
    assert_eq!(second(&format!("{h0}ipv4 = \"10.0.0.1\"")), "10: port \"h0\": ipv4 is port \"p0\"'s already");
    assert_eq!(second(&format!("{h0}ipv6 = \"fd00::1\"")), "10: port \"h0\": ipv6 is port \"p0\"'s already");
    assert_eq!(
        second(&format!("{h0}mac = \"02:00:00:00:00:01\"")),
        "10: port \"h0\": mac is port \"p0\"'s already"
    );
    assert_eq!(
        second("name = \"h0\"\ndevargs = \"net_tap0,iface=other\""),
        "9: port \"h0\": the device is port \"p0\"'s already"
    );
    assert_eq!(
        second("name = \"h0\"\ndevargs = \"net_tap1,iface=lnic0\""),
        "9: port \"h0\": the interface is port \"p0\"'s already"
    );
    let hosts = |lines: &str| one(&errors(&format!("{PORT}host = \"h0\"\n[[ports]]\n{h0}{lines}\n")));
    assert_eq!(
        hosts("host = \"p1\"\n[[ports]]\nname = \"p1\"\ndevargs = \"net_null1\""),
        "8: port \"h0\": host: it is the host of port \"p0\", and a host port has no host"
    );
    assert_eq!(
        hosts("[[ports]]\nname = \"p1\"\ndevargs = \"net_null1\"\nhost = \"h0\""),
        "11: port \"p1\": host: \"h0\" is the host of port \"p0\" already"
    );
}

#[test]
fn a_written_file_is_nobody_elses() {
    let pcap =
        |name: &str, lines: &str| format!("[[ports]]\nname = \"{name}\"\ndriver = \"pcap\"\n{lines}\n");
    let same = errors(&pcap("p0", "read = \"echo.wasm\"\nwrite = \"echo.wasm\""));
    assert_eq!(one(&same), "1: port \"p0\": echo.wasm is written, and used a second time");
    let two = pcap("p0", "write = \"a.pcap\"") + &pcap("p1", "write = \"a.pcap\"");
    assert_eq!(one(&errors(&two)), "5: port \"p1\": a.pcap is written, and used a second time");
    let capture = pcap("p0", "write = \"a.pcap\"\n[ports.capture]\nfile = \"a.pcap\"");
    assert_eq!(one(&errors(&capture)), "1: port \"p0\": a.pcap is written, and used a second time");
}

#[test]
fn a_tap_that_exists_is_another_appliances() {
    let machine = Machine { interfaces: ["lnic0".into()].into(), ..machine(&[0, 1, 2]) };
    let found = errors_on("[[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\n", &machine);
    assert!(one(&found).starts_with("3: port \"p0\": interface \"lnic0\" exists already"), "{found:?}");
}

#[test]
fn lambda_errors() {
    assert_eq!(
        lambda("[[lambdas]]\nname = \"e\"\nfile = \"echo.wasm\""),
        "8: lambda \"e\": has no id, the number that callers name it by"
    );
    assert_eq!(
        lambda("[[lambdas]]\nname = \"e\"\nid = 2"),
        "8: lambda \"e\": has no file, the WebAssembly module that `lnic build` makes"
    );
    assert_eq!(lambda("[[lambdas]]\nid = 2\nfile = \"echo.wasm\""), "8: [[lambdas]] number 2: has no name");
    assert_eq!(
        lambda("[[lambdas]]\nname = \"E_o\"\nid = 2\nfile = \"echo.wasm\""),
        "9: lambda \"E_o\": name: allowed are 1–63 lower-case letters, digits and, between them, \"-\", a letter first"
    );
    assert_eq!(
        lambda("[[lambdas]]\nname = \"echo\"\nid = 2\nfile = \"echo.wasm\""),
        "9: lambda \"echo\": there is another lambda of this name"
    );
    assert_eq!(
        lambda("[[lambdas]]\nname = \"e\"\nid = 1\nfile = \"echo.wasm\""),
        "10: lambda \"e\": id 1 is lambda \"echo\"'s already"
    );
    assert_eq!(
        lambda("[[lambdas]]\nname = \"e\"\nid = 2\nfile = \"e/e.wasm\""),
        "11: lambda \"e\": no file e/e.wasm: run `lnic build e`"
    );
    assert_eq!(
        lambda("egress = \"all\""),
        "8: lambda \"echo\": egress: \"all\": allowed are \"reply\", \"any\""
    );
    assert_eq!(lambda("entry = \"\""), "8: lambda \"echo\": entry: is empty");
}

#[test]
fn rule_errors() {
    let start = "rule 1 (lambda \"echo\"):";
    assert_eq!(one(&errors(&format!("{PORT}{LAMBDA}[[rules]]\n"))), "8: rule 1: names no lambda");
    assert_eq!(
        one(&errors(&format!("{PORT}{LAMBDA}[[rules]]\nlambda = \"ecko\"\n"))),
        "9: rule 1 (lambda \"ecko\"): no lambda \"ecko\": did you mean \"echo\"?"
    );
    assert_eq!(
        rule("port = \"wire\""),
        format!("10: {start} no port \"wire\": there are \"p0\", \"gateway\"")
    );
    let misnamed =
        format!("{}{LAMBDA}[[rules]]\nlambda = \"echo\"\nport = \"host\"\n", PORT.replace("p0", "host"));
    assert_eq!(
        one(&errors(&misnamed)),
        format!("10: {start} port: \"host\" stands for every host port, and the port of that name is none")
    );
    assert_eq!(rule("vlan = 4095"), format!("10: {start} vlan: 4095: allowed are 0–4094 and \"untagged\""));
    assert_eq!(
        rule("source = \"10.1.0.0/8\""),
        format!("10: {start} source: 10.1.0.0/8 has bits set behind its prefix: the network is 10.0.0.0/8")
    );
    assert_eq!(
        rule("destination = \"ten\""),
        format!("10: {start} destination: \"ten\" is not an address prefix such as 10.0.0.0/8 or fd00::/8")
    );
    assert_eq!(
        rule("source = \"10.0.0.0/8\"\ndestination = \"fd00::/8\""),
        format!("8: {start} source 10.0.0.0/8 and destination fd00::/8 are of different address families")
    );
    assert_eq!(
        rule("protocol = \"upd\""),
        format!(
            "10: {start} protocol: \"upd\": allowed are \"icmp\", \"tcp\", \"udp\", \"icmpv6\", \"sctp\" and 0–255"
        )
    );
    assert_eq!(
        rule("protocol = \"icmp\"\ndestination_port = 1"),
        format!("8: {start} ports need protocol \"tcp\" or \"udp\", or none: 1 has none")
    );
    assert_eq!(
        rule("source_port = \"9-8\""),
        format!("10: {start} source_port: \"9-8\": allowed are 0–65535 and a range such as \"1000-2000\"")
    );
    assert_eq!(
        rule("destination_port = 65536"),
        format!("10: {start} destination_port: 65536: allowed are 0–65535 and a range such as \"1000-2000\"")
    );
    assert_eq!(rule("ether_type = 0x10"), format!("10: {start} ether_type: 0x0010 is not in 0x0600–0xffff"));
    assert_eq!(
        rule("ether_type = 0x0800\nsource = \"fd00::/8\""),
        format!("8: {start} ether_type 0x0800 is not that of its prefixes, 0x86dd")
    );
    assert_eq!(
        rule(&format!("parameters = \"{}\"", "x".repeat(65))),
        format!("10: {start} parameters: 65 bytes of parameters, over the limit of 64")
    );
    assert_eq!(
        rule("parameters_hex = \"0ff\""),
        format!("10: {start} parameters_hex: \"0ff\" is not pairs of hex digits")
    );
    assert_eq!(
        rule("parameters = \"a\"\nparameters_hex = \"00\""),
        format!("11: {start} parameters and parameters_hex: at most one of them")
    );
    assert_eq!(rule("priority = -1"), format!("10: {start} priority: -1 is not in 0–4294967295"));
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_file() {
    let found = errors("nme = 1\n[rpc]\nport = 0\n[[ports]]\nname = \"p0\"\ndevargs = \"tap\"\nmtu = 1\n");
    let lines: Vec<&str> = found.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(lines, ["1", "3", "6", "7"]);
}

#[test]
fn memory_tier_and_tenant_errors() {
    let memory = |line: &str| one(&errors(&format!("[memory.tiers]\n{line}\n{PORT}")));
    assert_eq!(memory("ctm_mib = 0"), "2: [memory.tiers] ctm_mib: 0 is not in 1–16777216");
    assert_eq!(memory("lambda_emem_mib = -1"), "2: [memory.tiers] lambda_emem_mib: -1 is not in 1–16777216");
    let tenant = |lines: &str| one(&errors(&format!("[[tenants]]\n{lines}\n{PORT}")));
    assert_eq!(tenant("emem_mib = 1"), "1: [[tenants]] number 1: has no name");
    assert_eq!(
        tenant("name = \"a b\""),
        "2: tenant \"a b\": name: allowed are 1–32 letters, digits, \".\", \"-\" and \"_\""
    );
    assert_eq!(tenant("name = \"a\"\nlocal_mib = 0"), "3: tenant \"a\": local_mib: 0 is not in 1–16777216");
    assert_eq!(
        tenant("name = \"a\"\n[[tenants]]\nname = \"a\""),
        "4: tenant \"a\": there is another tenant of this name"
    );
    assert_eq!(
        lambda("tenant = \"defualt\""),
        "8: lambda \"echo\": no tenant \"defualt\": did you mean \"default\"?"
    );
}
