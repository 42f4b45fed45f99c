//! Secrets: set and removed, never shown.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::namespaces::NamespacePath;
use crate::control::http::extract::{Label, SecretName, UrlPath, UrlQuery, read_body};
use crate::control::http::{ApiError, Caller, ErrorBody, HttpState, Right};
use crate::control::plane::SecretValue;

/// Which secret.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SecretPath {
    /// Whose it is.
    #[param(inline)]
    namespace: Label,
    /// Its name there.
    #[param(inline)]
    name: SecretName,
}

/// What has to be there before.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SetQuery {
    /// `true`: the secret must be there already. `false`: it must not.
    #[param(nullable = false)]
    existing: Option<bool>,
}

/// Names of a namespace's secrets
#[utoipa::path(
    get, path = "/v1/namespaces/{namespace}/secrets", tag = "secrets", params(NamespacePath),
    operation_id = "list_secrets",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 200, description = "Names", body = Vec<String>),
        (status = 404, description = "No such namespace", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(NamespacePath { namespace }): UrlPath<NamespacePath>,
) -> Result<Json<Vec<String>>, ApiError> {
    caller.may(Right::Read, &namespace)?;
    Ok(Json(state.plane.secrets(&namespace).await?))
}

/// Sets a secret
///
/// Lambdas that name it see the new value. At most 64 KiB.
#[utoipa::path(
    put, path = "/v1/namespaces/{namespace}/secrets/{name}", tag = "secrets", params(SecretPath, SetQuery),
    operation_id = "set_secret",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The value"),
    responses(
        (status = 201, description = "It is new"),
        (status = 204, description = "It has a new value"),
        (status = 404, description = "No such namespace, or secret if it must be there", body = ErrorBody),
        (status = 409, description = "It is there and must not be", body = ErrorBody),
        (status = 413, description = "Longer than 64 KiB", body = ErrorBody),
        (status = 422, description = "It cannot be", body = ErrorBody),
        (status = 507, description = "There is no room for it", body = ErrorBody),
    )
)]
pub(super) async fn set(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(SecretPath { namespace, name }): UrlPath<SecretPath>,
    UrlQuery(query): UrlQuery<SetQuery>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    caller.may(Right::Deploy, &namespace)?;
    let value = SecretValue::new(read_body(body, SecretValue::BYTES).await?.into());
    let what = format!("secret \"{name}\" of namespace \"{namespace}\" set");
    let set = async move { state.plane.set_secret(&namespace, &name, value, query.existing).await };
    let new = state.changes.make(caller, what, set).await?;
    Ok(if new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

/// Removes a secret that no lambda names
#[utoipa::path(
    delete, path = "/v1/namespaces/{namespace}/secrets/{name}", tag = "secrets", params(SecretPath),
    operation_id = "remove_secret",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such namespace or secret", body = ErrorBody),
        (status = 409, description = "A lambda names it", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(SecretPath { namespace, name }): UrlPath<SecretPath>,
) -> Result<StatusCode, ApiError> {
    caller.may(Right::Deploy, &namespace)?;
    let what = format!("secret \"{name}\" of namespace \"{namespace}\" removed");
    state
        .changes
        .make(caller, what, async move { state.plane.remove_secret(&namespace, &name).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
