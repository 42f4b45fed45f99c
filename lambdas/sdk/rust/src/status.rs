//! Statuses of λ-RPC.

use core::fmt;

use lnic_abi as abi;

/// Status of a reply: gRPC's numbers up to 16, and three of λ-RPC. Others mean what caller and lambda agree on.
///
/// ```
/// use lnic_lambda::Status;
/// assert_eq!(Status::NOT_FOUND.0, 5);
/// assert_eq!(Status::NOT_FOUND.to_string(), "NOT_FOUND");
/// assert_eq!(Status(99).to_string(), "99");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Status(pub u8);

macro_rules! statuses {
    ($($(#[$meta:meta])* $name:ident = $code:ident),* $(,)?) => {
        impl Status {
            $($(#[$meta])* pub const $name: Self = Self(abi::$code);)*

            /// Its name; `None` if it has none.
            ///
            /// ```
            /// assert_eq!(lnic_lambda::Status::BUSY.name(), Some("BUSY"));
            /// ```
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(abi::$code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    /// Done.
    OK = STATUS_OK,
    /// The caller cancelled.
    CANCELLED = STATUS_CANCELLED,
    /// Some error without a better name.
    UNKNOWN = STATUS_UNKNOWN,
    /// The request makes no sense.
    INVALID_ARGUMENT = STATUS_INVALID_ARGUMENT,
    /// The budget or the time-out passed.
    DEADLINE_EXCEEDED = STATUS_DEADLINE_EXCEEDED,
    /// What the request names does not exist.
    NOT_FOUND = STATUS_NOT_FOUND,
    /// What the request would make exists.
    ALREADY_EXISTS = STATUS_ALREADY_EXISTS,
    /// The caller may not do this.
    PERMISSION_DENIED = STATUS_PERMISSION_DENIED,
    /// A quota is used up.
    RESOURCE_EXHAUSTED = STATUS_RESOURCE_EXHAUSTED,
    /// The state does not allow it.
    FAILED_PRECONDITION = STATUS_FAILED_PRECONDITION,
    /// Given up for a conflict.
    ABORTED = STATUS_ABORTED,
    /// Past the valid range.
    OUT_OF_RANGE = STATUS_OUT_OF_RANGE,
    /// Nobody implements it.
    UNIMPLEMENTED = STATUS_UNIMPLEMENTED,
    /// The lambda trapped.
    INTERNAL = STATUS_INTERNAL,
    /// It cannot be done now.
    UNAVAILABLE = STATUS_UNAVAILABLE,
    /// Data is lost.
    DATA_LOSS = STATUS_DATA_LOSS,
    /// The caller is not known.
    UNAUTHENTICATED = STATUS_UNAUTHENTICATED,
    /// The queue is full: try again later.
    BUSY = STATUS_BUSY,
    /// Nothing is known of this request.
    UNKNOWN_RPC = STATUS_UNKNOWN_RPC,
    /// The request is older than the at-most-once window.
    STALE = STATUS_STALE,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
