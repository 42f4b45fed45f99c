//! Mistakes and their messages, the two judges, round trips, the schema and the explained example.

use std::collections::BTreeMap;

use lnic_registry::ManifestRule;
use proptest::prelude::*;

use super::*;
use crate::control::config::{Cpu, Machine};
use crate::control::topology::{Concurrency, HttpMode};
use crate::matcher::{Egress, PortRange, VlanMatch};
use crate::outside::Framing;

mod properties;

fn parsed(text: &str) -> Manifest {
    from_text(text, Path::new("lambda.toml")).unwrap_or_else(|error| panic!("{error}"))
}

/// What is said of a wrong manifest: its lines.
fn said(text: &str) -> Vec<String> {
    let error = from_text(text, Path::new("lambda.toml")).expect_err("a mistake");
    error.to_string().lines().map(str::to_owned).collect()
}

/// An appliance with two ports and two islands.
fn topology() -> Topology {
    let text = "[lcores]\nmain = 0\n[budget]\nmax_us = 500\n[services]\nallowed = [\"192.0.2.0/24\"]\n\
                [[islands]]\nname = \"near\"\nnpus = [1]\n[[islands]]\nname = \"far\"\nnpus = [2]\n\
                [[ports]]\nname = \"p0\"\ndevargs = \"net_tap0,iface=lnic0\"\nipv4 = \"10.77.0.1/24\"\nipv4_gateway = \"10.77.0.254\"\n\
                [[ports]]\nname = \"p1\"\ndevargs = \"net_tap1,iface=lnic1\"\n";
    let machine = Machine {
        cpus: (0..3).map(Cpu::new).collect(),
        numa_nodes: BTreeMap::new(),
        capabilities: u64::MAX,
        interfaces: [].into(),
        pci_devices: BTreeMap::new(),
        hugepages: Vec::new(),
        available_bytes: 4 << 30,
        max_map_count: Some(65_530),
        tun: crate::control::config::machine::Access::Usable,
    };
    let judged = Topology::from_text(text, Path::new("lnic.toml"), &machine);
    judged.unwrap_or_else(|error| panic!("{error}")).0
}

fn judged(text: &str, namespace: &str) -> Result<(LambdaSpec, Vec<Rule>), Vec<String>> {
    judge(&parsed(text), namespace, 77, Path::new("modules/echo.wasm"), &topology())
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let text = "\
name = \"Echo\"
wieght = 2
weight = 0
budget_us = \"long\"
concurrency = \"sharde\"
layout = \"tall\"
in_flight = 65
egress = \"all\"
message_slots = 1025
message_kib = 0
islands = []
replicas = -1
memory_mib = 0
id = 4294967296
entry = \"\"
secrets = [\"key\", \"../key\", \"key\"]

[environment]
PORT = 8080
\"2ND\" = \"x\"

[labels]
\"\" = \"x\"

[[rules]]
lambda = \"echo\"
vlan = 4095
protocol = \"quic\"

[[rules]]
source = \"10.0.0.0/8\"
destination = \"fd77::1\"
destination_port = \"90-80\"
parameters = \"a\"
parameters_hex = \"0a\"
ether_type = 5

[services.2nd]
address = \"cache:11211\"
framing = \"tcp\"

[services.bare]
adress = \"192.0.2.7:53\"

[services.group]
address = \"224.0.0.1:53\"
";
    let expected = [
        "1: lambda \"Echo\": name: allowed are 1–63 lower-case letters, digits and, between them, \"-\", a letter first",
        "2: wieght: unknown key: did you mean \"weight\"?",
        "3: lambda \"Echo\": weight: 0 is not in 1–1000",
        "4: budget_us: string \"long\": expected an integer",
        "5: lambda \"Echo\": concurrency: \"sharde\": allowed are \"auto\", \"pinned\", \"shared\", \"replicated\"",
        "6: lambda \"Echo\": layout: \"tall\": allowed are \"auto\", \"dense\", \"windows\"",
        "7: lambda \"Echo\": in_flight: 65 is not in 1–64",
        "8: lambda \"Echo\": egress: \"all\": allowed are \"reply\", \"any\"",
        "9: lambda \"Echo\": message_slots: 1025 is not in 0–1024",
        "10: lambda \"Echo\": message_kib: 0 is not in 1–65536",
        "11: lambda \"Echo\": islands: names none",
        "12: lambda \"Echo\": replicas: -1 is not in 0–1024",
        "13: lambda \"Echo\": memory_mib: 0 is not in 1–1048576",
        "14: lambda \"Echo\": id: 4294967296 is not in 0–4294967295",
        "15: lambda \"Echo\": entry: is empty",
        "16: lambda \"Echo\": secrets: \"../key\": allowed are 1–253 letters, digits, \".\", \"-\" and \"_\", no \".\" first",
        "16: lambda \"Echo\": secrets: \"key\" is listed twice",
        "19: [environment] PORT: integer 8080: expected a string",
        "20: lambda \"Echo\": environment: \"2ND\": allowed are letters, digits and \"_\", no digit first",
        "23: lambda \"Echo\": labels: one has no name",
        "26: [rules] lambda: unknown key: known are \"priority\", \"port\", \"vlan\", \"source\", \"destination\", \
         \"protocol\", \"source_port\", \"destination_port\", \"ether_type\", \"parameters\", \"parameters_hex\"",
        "27: lambda \"Echo\": rule 1: vlan: 4095: allowed are 0–4094 and \"untagged\"",
        "28: lambda \"Echo\": rule 1: protocol: \"quic\": allowed are \"icmp\", \"tcp\", \"udp\", \"icmpv6\", \"sctp\" and 0–255",
        "30: lambda \"Echo\": rule 2: source 10.0.0.0/8 and destination fd77::1/128 are of different address families",
        "33: lambda \"Echo\": rule 2: destination_port: \"90-80\": allowed are 0–65535 and a range such as \"1000-2000\"",
        "35: lambda \"Echo\": rule 2: parameters and parameters_hex: at most one of them",
        "36: lambda \"Echo\": rule 2: ether_type: 0x0005 is not in 0x0600–0xffff",
        "38: lambda \"Echo\": service \"2nd\": allowed are 1–64 letters, digits and \"_\", no digit first",
        "39: lambda \"Echo\": service \"2nd\": address: \"cache:11211\": expected an IP address and a UDP port, such as \
         \"192.0.2.7:11211\" or \"[2001:db8::7]:53\"",
        "40: lambda \"Echo\": service \"2nd\": framing: \"tcp\": allowed are \"datagram\", \"memcached\"",
        "42: lambda \"Echo\": service \"bare\": has no address, such as \"192.0.2.7:11211\"",
        "43: [services.bare] adress: unknown key: did you mean \"address\"?",
        "46: lambda \"Echo\": service \"group\": address: 224.0.0.1 is no address that one other host can have",
    ];
    let expected: Vec<String> = expected.iter().map(|line| format!("lambda.toml:{line}")).collect();
    assert_eq!(said(text), expected);
}

#[test]
fn what_a_lambda_gets_of_http_is_said_by_name() {
    let mode = |text: &str| judged(&format!("name = \"x\"\n{text}"), "default").map(|(spec, _)| spec.http);
    assert_eq!(mode(""), Ok(HttpMode::Body));
    for known in HttpMode::ALL {
        assert_eq!(mode(&format!("http = \"{}\"\n", known.name())), Ok(known));
        assert_eq!(HttpMode::named(Some(known.name())), known);
    }
    assert_eq!(
        said("http = \"head\"\n"),
        ["lambda.toml:1: the lambda: http: \"head\": allowed are \"body\", \"message\""]
    );
}

#[test]
fn wrong_toml_and_wrong_files() {
    let lines = said("name = \"x\nweight = 1\n");
    assert!(lines[0].starts_with("lambda.toml:1: "), "{lines:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let error = read(&path).unwrap_err().to_string();
    assert_eq!(error, format!("manifest {}: No such file or directory (os error 2)", path.display()));
    std::fs::File::create(&path).unwrap().set_len(FILE_BYTES + 1).unwrap();
    assert!(read(&path).unwrap_err().to_string().ends_with("1048577 bytes: at most 1048576"));
    std::fs::write(&path, "weight = 2\n").unwrap();
    let manifest = read(&path).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.weight), ("", Some(2)));
    assert_eq!(said("weight = 0\n"), ["lambda.toml:1: the lambda: weight: 0 is not in 1–1000"]);
}

#[test]
fn there_are_limits_to_everything() {
    let table =
        |count: usize, value: &str| (0..count).map(|at| format!("K{at} = \"{value}\"\n")).collect::<String>();
    let names = |count: usize| (0..count).map(|at| format!("\"s{at}\"")).collect::<Vec<_>>().join(", ");
    let rules = |count: usize| "[[rules]]\nport = \"p0\"\n".repeat(count);
    let fits = format!(
        "secrets = [{}]\n[environment]\n{}[labels]\n{}{}",
        names(32),
        table(64, ""),
        table(64, "x"),
        rules(256)
    );
    parsed(&fits);
    for (text, line) in [
        (format!("secrets = [{}]", names(33)), "1: the lambda: 33 secrets, over the limit of 32".to_owned()),
        (
            format!("[environment]\n{}", table(65, "")),
            "66: the lambda: environment: 65 variables, over the limit of 64".to_owned(),
        ),
        (
            format!("[environment]\n{}", table(1, &"x".repeat(4095))),
            "2: the lambda: environment: names and values have 4097 bytes together: at most 4096".to_owned(),
        ),
        (
            format!("[labels]\n{}", table(65, "")),
            "66: the lambda: labels: 65 of them, over the limit of 64".to_owned(),
        ),
        (
            format!("[annotations]\n{}", table(1, &"x".repeat(65_535))),
            "2: the lambda: annotations: names and values have 65537 bytes together: at most 65536"
                .to_owned(),
        ),
        (
            (0..17).map(|at| format!("[services.s{at}]\naddress = \"192.0.2.7:53\"\n")).collect(),
            "33: the lambda: 17 services, over the limit of 16".to_owned(),
        ),
        (rules(257), "513: the lambda: 257 rules, over the limit of 256".to_owned()),
    ] {
        assert_eq!(said(&text), [format!("lambda.toml:{line}")]);
    }
}

#[test]
fn a_manifest_becomes_a_lambda_and_its_rules() {
    let text = "name = \"my-echo\"\nid = 5\nislands = [\"far\"]\nconcurrency = \"pinned\"\negress = \"any\"\nmessage_slots = 4\n\
                [[rules]]\nport = \"p1\"\nvlan = 7\nprotocol = 17\ndestination_port = 53\n\
                [[rules]]\nvlan = \"untagged\"\nprotocol = \"udp\"\nsource_port = \"1-9\"\npriority = 3\n";
    let (spec, rules) = judged(text, "acme").unwrap();
    assert_eq!((spec.name.as_str(), spec.entry.as_str(), spec.id.raw()), ("my-echo", "my_echo", 77));
    assert_eq!((spec.file.as_path(), spec.tenant), (Path::new("modules/echo.wasm"), 0));
    assert_eq!((spec.budget_us, spec.message_bytes, spec.concurrency), (200, 65_536, Concurrency::Pinned));
    let topology = topology();
    assert_eq!(spec.islands, [topology.islands[1].id]);
    assert_eq!(
        (rules[0].port, rules[0].vlan, rules[0].protocol),
        (Some(topology.ports[1].id), VlanMatch::Exact(7), Some(17))
    );
    assert_eq!(
        (rules[0].destination_port, rules[1].source_port),
        (PortRange::Exact(53), PortRange::Inclusive(1, 9))
    );
    assert_eq!((rules[1].vlan, rules[1].priority), (VlanMatch::Untagged, 3));
    assert!(rules.iter().all(|rule| rule.egress == Egress::Any && rule.lambda.slot.index() == 0));
}

#[test]
fn services_are_in_the_order_of_their_names() {
    let text = "name = \"echo\"\n[services.b]\naddress = \"192.0.2.7:53\"\n\
                [services.a]\naddress = \"192.0.2.8:11211\"\nport = \"p0\"\nframing = \"memcached\"\n";
    let manifest = parsed(text);
    assert_eq!(manifest.services["b"].address, "192.0.2.7:53");
    let (spec, _) = judge(&manifest, "default", 77, Path::new("x.wasm"), &topology()).unwrap();
    let shown = spec.services.iter().map(|service| {
        (service.name.as_str(), service.address.to_string(), service.framing, service.hop.to_string())
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("a", "192.0.2.8:11211".to_owned(), Framing::Memcached, "10.77.0.254".to_owned()),
            ("b", "192.0.2.7:53".to_owned(), Framing::Datagram, "10.77.0.254".to_owned()),
        ]
    );
    let elsewhere = parsed("name = \"echo\"\n[services.b]\naddress = \"198.51.100.7:53\"\n");
    assert_eq!(check(&elsewhere), Ok(()), "it depends on the appliance");
    assert_eq!(
        judge(&elsewhere, "default", 77, Path::new("x.wasm"), &topology()).unwrap_err(),
        [
            "lambda \"echo\": service \"b\": address: 198.51.100.7 is not among [services] allowed: allowed are \"192.0.2.0/24\""
        ]
    );
}

#[test]
fn the_appliance_has_the_last_word() {
    let text = "name = \"echo\"\nbudget_us = 501\nislands = [\"fur\"]\n[[rules]]\nport = \"p2\"\n";
    let lines = |place: &str| {
        [
            format!("{place}: rule 1: no port \"p2\": did you mean \"p0\"?"),
            format!("{place}: budget_us: 501 is not in 1–500"),
            format!("{place}: no island \"fur\": did you mean \"far\"?"),
        ]
    };
    assert_eq!(judged(text, "default").unwrap_err(), lines("lambda \"echo\""));
    assert_eq!(judged(text, "acme").unwrap_err(), lines("lambda \"echo.acme\""));
    let nameless = judged("weight = 1\n", "default").unwrap_err();
    assert_eq!(nameless.len(), 1);
    assert!(nameless[0].starts_with("lambda \"\": name: allowed are"), "{nameless:?}");
    let put_together = Manifest { weight: Some(1_001), ..parsed("name = \"echo\"\n") };
    assert_eq!(check(&put_together).unwrap_err(), ["lambda \"echo\": weight: 1001 is not in 1–1000"]);
}

/// The example, with what is commented out taken in.
fn example() -> (String, String) {
    let text = include_str!("../../../../configs/lambda.toml");
    let uncommented = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with([' ', ':']) => format!("{example}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    (text.to_owned(), uncommented)
}

#[test]
fn the_example_says_the_defaults() {
    let (text, _) = example();
    let plain = Manifest { name: "echo".into(), ..Manifest::default() };
    let module = Path::new("echo.wasm");
    let said = judge(&parsed(&text), "default", 1, module, &topology()).unwrap();
    assert_eq!(said, judge(&plain, "default", 1, module, &topology()).unwrap());
}

#[test]
fn the_example_explains_every_key() {
    // One of the two that exclude each other.
    let (_, text) = example();
    assert_eq!(said(&text).len(), 1, "only parameters and parameters_hex contradict each other");
    let root: toml::Table = toml::from_str(&text).unwrap();
    let schema = schema::schema();
    let keys = |schema: &serde_json::Value| {
        schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let all = keys(&schema);
    assert_eq!(all.len(), 23);
    for key in all {
        assert!(root.contains_key(&key), "\"{key}\" is not explained");
    }
    let rule = root["rules"][0].as_table().unwrap();
    for key in keys(&schema["$defs"]["rule"]) {
        assert!(rule.contains_key(&key), "[[rules]] \"{key}\" is not explained");
    }
    let service = root["services"]["memcached"].as_table().unwrap();
    for key in keys(&schema["$defs"]["service"]) {
        assert!(service.contains_key(&key), "[services] \"{key}\" is not explained");
    }
    // The defaults that are examples are the judge's.
    assert!(parsed(&text.replace("parameters_hex = \"00ff\"\n", "")).budget_us == Some(200));
}

/// `LNIC_WRITE_SCHEMA=1 cargo test --release -p lnic --lib manifest` writes the file anew.
#[test]
fn the_schema_in_the_repository_is_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/lambda.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema::schema()).unwrap());
    if std::env::var_os("LNIC_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
}

#[test]
fn ranges_of_the_schema_are_the_judges() {
    for (key, least, most) in schema::RANGES {
        parsed(&format!("{key} = {least}\n"));
        parsed(&format!("{key} = {most}\n"));
        for beyond in [i64::from(least) - 1, i64::from(most) + 1] {
            let lines = said(&format!("{key} = {beyond}\n"));
            assert_eq!(
                lines,
                [format!("lambda.toml:1: the lambda: {key}: {beyond} is not in {least}–{most}")]
            );
        }
    }
}
