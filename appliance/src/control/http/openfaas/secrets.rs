//! `/system/secrets`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;

use super::super::HttpState;
use super::super::caller::{Caller, Right};
use super::error::ProviderError;
use super::request::{self, Pairs};
use super::types::{Secret, SecretName};
use crate::control::plane::SecretValue;

/// GET: names only.
pub(super) async fn list(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
) -> Result<Json<Vec<SecretName>>, ProviderError> {
    let namespace = request::namespace(&query, "")?;
    caller.may(Right::Read, &namespace)?;
    let names = state.plane.secrets(&namespace).await?;
    Ok(Json(names.into_iter().map(|name| SecretName { name, namespace: namespace.clone() }).collect()))
}

/// POST: one that is there is a conflict.
pub(super) async fn create(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    set(state, caller, &query, &body, false).await?;
    Ok(StatusCode::CREATED)
}

/// PUT: 404 if it is not there; 200, for the clients know no 204.
pub(super) async fn update(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    set(state, caller, &query, &body, true).await?;
    Ok(StatusCode::OK)
}

async fn set(
    state: HttpState,
    caller: Caller,
    query: &Pairs,
    body: &Bytes,
    existing: bool,
) -> Result<(), ProviderError> {
    let asked = secret(body)?;
    let namespace = request::namespace(query, &asked.namespace)?;
    caller.may(Right::Deploy, &namespace)?;
    // Zeroed when they are dropped, whichever of them is taken.
    let (text, raw) = (SecretValue::new(asked.value.into_bytes()), SecretValue::new(asked.raw_value));
    let value = if text.bytes().is_empty() { raw } else { text };
    if value.bytes().is_empty() {
        return Err(ProviderError::bad_request(format!("secret \"{}\": has no value", asked.name)));
    }
    if value.bytes().len() > SecretValue::BYTES {
        let text = format!(
            "secret \"{}\": {} bytes, at most {} can be kept",
            asked.name,
            value.bytes().len(),
            SecretValue::BYTES
        );
        return Err(ProviderError::bad_request(text));
    }
    let what = format!("secret \"{}\" of namespace \"{namespace}\" set", asked.name);
    let name = asked.name;
    let set = async move { state.plane.set_secret(&namespace, &name, value, Some(existing)).await };
    state.changes.make(caller, what, set).await?;
    Ok(())
}

/// DELETE: 200.
pub(super) async fn remove(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    let asked = secret(&body)?;
    let namespace = request::namespace(&query, &asked.namespace)?;
    caller.may(Right::Deploy, &namespace)?;
    let what = format!("secret \"{}\" of namespace \"{namespace}\" removed", asked.name);
    let remove = async move { state.plane.remove_secret(&namespace, &asked.name).await };
    state.changes.make(caller, what, remove).await?;
    Ok(StatusCode::OK)
}

fn secret(body: &Bytes) -> Result<Secret, ProviderError> {
    let asked: Secret = request::body(body)?;
    if asked.name.is_empty() {
        return Err(ProviderError::bad_request("name: the secret's name is missing"));
    }
    Ok(asked)
}
