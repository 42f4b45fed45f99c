//! What requests say: bodies whatever their content type, queries, and the namespace that either of them names.

use axum::body::Bytes;
use axum::extract::Query;
use lnic_registry::LambdaKey;
use serde::de::DeserializeOwned;

use super::error::ProviderError;

/// A query's pairs.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// The last value of a key, if it is not empty, as `faas-provider` reads queries.
pub(super) fn value<'a>(query: &'a Pairs, key: &str) -> Option<&'a str> {
    let (_, value) = query.iter().rev().find(|(name, _)| name == key)?;
    (!value.is_empty()).then_some(value)
}

/// Is a key set? What Go's `ParseBool` takes for true.
pub(super) fn flag(query: &Pairs, key: &str) -> bool {
    matches!(value(query, key), Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// A body. Clients differ in the content type that they send, so it is not asked for.
pub(super) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ProviderError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ProviderError::bad_request(format!("request body: {error}")))
}

/// The namespace: the query's, the body's, or the default one.
pub(super) fn namespace(query: &Pairs, body: &str) -> Result<String, ProviderError> {
    let named = agreed("namespace", value(query, "namespace").unwrap_or_default(), body)?;
    Ok(if named.is_empty() { LambdaKey::DEFAULT_NAMESPACE.into() } else { named.into() })
}

/// A function: `name`, or `name.namespace` as gateways write it, and the namespace that goes with it.
pub(super) fn function(name: &str, query: &Pairs, body: &str) -> Result<LambdaKey, ProviderError> {
    if name.is_empty() {
        return Err(ProviderError::bad_request("the function's name is missing"));
    }
    // Names have no dots.
    let (name, suffix) = name.split_once('.').unwrap_or((name, ""));
    let body = agreed("namespace", suffix, body)?;
    Ok(LambdaKey { namespace: namespace(query, body)?, name: name.into() })
}

/// What is said in two places, either of which may be empty.
pub(super) fn agreed<'a>(what: &str, first: &'a str, second: &'a str) -> Result<&'a str, ProviderError> {
    match (first, second) {
        ("", said) | (said, "") => Ok(said),
        (first, second) if first == second => Ok(first),
        (first, second) => {
            Err(ProviderError::bad_request(format!("{what}: both \"{first}\" and \"{second}\" are named")))
        }
    }
}
