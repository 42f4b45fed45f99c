//! The JSON schema of `lambda.toml`, for editors: `configs/lambda.schema.json`.

use lnic_registry::{Manifest, ManifestRule, ManifestService};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use crate::control::topology::{Concurrency, HttpMode, LayoutWish, framing_name};
use crate::outside::Framing;

/// Keys of a rule that take a number or a word.
const NUMBERS_OR_WORDS: [&str; 4] = ["vlan", "protocol", "source_port", "destination_port"];
/// Least and largest values of numbers, where they are the same on every appliance; the judges' own.
pub(super) const RANGES: [(&str, u32, u32); 8] = [
    ("weight", 1, 1_000),
    ("budget_us", 1, 10_000_000),
    ("in_flight", 1, 64),
    ("queue_frames", 1, 65_536),
    ("message_slots", 0, 1024),
    ("message_kib", 1, 65_536),
    ("replicas", 0, 1024),
    ("memory_mib", 1, 1 << 20),
];

/// The schema, made of the manifest's type and of what the judges allow.
#[must_use]
pub fn schema() -> Value {
    let mut root = object::<Manifest>();
    let mut rule = object::<ManifestRule>();
    let mut service = object::<ManifestService>();
    // The folder's name stands for it.
    root.remove("required");
    for (key, least, most) in RANGES {
        extend(&mut root, key, json!({ "minimum": least, "maximum": most }));
    }
    let words = [
        ("concurrency", Concurrency::ALL.map(Concurrency::name).to_vec()),
        ("layout", LayoutWish::ALL.map(LayoutWish::name).to_vec()),
        ("egress", vec!["reply", "any"]),
        ("http", HttpMode::ALL.map(HttpMode::name).to_vec()),
    ];
    for (key, words) in words {
        extend(&mut root, key, json!({ "enum": words }));
    }
    for key in NUMBERS_OR_WORDS {
        extend(&mut rule, key, json!({ "type": ["integer", "string"] }));
    }
    extend(&mut rule, "ether_type", json!({ "minimum": 0x0600, "maximum": 0xffff }));
    extend(&mut root, "rules", json!({ "items": { "$ref": "#/$defs/rule" } }));
    let framings = [Framing::Datagram, Framing::Memcached].map(framing_name);
    extend(&mut service, "framing", json!({ "enum": framings }));
    let services = json!({ "additionalProperties": { "$ref": "#/$defs/service" }, "maxProperties": 16 });
    extend(&mut root, "services", services);
    let description = root.remove("description").unwrap_or_default();
    let mut schema = Map::from_iter([
        ("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema")),
        ("title".to_owned(), json!("lambda.toml of lnic")),
        ("description".to_owned(), description),
    ]);
    schema.append(&mut root);
    schema.insert("$defs".to_owned(), json!({ "rule": rule, "service": service }));
    Value::Object(schema)
}

/// The schema of a type, as TOML has it: there is no null.
fn object<T: PartialSchema>() -> Map<String, Value> {
    // A derived schema is plain data.
    let mut schema = match serde_json::to_value(T::schema()) {
        Ok(Value::Object(schema)) => schema,
        _ => Map::new(),
    };
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            // Formats are OpenAPI's.
            if let Value::Object(property) = property {
                property.remove("format");
            }
            if let Some(Value::Array(types)) = property.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    property["type"] = only.clone();
                }
            }
        }
    }
    schema
}

/// Says more of a property.
fn extend(schema: &mut Map<String, Value>, key: &str, more: Value) {
    if let (Some(Value::Object(property)), Value::Object(more)) =
        (schema.get_mut("properties").and_then(|properties| properties.get_mut(key)), more)
    {
        property.extend(more);
    }
}
