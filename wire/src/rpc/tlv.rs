//! Options between λ-RPC header and payload: type 8, length 8, value; zero padding to a whole word.

use super::{Error, WORD_BYTES};

const PAD: u8 = 0;
const COOKIE: u8 = 1;
const TRACE: u8 = 2;
const BITMAP: u8 = 3;
const EPOCH: u8 = 4;

/// Bytes of type and length.
const PREFIX_BYTES: usize = 2;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv<'a> {
    /// Type 1: the cookie of a challenge.
    Cookie(&'a [u8; 8]),
    /// Type 2: W3C trace context as bytes: version 1, trace ID 16, parent ID 8.
    Trace(&'a [u8; 25]),
    /// Type 3: missing fragments, most significant bit first, from the first missing index on. At least one byte.
    Bitmap(&'a [u8]),
    /// Type 4: number that changes whenever the server has lost its state.
    Epoch(u32),
    /// A type that this version does not know: skipped.
    Other {
        /// Type, above 4.
        kind: u8,
        /// Value.
        value: &'a [u8],
    },
}

impl Tlv<'_> {
    /// Bytes with type and length.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        PREFIX_BYTES
            + match self {
                Self::Cookie(value) => value.len(),
                Self::Trace(value) => value.len(),
                Self::Bitmap(value) | Self::Other { value, .. } => value.len(),
                Self::Epoch(_) => size_of::<u32>(),
            }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Cookie(_) => COOKIE,
            Self::Trace(_) => TRACE,
            Self::Bitmap(_) => BITMAP,
            Self::Epoch(_) => EPOCH,
            Self::Other { kind, .. } => *kind,
        }
    }
}

/// The options of a header, in order. Ends at padding, or before the first one that is malformed.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    pub(super) area: &'a [u8],
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        if self.area.first().is_none_or(|&kind| kind == PAD) {
            return None;
        }
        let (tlv, rest) = split(self.area).ok()?;
        self.area = rest;
        Some(tlv)
    }
}

/// The first TLV of a non-empty area that does not begin with padding, and what follows it.
fn split(area: &[u8]) -> Result<(Tlv<'_>, &[u8]), Error> {
    let &[kind, length, ref rest @ ..] = area else { return Err(Error::Header) };
    let (value, rest) = rest.split_at_checked(usize::from(length)).ok_or(Error::Header)?;
    let tlv = match kind {
        COOKIE => Tlv::Cookie(value.try_into().map_err(|_| Error::Header)?),
        TRACE => Tlv::Trace(value.try_into().map_err(|_| Error::Header)?),
        BITMAP if value.is_empty() => return Err(Error::Header),
        BITMAP => Tlv::Bitmap(value),
        EPOCH => Tlv::Epoch(u32::from_be_bytes(value.try_into().map_err(|_| Error::Header)?)),
        _ => Tlv::Other { kind, value },
    };
    Ok((tlv, rest))
}

/// Checks that an area is TLVs in bounds, each known type once and of its length, and padding inside the last word.
pub(super) fn check_tlvs(mut area: &[u8]) -> Result<(), Error> {
    let mut seen = 0_u8;
    while let Some(&kind) = area.first() {
        if kind == PAD {
            let padding = area.len() < WORD_BYTES && area.iter().all(|&byte| byte == 0);
            return if padding { Ok(()) } else { Err(Error::Header) };
        }
        if kind <= EPOCH {
            if seen & 1 << kind != 0 {
                return Err(Error::Header);
            }
            seen |= 1 << kind;
        }
        (_, area) = split(area)?;
    }
    Ok(())
}

/// Writes TLVs and their padding from the start of `area`, which begins where the fixed header ends.
///
/// Returns how many bytes, a multiple of 8; `None` if they do not fit, or a value is too long or no value of its type.
#[must_use]
pub fn emit_tlvs(tlvs: &[Tlv<'_>], area: &mut [u8]) -> Option<usize> {
    let mut end = 0;
    for tlv in tlvs {
        let at = end;
        end += tlv.bytes();
        let [kind, length, value @ ..] = area.get_mut(at..end)? else { return None };
        *kind = tlv.kind();
        *length = u8::try_from(value.len()).ok()?;
        match tlv {
            Tlv::Cookie(bytes) => value.copy_from_slice(*bytes),
            Tlv::Trace(bytes) => value.copy_from_slice(*bytes),
            Tlv::Bitmap([]) | Tlv::Other { kind: PAD..=EPOCH, .. } => return None,
            Tlv::Bitmap(bytes) | Tlv::Other { value: bytes, .. } => value.copy_from_slice(bytes),
            Tlv::Epoch(epoch) => value.copy_from_slice(&epoch.to_be_bytes()),
        }
    }
    let padded = end.next_multiple_of(WORD_BYTES);
    area.get_mut(end..padded)?.fill(PAD);
    Some(padded)
}
