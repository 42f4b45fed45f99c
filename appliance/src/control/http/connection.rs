//! One connection: its requests, one after the other, each with its caller, within the limits.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, HeaderMap, HeaderName, ORIGIN};
use axum::response::IntoResponse;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service as _;

use super::auth::Callers;
use super::error::ApiError;
use super::limits::{Limits, Phase, Pulse, Timed, TimedBody};

/// Marks an answer, in its extensions, that goes on until somebody ends it: a log that is followed. Each piece of its body is whole, so
/// that it ends between two of them when the server stops.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// Most bytes that a connection reads ahead.
const BUFFER_BYTES: usize = 64 << 10;
/// What lambdas' own paths begin with.
const LAMBDA_PATHS: [&str; 2] = ["/function/", "/async-function/"];
/// Where the page is that made a browser send a request, as seen from here. Pages cannot set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Serves a connection to its end.
pub(super) async fn serve(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    routes: Router,
    callers: Callers,
    limits: Limits,
    stopping: CancellationToken,
) {
    let pulse = Pulse::new();
    let socket = TokioIo::new(Timed::new(socket, Arc::clone(&pulse), limits));
    let answers = Answers { routes, callers, limits, pulse, stopping: stopping.clone() };
    let connection = hyper::server::conn::http1::Builder::new()
        .max_header_size(limits.header_bytes)
        .max_buf_size(BUFFER_BYTES.max(limits.header_bytes))
        // Time is kept by `Timed`: hyper's would count a connection's idle time as a header's.
        .header_read_timeout(None)
        .serve_connection(socket, answers);
    let mut connection = pin!(connection);
    // Whatever goes wrong with a connection is its client's business.
    tokio::select! {
        biased;
        _ = connection.as_mut() => {}
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Answers a connection's requests.
struct Answers {
    routes: Router,
    callers: Callers,
    limits: Limits,
    pulse: Arc<Pulse>,
    stopping: CancellationToken,
}

impl Service<Request<Incoming>> for Answers {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.pulse.enter(Phase::Busy);
        let limits = self.limits;
        let mut request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(TimedBody::new(body, limits)),
        });
        let caller = match is_foreign(&request) {
            true => Err(ApiError::Foreign),
            false => self.callers.of(request.uri().path(), request.headers()),
        };
        // Nothing behind this line has a use for it: it can neither be logged nor handed to a lambda.
        request.headers_mut().remove(AUTHORIZATION);
        let answer = caller.map(|caller| {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(self.callers.peer());
            self.routes.clone().call(request)
        });
        let (pulse, stopping) = (Arc::clone(&self.pulse), self.stopping.clone());
        Box::pin(async move {
            let response = match answer {
                Err(refused) => refused.into_response(),
                Ok(answer) => match within(&pulse, limits.request_time, answer).await {
                    Some(Ok(response)) => response,
                    None => ApiError::TimedOut.into_response(),
                },
            };
            let endless = response.extensions().get::<Endless>().is_some();
            let stop = endless.then(|| Box::pin(stopping.cancelled_owned()));
            Ok(response.map(|body| Answer { body, stop, pulse }))
        })
    }
}

/// Would it change something of the control plane's, and a browser says that a page of another origin sends it? Browsers add a viewer's
/// credentials to what pages send, and lambdas serve pages at this address, each in an origin of its own, `null`. Lambdas themselves
/// may be asked from anywhere.
fn is_foreign<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let is_for_lambda = LAMBDA_PATHS.iter().any(|prefix| path.starts_with(prefix));
    if is_for_lambda || request.method().is_safe() {
        return false;
    }
    let says = |name: &HeaderName, is: fn(&[u8]) -> bool| {
        let headers: &HeaderMap = request.headers();
        headers.get_all(name).iter().any(|value| is(value.as_bytes()))
    };
    says(&ORIGIN, |origin| origin == b"null")
        || says(&SEC_FETCH_SITE, |site| !matches!(site, b"same-origin" | b"none"))
}

/// Waits for an answer until nothing has come in for so long; a body that is still arriving has a deadline of its own.
async fn within<T>(pulse: &Pulse, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    let mut deadline = pulse.since() + limit;
    loop {
        if let Ok(answer) = tokio::time::timeout_at(deadline, answer.as_mut()).await {
            return Some(answer);
        }
        deadline = pulse.since() + limit;
        if deadline <= Instant::now() {
            return None;
        }
    }
}

/// An answer's body. The connection is idle once it is dropped.
struct Answer {
    body: Body,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    pulse: Arc<Pulse>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pulse.enter(Phase::Idle);
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => match &mut self.stop {
                Some(stop) => stop.as_mut().poll(cx).map(|()| None),
                None => Poll::Pending,
            },
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
