//! The message, and what the matched rule says.

use core::fmt;

use lnic_abi as abi;

use crate::{Headers, Status, Text, Verdict};

/// The payload, read and written in place, and what the matched rule says.
pub struct Message<'a> {
    match_data: &'a mut abi::MatchData,
    /// From the payload's first byte, as many as came or may leave.
    buffer: &'a mut [u8],
}

impl<'a> Message<'a> {
    /// Of the platform's structures.
    pub(crate) fn new(match_data: &'a mut abi::MatchData, buffer: &'a mut [u8]) -> Self {
        Self { match_data, buffer }
    }
}

impl Message<'_> {
    /// What came, or what was made of it since.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"abc").with(|_, message| assert_eq!(message.payload(), b"abc"));
    /// ```
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(..self.match_data.length as usize).unwrap_or_default()
    }

    /// The same, to change.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"abc").with(|_, message| {
    ///     message.payload_mut()[0] = b'A';
    ///     assert_eq!(message.payload(), b"Abc");
    /// });
    /// ```
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.match_data.length as usize).unwrap_or_default()
    }

    /// All bytes that may leave, whatever the payload's length now is: for a payload that becomes longer.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"abc").with(|_, message| {
    ///     message.buffer_mut()[3] = b'd';
    ///     assert!(message.set_length(4));
    ///     assert_eq!(message.payload(), b"abcd");
    /// });
    /// ```
    pub fn buffer_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.match_data.capacity as usize).unwrap_or_default()
    }

    /// Most bytes that may leave.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").capacity(100).with(|_, message| assert_eq!(message.capacity(), 100));
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.match_data.capacity as usize
    }

    /// Sets how many bytes leave. False, and nothing changes, if they are over the capacity.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"abc").with(|_, message| {
    ///     assert!(message.set_length(2));
    ///     assert!(!message.set_length(message.capacity() + 1));
    ///     assert_eq!(message.payload(), b"ab");
    /// });
    /// ```
    #[must_use = "a length over the capacity is not set"]
    pub fn set_length(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.capacity();
        if fits {
            self.match_data.length = bytes as u32;
        }
        fits
    }

    /// What was stored with the rule that matched.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::udp(53, b"").parameters(b"blue").with(|_, message| assert_eq!(message.parameters(), b"blue"));
    /// ```
    #[must_use]
    pub fn parameters(&self) -> &[u8] {
        self.match_data.parameters.get(..self.match_data.parameters_length as usize).unwrap_or_default()
    }

    /// ID of the lambda that runs.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").with(|headers, message| assert_eq!(message.lambda_id(), headers.rpc.lambda_id));
    /// ```
    #[must_use]
    pub fn lambda_id(&self) -> u32 {
        self.match_data.lambda_id
    }

    /// The rule that matched, by its place in the table.
    ///
    /// ```
    /// use lnic_lambda::testing::Request;
    /// Request::rpc(b"").with(|_, message| assert_eq!(message.rule(), 0));
    /// ```
    #[must_use]
    pub fn rule(&self) -> u32 {
        self.match_data.rule
    }

    /// Turns the request into its reply: back to its sender, with the first `bytes` of [`buffer_mut`](Self::buffer_mut) and, if it came by
    /// λ-RPC, this status. [`Verdict::Drop`] for what is itself a reply: answering one would let two lambdas answer each other forever.
    /// Whether the caller wants a reply at all is the platform's business. A reply over the capacity leaves empty, with
    /// [`Status::RESOURCE_EXHAUSTED`].
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Status};
    /// let reply = Request::rpc(b"question").run(|headers, message| {
    ///     message.buffer_mut()[..2].copy_from_slice(b"42");
    ///     message.reply(headers, Status::OK, 2)
    /// });
    /// assert_eq!((reply.status(), reply.payload), (Some(Status::OK), b"42".to_vec()));
    /// ```
    #[must_use = "a lambda returns its verdict"]
    pub fn reply(&mut self, headers: &mut Headers, status: Status, bytes: usize) -> Verdict {
        if headers.rpc.valid != 0 && headers.rpc.kind != abi::RPC_REQ {
            return Verdict::Drop;
        }
        let (status, bytes) =
            if bytes <= self.capacity() { (status, bytes as u32) } else { (Status::RESOURCE_EXHAUSTED, 0) };
        headers.turn_round();
        if headers.rpc.valid != 0 {
            headers.rpc.kind = abi::RPC_RSP;
            headers.rpc.status = status.0;
            // The others describe the request: a reply is no retransmission, and asks for nothing.
            headers.rpc.flags &= abi::RPC_FLAG_CRC | abi::RPC_PRIORITY_MASK;
            headers.rpc.message_length = bytes;
            headers.rpc.fragment_index = 0;
        }
        self.match_data.length = bytes;
        Verdict::Forward
    }

    /// The same with these bytes.
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Status};
    /// let reply = Request::rpc(b"").run(|headers, message| message.reply_with(headers, Status::OK, b"hello"));
    /// assert_eq!(reply.payload, b"hello");
    /// ```
    #[must_use = "a lambda returns its verdict"]
    pub fn reply_with(&mut self, headers: &mut Headers, status: Status, bytes: &[u8]) -> Verdict {
        if let Some(place) = self.buffer_mut().get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.reply(headers, status, bytes.len())
    }

    /// The same with a [`Text`] that `write` fills, straight in the payload, which is gone then: copy what is needed of it before.
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Status};
    /// let reply = Request::rpc(b"").run(|headers, message| {
    ///     message.reply_text(headers, Status::OK, |text| {
    ///         text.push(b"count ");
    ///         text.push_number(7);
    ///     })
    /// });
    /// assert_eq!(reply.payload, b"count 7");
    /// ```
    #[must_use = "a lambda returns its verdict"]
    pub fn reply_text(
        &mut self,
        headers: &mut Headers,
        status: Status,
        write: impl FnOnce(&mut Text<'_>),
    ) -> Verdict {
        let mut place = Text::new(self.buffer_mut());
        write(&mut place);
        // What did not fit is noticed by the length.
        let bytes = place.wanted();
        self.reply(headers, status, bytes)
    }

    /// The same with formatted text, straight into the payload, which it must not read: copy what it needs before.
    ///
    /// ```
    /// use lnic_lambda::{testing::Request, Status};
    /// let reply = Request::rpc(b"").run(|headers, message| message.reply_fmt(headers, Status::OK, format_args!("{} of {}", 1, 2)));
    /// assert_eq!(reply.payload, b"1 of 2");
    /// ```
    #[must_use = "a lambda returns its verdict"]
    pub fn reply_fmt(&mut self, headers: &mut Headers, status: Status, text: fmt::Arguments<'_>) -> Verdict {
        self.reply_text(headers, status, |place| place.push_fmt(text))
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("match_data", &self.match_data).finish_non_exhaustive()
    }
}
