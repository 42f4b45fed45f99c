//! What lambdas logged.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::control::http::extract::{Label, UrlQuery};
use crate::control::http::{ApiError, Caller, Endless, ErrorBody, HttpState, Right};
use crate::control::plane::{LambdaKey, LogLine, LogQuery};

/// Most lines that one can ask for.
const TAIL_LINES: usize = 1_000_000;
/// Most lines that are sent as one piece.
const LINES: usize = 64;

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// Of which namespace; of all if left out.
    #[param(inline, nullable = false)]
    namespace: Option<Label>,
    /// Of which lambda; of all if left out.
    #[param(inline, nullable = false)]
    name: Option<Label>,
    /// At most so many of those that are kept, the latest.
    #[param(maximum = 1_000_000, nullable = false)]
    tail: Option<usize>,
    /// Only lines from then on, ms since 1970.
    #[param(nullable = false)]
    since_ms: Option<u64>,
    /// Goes on with new lines until the client leaves.
    #[serde(default)]
    #[param(required = false)]
    follow: bool,
}

/// Lines that lambdas logged
///
/// One JSON object a line, as schema `LogLine` says.
#[utoipa::path(
    get, path = "/v1/logs", tag = "lambdas", params(LogsQuery),
    extensions(("x-right" = json!("read")), ("x-scope" = json!("query"))),
    responses(
        (status = 200, description = "Lines", body = String, content_type = "application/x-ndjson"),
        (status = 404, description = "No such namespace or lambda", body = ErrorBody),
    )
)]
pub(super) async fn logs(
    State(state): State<HttpState>,
    caller: Caller,
    UrlQuery(query): UrlQuery<LogsQuery>,
) -> Result<Response, ApiError> {
    match &query.namespace {
        Some(namespace) => caller.may(Right::Read, namespace)?,
        None => caller.may_everywhere(Right::Read)?,
    }
    if let Some(tail) = query.tail.filter(|&tail| tail > TAIL_LINES) {
        return Err(ApiError::BadRequest(format!("query: tail: {tail} is over {TAIL_LINES}")));
    }
    match (&query.namespace, &query.name) {
        (Some(namespace), Some(name)) => {
            state.plane.lambda(&LambdaKey::new(namespace, name)).await?;
        }
        (Some(namespace), None) => {
            state.plane.lambdas(Some(namespace)).await?;
        }
        (None, _) => {}
    }
    let follow = query.follow;
    let lines = state.plane.logs(LogQuery {
        name: query.name.map(Label::into_inner),
        namespace: query.namespace.map(Label::into_inner),
        tail: query.tail,
        since_ms: query.since_ms,
        follow,
    });
    let pieces = lines.ready_chunks(LINES).map(|lines| Ok::<_, Infallible>(ndjson(&lines)));
    let mut response = ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response();
    if follow {
        response.extensions_mut().insert(Endless);
    }
    Ok(response)
}

/// One JSON object a line.
fn ndjson(lines: &[LogLine]) -> Bytes {
    let mut text = Vec::new();
    for line in lines {
        // Texts and numbers: nothing in it can fail to be written.
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}
