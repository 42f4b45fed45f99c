//! A manifest over another.

use lnic_registry::Manifest;
use serde_json::Value;

/// What `over` says, and for the rest what `base` says. Tables, such as variables and services, are taken entry by entry; all else is whole.
/// By the keys that they have when they are written, so that a key that is new is not forgotten here.
pub(super) fn over(base: &Manifest, over: &Manifest) -> Manifest {
    let (Ok(Value::Object(mut merged)), Ok(Value::Object(said))) =
        (serde_json::to_value(base), serde_json::to_value(over))
    else {
        return over.clone();
    };
    for (key, value) in said {
        match (merged.get_mut(&key), value) {
            (_, Value::String(text)) if text.is_empty() => {}
            (Some(Value::Object(entries)), Value::Object(more)) => entries.extend(more),
            (_, value) => drop(merged.insert(key, value)),
        }
    }
    serde_json::from_value(Value::Object(merged)).unwrap_or_else(|_| over.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_wins_and_the_rest_stays() {
        let base = Manifest {
            name: "base".into(),
            weight: Some(3),
            budget_us: Some(50),
            environment: [("A".into(), "1".into()), ("B".into(), "2".into())].into(),
            ..Manifest::default()
        };
        let said = Manifest {
            budget_us: Some(70),
            environment: [("B".into(), "3".into())].into(),
            ..Manifest::default()
        };
        let merged = over(&base, &said);
        assert_eq!((merged.name.as_str(), merged.weight, merged.budget_us), ("base", Some(3), Some(70)));
        assert_eq!(merged.environment, [("A".into(), "1".into()), ("B".into(), "3".into())].into());
        assert_eq!(over(&base, &Manifest::default()), base);
    }
}
