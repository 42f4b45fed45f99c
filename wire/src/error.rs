//! Why bytes are not the header that they should be.

use core::fmt;

/// Why bytes are not the header that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// Shorter than the header, or than a length in it says.
    Truncated,
    /// A field has a value that it must not have; names the field.
    Malformed(&'static str),
    /// The checksum is wrong; names the protocol.
    Checksum(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("truncated header"),
            Self::Malformed(field) => write!(f, "malformed {field}"),
            Self::Checksum(protocol) => write!(f, "wrong {protocol} checksum"),
        }
    }
}

impl core::error::Error for Error {}
