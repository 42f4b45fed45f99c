//! Who vouches for compiled code that was somewhere else: an HMAC-SHA256 under a key that only the control plane has.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the tag that a seal puts behind what it vouches for.
pub const TAG_BYTES: usize = 32;

/// The key that artifacts are sealed with. Zeroed when it is dropped; never shown.
#[derive(Clone)]
pub struct ArtifactKey(Zeroizing<[u8; Self::BYTES]>);

impl ArtifactKey {
    /// Its length.
    pub const BYTES: usize = 32;

    /// A key of random bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Vouches for bytes: puts their tag behind them. Whoever opens them again may run what is in them as code of this process.
    pub fn seal(&self, bytes: &mut Vec<u8>) {
        let mut mac = self.mac();
        mac.update(bytes);
        bytes.extend_from_slice(&mac.finalize().into_bytes());
    }

    /// What was sealed, if it was sealed with this key and is as it was. Compares in constant time.
    #[must_use]
    pub fn open<'a>(&self, sealed: &'a [u8]) -> Option<Vouched<'a>> {
        let (bytes, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        let mut mac = self.mac();
        mac.update(bytes);
        mac.verify_slice(tag).ok()?;
        Some(Vouched(bytes))
    }

    fn mac(&self) -> Hmac<Sha256> {
        // Shorter than a block of SHA-256, which is what the type asks for: zeros are what HMAC pads with.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block[..Self::BYTES].copy_from_slice(self.0.as_slice());
        Hmac::new(&block)
    }
}

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactKey(…)")
    }
}

/// Bytes that were sealed, and are as they were.
#[derive(Clone, Copy, Debug)]
pub struct Vouched<'a>(&'a [u8]);

impl<'a> Vouched<'a> {
    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Those before `at` and those from there on; `None` if there are fewer.
    #[must_use]
    pub fn split_at(self, at: usize) -> Option<(Self, Self)> {
        self.0.split_at_checked(at).map(|(before, after)| (Self(before), Self(after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_with_the_key_is_opened() {
        let key = ArtifactKey::new([7; 32]);
        let mut sealed = b"code".to_vec();
        key.seal(&mut sealed);
        assert_eq!(sealed.len(), 4 + TAG_BYTES);
        assert_eq!(key.open(&sealed).unwrap().bytes(), b"code");
        assert!(ArtifactKey::new([8; 32]).open(&sealed).is_none());
        for at in 0..sealed.len() {
            assert!(key.open(&sealed[..at]).is_none(), "{at}");
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped[at] ^= 1 << bit;
                assert!(key.open(&flipped).is_none(), "{at} {bit}");
            }
        }
        let (before, after) = key.open(&sealed).unwrap().split_at(1).unwrap();
        assert_eq!((before.bytes(), after.bytes()), (&b"c"[..], &b"ode"[..]));
        assert!(after.split_at(4).is_none());
    }

    #[test]
    fn the_tag_is_that_of_rfc_4231() {
        // Test case 2 has a key of 4 bytes: HMAC pads it with zeros.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mut sealed = b"what do ya want for nothing?".to_vec();
        ArtifactKey::new(key).seal(&mut sealed);
        let tag: String = sealed[28..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(tag, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
