//! `/system/namespaces`, `/system/namespace/NAME`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::super::HttpState;
use super::super::caller::{Caller, Right};
use super::error::ProviderError;
use super::request;
use super::types::FunctionNamespace;
use crate::control::plane::Namespace;

/// A path with a name, or without one.
type Name = Option<Path<String>>;

/// GET `/system/namespaces`: those that the caller may see.
pub(super) async fn list(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<Json<Vec<String>>, ProviderError> {
    let namespaces = state.plane.namespaces().await?;
    let names = namespaces.into_iter().map(|namespace| namespace.name);
    Ok(Json(names.filter(|name| caller.may(Right::Read, name).is_ok()).collect()))
}

/// GET `/system/namespace/NAME`.
pub(super) async fn show(
    State(state): State<HttpState>,
    caller: Caller,
    path: Name,
) -> Result<Json<FunctionNamespace>, ProviderError> {
    let name = named(path.as_ref(), "")?;
    caller.may(Right::Read, &name)?;
    let namespaces = state.plane.namespaces().await?;
    let Some(found) = namespaces.into_iter().find(|namespace| namespace.name == name) else {
        return Err(ProviderError::NoNamespace(name));
    };
    Ok(Json(FunctionNamespace { name: found.name, annotations: found.annotations, labels: found.labels }))
}

/// POST, with the name in the path or in the body.
pub(super) async fn create(
    State(state): State<HttpState>,
    caller: Caller,
    path: Name,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    caller.may_everywhere(Right::Admin)?;
    let namespace = asked(path.as_ref(), &body)?;
    let what = format!("namespace \"{}\" made", namespace.name);
    state.changes.make(caller, what, async move { state.plane.create_namespace(namespace).await }).await?;
    Ok(StatusCode::CREATED)
}

/// PUT: labels and annotations.
pub(super) async fn update(
    State(state): State<HttpState>,
    caller: Caller,
    path: Name,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    let namespace = asked(path.as_ref(), &body)?;
    caller.may(Right::Admin, &namespace.name)?;
    let what = format!("namespace \"{}\" changed", namespace.name);
    let update = async move { state.plane.update_namespace(namespace).await };
    state.changes.make(caller, what, update).await.map_err(ProviderError::of_namespace)?;
    Ok(StatusCode::OK)
}

/// DELETE.
pub(super) async fn remove(
    State(state): State<HttpState>,
    caller: Caller,
    path: Name,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    let namespace = asked(path.as_ref(), &body)?;
    caller.may(Right::Admin, &namespace.name)?;
    let what = format!("namespace \"{}\" removed", namespace.name);
    let remove = async move { state.plane.remove_namespace(&namespace.name).await };
    state.changes.make(caller, what, remove).await.map_err(ProviderError::of_namespace)?;
    Ok(StatusCode::ACCEPTED)
}

/// What a change is about.
fn asked(path: Option<&Path<String>>, body: &Bytes) -> Result<Namespace, ProviderError> {
    let asked: FunctionNamespace =
        if body.is_empty() { FunctionNamespace::default() } else { request::body(body)? };
    let name = named(path, &asked.name)?;
    Ok(Namespace { name, labels: asked.labels, annotations: asked.annotations })
}

fn named(path: Option<&Path<String>>, body: &str) -> Result<String, ProviderError> {
    match request::agreed("name", path.map_or("", |Path(name)| name), body)? {
        "" => Err(ProviderError::bad_request("name: the namespace's name is missing")),
        name => Ok(name.into()),
    }
}
