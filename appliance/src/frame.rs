//! One Ethernet frame, wherever it lives, and a burst of them.

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

/// One Ethernet frame without FCS, contiguous, owned.
pub trait Frame: Sized {
    /// The frame's bytes.
    fn bytes(&self) -> &[u8];
    /// The frame's bytes, to change in place.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// False if there is more of it than `bytes` shows: a driver chained buffers that could not be joined.
    fn is_whole(&self) -> bool {
        true
    }
    /// Grows or shrinks at the end; new bytes are unspecified. False, and unchanged, if the buffer is too small.
    fn resize(&mut self, bytes: usize) -> bool;
    /// Most bytes that `resize` can give.
    fn capacity(&self) -> usize;
    /// What the port says of the IPv4 header checksum.
    fn ip_checksum(&self) -> Checksum;
    /// What the port says of the UDP or TCP checksum.
    fn l4_checksum(&self) -> Checksum;
    /// Forgets received offload state; with `Some`, asks the port to make these checksums.
    fn set_tx_offload(&mut self, offload: Option<ChecksumOffload>);
}

/// Where new frames come from: pcap replay and fault injection need it, the path itself never allocates.
pub trait FrameSource {
    /// Frames that it makes.
    type Frame: Frame;
    /// A new frame holding a copy of `bytes`; `None` if the pool is empty or the bytes do not fit.
    fn frame(&mut self, bytes: &[u8]) -> Option<Self::Frame>;
    /// Most bytes that a new frame can hold.
    fn capacity(&self) -> usize;
}
