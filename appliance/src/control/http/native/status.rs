//! The appliance as a whole: health, counters, rules.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::http::{ApiError, Caller, HttpState, Right, openapi};
use crate::control::plane::{Readiness, Rule};
use crate::control::stats::Snapshot;

/// Who answers, and who asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// Name of the appliance.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// How requests get to lambdas: `run-to-completion` or `dispatcher`.
    pub scheduling: String,
    /// Seconds since start.
    pub uptime_s: f64,
    /// Who asked.
    pub user: String,
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", tag = "health", extensions(("x-right" = json!("none"))), security(()),
    responses((status = 200, description = "It is", body = String, content_type = "text/plain"))
)]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// May traffic be sent here?
///
/// Who has no right to read everything is told yes or no, and not why.
#[utoipa::path(
    get, path = "/readyz", tag = "health", extensions(("x-right" = json!("none"))), security(()),
    responses(
        (status = 200, description = "Yes", body = Readiness),
        (status = 503, description = "No", body = Readiness),
    )
)]
pub(super) async fn readyz(State(state): State<HttpState>, caller: Caller) -> (StatusCode, Json<Readiness>) {
    let mut readiness = state.plane.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if caller.may_everywhere(Right::Read).is_err() {
        readiness = Readiness { ready: readiness.ready, ..Readiness::default() };
    }
    (status, Json(readiness))
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "appliance", extensions(("x-right" = json!("any"))),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], Bytes::from_static(openapi::text()))
}

/// Who answers, and who asked
#[utoipa::path(
    get, path = "/v1/info", tag = "appliance",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("somewhere"))),
    responses((status = 200, description = "The appliance", body = Info))
)]
pub(super) async fn info(State(state): State<HttpState>, caller: Caller) -> Result<Json<Info>, ApiError> {
    caller.may_somewhere(Right::Read)?;
    let snapshot = state.plane.snapshot();
    Ok(Json(Info {
        name: snapshot.name,
        version: snapshot.version,
        scheduling: snapshot.scheduling,
        uptime_s: snapshot.uptime_s,
        user: caller.name.to_string(),
    }))
}

/// All counters, since start
#[utoipa::path(
    get, path = "/v1/stats", tag = "appliance",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("everywhere"))),
    responses((status = 200, description = "Counters", body = Snapshot))
)]
pub(super) async fn stats(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<Json<Snapshot>, ApiError> {
    caller.may_everywhere(Right::Read)?;
    Ok(Json(state.plane.snapshot()))
}

/// Match rules in force, in order of precedence
///
/// Those of namespaces that the caller may read.
#[utoipa::path(
    get, path = "/v1/rules", tag = "appliance",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("somewhere"))),
    responses((status = 200, description = "Rules", body = Vec<Rule>))
)]
pub(super) async fn rules(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<Json<Vec<Rule>>, ApiError> {
    caller.may_somewhere(Right::Read)?;
    let mut rules = state.plane.rules().await?;
    rules.retain(|rule| caller.may(Right::Read, &rule.lambda.namespace).is_ok());
    Ok(Json(rules))
}
