//! `/system/logs`: lines as NDJSON, kept ones first, then new ones for as long as the client stays.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::super::caller::{Caller, Right};
use super::super::{Endless, HttpState};
use super::error::ProviderError;
use super::request::{self, Pairs};
use super::status::{parse_rfc3339, rfc3339};
use super::types::Message;
use crate::control::plane::{LogLine, LogQuery};

/// GET `/system/logs?name=&namespace=&instance=&since=&tail=&follow=`.
pub(super) async fn read(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
) -> Result<Response, ProviderError> {
    let name = request::value(&query, "name");
    let name = name.ok_or_else(|| ProviderError::LogQuery("name: is missing".into()))?;
    let key = request::function(name, &query, "")?;
    caller.may(Right::Read, &key.namespace)?;
    let follow = request::flag(&query, "follow");
    let asked = LogQuery {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        tail: tail(&query)?,
        since_ms: since_ms(&query)?,
        follow,
    };
    let instance = request::value(&query, "instance").map(str::to_owned);
    state.plane.lambda(&key).await?;
    let lines = state.plane.logs(asked).filter_map(move |line| {
        let message = message(line);
        let wanted = instance.as_ref().is_none_or(|instance| message.instance == *instance);
        std::future::ready(wanted.then(|| encode(&message)))
    });
    let mut response =
        ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response();
    if follow {
        response.extensions_mut().insert(Endless);
    }
    Ok(response)
}

fn message(line: LogLine) -> Message {
    Message {
        instance: format!("{}-{}", line.lambda.name, line.generation),
        name: line.lambda.name,
        namespace: line.lambda.namespace,
        timestamp: rfc3339(line.time_ms),
        text: line.text,
    }
}

fn encode(message: &Message) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line.into())
}

/// All lines if it is not over 0.
fn tail(query: &Pairs) -> Result<Option<usize>, ProviderError> {
    let Some(text) = request::value(query, "tail") else { return Ok(None) };
    let lines: i64 =
        text.parse().map_err(|_| ProviderError::LogQuery(format!("tail: \"{text}\" is no number")))?;
    Ok(usize::try_from(lines).ok().filter(|lines| *lines > 0))
}

fn since_ms(query: &Pairs) -> Result<Option<u64>, ProviderError> {
    let Some(text) = request::value(query, "since") else { return Ok(None) };
    let time = parse_rfc3339(text);
    time.map(Some).ok_or_else(|| ProviderError::LogQuery(format!("since: \"{text}\" is no time in RFC 3339")))
}
