//! What becomes of a λ-RPC datagram: run at once, the message server's, or nothing.

use lnic_wire::rpc::{self, Kind};

use crate::observe::DropReason;
use crate::parser::{Interface, Parsed};

/// What becomes of a λ-RPC datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// A request in one fragment: match it and run the lambda.
    Run(Terms),
    /// A bare PING: answer PONG.
    Pong,
    /// Part of a message, a word about one, or a request with a past: the server's.
    Message,
    /// Nothing to answer.
    Drop(DropReason),
}

/// A message slot with a message in it, as its lambda sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRef {
    /// Its address in linear memory.
    pub address: u32,
    /// Bytes of the message.
    pub bytes: u32,
    /// Bytes of the slot.
    pub capacity: u32,
}

/// What a request asks of whoever runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long the caller waits, in µs from the arrival; 0 is for ever.
    pub budget_us: u32,
    /// 0–7, 7 first.
    pub priority: u8,
    /// The caller wants no reply.
    pub no_reply: bool,
    /// It shows a cookie, or at least something beside the header that may be one.
    pub has_tlvs: bool,
}

/// Judges type and lengths. `bytes` is the frame; the parser has checked the header itself and its CRC.
#[inline]
#[must_use]
pub fn judge(bytes: &[u8], parsed: &Parsed, interface: &Interface) -> Gate {
    let rpc = usize::from(parsed.rpc);
    let Some(header) = bytes.get(rpc..).and_then(|rest| rest.first_chunk::<32>()) else {
        return Gate::Drop(DropReason::RpcTruncated);
    };
    if !interface.can_answer(bytes, parsed) {
        return Gate::Drop(DropReason::SourceAddress);
    }
    let flags = u16::from_be_bytes([header[2], header[3]]);
    let no_reply = flags & rpc::NOREPLY != 0;
    let has_tlvs = usize::from(header[1] & 0xF) * 8 > rpc::HEADER_BYTES;
    let payload_bytes = u32::from(parsed.end.saturating_sub(parsed.payload));
    match Kind::new(header[1] >> 4) {
        Some(Kind::Request) => {}
        Some(Kind::Ping) if no_reply => return Gate::Drop(DropReason::RpcNoReply),
        Some(Kind::Ping) if payload_bytes == 0 && !has_tlvs => return Gate::Pong,
        Some(Kind::Ping | Kind::Nack | Kind::Grant | Kind::Ack | Kind::Cancel) => return Gate::Message,
        _ => return Gate::Drop(DropReason::RpcType),
    }
    let message_length = u32::from_be_bytes([header[16], header[17], header[18], header[19]]);
    let fragment_bytes = u16::from_be_bytes([header[20], header[21]]);
    let fragment_index = u16::from_be_bytes([header[22], header[23]]);
    if message_length > u32::from(fragment_bytes) || flags & (rpc::AT_MOST_ONCE | rpc::RTX) != 0 {
        return Gate::Message;
    }
    if fragment_index != 0 || message_length != payload_bytes {
        return Gate::Drop(DropReason::RpcLength);
    }
    Gate::Run(Terms {
        budget_us: u32::from_be_bytes([header[24], header[25], header[26], header[27]]),
        priority: (flags & rpc::PRIORITY_MASK) as u8,
        no_reply,
        has_tlvs,
    })
}
