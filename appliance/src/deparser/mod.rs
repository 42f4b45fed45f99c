//! Station 6: verdict to bytes. Writes the headers as the lambda left them, in front of its payload, and makes lengths and
//! checksums. What a lambda may not say is refused before the first byte of the frame changes.

mod emit;
mod layout;
mod reply;

use lnic_abi::Headers;

use crate::frame::Frame;
use crate::matcher::Egress;
use crate::parser::{Interface, Parsed};
use layout::Layout;
pub use reply::{into_pong, into_reply};

/// Why headers make no frame that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Headers that contradict each other: two IP versions, λ-RPC without UDP, a TCP header that was not there.
    Headers,
    /// A frame that goes elsewhere than back to its sender, or from another address than it was sent to.
    NotAReply,
    /// Larger than the port's MTU or than the buffer.
    TooLarge,
}

/// The port that a frame leaves on, as the deparser needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Exit<'a> {
    /// Where the frame came in, and whose addresses a reply bears.
    pub interface: &'a Interface,
    /// MTU of the port that it leaves on, bytes.
    pub mtu: u16,
    /// That port makes checksums itself.
    pub tx_checksum: bool,
}

/// Rewrites `frame` as `headers` and `payload` say. On `Err` the frame is unchanged. Benchmark: `path/deparser`.
#[inline]
pub fn deparse<F: Frame>(
    frame: &mut F,
    parsed: &Parsed,
    headers: &Headers,
    payload: &[u8],
    egress: Egress,
    exit: &Exit<'_>,
) -> Result<(), Refusal> {
    let layout = Layout::plan(parsed, headers, payload.len()).ok_or(Refusal::Headers)?;
    if egress == Egress::Reply && !reply::is_reply(frame.bytes(), parsed, headers, exit.interface) {
        return Err(Refusal::NotAReply);
    }
    if layout.bytes() - layout.network > usize::from(exit.mtu) || !layout.make_room(frame, parsed) {
        return Err(Refusal::TooLarge);
    }
    emit::write(frame, &layout, headers, payload, exit.tx_checksum);
    Ok(())
}
