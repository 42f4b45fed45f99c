//! Lambdas that call others, or ask services outside: they run on a stack of their own, which waits while they are suspended.
//!
//! A call of `lnic.call` or `lnic.request` puts the request into an [`Exchange`] and the exchange into a mailbox, and suspends. The host takes it
//! out, has it answered by whomever it likes, puts it back with the answer and resumes. While a lambda is suspended its
//! store belongs to the future that waits; it comes back with the future's result.

use std::future::{self, Future};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crossbeam_queue::ArrayQueue;
use lnic_abi as abi;
use lnic_wire::rpc::Status;
use tokio_util::sync::ReusableBoxFuture;
use wasmtime::{Caller, Store, TypedFunc};

use super::host::{self, Host};
use super::linear::Span;
use crate::ids::LambdaId;
use crate::outside::Service;

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another lambda.
    Lambda(LambdaId),
    /// A service outside the appliance.
    Service(Service),
}

/// A request that a suspended lambda waits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCall<'a> {
    /// Whom it is for.
    pub target: Target,
    /// How long the caller waits, at least 1.
    pub timeout_us: u32,
    /// Its payload, at most [`abi::PAYLOAD_CAPACITY`] bytes.
    pub request: &'a [u8],
}

/// What a suspended lambda is resumed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The reply's payload. One that does not fit the lambda's buffer becomes `OUT_OF_RANGE`.
    Reply(&'a [u8]),
    /// No reply, but a status as on the wire ([`Status::raw`]). One that says OK is told as UNKNOWN.
    Failed(u8),
}

/// One call: what a lambda asks, then what it is answered, in one buffer.
pub(super) struct Exchange {
    target: Target,
    timeout_us: u32,
    /// Fuel that was left when the lambda suspended.
    pub(super) fuel_left: u64,
    /// `Ok` and the reply lies in the buffer, or why not.
    outcome: Result<(), Status>,
    bytes: usize,
    buffer: [u8; abi::PAYLOAD_CAPACITY],
    mailbox: Arc<Mailbox>,
}

/// Holds the exchange for the other side.
type Mailbox = ArrayQueue<Box<Exchange>>;

impl Exchange {
    fn payload(&self) -> &[u8] {
        self.buffer.get(..self.bytes).unwrap_or_default()
    }

    /// False if it does not fit.
    fn set_payload(&mut self, payload: &[u8]) -> bool {
        let place = self.buffer.get_mut(..payload.len());
        self.bytes = if place.is_some() { payload.len() } else { 0 };
        place.map(|place| place.copy_from_slice(payload)).is_some()
    }
}

/// A verdict, and the store that made it.
type Finished = (Store<Host>, wasmtime::Result<i32>);

/// The fiber of an instance.
pub(super) struct Fiber {
    running: ReusableBoxFuture<'static, Finished>,
    mailbox: Arc<Mailbox>,
    /// There while the lambda is suspended.
    exchange: Option<Box<Exchange>>,
}

impl Fiber {
    /// A fiber and the exchange that its store's [`Host`] gets.
    pub(super) fn new() -> (Self, Box<Exchange>) {
        let mailbox = Arc::new(Mailbox::new(1));
        let exchange = Exchange {
            target: Target::Lambda(LambdaId::default()),
            timeout_us: 0,
            fuel_left: 0,
            outcome: Ok(()),
            bytes: 0,
            buffer: [0; abi::PAYLOAD_CAPACITY],
            mailbox: Arc::clone(&mailbox),
        };
        let running = ReusableBoxFuture::new(future::pending());
        (Self { running, mailbox, exchange: None }, Box::new(exchange))
    }

    /// Runs until the lambda returns, or suspends: `None`.
    pub(super) fn start(
        &mut self,
        mut store: Store<Host>,
        entry: TypedFunc<(u32, u32), i32>,
        arguments: (u32, u32),
    ) -> Option<Finished> {
        self.running.set(async move {
            let result = entry.call_async(&mut store, arguments).await;
            (store, result)
        });
        self.poll()
    }

    /// Continues a suspended lambda. `None` if it suspends again, or was not suspended.
    pub(super) fn resume(&mut self, answer: Answer<'_>) -> Option<Finished> {
        let mut exchange = self.exchange.take()?;
        exchange.outcome = match answer {
            Answer::Reply(reply) if exchange.set_payload(reply) => Ok(()),
            Answer::Reply(_) => Err(Status::OutOfRange),
            Answer::Failed(status) => match Status::new(status) {
                Status::Ok => Err(Status::Unknown),
                status => Err(status),
            },
        };
        // The mailbox is empty: the exchange was taken out of it, and there is one.
        let _ = self.mailbox.push(exchange);
        self.poll()
    }

    fn poll(&mut self) -> Option<Finished> {
        match self.running.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(finished) => Some(finished),
            Poll::Pending => {
                self.exchange = self.mailbox.pop();
                None
            }
        }
    }

    /// What the lambda waits on, while it is suspended.
    pub(super) fn pending(&self) -> Option<PendingCall<'_>> {
        let exchange = self.exchange.as_deref()?;
        Some(PendingCall {
            target: exchange.target,
            timeout_us: exchange.timeout_us,
            request: exchange.payload(),
        })
    }

    /// Fuel that a suspended lambda has left.
    pub(super) fn fuel_left(&self) -> u64 {
        self.exchange.as_ref().map_or(0, |exchange| exchange.fuel_left)
    }
}

/// The result of a future that never has to wait.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Pending once: control goes to whoever polls.
async fn suspend() {
    let mut suspended = false;
    future::poll_fn(
        |_| {
            if std::mem::replace(&mut suspended, true) { Poll::Ready(()) } else { Poll::Pending }
        },
    )
    .await;
}

/// The arguments of `lnic.call` and `lnic.request`; the first says whom it is for.
pub(super) type CallArguments = (u32, u32, u32, u32, u32, i32);

/// `lnic.call`: bytes of the reply, or minus a status.
pub(super) async fn call(mut caller: Caller<'_, Host>, arguments: CallArguments) -> wasmtime::Result<i32> {
    host::charge(&mut caller, host::CALL_FUEL)?;
    exchange(caller, Some(Target::Lambda(LambdaId::new(arguments.0))), arguments).await
}

/// `lnic.request`: the same of a service, by its handle.
pub(super) async fn request(mut caller: Caller<'_, Host>, arguments: CallArguments) -> wasmtime::Result<i32> {
    host::charge(&mut caller, host::CALL_FUEL)?;
    let service = caller.data().service(arguments.0);
    exchange(caller, service.map(Target::Service), arguments).await
}

async fn exchange(
    mut caller: Caller<'_, Host>,
    target: Option<Target>,
    (_, request, request_bytes, reply, reply_capacity, timeout_us): CallArguments,
) -> wasmtime::Result<i32> {
    let fuel_left = caller.get_fuel()?;
    Span::of(&caller, reply, reply_capacity)?;
    Span::of(&caller, request, request_bytes)?;
    let too_long = |bytes: u32| bytes as usize > abi::PAYLOAD_CAPACITY;
    let (target, timeout_us) = match (target, u32::try_from(timeout_us)) {
        (Some(target), Ok(timeout_us))
            if timeout_us > 0 && !too_long(request_bytes) && !too_long(reply_capacity) =>
        {
            (target, timeout_us)
        }
        _ => return Ok(code(Status::InvalidArgument)),
    };
    // There is none during `init`: nobody would answer.
    let Some(mut exchange) = caller.data_mut().exchange.take() else { return Ok(code(Status::Unavailable)) };
    exchange.target = target;
    exchange.timeout_us = timeout_us;
    exchange.fuel_left = fuel_left;
    exchange.bytes = Span::of(&caller, request, request_bytes)?.read(&caller, &mut exchange.buffer);
    let mailbox = Arc::clone(&exchange.mailbox);
    let _ = mailbox.push(exchange);
    suspend().await;
    let Some(exchange) = mailbox.pop() else { return Ok(code(Status::Unavailable)) };
    let place = Span::of(&caller, reply, reply_capacity)?;
    let result = match exchange.outcome {
        Ok(()) if place.write(&mut caller, exchange.payload()) => {
            #[expect(clippy::cast_possible_truncation, reason = "at most PAYLOAD_CAPACITY")]
            {
                exchange.bytes as i32
            }
        }
        Ok(()) => code(Status::OutOfRange),
        Err(status) => code(status),
    };
    caller.data_mut().exchange = Some(exchange);
    Ok(result)
}

/// A status as `lnic.call` and `lnic.request` return it.
fn code(status: Status) -> i32 {
    -i32::from(status.raw())
}
