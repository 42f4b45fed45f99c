//! The bytes of one instance's linear memory.

use std::ptr;
use std::sync::Arc;

use super::deployment::Piece;
use super::mapping::Reservation;
use super::region::Slice;

/// The bytes of one instance's linear memory: mapped, readable and writable from the first to the last as long as this is there.
/// Those that no other instance shares are zero-filled at first, but for their initial data.
pub struct LinearBytes {
    /// An address, so that this can go to another thread with what it owns.
    base: usize,
    bytes: usize,
    // Dropped before what is mapped there.
    _reservation: Option<Reservation>,
    _slice: Option<Slice>,
    _own: Box<[Piece]>,
    _shared: Box<[Arc<[Piece]>]>,
}

impl LinearBytes {
    pub(super) fn dense(slice: Slice) -> Self {
        Self {
            base: slice.mapping.pointer(slice.offset).as_ptr().expose_provenance(),
            bytes: slice.bytes,
            _reservation: None,
            _slice: Some(slice),
            _own: Box::default(),
            _shared: Box::default(),
        }
    }

    /// All of the reservation's `bytes` are mapped.
    pub(super) fn windows(
        reservation: Reservation,
        bytes: usize,
        own: Vec<Piece>,
        shared: Vec<Arc<[Piece]>>,
    ) -> Self {
        Self {
            base: reservation.pointer().as_ptr().expose_provenance(),
            bytes,
            _reservation: Some(reservation),
            _slice: None,
            _own: own.into(),
            _shared: shared.into(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where they are.
    #[must_use]
    pub fn pointer(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base)
    }
}
