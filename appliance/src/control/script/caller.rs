//! A λ-RPC client in virtual time: messages of any length, put together again.

use lnic_message::client::{Config, Event, Machine, RequestId, RequestOptions};

use super::decode::Decoded;
use super::frame::{Network, Rpc, Template};

/// Longest datagram of a client.
const DATAGRAM_BYTES: usize = 1_472;
/// The same over IPv6.
const DATAGRAM_BYTES_IPV6: usize = 1_452;
/// Longer than any simulation.
const NEVER_US: u64 = 1 << 50;
/// λ-RPC ID that nobody has.
const NOBODY: u32 = u32::MAX;

/// One client: who asks whom, from where.
pub(super) struct Caller {
    machine: Machine<Vec<u8>>,
    /// What is around its datagrams.
    template: Template,
    open: Option<RequestId>,
}

/// How a request ended.
pub(super) enum Outcome {
    /// With this message.
    Reply(Vec<u8>),
    /// Without one, for this reason.
    Failed(String),
}

impl Caller {
    /// A client that sends as this packet was to be sent.
    pub(super) fn new(template: &Template, seed: u64) -> Self {
        let datagram_bytes = match template.network {
            Some(Network::V6 { .. }) => DATAGRAM_BYTES_IPV6,
            _ => DATAGRAM_BYTES,
        };
        let config = Config {
            // Nothing is lost here: what is sent again would run again.
            repeat_us: NEVER_US,
            repeat_least_us: NEVER_US,
            wait_us: NEVER_US,
            single_datagram_bytes: datagram_bytes as u16,
            ..Config::default()
        };
        let template = Template { payload: Vec::new(), ..template.clone() };
        Self { machine: Machine::new(config, seed), template, open: None }
    }

    /// Begins a request that makes the appliance give it a cookie, as a client that has been there for a while has one.
    pub(super) fn introduce(&mut self, now_ns: u64) {
        let options = RequestOptions { at_most_once: true, lifetime_us: 10_000, ..RequestOptions::default() };
        self.open = self.machine.request(now_ns / 1_000, NOBODY, Vec::new(), options).ok();
    }

    /// Begins a request. Why it cannot, if it cannot.
    pub(super) fn request(
        &mut self,
        now_ns: u64,
        rpc: &Rpc,
        payload: Vec<u8>,
        wait_ns: u64,
    ) -> Result<(), String> {
        let options = RequestOptions {
            idempotent: rpc.idempotent,
            at_most_once: rpc.at_most_once,
            budget_us: rpc.budget_us,
            // The appliance is to say that time was up, and not the client.
            lifetime_us: (wait_ns / 1_000).max(1) + u64::from(rpc.budget_us),
            priority: rpc.priority,
            trace: None,
        };
        let id = self.machine.request(now_ns / 1_000, rpc.lambda, payload, options);
        self.open = Some(id.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The next frame to send.
    pub(super) fn transmit(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let mut buffer = [0; DATAGRAM_BYTES];
        let bytes = self.machine.poll_transmit(now_ns / 1_000, &mut buffer)?;
        Some(self.template.with_datagram(&buffer[..bytes]))
    }

    /// Is this frame a datagram of λ-RPC for it?
    pub(super) fn is_for(&self, decoded: &Decoded) -> bool {
        let Some((port, _)) = self.template.transport.ports() else { return false };
        let address = self.template.network.map(|network| match network {
            Network::V4 { source, .. } => source.to_string(),
            Network::V6 { source, .. } => source.to_string(),
        });
        let field = |name| decoded.field(name).map(str::to_owned);
        field("rpc.kind").is_some()
            && field("udp.destination_port") == Some(port.to_string())
            && field("ipv4.destination").or(field("ipv6.destination")) == address
    }

    /// Takes a datagram.
    pub(super) fn receive(&mut self, now_ns: u64, datagram: &[u8]) {
        self.machine.frame(now_ns / 1_000, datagram);
    }

    /// The open request, if it has ended.
    pub(super) fn ended(&mut self) -> Option<Outcome> {
        while let Some(event) = self.machine.poll_event() {
            let (id, outcome) = match event {
                Event::Reply(reply) => (reply.id, Outcome::Reply(reply.payload)),
                Event::Failed { id, failure } => (id, Outcome::Failed(failure.to_string())),
            };
            if self.open == Some(id) {
                self.open = None;
                return Some(outcome);
            }
        }
        None
    }

    /// When it has something to do though nothing came.
    pub(super) fn timeout_ns(&self) -> Option<u64> {
        self.machine.timeout_us().map(|us| us.saturating_mul(1_000))
    }

    /// Is a request open?
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Gives the open request up, without a word to the appliance: in a script nothing is sent that it does not say.
    pub(super) fn give_up(&mut self, now_ns: u64) {
        if let Some(id) = self.open.take() {
            self.machine.cancel(id);
            while self.transmit(now_ns).is_some() {}
        }
    }
}
