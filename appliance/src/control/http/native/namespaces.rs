//! Namespaces.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::http::extract::{Label, UrlPath, read_json};
use crate::control::http::{ApiError, Caller, ErrorBody, HttpState, Right, quoted};
use crate::control::plane::{Namespace, PlaneError};

/// Which namespace.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamespacePath {
    /// Its name.
    #[param(inline)]
    pub(super) namespace: Label,
}

/// A namespace to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceRequest {
    /// Its name: 1–63 lower-case letters, digits and, between them, "-", a letter first.
    #[schema(pattern = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", min_length = 1, max_length = 63)]
    pub name: String,
    /// For people and programs.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The same, for longer texts.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a namespace shall have from now on; what is left out is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceChange {
    /// Its name, which stays: that of the path if it is there at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people and programs.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The same, for longer texts.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Namespaces that the caller may read, by name
#[utoipa::path(
    get, path = "/v1/namespaces", tag = "namespaces", operation_id = "list_namespaces",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("somewhere"))),
    responses((status = 200, description = "Namespaces", body = Vec<Namespace>))
)]
pub(super) async fn list(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<Json<Vec<Namespace>>, ApiError> {
    caller.may_somewhere(Right::Read)?;
    let mut namespaces = state.plane.namespaces().await?;
    namespaces.retain(|namespace| caller.may(Right::Read, &namespace.name).is_ok());
    Ok(Json(namespaces))
}

/// Makes a namespace
#[utoipa::path(
    post, path = "/v1/namespaces", tag = "namespaces", operation_id = "create_namespace",
    extensions(("x-right" = json!("admin")), ("x-scope" = json!("everywhere"))),
    request_body = NamespaceRequest,
    responses(
        (status = 201, description = "It is there", body = Namespace),
        (status = 409, description = "It was there already", body = ErrorBody),
        (status = 422, description = "It cannot be named or labelled so", body = ErrorBody),
        (status = 507, description = "There is no room for it", body = ErrorBody),
    )
)]
pub(super) async fn create(
    State(state): State<HttpState>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Namespace>), ApiError> {
    caller.may_everywhere(Right::Admin)?;
    let NamespaceRequest { name, labels, annotations } = read_json(request).await?;
    let name =
        Label::new(&name).map_err(|error| ApiError::BadRequest(format!("name: {error}")))?.into_inner();
    let what = format!("namespace \"{name}\" made");
    let namespace = Namespace { name, labels, annotations };
    let made = state
        .changes
        .make(caller, what, async move { state.plane.create_namespace(namespace).await })
        .await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a namespace's labels and annotations
#[utoipa::path(
    put, path = "/v1/namespaces/{namespace}", tag = "namespaces", params(NamespacePath),
    operation_id = "update_namespace",
    extensions(("x-right" = json!("admin")), ("x-scope" = json!("namespace"))),
    request_body = NamespaceChange,
    responses(
        (status = 200, description = "So it is", body = Namespace),
        (status = 404, description = "No such namespace", body = ErrorBody),
        (status = 409, description = "It is the configuration file's", body = ErrorBody),
        (status = 422, description = "It cannot be labelled so", body = ErrorBody),
    )
)]
pub(super) async fn update(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(NamespacePath { namespace }): UrlPath<NamespacePath>,
    request: Request,
) -> Result<Json<Namespace>, ApiError> {
    caller.may(Right::Admin, &namespace)?;
    let NamespaceChange { name, labels, annotations } = read_json(request).await?;
    if let Some(name) = name.filter(|name| **name != *namespace) {
        let name = quoted(&name);
        let text = format!("name: \"{}\" is not the path's \"{namespace}\"", name.escape_debug());
        return Err(PlaneError::Invalid(vec![text]).into());
    }
    let what = format!("namespace \"{namespace}\" changed");
    let namespace = Namespace { name: namespace.into_inner(), labels, annotations };
    let changed = state
        .changes
        .make(caller, what, async move { state.plane.update_namespace(namespace).await })
        .await?;
    Ok(Json(changed))
}

/// Removes a namespace that has no lambdas, and its secrets
#[utoipa::path(
    delete, path = "/v1/namespaces/{namespace}", tag = "namespaces", params(NamespacePath),
    operation_id = "remove_namespace",
    extensions(("x-right" = json!("admin")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such namespace", body = ErrorBody),
        (status = 409, description = "It has lambdas, or cannot be removed", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(NamespacePath { namespace }): UrlPath<NamespacePath>,
) -> Result<StatusCode, ApiError> {
    caller.may(Right::Admin, &namespace)?;
    let what = format!("namespace \"{namespace}\" removed");
    state.changes.make(caller, what, async move { state.plane.remove_namespace(&namespace).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
