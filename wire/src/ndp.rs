//! Neighbour discovery (RFC 4861): solicitations, advertisements, and their link-layer address options.

use core::net::Ipv6Addr;

use crate::bytes::{array, be32, byte, put, view};
use crate::ethernet::MacAddress;
use crate::icmpv6::{self, NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use crate::{Error, checksum};

/// Bytes of a message without options.
pub const HEADER_BYTES: usize = 24;
/// Bytes of a link-layer address option for Ethernet.
pub const LINK_OPTION_BYTES: usize = 8;
/// Hop limit of every message: a router would have lowered it, so the sender is on the link.
pub const HOP_LIMIT: u8 = 255;
/// Option: the sender's link-layer address.
pub const SOURCE_LINK: u8 = 1;
/// Option: the target's link-layer address.
pub const TARGET_LINK: u8 = 2;

const TYPE: usize = 0;
const CODE: usize = 1;
const FLAGS: usize = 4;
const TARGET: usize = 8;

const ROUTER: u32 = 1 << 31;
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;

view! {
    /// A solicitation or an advertisement: the ICMPv6 message from its type on.
    Packet
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks type, code, length, and that the options fit (RFC 4861, 7.1.1 and 7.1.2).
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let bytes = buffer.as_ref();
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        if !matches!(byte(bytes, TYPE), NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT) {
            return Err(Error::Malformed("neighbour discovery type"));
        }
        if byte(bytes, CODE) != 0 {
            return Err(Error::Malformed("neighbour discovery code"));
        }
        let mut options = bytes.get(HEADER_BYTES..).unwrap_or_default();
        while !options.is_empty() {
            let length = usize::from(byte(options, 1)) * 8;
            if length == 0 {
                return Err(Error::Malformed("neighbour discovery option length"));
            }
            options = options.get(length..).ok_or(Error::Truncated)?;
        }
        Ok(Self { buffer })
    }

    /// ICMPv6 type.
    #[inline]
    pub fn kind(&self) -> u8 {
        byte(self.bytes(), TYPE)
    }

    /// Advertisement: sent by a router.
    #[inline]
    pub fn router(&self) -> bool {
        be32(self.bytes(), FLAGS) & ROUTER != 0
    }

    /// Advertisement: answers a solicitation.
    #[inline]
    pub fn solicited(&self) -> bool {
        be32(self.bytes(), FLAGS) & SOLICITED != 0
    }

    /// Advertisement: replaces what the receiver knows.
    #[inline]
    pub fn overrides(&self) -> bool {
        be32(self.bytes(), FLAGS) & OVERRIDE != 0
    }

    /// Address that is asked for or told of.
    #[inline]
    pub fn target(&self) -> Ipv6Addr {
        array::<16>(self.bytes(), TARGET).into()
    }

    /// MAC address in the first link-layer option of this type: [`SOURCE_LINK`] or [`TARGET_LINK`].
    pub fn link(&self, option: u8) -> Option<MacAddress> {
        let mut options = self.options_bytes();
        while let Some(header) = options.first_chunk::<2>() {
            if *header == [option, 1] {
                return options.get(2..)?.first_chunk::<6>().copied();
            }
            let length = usize::from(header[1]).max(1) * 8;
            options = options.get(length..)?;
        }
        None
    }

    /// True if the checksum is right. `pseudo` is the pseudo-header's sum.
    #[inline]
    pub fn verify_checksum(&self, pseudo: u64) -> bool {
        checksum::verify(checksum::add(pseudo, self.bytes()))
    }

    fn options_bytes(&self) -> &[u8] {
        self.bytes().get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// A message as values. Other options than the link-layer address are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repr {
    /// Who has this address?
    Solicitation {
        /// Address that is asked for.
        target: Ipv6Addr,
        /// Sender's MAC address; none if its source is unspecified.
        source_link: Option<MacAddress>,
    },
    /// The target's address is here.
    Advertisement {
        /// Sent by a router.
        router: bool,
        /// Answers a solicitation.
        solicited: bool,
        /// Replaces what the receiver knows.
        overrides: bool,
        /// Address that is told of.
        target: Ipv6Addr,
        /// Its MAC address.
        target_link: Option<MacAddress>,
    },
}

impl Repr {
    /// Bytes of the message.
    #[must_use]
    pub const fn message_bytes(&self) -> usize {
        let (Self::Solicitation { source_link: link, .. } | Self::Advertisement { target_link: link, .. }) =
            self;
        HEADER_BYTES + if link.is_some() { LINK_OPTION_BYTES } else { 0 }
    }

    /// Reads a message. `pseudo` is the pseudo-header's sum.
    ///
    /// # Errors
    /// A wrong checksum; a multicast target.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>, pseudo: u64) -> Result<Self, Error> {
        if !packet.verify_checksum(pseudo) {
            return Err(Error::Checksum("ICMPv6"));
        }
        let target = packet.target();
        if target.is_multicast() {
            return Err(Error::Malformed("neighbour discovery target"));
        }
        Ok(if packet.kind() == NEIGHBOUR_SOLICITATION {
            Self::Solicitation { target, source_link: packet.link(SOURCE_LINK) }
        } else {
            Self::Advertisement {
                router: packet.router(),
                solicited: packet.solicited(),
                overrides: packet.overrides(),
                target,
                target_link: packet.link(TARGET_LINK),
            }
        })
    }

    /// Writes the message, checksum included, to the start of the buffer.
    ///
    /// # Panics
    /// If the buffer is shorter than [`message_bytes`](Self::message_bytes).
    pub fn emit(&self, buffer: &mut [u8], pseudo: u64) {
        let message = &mut buffer[..self.message_bytes()];
        let (kind, flags, target, option, link) = match *self {
            Self::Solicitation { target, source_link } => {
                (NEIGHBOUR_SOLICITATION, 0, target, SOURCE_LINK, source_link)
            }
            Self::Advertisement { router, solicited, overrides, target, target_link } => {
                let flag = |set, bit| if set { bit } else { 0 };
                let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
                (NEIGHBOUR_ADVERTISEMENT, flags, target, TARGET_LINK, target_link)
            }
        };
        put(message, TYPE, [kind, 0]);
        put(message, FLAGS, flags.to_be_bytes());
        put(message, TARGET, target.octets());
        if let Some(link) = link {
            put(message, HEADER_BYTES, [option, 1]);
            put(message, HEADER_BYTES + 2, link);
        }
        icmpv6::fill_checksum(message, pseudo);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solicitation(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = NEIGHBOUR_SOLICITATION;
        bytes.extend(options);
        bytes
    }

    #[test]
    fn link_option_is_found_behind_others() {
        let mut options = vec![14, 2];
        options.resize(16, 0);
        options.extend([SOURCE_LINK, 1, 2, 0, 0, 0, 0, 9]);
        let packet = Packet::new_checked(solicitation(&options)).unwrap();
        assert_eq!(packet.link(SOURCE_LINK), Some([2, 0, 0, 0, 0, 9]));
        assert_eq!(packet.link(TARGET_LINK), None);
    }

    #[test]
    fn malformed_messages_are_refused() {
        assert_eq!(
            Packet::new_checked(solicitation(&[1, 0, 0, 0, 0, 0, 0, 0])),
            Err(Error::Malformed("neighbour discovery option length"))
        );
        assert_eq!(Packet::new_checked(solicitation(&[1, 2, 0, 0, 0, 0, 0, 0])), Err(Error::Truncated));
        assert_eq!(
            Packet::new_checked(solicitation(&[1])),
            Err(Error::Malformed("neighbour discovery option length"))
        );
        assert_eq!(Packet::new_checked(vec![NEIGHBOUR_SOLICITATION; 23]), Err(Error::Truncated));
        let mut code = solicitation(&[]);
        code[1] = 1;
        assert_eq!(Packet::new_checked(code), Err(Error::Malformed("neighbour discovery code")));
        let mut echo = solicitation(&[]);
        echo[0] = 128;
        assert_eq!(Packet::new_checked(echo), Err(Error::Malformed("neighbour discovery type")));
    }
}
