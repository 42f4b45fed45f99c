//! The file's own rules: keys, types, places, and that `configs/default.toml` knows every key.

use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::*;

fn messages(text: &str) -> Vec<String> {
    let mut problems = Problems::new(text);
    parse::<raw::Configuration>(text, &mut problems);
    let line = |problem: Problem| format!("{}: {}", problem.line.unwrap_or(0), problem.message);
    problems.into_sorted().into_iter().map(line).collect()
}

#[test]
fn unknown_keys_are_all_named_with_the_nearest_known_key() {
    let text = "nam = \"x\"\n[memory]\neal_mb = 1\npool_frames = 1000\n[[ports]]\ndrivr = \"dpdk\"\n[ports.fault]\nlos = 1\n";
    assert_eq!(
        messages(text),
        [
            "1: nam: unknown key: did you mean \"name\"?",
            "3: [memory] eal_mb: unknown key: did you mean \"eal_mib\"?",
            "6: [ports] drivr: unknown key: did you mean \"driver\"?",
            "8: [ports.fault] los: unknown key: known are \"seed\", \"drop\", \"duplicate\", \"corrupt\", \"reorder\"",
        ]
    );
}

#[test]
fn wrong_types_are_named_and_the_rest_is_judged() {
    let text = "name = 5\n[memory]\neal_mib = \"much\"\n[eal]\nextra_args = [\"-x\", 5]\n[[ports]]\nmtu = 1.5\nqueues = 1.5\n";
    assert_eq!(
        messages(text),
        [
            "1: name: integer 5: expected a string",
            "3: [memory] eal_mib: string \"much\": expected an integer",
            "5: [eal] extra_args: integer 5: expected a string",
            "7: [ports] mtu: floating point 1.5: expected an integer",
            "8: [ports] queues: expected a string, an integer, a boolean or a list of integers",
        ]
    );
}

#[test]
fn wrong_toml_has_a_line() {
    let found = messages("name = \"x\"\n[memory\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("2: "), "{found:?}");
}

#[test]
fn a_table_where_a_value_belongs() {
    assert_eq!(messages("memory = 5\n"), ["1: memory: integer 5: expected a table"]);
    assert_eq!(messages("[name]\nx = 1\n"), ["1: name: map: expected a string"]);
}

#[test]
fn far_names_are_not_suggested() {
    assert_eq!(nearest("eth7", ["eth0", "lo"].into_iter()), Some("eth0"));
    assert_eq!(nearest("wire", ["eth0", "lo"].into_iter()), None);
}

#[test]
fn reading_a_file_that_is_not_there() {
    let error = read(Path::new("no/such.toml")).unwrap_err();
    assert_eq!(error.to_string(), "configuration no/such.toml: No such file or directory (os error 2)");
}

/// Learns the keys of a schema struct from its own deserializer.
fn keys<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(serde::de::Error::custom("keys only"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut found: &'static [&'static str] = &[];
    let _ = T::deserialize(Fields(&mut found));
    found
}

#[test]
fn the_default_configuration_explains_every_key() {
    let text = include_str!("../../../../configs/default.toml");
    // Uncomments the examples: every key must then be there, in its table, and of the right type.
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with(' ') => format!("{example}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(messages(&examples), [""; 0]);
    let root: toml::Table = toml::from_str(&examples).unwrap();
    let table = |path: &[&str]| {
        path.iter().fold(&root, |table, key| match &table[*key] {
            toml::Value::Array(tables) => tables[0].as_table().unwrap(),
            value => value.as_table().unwrap(),
        })
    };
    let check = |path: &[&str], keys: &[&str]| {
        assert!(!keys.is_empty());
        for key in keys {
            assert!(table(path).contains_key(*key), "{path:?}: \"{key}\" is not explained");
        }
    };
    check(&[], keys::<raw::Configuration>());
    check(&["memory"], keys::<raw::Memory>());
    check(&["memory", "tiers"], keys::<raw::Tiers>());
    check(&["eal"], keys::<raw::Eal>());
    check(&["lcores"], keys::<raw::Lcores>());
    check(&["idle"], keys::<raw::Idle>());
    check(&["rpc"], keys::<raw::Rpc>());
    check(&["scheduling"], keys::<raw::Scheduling>());
    check(&["quarantine"], keys::<raw::Quarantine>());
    check(&["budget"], keys::<raw::Budget>());
    check(&["islands"], keys::<raw::Island>());
    check(&["dispatchers"], keys::<raw::Dispatcher>());
    check(&["tenants"], keys::<raw::Tenant>());
    check(&["ports"], keys::<raw::Port>());
    check(&["ports", "fault"], keys::<raw::Fault>());
    check(&["ports", "capture"], keys::<raw::Capture>());
    check(&["lambdas"], keys::<raw::Lambda>());
    check(&["services"], keys::<raw::Services>());
    check(&["lambdas", "services", "memcached"], keys::<raw::Service>());
    check(&["rules"], keys::<raw::Rule>());
}
