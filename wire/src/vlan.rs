//! The 802.1Q tag: what follows EtherType 0x8100.

use crate::Error;
use crate::bytes::{be16, put, view};

/// Bytes of the tag: control information, and the EtherType of what follows.
pub const HEADER_BYTES: usize = 4;
/// Largest VLAN identifier that may name a VLAN; 0 is a priority tag, 4095 is reserved.
pub const VID_MAX: u16 = 4094;

const CONTROL: usize = 0;
const ETHER_TYPE: usize = 2;

view! {
    /// A tag, and what follows it.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks that the tag is there.
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer })
    }

    /// Priority code point, 0–7.
    #[inline]
    pub fn priority(&self) -> u8 {
        (be16(self.bytes(), CONTROL) >> 13) as u8
    }

    /// Drop eligible indicator.
    #[inline]
    pub fn drop_eligible(&self) -> bool {
        be16(self.bytes(), CONTROL) & 0x1000 != 0
    }

    /// VLAN identifier, 12 bits.
    #[inline]
    pub fn vid(&self) -> u16 {
        be16(self.bytes(), CONTROL) & 0x0FFF
    }

    /// EtherType of what follows the tag.
    #[inline]
    pub fn ether_type(&self) -> u16 {
        be16(self.bytes(), ETHER_TYPE)
    }

    /// What follows the tag.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the control information; excess bits are cut off.
    #[inline]
    pub fn set_control(&mut self, priority: u8, drop_eligible: bool, vid: u16) {
        let control = u16::from(priority & 7) << 13 | u16::from(drop_eligible) << 12 | vid & 0x0FFF;
        put(self.buffer.as_mut(), CONTROL, control.to_be_bytes());
    }

    /// Sets the EtherType of what follows.
    #[inline]
    pub fn set_ether_type(&mut self, ether_type: u16) {
        put(self.buffer.as_mut(), ETHER_TYPE, ether_type.to_be_bytes());
    }
}

/// The tag as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Priority code point, 0–7.
    pub priority: u8,
    /// Drop eligible indicator.
    pub drop_eligible: bool,
    /// VLAN identifier, 0–4095.
    pub vid: u16,
    /// EtherType of what follows.
    pub ether_type: u16,
}

impl Repr {
    /// Reads the tag. Every four bytes are one.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            priority: packet.priority(),
            drop_eligible: packet.drop_eligible(),
            vid: packet.vid(),
            ether_type: packet.ether_type(),
        }
    }

    /// Writes the tag to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`HEADER_BYTES`].
    pub fn emit(&self, buffer: &mut [u8]) {
        let mut packet = Packet { buffer: &mut buffer[..HEADER_BYTES] };
        packet.set_control(self.priority, self.drop_eligible, self.vid);
        packet.set_ether_type(self.ether_type);
    }
}
