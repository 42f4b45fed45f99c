use std::collections::BTreeMap;

use super::*;
use crate::control::plane::{Generation, Manifest, Origin};

/// A lambda as an appliance would describe it.
pub(in crate::cli) fn lambda(namespace: &str, name: &str) -> Lambda {
    let generation = |number: u64| Generation {
        number,
        module: format!("sha256:{}", format!("{number:02x}").repeat(32)),
        image: "lambdas/echo".into(),
        deployed_at_ms: 1_499_999_999_000 + number * 1_000,
    };
    Lambda {
        key: LambdaKey::new(namespace, name),
        origin: Origin::Registry,
        id: 7,
        phase: Phase::Active,
        problem: None,
        generation: 2,
        generations: vec![generation(1), generation(2)],
        replicas: Some(3),
        available_replicas: 1,
        concurrency: "replicated".into(),
        manifest: Manifest { name: name.into(), weight: Some(4), ..Manifest::default() },
        services: Vec::new(),
        memory_bytes: BTreeMap::from([("ctm".into(), 4096), ("emem".into(), 65_536)]),
        invocations: 42,
        created_at_ms: 1_500_000_000_000,
    }
}

/// What an appliance counts of it.
fn counted(namespace: &str, name: &str) -> Counters {
    let numbers = serde_json::json!({
        "name": name, "id": 7, "state": "active", "weight": 9, "budget_us": 200, "concurrency": "x", "islands": ["near", "far"],
        "invocations": 1, "traps": 2, "exhausted": 3, "unavailable": 5,
    });
    (LambdaKey::new(namespace, name), numbers.as_object().unwrap().clone())
}

#[test]
fn a_line_for_each_with_what_is_counted() {
    let lambdas = [
        lambda("default", "echo"),
        Lambda { phase: Phase::Asleep, available_replicas: 0, replicas: Some(0), ..lambda("acme", "echo") },
    ];
    let mut out = Vec::new();
    write(&mut out, &lambdas, &[counted("default", "echo")]).unwrap();
    let expected = "\
NAME       ID  GENERATION  STATE   NPUS  WEIGHT  BUDGET µs  CONCURRENCY  ISLANDS   INVOCATIONS  FAILURES
echo        7           2  active   1/3       9        200  replicated   near far           42         5
echo.acme   7           2  asleep     0       4          -  replicated   -                  42         -
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn programs_get_counters_and_what_the_plane_says() {
    let row = merged(&lambda("default", "echo"), &[counted("acme", "echo"), counted("default", "echo")]);
    assert_eq!(
        (&row["unavailable"], &row["state"], &row["phase"]),
        (&5.into(), &"active".into(), &"active".into())
    );
    // The plane knows better.
    assert_eq!((&row["invocations"], &row["concurrency"]), (&42.into(), &"replicated".into()));
    assert_eq!(
        (&row["namespace"], &row["generation"], &row["weight"]),
        (&"default".into(), &2.into(), &9.into())
    );
    let alone = merged(&lambda("default", "echo"), &[]);
    assert_eq!((alone.get("traps"), &alone["name"]), (None, &"echo".into()));
}

#[test]
fn names_of_states_are_those_of_json() {
    for phase in [Phase::Active, Phase::Asleep, Phase::Quarantined, Phase::Lost, Phase::Failed] {
        assert_eq!(serde_json::to_value(phase).unwrap(), phase_name(phase));
    }
}
