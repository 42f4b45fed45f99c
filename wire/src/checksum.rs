//! The Internet checksum (RFC 1071), and the pseudo-headers that UDP, TCP and ICMPv6 put under it.
//!
//! A running sum is a `u64` of big-endian 16-bit words, carries not yet folded in: [`add`] bytes to it, [`finish`] it into
//! the field's value, or [`verify`] that bytes with their checksum in place sum to what they should.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Adds bytes to a running sum. Every piece but the last must have an even number of bytes; the last is padded with zero.
///
/// Words are added as they lie in memory, eight bytes at a time, and turned round once at the end: the sum does not
/// depend on byte order (RFC 1071, 2(B)). Benchmark: `path/checksum`.
#[inline]
#[must_use]
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    // Two lanes, low and high halves apart: no carries to follow, and the compiler makes vectors of it.
    let mut low = [0u64; 4];
    let mut high = [0u64; 4];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in words.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            low[lane] += word & 0xFFFF_FFFF;
            high[lane] += word >> 32;
        }
    }
    let mut native = low.iter().sum::<u64>() + high.iter().sum::<u64>();
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let word = u64::from_ne_bytes(*word);
        native += (word & 0xFFFF_FFFF) + (word >> 32);
    }
    let (pairs, last) = rest.as_chunks::<2>();
    for pair in pairs {
        native += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [last] = last {
        native += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum + u64::from(u16::from_be(fold(native)))
}

/// Folds the carries of a running sum into 16 bits. Zero only if every word was zero.
#[inline]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xFFFF_FFFF) + (sum >> 32);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    sum as u16
}

/// The checksum field's value. UDP sends 0xFFFF instead of zero; that is the caller's.
#[inline]
#[must_use]
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// True if a sum over bytes with their checksum in place is right.
#[inline]
#[must_use]
pub const fn verify(sum: u64) -> bool {
    fold(sum) == 0xFFFF
}

/// The checksum after one 16-bit word under it has changed (RFC 1624, equation 3).
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    finish(!checksum as u64 + !old as u64 + new as u64)
}

/// Sum of the IPv4 pseudo-header. `upper_bytes` counts the transport header and its payload.
#[inline]
#[must_use]
pub fn pseudo_ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, upper_bytes: u16) -> u64 {
    u64::from(source.to_bits())
        + u64::from(destination.to_bits())
        + u64::from(protocol)
        + u64::from(upper_bytes)
}

/// Sum of the IPv6 pseudo-header. `upper_bytes` counts the transport header and its payload, without extension headers.
#[inline]
#[must_use]
pub fn pseudo_ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, upper_bytes: u16) -> u64 {
    halves(source.to_bits()) + halves(destination.to_bits()) + u64::from(protocol) + u64::from(upper_bytes)
}

/// An address as four 32-bit words, which 2^16 ≡ 1 lets stand for eight 16-bit ones.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "takes the address apart")]
const fn halves(address: u128) -> u64 {
    let (high, low) = ((address >> 64) as u64, address as u64);
    (high >> 32) + (high & 0xFFFF_FFFF) + (low >> 32) + (low & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 word for word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(add(0, &bytes)), 0xddf2);
        assert_eq!(finish(add(0, &bytes)), !0xddf2);
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert_eq!(add(0, &[0; 100]), 0);
        assert_eq!(fold(add(0, &[0xFF; 65535])), naive(&[0xFF; 65535]));
        assert_eq!(fold(u64::MAX), 0xFFFF);
        assert_eq!(add(0, &[]), 0);
        assert!(!verify(0));
    }

    proptest! {
        #[test]
        fn equals_naive(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(fold(add(0, &bytes)), naive(&bytes));
        }

        #[test]
        fn pieces_equal_whole(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..150) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let pieces = add(add(0, &bytes[..cut]), &bytes[cut..]);
            prop_assert_eq!(fold(pieces), naive(&bytes));
        }

        #[test]
        fn finished_sum_verifies(mut bytes in prop::collection::vec(any::<u8>(), 2..300)) {
            bytes[0..2].fill(0);
            let field = finish(add(0, &bytes));
            bytes[0..2].copy_from_slice(&field.to_be_bytes());
            prop_assert!(verify(add(0, &bytes)));
        }

        #[test]
        fn update_equals_sum_over_new_bytes(
            mut bytes in prop::collection::vec(any::<u8>(), 2..80), at in 0usize..40, new: u16,
        ) {
            let at = (at * 2) % (bytes.len() & !1);
            // The two zeros of one's complement are told apart by a word that is not zero, as every header has one.
            bytes.splice(0..0, [0x45, 0x00]);
            let at = at + 2;
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let before = finish(add(0, &bytes));
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), finish(add(0, &bytes)));
        }

        #[test]
        fn pseudo_headers_equal_their_bytes(source: u128, destination: u128, protocol: u8, upper_bytes: u16) {
            let mut bytes = [0; 40];
            bytes[..16].copy_from_slice(&source.to_be_bytes());
            bytes[16..32].copy_from_slice(&destination.to_be_bytes());
            bytes[34..36].copy_from_slice(&upper_bytes.to_be_bytes());
            bytes[39] = protocol;
            let sum = pseudo_ipv6(source.into(), destination.into(), protocol, upper_bytes);
            prop_assert_eq!(fold(sum), naive(&bytes));

            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&(source as u32).to_be_bytes());
            bytes[4..8].copy_from_slice(&(destination as u32).to_be_bytes());
            bytes[9] = protocol;
            bytes[10..].copy_from_slice(&upper_bytes.to_be_bytes());
            let sum = pseudo_ipv4((source as u32).into(), (destination as u32).into(), protocol, upper_bytes);
            prop_assert_eq!(fold(sum), naive(&bytes));
        }
    }
}
