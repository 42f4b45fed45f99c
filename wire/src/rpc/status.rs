//! How a request ended.

use core::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// How a request ended: gRPC's numbers, and three of λ-RPC.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Status {
            $($(#[$doc])* $variant,)*
            /// A number that this version has no name for.
            Other(u8),
        }

        impl Status {
            /// Every status that has a name, by number.
            pub const NAMED: &[Self] = &[$(Self::$variant),*];

            /// The status with this number.
            #[must_use]
            pub const fn new(raw: u8) -> Self {
                match raw {
                    $($number => Self::$variant,)*
                    _ => Self::Other(raw),
                }
            }

            /// Its number on the wire.
            #[must_use]
            pub const fn raw(self) -> u8 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(raw) => raw,
                }
            }

            /// Its name as gRPC writes it; `None` if it has none.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($name),)*
                    Self::Other(_) => None,
                }
            }
        }
    };
}

statuses! {
    /// Success.
    Ok = 0, "OK";
    /// The caller cancelled.
    Cancelled = 1, "CANCELLED";
    /// Some error without a better name.
    Unknown = 2, "UNKNOWN";
    /// The request makes no sense.
    InvalidArgument = 3, "INVALID_ARGUMENT";
    /// The budget passed before the lambda ended or began.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED";
    /// What the request names does not exist.
    NotFound = 5, "NOT_FOUND";
    /// What the request would make exists.
    AlreadyExists = 6, "ALREADY_EXISTS";
    /// The caller may not do this.
    PermissionDenied = 7, "PERMISSION_DENIED";
    /// A quota is used up.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED";
    /// The state does not allow it.
    FailedPrecondition = 9, "FAILED_PRECONDITION";
    /// Given up for a conflict.
    Aborted = 10, "ABORTED";
    /// Past the valid range.
    OutOfRange = 11, "OUT_OF_RANGE";
    /// Nobody implements it.
    Unimplemented = 12, "UNIMPLEMENTED";
    /// The lambda trapped.
    Internal = 13, "INTERNAL";
    /// The lambda cannot run now.
    Unavailable = 14, "UNAVAILABLE";
    /// Data is lost.
    DataLoss = 15, "DATA_LOSS";
    /// The caller is not known.
    Unauthenticated = 16, "UNAUTHENTICATED";
    /// The queue is full: try again later.
    Busy = 32, "BUSY";
    /// Nothing is known of this request.
    UnknownRpc = 33, "UNKNOWN_RPC";
    /// The request is older than the at-most-once window.
    Stale = 34, "STALE";
}

impl From<u8> for Status {
    fn from(raw: u8) -> Self {
        Self::new(raw)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "STATUS_{}", self.raw()),
        }
    }
}
