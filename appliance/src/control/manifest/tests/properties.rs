//! Any manifest: no judge panics, and none is changed by being written and read.

use lnic_registry::ManifestService;

use super::*;

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,8}",
        "[A-Z_0-9.:/-]{0,12}",
        any::<String>().prop_map(|text| text.chars().take(12).collect()),
        Just("auto".to_owned()),
        Just("shared".to_owned()),
        Just("reply".to_owned()),
        Just("p0".to_owned()),
        Just("far".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[0-9]{1,5}-[0-9]{1,5}",
    ]
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(word(), word(), 0..4)
}

fn service() -> BoxedStrategy<ManifestService> {
    let address = prop_oneof![
        word(),
        any::<std::net::SocketAddr>().prop_map(|address| address.to_string()),
        (any::<u8>(), 1..=u16::MAX).prop_map(|(host, port)| format!("192.0.2.{host}:{port}")),
    ];
    let framing = prop_oneof![word(), Just("memcached".to_owned())];
    (address, prop::option::of(word()), prop::option::of(framing))
        .prop_map(|(address, port, framing)| ManifestService { address, port, framing })
        .boxed()
}

fn services() -> BoxedStrategy<BTreeMap<String, ManifestService>> {
    prop::collection::btree_map(prop_oneof![word(), "[a-z_]{1,4}"], service(), 0..3).boxed()
}

fn rule() -> impl Strategy<Value = ManifestRule> {
    let first = (any::<Option<u32>>(), prop::array::uniform8(prop::option::of(word())));
    (first, any::<Option<u16>>(), prop::option::of("[0-9a-fg]{0,6}")).prop_map(
        |((priority, words), ether_type, parameters_hex)| {
            let [port, vlan, source, destination, protocol, source_port, destination_port, parameters] =
                words;
            ManifestRule {
                priority,
                port,
                vlan,
                source,
                destination,
                protocol,
                source_port,
                destination_port,
                ether_type,
                parameters,
                parameters_hex,
            }
        },
    )
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let numbers = prop::array::uniform9(prop::option::of(prop_oneof![0..2000_u32, any::<u32>()]));
    let words = prop::array::uniform5(prop::option::of(word()));
    let lists = (prop::option::of(prop::collection::vec(word(), 0..3)), prop::collection::vec(word(), 0..3));
    let tables = (texts(), texts(), texts(), services());
    let rules = prop::collection::vec(rule(), 0..3);
    (word(), numbers, words, any::<Option<bool>>(), lists, tables, rules).prop_map(
        |(
            name,
            numbers,
            words,
            rpc,
            (islands, secrets),
            (environment, labels, annotations, services),
            rules,
        )| {
            let [
                id,
                weight,
                budget_us,
                in_flight,
                queue_frames,
                message_slots,
                message_kib,
                replicas,
                memory_mib,
            ] = numbers;
            let [entry, concurrency, layout, egress, http] = words;
            Manifest {
                name,
                id,
                entry,
                weight,
                budget_us,
                concurrency,
                layout,
                in_flight,
                queue_frames,
                egress,
                rpc,
                http,
                message_slots,
                message_kib,
                islands,
                replicas,
                memory_mib,
                environment,
                secrets,
                labels,
                annotations,
                services,
                rules,
            }
        },
    )
}

proptest! {
    #[test]
    fn nothing_panics_and_both_judges_agree(manifest in manifest(), namespace in word()) {
        let online = judge(&manifest, &namespace, 1, Path::new("x.wasm"), &topology());
        let offline = check(&manifest);
        // What no appliance takes, this one does not take either.
        prop_assert!(offline.is_ok() || online.is_err());
        if let Ok((spec, rules)) = online {
            prop_assert_eq!(&spec.name, &manifest.name);
            prop_assert_eq!(rules.len(), manifest.rules.len());
            prop_assert_eq!(spec.services.len(), manifest.services.len());
            prop_assert!(spec.services.iter().map(|service| &service.name).eq(manifest.services.keys()));
            prop_assert!(!spec.islands.is_empty());
        }
    }

    #[test]
    fn written_and_read_it_is_the_same(manifest in manifest()) {
        let json = serde_json::to_string(&manifest).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Manifest>(&json).unwrap(), &manifest);
        let text = toml::to_string(&manifest).unwrap();
        prop_assert_eq!(&toml::from_str::<Manifest>(&text).unwrap(), &manifest);
        let mut problems = Problems::new(&text);
        let raw = parse(&text, &mut problems);
        prop_assert_eq!(&convert::from_raw(&raw), &manifest);
        prop_assert_eq!(&convert::from_raw(&convert::to_raw(&manifest)), &manifest);
        prop_assert!(problems.into_sorted().is_empty());
        // The file is right if and only if the manifest is.
        prop_assert_eq!(from_text(&text, Path::new("lambda.toml")).is_ok(), check(&manifest).is_ok());
    }

    #[test]
    fn no_text_panics(text in any::<String>(), key in word(), value in word()) {
        let _ = from_text(&text, Path::new("lambda.toml"));
        let _ = from_text(&format!("{key} = {value}\n[[rules]]\n{key} = {value}\n"), Path::new("lambda.toml"));
    }
}
