//! Station 6: verdict to bytes. Writes the headers as the lambda left them, in front of its payload, and makes lengths and
//! checksums. What a lambda may not say is refused before the first byte of the frame changes.

mod emit;
mod layout;
mod reply;

use lnic_abi::Headers;

use crate::frame::Frame;
use crate::matcher::Egress;
use crate::parser::{Interface, Parsed};
use layout::{Kept, Layout};
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

/// Rewrites `frame` as a lambda left `headers` and `payload`. On `Err` the frame is unchanged. Benchmark: `path/deparser`.
#[inline]
pub fn deparse<F: Frame>(
    frame: &mut F,
    parsed: &Parsed,
    headers: &Headers,
    payload: &[u8],
    egress: Egress,
    exit: &Exit<'_>,
) -> Result<(), Refusal> {
    match egress {
        Egress::Any => {
            let layout = Layout::plan(parsed, headers, payload.len(), Kept::All).ok_or(Refusal::Headers)?;
            write(frame, parsed, layout, headers, payload, headers.ethernet.source, exit)
        }
        Egress::Reply => {
            let layout =
                Layout::plan(parsed, headers, payload.len(), Kept::Nothing).ok_or(Refusal::Headers)?;
            if !reply::is_reply(frame.bytes(), parsed, headers, exit.interface) {
                return Err(Refusal::NotAReply);
            }
            write(frame, parsed, layout, headers, payload, exit.interface.mac, exit)
        }
    }
}

/// Rewrites `frame` as an answer of the appliance's own, without payload. On `Err` the frame is unchanged.
pub fn deparse_own<F: Frame>(
    frame: &mut F,
    parsed: &Parsed,
    headers: &Headers,
    exit: &Exit<'_>,
) -> Result<(), Refusal> {
    let layout = Layout::plan(parsed, headers, 0, Kept::Nothing).ok_or(Refusal::Headers)?;
    write(frame, parsed, layout, headers, &[], exit.interface.mac, exit)
}

/// Makes `frame`, whatever it holds, a UDP datagram of so many bytes between the addresses of `headers`, which are those that it
/// leaves with. `fill` writes the datagram in its place. On `Err` there is nothing to send.
pub fn enclose<F: Frame>(
    frame: &mut F,
    headers: &Headers,
    datagram_bytes: usize,
    exit: &Exit<'_>,
    fill: impl FnOnce(&mut [u8]) -> Option<()>,
) -> Result<(), Refusal> {
    enclose_before(frame, headers, datagram_bytes, 0, exit, fill)
}

/// The same of a datagram whose last `apart` bytes are going to be appended to the frame: `fill` writes what is before them. Only for
/// ports that make checksums.
pub fn enclose_before<F: Frame>(
    frame: &mut F,
    headers: &Headers,
    datagram_bytes: usize,
    apart: usize,
    exit: &Exit<'_>,
    fill: impl FnOnce(&mut [u8]) -> Option<()>,
) -> Result<(), Refusal> {
    let addresses = Headers { rpc: lnic_abi::Rpc::default(), tcp: lnic_abi::Tcp::default(), ..*headers };
    let layout = Layout::plan(&Parsed::default(), &addresses, datagram_bytes, Kept::Nothing);
    let Some(layout) = layout.filter(|layout| layout.udp) else { return Err(Refusal::Headers) };
    if apart > datagram_bytes || (apart > 0 && !exit.tx_checksum) {
        return Err(Refusal::Headers);
    }
    if layout.bytes() - layout.network > usize::from(exit.mtu) || !frame.resize(layout.bytes() - apart) {
        return Err(Refusal::TooLarge);
    }
    fill(&mut frame.bytes_mut()[layout.payload..]).ok_or(Refusal::TooLarge)?;
    emit::enclose(frame, apart, &layout, &addresses, exit.interface.mac, exit.tx_checksum);
    Ok(())
}

#[inline]
fn write<F: Frame>(
    frame: &mut F,
    parsed: &Parsed,
    mut layout: Layout,
    headers: &Headers,
    payload: &[u8],
    source_mac: [u8; 6],
    exit: &Exit<'_>,
) -> Result<(), Refusal> {
    if layout.bytes() - layout.network > usize::from(exit.mtu) || !layout.make_room(frame, parsed) {
        return Err(Refusal::TooLarge);
    }
    emit::write(frame, &layout, headers, payload, source_mac, exit.tx_checksum);
    Ok(())
}
