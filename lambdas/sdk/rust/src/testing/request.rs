//! A frame for a lambda, without the frame.

use std::vec;
use std::vec::Vec;

use crate::{Headers, Message, Status, Verdict};
use lnic_abi as abi;

/// Lambda ID of what [`Request::rpc`] makes.
const LAMBDA_ID: u32 = 1;
/// Port that λ-RPC comes to.
const RPC_PORT: u16 = 4269;

/// What a lambda finds. From 10.0.0.1, port 40000, to 10.0.0.2, unless it is said otherwise.
///
/// ```
/// use lnic_lambda::{testing::Request, Verdict};
/// let outcome = Request::udp(53, b"query").from([192, 0, 2, 7], 999).run(|headers, _| {
///     assert_eq!(headers.source_v4(), Some([192, 0, 2, 7]));
///     Verdict::ToHost
/// });
/// assert_eq!(outcome.verdict, Verdict::ToHost);
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    headers: Headers,
    match_data: abi::MatchData,
    payload: Vec<u8>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Headers as the lambda left them.
    pub headers: Headers,
    /// The payload that it left.
    pub payload: Vec<u8>,
}

impl Outcome {
    /// The status, if what leaves is a λ-RPC reply.
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Status, Verdict};
    /// assert_eq!(Request::rpc(b"").run(|_, _| Verdict::Drop).status(), None);
    /// ```
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let replies = self.verdict == Verdict::Forward
            && self.headers.rpc.valid != 0
            && self.headers.rpc.kind == abi::RPC_RSP;
        replies.then(|| Status(self.headers.rpc.status))
    }
}

impl Request {
    /// A UDP packet for this port.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::udp(53, b"").with(|headers, _| assert_eq!(headers.udp.destination_port, 53));
    /// ```
    #[must_use]
    pub fn udp(port: u16, payload: &[u8]) -> Self {
        let mut headers = Headers::default();
        headers.ethernet = abi::Ethernet {
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, 0, 0, 0, 2],
            ether_type: 0x0800,
            valid: 1,
            reserved: 0,
        };
        headers.ipv4 = abi::Ipv4 {
            valid: 1,
            ttl: 64,
            protocol: 17,
            source: 0x0a00_0001,
            destination: 0x0a00_0002,
            total_length: 28 + payload.len() as u16,
            ..abi::Ipv4::default()
        };
        headers.udp = abi::Udp {
            valid: 1,
            source_port: 40_000,
            destination_port: port,
            length: 8 + payload.len() as u16,
            ..abi::Udp::default()
        };
        headers.meta.frame_length = 42 + payload.len() as u32;
        let match_data = abi::MatchData {
            length: payload.len() as u32,
            capacity: 1472.max(payload.len() as u32),
            lambda_id: LAMBDA_ID,
            ..abi::MatchData::default()
        };
        Self { headers, match_data, payload: payload.into() }
    }

    /// A λ-RPC request.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").with(|headers, _| assert!(headers.is_rpc_request()));
    /// ```
    #[must_use]
    pub fn rpc(payload: &[u8]) -> Self {
        let mut request = Self::udp(RPC_PORT, payload);
        request.headers.add_rpc_request(LAMBDA_ID, 1);
        request.headers.rpc.message_length = payload.len() as u32;
        request
    }

    /// From this address and port.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").from([10, 1, 2, 3], 7).with(|headers, _| assert_eq!(headers.udp.source_port, 7));
    /// ```
    #[must_use]
    pub fn from(mut self, address: [u8; 4], port: u16) -> Self {
        self.headers.ipv4.source = u32::from_be_bytes(address);
        self.headers.udp.source_port = port;
        self
    }

    /// At this time, nanoseconds since the appliance started.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").at(1_000).with(|headers, _| assert_eq!(headers.meta.time_ns, 1_000));
    /// ```
    #[must_use]
    pub fn at(mut self, time_ns: u64) -> Self {
        self.headers.meta.time_ns = time_ns;
        self
    }

    /// With these parameters of the rule; at most [`abi::PARAMETERS_CAPACITY`] bytes of them.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").parameters(&[1, 2]).with(|_, message| assert_eq!(message.parameters(), [1, 2]));
    /// ```
    #[must_use]
    pub fn parameters(mut self, parameters: &[u8]) -> Self {
        let bytes = parameters.len().min(abi::PARAMETERS_CAPACITY);
        self.match_data.parameters = [0; abi::PARAMETERS_CAPACITY];
        self.match_data.parameters[..bytes].copy_from_slice(&parameters[..bytes]);
        self.match_data.parameters_length = bytes as u32;
        self
    }

    /// With room for so many bytes of a reply.
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Status};
    /// let outcome = Request::rpc(b"").capacity(2).run(|headers, message| message.reply_with(headers, Status::OK, b"abc"));
    /// assert_eq!((outcome.status(), outcome.payload.len()), (Some(Status::RESOURCE_EXHAUSTED), 0));
    /// ```
    #[must_use]
    pub fn capacity(mut self, bytes: u32) -> Self {
        self.match_data.capacity = bytes;
        self
    }

    /// With headers changed as one likes.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").headers(|headers| headers.ipv4.ttl = 1).with(|headers, _| assert_eq!(headers.ipv4.ttl, 1));
    /// ```
    #[must_use]
    pub fn headers(mut self, change: impl FnOnce(&mut Headers)) -> Self {
        change(&mut self.headers);
        self
    }

    /// Runs a lambda on it.
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Verdict};
    /// assert_eq!(Request::rpc(b"").run(|_, _| Verdict::Drop).verdict, Verdict::Drop);
    /// ```
    pub fn run(self, lambda: impl FnOnce(&mut Headers, &mut Message<'_>) -> Verdict) -> Outcome {
        let Self { mut headers, mut match_data, payload } = self;
        let mut buffer = vec![0; payload.len().max(match_data.capacity as usize)];
        buffer[..payload.len()].copy_from_slice(&payload);
        let verdict = lambda(&mut headers, &mut Message::new(&mut match_data, &mut buffer));
        buffer.truncate(match_data.length as usize);
        Outcome { verdict, headers, payload: buffer }
    }

    /// Uses headers and message, as a lambda would.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// assert_eq!(Request::rpc(b"abc").with(|_, message| message.payload().len()), 3);
    /// ```
    pub fn with<R>(self, use_them: impl FnOnce(&mut Headers, &mut Message<'_>) -> R) -> R {
        let mut result = None;
        self.run(|headers, message| {
            result = Some(use_them(headers, message));
            Verdict::Drop
        });
        result.expect("the lambda has run")
    }
}
