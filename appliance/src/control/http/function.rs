//! `/function/NAME` and `/async-function/NAME`: lambdas over HTTP, with any method.
//!
//! NAME is `name`, or `name.namespace`. The request's body is the payload that the lambda gets, and the payload of its reply the
//! response's body: `text/plain; charset=utf-8` if it is that, else `application/octet-stream`. Method, path behind the name, query and
//! headers are not visible to lambdas: λ-RPC has no place for them. A lambda whose manifest says `http = "message"` gets all of that, as
//! an HTTP/1.1 message, and its reply has to be one ([`message`]); what is none becomes 502. A status of λ-RPC becomes one of HTTP as
//! [`InvokeError`]'s table says.
//!
//! Every response has `X-Call-Id` (that of the request, if it has a sensible one) and `X-Start-Time` (ns since 1970); one that a lambda was
//! asked for also `X-Duration-Seconds`. An asynchronous request is answered with 202 once it is kept; its result is sent to
//! `X-Callback-Url`, if there is one, with `X-Call-Id`, `X-Function-Name`, `X-Function-Status`, `X-Duration-Seconds`, and the
//! request's `traceparent` and `tracestate`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, RawPathParams, State};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lnic_registry::LambdaKey;

use super::HttpState;
use super::caller::{Caller, Right};
use super::error::{ApiError, ErrorBody};
use crate::control::gateway::later::{AsyncRequest, SubmitError};
use crate::control::gateway::message::{self, HeadTooLong, Malformed, Peer};
use crate::control::gateway::{Gateway, InvokeError};
use crate::control::plane::{HttpMode, PlaneError, Target};

const CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
const START_TIME: HeaderName = HeaderName::from_static("x-start-time");
const DURATION: HeaderName = HeaderName::from_static("x-duration-seconds");
const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");
/// Headers of an asynchronous request that go with its result: W3C's trace context.
const KEPT: [&str; 2] = ["traceparent", "tracestate"];
/// Longest call ID that is taken from a request.
const CALL_ID_BYTES: usize = 64;
/// A body up to here is copied out of its connection's buffer: that costs less than another buffer for the connection.
const COPIED_BYTES: usize = 4096;

/// Its routes.
pub(super) fn routes() -> Router<HttpState> {
    let mut router = Router::new();
    for behind in ["", "/", "/{*path}"] {
        router = router
            .route(&format!("/function/{{name}}{behind}"), any(function))
            .route(&format!("/async-function/{{name}}{behind}"), any(async_function));
    }
    // The gateway has its own.
    router.layer(DefaultBodyLimit::disable())
}

/// Why a request has no reply.
enum Refusal {
    Api(ApiError),
    Invoke(InvokeError),
    Submit(SubmitError),
    /// There is no gateway.
    Disabled,
    /// The body did not arrive.
    Body(String),
    /// Its headers are too much for a lambda.
    Head(HeadTooLong),
    /// The reply is no HTTP response.
    Malformed(Malformed),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        Self::Invoke(error)
    }
}

/// When a request came.
#[derive(Clone, Copy)]
struct Arrival {
    since: Instant,
    at: SystemTime,
}

impl Arrival {
    fn now() -> Self {
        Self { since: Instant::now(), at: SystemTime::now() }
    }

    fn since_1970(&self) -> Duration {
        self.at.duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn header(&self) -> HeaderValue {
        u64::try_from(self.since_1970().as_nanos()).unwrap_or(u64::MAX).into()
    }
}

/// A request that may be sent to its lambda.
struct Call<'a> {
    arrival: Arrival,
    gateway: &'a dyn Gateway,
    target: Target,
}

async fn function(
    State(state): State<HttpState>,
    path: RawPathParams,
    caller: Caller,
    request: Request<Body>,
) -> Response {
    let arrival = Arrival::now();
    let id = call_id(request.headers());
    let call = match Call::find(&state, &path, &caller, arrival) {
        Ok(call) => call,
        Err(refusal) => return stamped(refusal.into_response(), id, arrival),
    };
    let outcome = match call.target.http {
        // Its headers are let go of: as long as they are there, the connection cannot reuse its buffer.
        HttpMode::Body => call.invoke(request.into_body()).await,
        HttpMode::Message => call.exchange(&id, request).await,
    };
    let took = arrival.since.elapsed();
    let mut response = match outcome {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    call.gateway.observe(&call.target.key, response.status().as_u16(), took);
    response.headers_mut().insert(DURATION, seconds(took));
    stamped(response, id, arrival)
}

async fn async_function(
    State(state): State<HttpState>,
    path: RawPathParams,
    caller: Caller,
    request: Request<Body>,
) -> Response {
    let arrival = Arrival::now();
    let (parts, body) = request.into_parts();
    let id = call_id(&parts.headers);
    let outcome = match Call::find(&state, &path, &caller, arrival) {
        Ok(call) => call.submit(&id, &parts, body).await,
        Err(refusal) => Err(refusal),
    };
    let response = match outcome {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(refusal) => refusal.into_response(),
    };
    stamped(response, id, arrival)
}

impl<'a> Call<'a> {
    /// Whom a request is for, if its caller may ask for it.
    fn find(
        state: &'a HttpState,
        path: &RawPathParams,
        caller: &Caller,
        arrival: Arrival,
    ) -> Result<Self, Refusal> {
        let name = path.iter().find(|(key, _)| *key == "name").map_or("", |(_, name)| name);
        let (name, namespace) = name.split_once('.').unwrap_or((name, LambdaKey::DEFAULT_NAMESPACE));
        caller.may(Right::Invoke, namespace).map_err(ApiError::from)?;
        let gateway = state.gateway.as_deref().ok_or(Refusal::Disabled)?;
        let target = state.plane.resolve(namespace, name);
        let unknown = || ApiError::from(PlaneError::NoLambda(LambdaKey::new(namespace, name)));
        Ok(Self { arrival, gateway, target: target.ok_or_else(unknown)? })
    }

    /// The whole body, which has to arrive within the request's time.
    async fn body(&self, body: Body) -> Result<Bytes, Refusal> {
        let limits = self.gateway.limits();
        let limit = limits.body_bytes;
        let whole = Limited::new(body, limit).collect();
        match tokio::time::timeout(limits.timeout, whole).await {
            Ok(Ok(body)) => {
                let body = body.to_bytes();
                // It lies in the connection's buffer.
                Ok(if body.len() <= COPIED_BYTES { Bytes::copy_from_slice(&body) } else { body })
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(InvokeError::TooLarge { bytes: limit + 1, limit }.into())
            }
            Ok(Err(error)) => Err(Refusal::Body(error.to_string())),
            Err(_) => Err(Refusal::Body("it did not arrive in time".into())),
        }
    }

    /// Sends the lambda a body.
    async fn invoke(&self, body: Body) -> Result<Response, Refusal> {
        let body = self.body(body).await?;
        self.send(body, false).await
    }

    /// Sends the lambda a whole request.
    async fn exchange(&self, id: &HeaderValue, request: Request<Body>) -> Result<Response, Refusal> {
        let (head, body) = request.into_parts();
        let body = self.body(body).await?;
        let message = self.message(id, &head, &body)?;
        self.send(message, head.method == Method::HEAD).await
    }

    async fn send(&self, request: Bytes, is_head: bool) -> Result<Response, Refusal> {
        let left = self.gateway.limits().timeout.saturating_sub(self.arrival.since.elapsed());
        let reply = self.gateway.invoke(&self.target, request, left).await?;
        let response = message::response(self.target.http, is_head, reply).map_err(Refusal::Malformed)?;
        Ok(response.map(Body::from))
    }

    /// The message that a lambda gets of a request. Its head counts: an asynchronous one that no lambda can be sent is not kept.
    fn message(&self, id: &HeaderValue, head: &Parts, body: &[u8]) -> Result<Bytes, Refusal> {
        let peer = head.extensions.get::<Peer>().copied();
        let stamps = [(CALL_ID, id.clone()), (START_TIME, self.arrival.header())];
        let message = message::request(head, peer, &stamps, body).map_err(Refusal::Head)?;
        let (bytes, limit) = (message.len(), self.gateway.limits().body_bytes);
        if bytes > limit {
            return Err(InvokeError::TooLarge { bytes, limit }.into());
        }
        Ok(message)
    }

    async fn submit(&self, id: &HeaderValue, head: &Parts, body: Body) -> Result<(), Refusal> {
        let body = self.body(body).await?;
        let headers = &head.headers;
        let body = match self.target.http {
            HttpMode::Body => body,
            HttpMode::Message => self.message(id, head, &body)?,
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let callback = match headers.get(CALLBACK_URL).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(url)) => Some(url.to_owned()),
            Some(Err(_)) => return Err(ApiError::BadRequest("X-Callback-Url: is no text".into()).into()),
        };
        let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?.to_owned())));
        let request = AsyncRequest {
            call_id: id.to_str().unwrap_or_default().to_owned(),
            key: self.target.key.clone(),
            body: body.into(),
            callback,
            headers: kept.collect(),
            received_at_ms: u64::try_from(self.arrival.since_1970().as_millis()).unwrap_or(u64::MAX),
            attempts: 0,
        };
        self.gateway.submit(request).await.map_err(Refusal::Submit)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, retry_s) = match self {
            Self::Api(error) => return error.into_response(),
            Self::Invoke(error) => (error.http_status(), error.to_string(), error.retry_after_s()),
            Self::Submit(error) => {
                let (status, retry_s) = match &error {
                    SubmitError::Disabled => (StatusCode::NOT_IMPLEMENTED, None),
                    SubmitError::Full { .. } => (StatusCode::TOO_MANY_REQUESTS, Some(1)),
                    SubmitError::Callback(_) => (StatusCode::BAD_REQUEST, None),
                    SubmitError::Stopping | SubmitError::Queue(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
                };
                (status, error.to_string(), retry_s)
            }
            Self::Disabled => {
                (StatusCode::NOT_IMPLEMENTED, "there is no gateway: [gateway] enabled = false".into(), None)
            }
            Self::Body(error) => (StatusCode::BAD_REQUEST, format!("the request's body: {error}"), None),
            Self::Head(error) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error.to_string(), None),
            Self::Malformed(error) => {
                (StatusCode::BAD_GATEWAY, format!("the lambda's reply is no HTTP response: {error}"), None)
            }
        };
        let mut response = (status, axum::Json(ErrorBody { error })).into_response();
        if let Some(retry_s) = retry_s {
            response.headers_mut().insert(RETRY_AFTER, retry_s.into());
        }
        response
    }
}

/// The request's own, or a new one.
fn call_id(headers: &HeaderMap) -> HeaderValue {
    let is_sensible = |id: &&HeaderValue| {
        (1..=CALL_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(CALL_ID).filter(is_sensible).cloned().unwrap_or_else(|| {
        let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        let mut text = uuid::Uuid::encode_buffer();
        header(id.hyphenated().encode_lower(&mut text))
    })
}

/// Text of ours as a header.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Seconds with six places.
fn seconds(took: Duration) -> HeaderValue {
    const PLACES: usize = 7;
    let mut digits = [b'0'; 27];
    let (mut at, mut left) = (digits.len(), took.as_micros());
    while at > 0 && (left > 0 || digits.len() - at <= PLACES) {
        at -= 1;
        if digits.len() - at == PLACES {
            digits[at] = b'.';
            continue;
        }
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    HeaderValue::from_bytes(&digits[at..]).unwrap_or(HeaderValue::from_static(""))
}

fn stamped(mut response: Response, id: HeaderValue, arrival: Arrival) -> Response {
    let headers = response.headers_mut();
    headers.insert(CALL_ID, id);
    headers.insert(START_TIME, arrival.header());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_with_six_places() {
        for (us, text) in [
            (0, "0.000000"),
            (7, "0.000007"),
            (999_999, "0.999999"),
            (1_000_000, "1.000000"),
            (12_345_678_901, "12345.678901"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(seconds(Duration::from_micros(us)), text);
        }
    }

    #[test]
    fn a_call_id_is_taken_if_it_can_be_a_header_and_a_name() {
        let id = |given: &'static [u8]| {
            let value = HeaderValue::from_bytes(given).expect("a header");
            call_id(&HeaderMap::from_iter([(CALL_ID, value)]))
        };
        assert_eq!(id(b"abc-123"), "abc-123");
        for given in [&b""[..], b"two words", b"\xff", &[b'x'; CALL_ID_BYTES + 1]] {
            assert_eq!(id(given).len(), 36, "{}", given.escape_ascii());
        }
        let (one, other) = (call_id(&HeaderMap::new()), call_id(&HeaderMap::new()));
        assert_ne!(one, other);
        assert_eq!((one.as_bytes()[14], one.as_bytes()[23]), (b'4', b'-'));
    }
}
