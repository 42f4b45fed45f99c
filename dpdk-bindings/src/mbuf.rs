//! Packet buffers, owned: dropping one sends it home.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use crate::external::Slot;
use crate::sys;

/// The parts of `rte_mbuf` that are used, by offset: their nesting differs between releases, their places do not. wrapper.h
/// asserts each offset when the crate is built.
#[repr(C, align(64))]
struct Overlay {
    buf_addr: *mut u8,
    buf_iova: u64,
    data_off: u16,
    refcnt: u16,
    nb_segs: u16,
    port: u16,
    ol_flags: u64,
    packet_type: u32,
    pkt_len: u32,
    data_len: u16,
    _vlan_tci: u16,
    _hash: [u32; 2],
    _vlan_tci_outer: u16,
    buf_len: u16,
    pool: *mut sys::rte_mempool,
    next: *mut sys::rte_mbuf,
    tx_offload: u64,
}

const _: () = {
    assert!(core::mem::offset_of!(Overlay, ol_flags) == 24);
    assert!(core::mem::offset_of!(Overlay, data_len) == 40);
    assert!(core::mem::offset_of!(Overlay, buf_len) == 54);
    assert!(core::mem::offset_of!(Overlay, pool) == 56);
    assert!(core::mem::offset_of!(Overlay, tx_offload) == 72);
};

/// What the port found when it checked a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It did not look.
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

/// Checksums that the port is asked to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxChecksum {
    /// Bytes before the IP header, at most 127.
    pub l2_bytes: u8,
    /// Bytes of the IP header, at most 511.
    pub l3_bytes: u16,
    /// IPv4, whose header checksum is made; else IPv6.
    pub ipv4: bool,
    /// UDP: its field holds the pseudo-header's sum.
    pub udp: bool,
}

/// One packet buffer, or a chain of them. Its one owner may read and write it.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mbuf({:p}, {} bytes, {} segments)", self.0, self.packet_bytes(), self.segments())
    }
}

// SAFETY: an mbuf has one owner; freeing from another thread is what mempools are for.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership of what DPDK gave; `None` for null.
    ///
    /// # Safety
    /// `raw` is null or a valid mbuf with a reference count of 1 that nobody else uses.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: *mut sys::rte_mbuf) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    #[inline]
    fn fields(&self) -> &Overlay {
        // SAFETY: the pointer is valid and owned; the overlay's offsets are asserted.
        unsafe { self.0.cast::<Overlay>().as_ref() }
    }

    #[inline]
    fn fields_mut(&mut self) -> &mut Overlay {
        // SAFETY: as above, and `&mut self` is exclusive.
        unsafe { self.0.cast::<Overlay>().as_mut() }
    }

    /// Bytes of the first segment.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let fields = self.fields();
        // SAFETY: DPDK and the setters here keep data_off + data_len ≤ buf_len, and the buffer is owned.
        unsafe {
            std::slice::from_raw_parts(fields.buf_addr.add(fields.data_off.into()), fields.data_len.into())
        }
    }

    /// Bytes of the first segment, to change in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let fields = self.fields_mut();
        // SAFETY: as in `data`, and `&mut self` is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(
                fields.buf_addr.add(fields.data_off.into()),
                fields.data_len.into(),
            )
        }
    }

    /// Bytes that the first segment can hold from its start.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        let fields = self.fields();
        usize::from(fields.buf_len.saturating_sub(fields.data_off))
    }

    /// Bytes free behind the data.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.capacity() - usize::from(self.fields().data_len)
    }

    /// Bytes free before the data.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.fields().data_off.into()
    }

    /// Sets the length of a single-segment buffer; new bytes are what the buffer held. False, and unchanged, if they do not fit
    /// or there are several segments.
    #[inline]
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.capacity() || self.segments() != 1 {
            return false;
        }
        let fields = self.fields_mut();
        #[allow(clippy::cast_possible_truncation, reason = "bounded by a u16 capacity")]
        {
            fields.data_len = bytes as u16;
            fields.pkt_len = bytes as u32;
        }
        true
    }

    /// Makes room before the data. False, and unchanged, if there is not enough.
    pub fn prepend(&mut self, bytes: usize) -> bool {
        if bytes > self.headroom() {
            return false;
        }
        let fields = self.fields_mut();
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the headroom, a u16")]
        {
            fields.data_off -= bytes as u16;
            fields.data_len += bytes as u16;
            fields.pkt_len += bytes as u32;
        }
        true
    }

    /// Removes bytes from the front. False, and unchanged, if the first segment has fewer.
    pub fn trim_front(&mut self, bytes: usize) -> bool {
        if bytes > usize::from(self.fields().data_len) {
            return false;
        }
        let fields = self.fields_mut();
        #[allow(clippy::cast_possible_truncation, reason = "bounded by data_len, a u16")]
        {
            fields.data_off += bytes as u16;
            fields.data_len -= bytes as u16;
            fields.pkt_len -= bytes as u32;
        }
        true
    }

    /// Segments of the chain.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> u16 {
        self.fields().nb_segs
    }

    /// Bytes of all segments.
    #[inline]
    #[must_use]
    pub fn packet_bytes(&self) -> u32 {
        self.fields().pkt_len
    }

    /// Moves all segments' bytes into the first. False, and unchanged, if they do not fit.
    pub fn linearize(&mut self) -> bool {
        // SAFETY: the chain is valid and owned; segments that become empty are freed.
        unsafe { sys::rte_pktmbuf_linearize(self.0.as_ptr()) == 0 }
    }

    /// Appends bytes of a slot to the chain without copying them: they are read when the port sends them, and the slot is in use until
    /// it has. Takes a buffer of its own pool to point with. False, and unchanged, if there is none, if the range is not within the slot or
    /// longer than 65,535 bytes, or if too much of the slot is in use.
    ///
    /// For ports that send chains only ([`Info::tx_segments`](crate::ethdev::Info)), configured for them.
    #[inline]
    pub fn attach(&mut self, slot: &Slot, range: Range<usize>) -> bool {
        let Ok(bytes) = u16::try_from(range.len()) else { return false };
        let Some(hold) = slot.hold(range) else { return false };
        if bytes == 0 {
            return true;
        }
        // SAFETY: a buffer's pool outlives it; what comes out is fresh and ours alone.
        let Some(segment) = (unsafe { Self::from_raw(sys::rte_pktmbuf_alloc(self.fields().pool)) }) else {
            return false;
        };
        let address = hold.address().as_ptr();
        // SAFETY: the segment is a fresh buffer of a pool with plain buffers; the range is within memory that lives while it is counted, and
        // the count that the hold has taken becomes the segment's: whoever frees the segment counts down.
        unsafe {
            sys::rte_pktmbuf_attach_extbuf(
                segment.0.as_ptr(),
                address.cast(),
                address as u64,
                bytes,
                hold.shared_info(),
            );
        }
        std::mem::forget(hold);
        let mut segment = segment;
        let fields = segment.fields_mut();
        (fields.data_len, fields.pkt_len) = (bytes, bytes.into());
        // SAFETY: both are owned, and the segment is in no chain.
        let chained = unsafe { sys::rte_pktmbuf_chain(self.0.as_ptr(), segment.0.as_ptr()) } == 0;
        if chained {
            std::mem::forget(segment);
        }
        chained
    }

    /// Port that it arrived on.
    #[inline]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.fields().port
    }

    #[inline]
    pub(crate) fn set_port(&mut self, port: u16) {
        self.fields_mut().port = port;
    }

    /// What the port found of the IPv4 header checksum.
    #[inline]
    #[must_use]
    pub fn ip_checked(&self) -> Checked {
        match self.fields().ol_flags & sys::LNIC_RX_IP_CKSUM_MASK {
            sys::LNIC_RX_IP_CKSUM_GOOD => Checked::Good,
            sys::LNIC_RX_IP_CKSUM_BAD => Checked::Bad,
            _ => Checked::Unknown,
        }
    }

    /// What the port found of the UDP or TCP checksum. A peer in the same machine may leave it unmade (`NONE`): unknown.
    #[inline]
    #[must_use]
    pub fn l4_checked(&self) -> Checked {
        match self.fields().ol_flags & sys::LNIC_RX_L4_CKSUM_MASK {
            sys::LNIC_RX_L4_CKSUM_GOOD => Checked::Good,
            sys::LNIC_RX_L4_CKSUM_BAD => Checked::Bad,
            _ => Checked::Unknown,
        }
    }

    /// Forgets what the port found, and asks the next one for these checksums.
    #[inline]
    pub fn set_tx_checksum(&mut self, checksum: Option<TxChecksum>) {
        let (flags, lengths) = match checksum {
            None => (0, 0),
            Some(TxChecksum { l2_bytes, l3_bytes, ipv4, udp }) => {
                let ip = if ipv4 { sys::LNIC_TX_IPV4 | sys::LNIC_TX_IP_CKSUM } else { sys::LNIC_TX_IPV6 };
                let udp = if udp { sys::LNIC_TX_UDP_CKSUM } else { 0 };
                // tx_offload's bit-field: l2_len 7, l3_len 9, l4_len 8.
                (ip | udp, u64::from(l2_bytes & 127) | u64::from(l3_bytes & 511) << 7)
            }
        };
        let fields = self.fields_mut();
        // An attached buffer (mlx5's striding receive queues, zero-copy vhost) stays marked as one, or it goes home with memory that
        // is not its own.
        fields.ol_flags = fields.ol_flags & sys::LNIC_MBUF_ATTACHED | flags;
        fields.tx_offload = lengths;
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned, so this is the one release of it.
        unsafe { sys::rte_pktmbuf_free(self.0.as_ptr()) };
    }
}
