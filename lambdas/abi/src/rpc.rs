//! λ-RPC as a lambda sees it: kinds, flags and status codes.

/// Kind of a λ-RPC message: a request.
pub const RPC_REQ: u8 = 0;
/// Kind of a λ-RPC message: its reply.
pub const RPC_RSP: u8 = 1;

/// λ-RPC flag: the header's CRC counts.
pub const RPC_FLAG_CRC: u16 = 1 << 15;
/// λ-RPC flag: sent again.
pub const RPC_FLAG_RTX: u16 = 1 << 14;
/// λ-RPC flag: to run it twice does no harm.
pub const RPC_FLAG_IDEMPOTENT: u16 = 1 << 13;
/// λ-RPC flag: it may run once at most.
pub const RPC_FLAG_AT_MOST_ONCE: u16 = 1 << 12;
/// λ-RPC flag: the caller wants no reply.
pub const RPC_FLAG_NOREPLY: u16 = 1 << 11;
/// λ-RPC flag: congestion was experienced on the way.
pub const RPC_FLAG_CE: u16 = 1 << 10;
/// Bits of the λ-RPC flags that are the priority, 0–7.
pub const RPC_PRIORITY_MASK: u16 = 7;

/// Status of a λ-RPC reply, gRPC's numbers up to 16 and three of λ-RPC: success.
pub const STATUS_OK: u8 = 0;
/// Status: the caller cancelled.
pub const STATUS_CANCELLED: u8 = 1;
/// Status: some error without a better name.
pub const STATUS_UNKNOWN: u8 = 2;
/// Status: the request makes no sense.
pub const STATUS_INVALID_ARGUMENT: u8 = 3;
/// Status: the budget or the time-out passed.
pub const STATUS_DEADLINE_EXCEEDED: u8 = 4;
/// Status: what the request names does not exist.
pub const STATUS_NOT_FOUND: u8 = 5;
/// Status: what the request would make exists.
pub const STATUS_ALREADY_EXISTS: u8 = 6;
/// Status: the caller may not do this.
pub const STATUS_PERMISSION_DENIED: u8 = 7;
/// Status: a quota is used up.
pub const STATUS_RESOURCE_EXHAUSTED: u8 = 8;
/// Status: the state does not allow it.
pub const STATUS_FAILED_PRECONDITION: u8 = 9;
/// Status: given up for a conflict.
pub const STATUS_ABORTED: u8 = 10;
/// Status: past the valid range.
pub const STATUS_OUT_OF_RANGE: u8 = 11;
/// Status: nobody implements it.
pub const STATUS_UNIMPLEMENTED: u8 = 12;
/// Status: the lambda trapped.
pub const STATUS_INTERNAL: u8 = 13;
/// Status: it cannot be done now.
pub const STATUS_UNAVAILABLE: u8 = 14;
/// Status: data is lost.
pub const STATUS_DATA_LOSS: u8 = 15;
/// Status: the caller is not known.
pub const STATUS_UNAUTHENTICATED: u8 = 16;
/// Status: the queue is full, try again later.
pub const STATUS_BUSY: u8 = 32;
/// Status: nothing is known of this request.
pub const STATUS_UNKNOWN_RPC: u8 = 33;
/// Status: the request is older than the at-most-once window.
pub const STATUS_STALE: u8 = 34;
