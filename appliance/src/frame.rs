//! One Ethernet frame, wherever it lives, and a burst of them.

use std::convert::Infallible;
use std::ops::Range;

use arrayvec::ArrayVec;

/// Most frames that one poll returns.
pub const BURST: usize = 64;

/// Frames in flight between two stations. Dropping it frees them.
pub type Burst<F> = ArrayVec<F, BURST>;

/// What the port knows of a checksum that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nobody looked: verify in software.
    #[default]
    Unknown,
    /// The port verified it.
    Good,
    /// The port found it wrong.
    Bad,
}

/// Which checksums of a frame the port shall make as it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumOffload {
    /// Bytes of Ethernet header and VLAN tag.
    pub l2_bytes: u8,
    /// Bytes of IP header with options or extension headers.
    pub l3_bytes: u16,
    /// IPv4, else IPv6.
    pub ipv4: bool,
    /// UDP follows; its checksum field holds the pseudo-header's sum.
    pub udp: bool,
}

/// Memory outside the ports' buffers, of fixed size: a message slot. Payload is placed there from frames, and sent from there.
///
/// It may be a lambda's, who writes it when it runs. So nobody has a reference to it; bytes are copied out and in.
pub trait External {
    /// Its length.
    fn bytes(&self) -> usize;
    /// Frames that ports have not let go of, and copies under way. It may be reused once this is 0.
    fn in_use(&self) -> usize;
    /// Copies bytes in. False, and nothing copied, if they are not all within.
    fn write(&self, offset: usize, bytes: &[u8]) -> bool;
    /// Copies bytes out. False, and nothing copied, if they are not all within.
    fn read(&self, offset: usize, bytes: &mut [u8]) -> bool;
}

/// For frames that know no external memory: there is none of it.
impl External for Infallible {
    fn bytes(&self) -> usize {
        match *self {}
    }

    fn in_use(&self) -> usize {
        match *self {}
    }

    fn write(&self, _offset: usize, _bytes: &[u8]) -> bool {
        match *self {}
    }

    fn read(&self, _offset: usize, _bytes: &mut [u8]) -> bool {
        match *self {}
    }
}

/// One Ethernet frame without FCS, owned. Contiguous, unless external memory was appended or a driver chained buffers.
pub trait Frame: Sized {
    /// External memory that can be appended.
    type External: External;
    /// The frame's bytes.
    fn bytes(&self) -> &[u8];
    /// The frame's bytes, to change in place.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// False if there is more of it than `bytes` shows: external memory, or buffers of a driver that could not be joined.
    fn is_whole(&self) -> bool {
        true
    }
    /// Grows or shrinks at the end; new bytes are unspecified. False, and unchanged, if the buffer is too small.
    fn resize(&mut self, bytes: usize) -> bool;
    /// Most bytes that `resize` can give.
    fn capacity(&self) -> usize;
    /// Appends a range of external memory without copying it: the port reads it as it sends, and the memory is in use until it has. The
    /// frame's own bytes, its headers, can still be changed, its length cannot. False, and unchanged, if that is not possible, also if
    /// the frame so far has an odd number of bytes (checksums are sums of words): copy instead. Only for ports that can send it, [`Capabilities::tx_external`](crate::port::Capabilities).
    fn append_external(&mut self, _memory: &Self::External, _range: Range<usize>) -> bool {
        false
    }
    /// What the port says of the IPv4 header checksum.
    fn ip_checksum(&self) -> Checksum;
    /// What the port says of the UDP or TCP checksum.
    fn l4_checksum(&self) -> Checksum;
    /// Forgets received offload state; with `Some`, asks the port to make these checksums.
    fn set_tx_offload(&mut self, offload: Option<ChecksumOffload>);
}

/// Where new frames come from, for whoever sends more than arrived: replies of several fragments, pcap replay, fault injection. Takes from
/// a pool that was allocated at start; never allocates.
pub trait FrameSource {
    /// Frames that it makes.
    type Frame: Frame;
    /// A new frame holding a copy of `bytes`; `None` if the pool is empty or the bytes do not fit.
    fn frame(&mut self, bytes: &[u8]) -> Option<Self::Frame>;
    /// Most bytes that a new frame can hold.
    fn capacity(&self) -> usize;
}

impl<S: FrameSource + ?Sized> FrameSource for Box<S> {
    type Frame = S::Frame;

    #[inline]
    fn frame(&mut self, bytes: &[u8]) -> Option<Self::Frame> {
        (**self).frame(bytes)
    }

    fn capacity(&self) -> usize {
        (**self).capacity()
    }
}
