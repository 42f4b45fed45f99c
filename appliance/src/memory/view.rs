//! The host's view of a window that all instances of a deployment share.

use std::ptr::NonNull;
use std::sync::Arc;

use super::deployment::Piece;
use super::mapping::Reservation;

/// A window as one piece of the host's memory, mapped as long as this is there. Whoever runs the lambda may write it at any time: it
/// is copied from and to, never referred to.
pub struct View {
    reservation: Reservation,
    bytes: usize,
    _pieces: Arc<[Piece]>,
}

impl View {
    pub(super) fn new(reservation: Reservation, bytes: usize, pieces: Arc<[Piece]>) -> Self {
        Self { reservation, bytes, _pieces: pieces }
    }

    /// Its first byte.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.reservation.pointer()
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
