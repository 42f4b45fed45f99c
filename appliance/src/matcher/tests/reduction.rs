//! Reduced tables against the reference, and what reduction makes of rules.

use super::*;

/// Rules that meet: neighbouring prefixes and ports, a few effects, priorities that lie between each other.
fn a_rule() -> impl Strategy<Value = Rule> {
    let prefix = || {
        let v4 = (0u8..8, 29u8..33).prop_map(|(low, bits)| (IpAddr::V4(Ipv4Addr::new(10, 0, 0, low)), bits));
        let v6 = (0u16..4, 126u8..129)
            .prop_map(|(low, bits)| (IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, low)), bits));
        let network =
            prop_oneof![3 => v4, 1 => v6].prop_map(|(address, bits)| match Prefix::new(address, bits) {
                Ok(prefix) | Err(Error::HostBits { network: prefix, .. }) => prefix,
                Err(error) => panic!("{error}"),
            });
        prop::option::weighted(0.5, network)
    };
    let port = || prop_oneof![8 => 0u16..9, 1 => 65_533u16..=65_535];
    let range = || {
        prop_oneof![
            2 => Just(PortRange::Any),
            2 => port().prop_map(PortRange::Exact),
            3 => (port(), 0u16..4)
                .prop_map(|(first, more)| PortRange::Inclusive(first, first.saturating_add(more))),
        ]
    };
    let vlan = prop_oneof![
        8 => Just(VlanMatch::Any),
        1 => Just(VlanMatch::Untagged),
        1 => (0u16..2).prop_map(VlanMatch::Exact),
    ];
    let rare = |value| prop::option::weighted(0.1, value);
    (
        (0u32..3, prop_oneof![5 => Just(0u32), 1 => 1u32..3], any::<bool>(), prop::bool::weighted(0.1)),
        (prefix(), prefix(), range(), range()),
        (rare(0u32..2), rare(0u32..2), prop::option::weighted(0.2, 16u32..18), vlan),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(
                (priority, slot, other_parameters, any_egress),
                (source, destination, source_port, destination_port),
                (id, port, protocol, vlan),
                from_host,
            )| Rule {
                priority,
                side: if from_host { Side::Host } else { Side::Wire },
                rpc_lambda: id.map(LambdaId::new),
                port: port.map(|port| PortId::new(port as u16)),
                vlan,
                source,
                destination: destination
                    .filter(|to| source.is_none_or(|from| from.is_ipv4() == to.is_ipv4())),
                protocol: protocol.map(|protocol| protocol as u8),
                source_port,
                destination_port,
                parameters: Parameters::new(if other_parameters && slot == 2 { b"a" } else { b"" }).unwrap(),
                egress: if any_egress { Egress::Any } else { Egress::Reply },
                ..Rule::any(lambda(slot))
            },
        )
}

/// Rules of a few kinds: those of a kind differ in one condition, in what they do, or in priority.
fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let variant = (a_rule(), 0usize..6);
    let kind = (a_rule(), prop::collection::vec(variant, 0..9)).prop_map(|(base, variants)| {
        let vary = |(other, condition): (Rule, usize)| {
            let mut rule = base.clone();
            let same_family = |prefix: &Prefix| {
                let known = [base.source, base.destination];
                known.iter().flatten().all(|known| known.is_ipv4() == prefix.is_ipv4())
            };
            match condition {
                0 => rule.source = other.source.filter(same_family).or(base.source),
                1 => rule.destination = other.destination.filter(same_family).or(base.destination),
                2 => rule.source_port = other.source_port,
                3 | 4 => rule.destination_port = other.destination_port,
                _ => (rule.priority, rule.lambda) = (other.priority, other.lambda),
            }
            rule
        };
        let varied: Vec<Rule> = variants.into_iter().map(vary).collect();
        std::iter::once(base.clone()).chain(varied).collect::<Vec<_>>()
    });
    prop::collection::vec(kind, 0..5).prop_map(|kinds| kinds.concat()).prop_shuffle()
}

/// The key of a frame that can be: no frame has two IP versions. `ipv4` decides for a key that has both.
fn of_one_version(mut key: Key, ipv4: bool) -> Key {
    if key.present.has(present(&[Present::IPV4, Present::IPV6])) {
        let other = if ipv4 { Present::IPV6 } else { Present::IPV4 };
        key.present = Present::from_bits(key.present.bits() & !other.bits());
    }
    key
}

/// Keys at the edges of a rule: it, and what lies just outside each range and prefix.
fn edges(rule: &Rule, key: Key) -> Vec<Key> {
    let ipv4 = rule.source.or(rule.destination).is_none_or(Prefix::is_ipv4);
    let inside = of_one_version(near(rule, key), ipv4);
    let mut keys = vec![inside];
    for (range, pick) in [
        (rule.source_port, (|key| &mut key.source_port) as fn(&mut Key) -> &mut u16),
        (rule.destination_port, |key| &mut key.destination_port),
    ] {
        let bounds = match range {
            PortRange::Any => None,
            PortRange::Exact(port) => Some((port, port)),
            PortRange::Inclusive(first, last) => Some((first, last)),
        };
        if let Some((first, last)) = bounds {
            for port in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                let mut key = inside;
                *pick(&mut key) = port;
                keys.push(key);
            }
        }
    }
    for bit in 0..4 {
        keys.push(Key { source: inside.source ^ 1 << bit, ..inside });
        keys.push(Key { destination: inside.destination ^ 1 << bit, ..inside });
    }
    keys
}

fn effect(rule: &Rule) -> (LambdaRef, Parameters, Egress) {
    (rule.lambda, rule.parameters, rule.egress)
}

#[test]
fn reduced_rules_mean_the_same() {
    let keys = prop::collection::vec(a_key(), 1..6);
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let (shadowed, merged) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    proptest::test_runner::TestRunner::new(config)
        .run(&(some_rules(), keys), |(rules, keys)| {
            let (table, reduction) = Table::reduced(rules.clone()).unwrap();
            prop_assert_eq!(reduction.rules_before, rules.len());
            prop_assert_eq!(reduction.rules, table.len());
            prop_assert_eq!(reduction.tuples, table.tuples());
            prop_assert_eq!(reduction.rules + reduction.shadowed + reduction.merged, rules.len());
            shadowed.set(shadowed.get() + reduction.shadowed);
            merged.set(merged.get() + reduction.merged);
            let close = rules.iter().zip(keys.iter().cycle()).flat_map(|(rule, &key)| edges(rule, key));
            let far = keys.iter().map(|&key| of_one_version(key, key.lambda % 2 == 0));
            for key in far.chain(close) {
                let (found, expected) = (table.lookup(&key), linear::lookup(&rules, &key));
                let effects =
                    (found.map(|found| effect(found.rule)), expected.map(|found| effect(found.rule)));
                prop_assert_eq!(effects.0, effects.1, "{:?}", key);
                if let Some(found) = found {
                    prop_assert_eq!(effect(&rules[found.index as usize]), effect(found.rule));
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(
        shadowed.get() > 5_000 && merged.get() > 1_500,
        "{} shadowed, {} merged",
        shadowed.get(),
        merged.get()
    );
}

fn reduced(rules: Vec<Rule>) -> (Vec<Rule>, Reduction) {
    let (table, reduction) = Table::reduced(rules).unwrap();
    (table.iter().map(|found| found.rule.clone()).collect(), reduction)
}

fn to(destination: &str) -> Rule {
    Rule { destination: Some(prefix(destination)), ..Rule::any(lambda(0)) }
}

fn at(destination_port: PortRange) -> Rule {
    Rule { protocol: Some(17), destination_port, ..Rule::any(lambda(0)) }
}

#[test]
fn prefixes_fold_all_the_way_up() {
    let mut rules: Vec<Rule> = (0..16).map(|low| to(&format!("10.0.{low}.0/24"))).collect();
    rules.reverse();
    let (rules, reduction) = reduced(rules);
    assert_eq!(rules, [to("10.0.0.0/20")]);
    assert_eq!(reduction.to_string(), "16 rules in 1 tuples reduced to 1 in 1: 0 shadowed, 15 merged");
    // Both halves of everything are everything of one family, and no more.
    assert_eq!(reduced(vec![to("0.0.0.0/1"), to("128.0.0.0/1")]).0, [to("0.0.0.0/0")]);
    assert_eq!(reduced(vec![to("::/1"), to("8000::/1")]).0, [to("::/0")]);
    // Neighbours that are not halves of one prefix.
    assert_eq!(reduced(vec![to("10.0.1.0/24"), to("10.0.2.0/24")]).0.len(), 2);
    assert_eq!(reduced(vec![to("0.0.0.0/0"), to("::/0")]).0.len(), 2);
}

#[test]
fn ports_fold_into_ranges() {
    let (rules, reduction) = reduced(vec![
        at(PortRange::Exact(80)),
        at(PortRange::Inclusive(81, 90)),
        at(PortRange::Inclusive(85, 99)),
        at(PortRange::Inclusive(70, 79)),
        at(PortRange::Exact(101)),
        at(PortRange::Exact(65_535)),
        at(PortRange::Exact(0)),
    ]);
    let ranges: Vec<_> = rules.iter().map(|rule| rule.destination_port).collect();
    let exact = PortRange::Exact;
    assert_eq!(ranges, [PortRange::Inclusive(70, 99), exact(101), exact(65_535), exact(0)]);
    assert_eq!((reduction.tuples_before, reduction.tuples), (2, 2));
}

#[test]
fn shadowed_rules_go_whatever_they_would_do() {
    let other = |rule: Rule| Rule { lambda: lambda(1), ..rule };
    let (rules, reduction) = reduced(vec![
        to("10.0.0.0/8"),
        other(to("10.1.0.0/16")),
        other(Rule { priority: 1, ..to("10.2.0.0/16") }),
        Rule { protocol: Some(6), ..to("10.3.0.0/16") },
        Rule::rpc(LambdaId::new(1), lambda(0)),
        other(Rule::rpc(LambdaId::new(1), lambda(0))),
    ]);
    let kept = [
        other(Rule { priority: 1, ..to("10.2.0.0/16") }),
        to("10.0.0.0/8"),
        Rule::rpc(LambdaId::new(1), lambda(0)),
    ];
    assert_eq!(rules, kept);
    assert_eq!((reduction.shadowed, reduction.merged), (3, 0));
}

#[test]
fn a_rule_between_keeps_its_precedence() {
    let between = |destination_port| Rule { lambda: lambda(1), ..at(destination_port) };
    // It would lose to the merged rule at the first's place, and win against it at the last's.
    let held = [
        at(PortRange::Inclusive(10, 19)),
        between(PortRange::Inclusive(15, 25)),
        at(PortRange::Inclusive(20, 29)),
    ];
    assert_eq!(reduced(held.to_vec()).0.len(), 3);
    // This one overlaps with the last only: the first may move behind it.
    let moved = [held[0].clone(), between(PortRange::Inclusive(25, 40)), held[2].clone()];
    let whole = at(PortRange::Inclusive(10, 29));
    assert_eq!(reduced(moved.to_vec()).0, [moved[1].clone(), whole.clone()]);
    // And with this one neither does.
    let free = [held[0].clone(), between(PortRange::Exact(9)), held[2].clone()];
    assert_eq!(reduced(free.to_vec()).0, [whole, free[1].clone()]);
}

#[test]
fn what_a_lambda_is_told_keeps_rules_apart() {
    let with =
        |rule: Rule, parameters: &[u8]| Rule { parameters: Parameters::new(parameters).unwrap(), ..rule };
    let (a, b) = (at(PortRange::Exact(1)), at(PortRange::Exact(2)));
    assert_eq!(reduced(vec![with(a.clone(), b"a"), with(b.clone(), b"b")]).0.len(), 2);
    assert_eq!(reduced(vec![Rule { egress: Egress::Any, ..a.clone() }, b.clone()]).0.len(), 2);
    let (table, _) =
        Table::reduced(vec![Rule::any(lambda(9)), Rule { priority: 1, ..b }, Rule { priority: 2, ..a }])
            .unwrap();
    // Of the two that were merged the first in source order gives the number.
    assert_eq!(table.lookup(&Key { destination_port: 1, ..udp_key() }).map(|found| found.index), Some(1));
}

/// Prints how long reduction takes: `cargo test --release -p lnic reduction::cost -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    let rpc = |count: u32| (0..count).map(|id| Rule::rpc(LambdaId::new(id), lambda(id))).collect::<Vec<_>>();
    let mut random = fastrand::Rng::with_seed(1);
    let mut general = |count: u32, lambdas: u32| {
        let one = |_| Rule {
            priority: random.u32(0..3),
            source: random.bool().then(|| {
                let bits = random.u8(8..33);
                match Prefix::new(IpAddr::V4(random.u32(..).into()), bits) {
                    Ok(prefix) | Err(Error::HostBits { network: prefix, .. }) => prefix,
                    Err(error) => panic!("{error}"),
                }
            }),
            destination_port: match random.u8(0..3) {
                0 => PortRange::Any,
                1 => PortRange::Exact(random.u16(..)),
                _ => {
                    let first = random.u16(..60_000);
                    PortRange::Inclusive(first, first + random.u16(..5_000))
                }
            },
            protocol: random.bool().then_some(17),
            vlan: if random.bool() { VlanMatch::Any } else { VlanMatch::Exact(random.u16(..4095)) },
            ..Rule::any(lambda(random.u32(0..lambdas)))
        };
        (0..count).map(one).collect::<Vec<_>>()
    };
    let ports: Vec<Rule> = (0..65_535u16)
        .map(|port| Rule { lambda: lambda(u32::from(port) % 2), ..at(PortRange::Inclusive(port, port + 1)) })
        .collect();
    let mut out = std::io::stderr().lock();
    for (name, rules) in [
        ("10,000 lambda IDs", rpc(10_000)),
        ("65,536 lambda IDs", rpc(65_536)),
        ("1,000 general, 10 lambdas", general(1_000, 10)),
        ("65,536 general, 1 lambda", general(65_536, 1)),
        ("65,536 general, 1,000 lambdas", general(65_536, 1_000)),
        ("65,535 overlapping ranges of two lambdas", ports),
    ] {
        let plain = Instant::now();
        let before = Table::build(rules.clone()).unwrap().len();
        let plain = plain.elapsed();
        let start = Instant::now();
        let (_, reduction) = Table::reduced(rules).unwrap();
        let _ = writeln!(
            out,
            "{name}: {before} built in {plain:?}, with reduction {:?}: {reduction}",
            start.elapsed()
        );
    }
}
