//! The native API's OpenAPI document.
//!
//! Beside what the standard knows, each operation says which right it needs: `x-right`, and `x-scope` where: in the path's `namespace`,
//! `somewhere`, `everywhere`, or as the `query` says.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

use super::native;

/// What may come back from every route, besides its own.
const COMMON: [(&str, &str); 7] = [
    ("400", "The request makes no sense"),
    ("401", "Nobody said who asks, or it is not true"),
    ("403", "The caller has no right to that"),
    ("429", "Too many wrong credentials from this address, or too many requests"),
    ("500", "Something failed on this side"),
    ("503", "It cannot be done now; the same may work later"),
    ("504", "No answer in time: what was asked may still be done"),
];
/// What may come back besides from routes that take a body.
const WITH_BODY: [(&str, &str); 3] = [
    ("408", "The body did not arrive in time"),
    ("413", "The body is too long"),
    ("415", "The body is not of the type that is expected"),
];

/// The document.
#[must_use]
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(build);
    &DOCUMENT
}

/// The document, as it is served.
pub(super) fn text() -> &'static [u8] {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| document().to_string().into_bytes());
    &TEXT
}

fn build() -> Value {
    // A structure of texts: it cannot fail to become JSON.
    let mut document = serde_json::to_value(native::Document::openapi()).unwrap_or_default();
    document["info"] = json!({
        "title": "lnic",
        "description": "The control plane of a SmartNIC in software: lambdas, namespaces, secrets, logs and counters.",
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["components"]["securitySchemes"] = json!({
        "basic": { "type": "http", "scheme": "basic", "description": "Name and password, or name and token" },
        "bearer": { "type": "http", "scheme": "bearer", "description": "A token alone" },
    });
    document["security"] = json!([{ "basic": [] }, { "bearer": [] }]);
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            add_common_answers(operation);
            refine_body(operation);
        }
    }
    refine_numbers(&mut document);
    let name = document.pointer("/components/schemas/NamespaceRequest/properties/name/pattern").cloned();
    if let Some(manifest) = document.pointer_mut("/components/schemas/Manifest/properties/name") {
        manifest["pattern"] = name.unwrap_or_default();
    }
    document
}

fn add_common_answers(operation: &mut Value) {
    let open = operation["x-right"] == "none";
    let with_body = operation.get("requestBody").is_some();
    let with_json = operation.pointer("/requestBody/content/application~1json").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let more = COMMON.iter().filter(|(status, _)| !open || matches!(*status, "401" | "429" | "500" | "504"));
    let of_body = WITH_BODY.iter().filter(|(status, _)| with_json || with_body && *status != "415");
    for (status, description) in more.chain(of_body) {
        responses.entry(*status).or_insert_with(|| {
            json!({
                "description": description,
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } },
            })
        });
    }
    if let Some(refused) = responses.get_mut("401") {
        refused["headers"] = json!({ "WWW-Authenticate": { "schema": { "type": "string" } } });
    }
    if let Some(limited) = responses.get_mut("429") {
        limited["headers"] = json!({ "Retry-After": { "schema": { "type": "integer" } } });
    }
}

/// Says what the generator cannot: a body that is no JSON is bytes, and one that may be left out is not `null`.
fn refine_body(operation: &mut Value) {
    let Some(content) = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut) else {
        return;
    };
    for (kind, content) in content {
        if kind != "application/json" {
            content["schema"] = json!({ "type": "string", "format": "binary" });
        } else if let Some(schema) = content.pointer("/schema/oneOf/0").cloned() {
            content["schema"] = schema;
        }
    }
}

/// Says what Rust's types know and the generator does not: how large a number without a sign may be.
fn refine_numbers(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        let format = object.get("format").and_then(Value::as_str);
        let unsigned = object.get("minimum").and_then(Value::as_u64) == Some(0);
        let refined = match format {
            Some("int32") if unsigned => Some(("uint32", u64::from(u32::MAX))),
            Some("int64") if unsigned => Some(("uint64", u64::MAX)),
            _ => None,
        };
        if let Some((format, maximum)) = refined {
            object.insert("format".into(), format.into());
            object.entry("maximum").or_insert(maximum.into());
        }
        object.values_mut().for_each(refine_numbers);
    } else if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(refine_numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> Vec<(String, String, &'static Value)> {
        let paths = document()["paths"].as_object().expect("paths");
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").iter();
            methods.map(|(method, operation)| (method.clone(), path.clone(), operation))
        });
        operations.collect()
    }

    #[test]
    fn every_route_is_documented_under_its_path() {
        let mut documented: Vec<_> =
            operations().into_iter().map(|(method, path, _)| (method, path)).collect();
        documented.sort();
        let mut routes: Vec<_> =
            native::ROUTES.iter().map(|&(method, path)| (method.to_owned(), path.to_owned())).collect();
        routes.sort();
        assert_eq!(documented, routes);
    }

    #[test]
    fn every_operation_says_its_right_and_its_errors() {
        let mut ids = std::collections::BTreeSet::new();
        for (method, path, operation) in operations() {
            let right = operation["x-right"].as_str().unwrap_or_default();
            assert!(["none", "any", "read", "deploy", "admin"].contains(&right), "{method} {path}: {right}");
            let scope = operation["x-scope"].as_str().unwrap_or_default();
            let scopes = ["namespace", "somewhere", "everywhere", "query"];
            assert!(["none", "any"].contains(&right) || scopes.contains(&scope), "{method} {path}: {scope}");
            assert!(ids.insert(operation["operationId"].as_str()), "{method} {path}: another has its ID");
            if right != "none" {
                for (status, _) in COMMON {
                    assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
                }
            }
        }
    }

    #[test]
    fn every_reference_is_there() {
        fn check(value: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').expect("a reference into the document");
                        assert!(document().pointer(pointer).is_some(), "{reference}");
                    }
                    object.values().for_each(check);
                }
                Value::Array(array) => array.iter().for_each(check),
                _ => {}
            }
        }
        check(document());
        assert!(document()["openapi"].as_str().expect("a version").starts_with("3.1."));
    }
}
