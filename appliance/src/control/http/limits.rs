//! What one connection and one request may take: time, bytes, patience. Whoever goes over is cut off; nobody is waited for without end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Limits of one listener and of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Of these, from one address (of IPv6 from one /64); more are closed at once. Not of the control socket.
    pub connections_per_source: usize,
    /// Longest TLS handshake.
    pub handshake_time: Duration,
    /// Longest request line and headers together.
    pub header_bytes: usize,
    /// From a request's first byte to the end of its headers; of a connection's first request, from the connection's beginning.
    pub header_time: Duration,
    /// How long a connection may be without a request.
    pub idle_time: Duration,
    /// How long a body may make the server wait, beside the time that it takes at `bytes_per_s`.
    pub body_time: Duration,
    /// From the last byte of a request to the beginning of its answer.
    pub request_time: Duration,
    /// How long a client may make the server wait that does not read its answer, beside the time that it takes at `bytes_per_s`.
    pub write_time: Duration,
    /// The slowest network for which the API is made.
    pub bytes_per_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_source: 128,
            handshake_time: Duration::from_secs(5),
            header_bytes: 16 << 10,
            header_time: Duration::from_secs(5),
            idle_time: Duration::from_secs(60),
            body_time: Duration::from_secs(10),
            request_time: Duration::from_secs(60),
            write_time: Duration::from_secs(10),
            bytes_per_s: 64 << 10,
        }
    }
}

impl Limits {
    /// What so many bytes take on the slowest network.
    fn transfer_time(&self, bytes: u64) -> Duration {
        Duration::from_millis(bytes.saturating_mul(1000) / self.bytes_per_s.max(1))
    }
}

/// What a connection does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// A request's headers are on their way.
    Head,
    /// A request is read or answered.
    Busy,
    /// None is.
    Idle,
}

/// The phase of one connection, and when it last changed or a byte came in. Its socket, its requests and its answers share it; all are
/// polled by one task, so that plain loads and stores are enough.
pub(super) struct Pulse {
    start: Instant,
    phase: AtomicU8,
    since_ms: AtomicU64,
}

impl Pulse {
    /// Of a connection that begins.
    pub(super) fn new() -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Head as u8);
        Arc::new(Self { start: Instant::now(), phase, since_ms: AtomicU64::new(0) })
    }

    /// From now on it does this.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.touch();
    }

    /// When it last changed, or a byte came in while it was busy.
    pub(super) fn since(&self) -> Instant {
        self.start + Duration::from_millis(self.since_ms.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        let since_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(since_ms, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Head as u8 => Phase::Head,
            phase if phase == Phase::Busy as u8 => Phase::Busy,
            _ => Phase::Idle,
        }
    }
}

/// A socket that does not wait for ever.
pub(super) struct Timed<S> {
    socket: S,
    pulse: Arc<Pulse>,
    limits: Limits,
    /// Fires when the read side has to be looked after, at the latest.
    look: Pin<Box<Sleep>>,
    /// Fires when the patience for the write side is used up; only made for clients that let the server wait.
    write_sleep: Option<Pin<Box<Sleep>>>,
    /// What is left of that patience, and since when it is being used up.
    patience: Duration,
    blocked_since: Option<Instant>,
}

impl<S> Timed<S> {
    /// The socket, from now on within the limits.
    pub(super) fn new(socket: S, pulse: Arc<Pulse>, limits: Limits) -> Self {
        let look = Box::pin(tokio::time::sleep(limits.header_time));
        let patience = limits.write_time;
        Self { socket, pulse, limits, look, write_sleep: None, patience, blocked_since: None }
    }

    /// Nothing came in: may one wait for more?
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let deadline = match self.pulse.phase() {
                Phase::Head => self.pulse.since() + self.limits.header_time,
                Phase::Idle => self.pulse.since() + self.limits.idle_time,
                // The request has deadlines of its own; this only comes back to see whether it is over.
                Phase::Busy => Instant::now() + self.limits.idle_time,
            };
            // A later deadline need not be set: seldom enough the alarm is too early, and then it is set again.
            if deadline < self.look.deadline() {
                self.look.as_mut().reset(deadline);
            }
            if self.look.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if deadline <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.look.as_mut().reset(deadline);
        }
    }

    /// Nothing can be written: may one wait until it can?
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.blocked_since.is_none() {
            let now = Instant::now();
            self.blocked_since = Some(now);
            match &mut self.write_sleep {
                Some(sleep) => sleep.as_mut().reset(now + self.patience),
                None => self.write_sleep = Some(Box::pin(tokio::time::sleep_until(now + self.patience))),
            }
        }
        match &mut self.write_sleep {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into()),
            None => Poll::Pending,
        }
    }

    /// So many bytes were written.
    fn written(&mut self, bytes: usize) {
        if let Some(since) = self.blocked_since.take() {
            self.patience = self.patience.saturating_sub(since.elapsed());
        }
        if self.patience < self.limits.write_time {
            let earned = self.limits.transfer_time(bytes as u64);
            self.patience = (self.patience + earned).min(self.limits.write_time);
        }
    }

    fn judge_write(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match done {
            Poll::Ready(Ok(bytes)) => {
                self.written(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => self.poll_patience(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.socket).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    match self.pulse.phase() {
                        Phase::Idle => self.pulse.enter(Phase::Head),
                        Phase::Busy => self.pulse.touch(),
                        Phase::Head => {}
                    }
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => self.poll_look(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.judge_write(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.judge_write(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Pending => self.poll_patience(cx).map(Err),
            ready => ready,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.socket).poll_shutdown(cx) {
            Poll::Pending => self.poll_patience(cx).map(Err),
            ready => ready,
        }
    }
}

/// A body that came too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body did not arrive in time")]
pub(super) struct BodyTooSlow;

/// A request's body that has to arrive in time.
pub(super) struct TimedBody {
    body: Incoming,
    limits: Limits,
    bytes: u64,
    /// Since when the server waits; it does not at first.
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    /// The body, from now on within the limits.
    pub(super) fn new(body: Incoming, limits: Limits) -> Self {
        Self { body, limits, bytes: 0, since: None, sleep: None }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let since = *self.since.get_or_insert_with(Instant::now);
                let deadline = since + self.limits.body_time + self.limits.transfer_time(self.bytes);
                let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                if sleep.deadline() != deadline {
                    sleep.as_mut().reset(deadline);
                }
                sleep.as_mut().poll(cx).map(|()| Some(Err(BodyTooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
