//! How much a server holds, and for how long.

use crate::{AT_MOST_ONCE_LIFETIME_US, FRAGMENTS, MESSAGE_BYTES};

/// Bounds of a [`Server`](super::Server). All memory is allocated for them at the start.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages of several fragments, requests and replies, at a time.
    pub exchanges: u32,
    /// Of them, those of one tenant.
    pub exchanges_per_tenant: u32,
    /// Most fragments of a message. Each exchange has two bitmaps of this length.
    pub fragments: u32,
    /// Most bytes of a message.
    pub message_bytes: u32,
    /// Sessions with at-most-once requests that are remembered. At most half of them may be of sources without a cookie.
    pub sessions: u32,
    /// Sessions and exchanges of one address. Addresses share counters by hash, so it is a bound, not a promise.
    pub entries_per_address: u32,
    /// Bytes of cached replies.
    pub cache_bytes: usize,
    /// Of them, those of one tenant. A tenant whose share is full loses its oldest reply.
    pub cache_bytes_per_tenant: usize,
    /// Tenants: [`TenantId`](super::TenantId)s are below.
    pub tenants: u16,
    /// Datagrams without a CRC are dropped: a flipped bit could name another request or place.
    pub require_crc: bool,
    /// How long a receiver waits for a missing fragment before it asks. It doubles while nothing comes.
    pub nack_us: u64,
    /// How long a sender waits for a word before it repeats its last fragment. It doubles while nothing comes.
    pub repeat_us: u64,
    /// Longest of these waits.
    pub wait_us: u64,
    /// A message that makes no progress for so long is given up.
    pub idle_us: u64,
    /// How long fragments of a message that is over are still recognised, if there is room.
    pub linger_us: u64,
    /// How long at most a message may take, and how long a reply and a session are remembered: longer than
    /// [`AT_MOST_ONCE_LIFETIME_US`] and than a datagram can be on its way.
    pub hold_us: u64,
    /// How long a cookie is good at least; twice that at most.
    pub cookie_us: u64,
    /// BUSY says to ask again after so many microseconds.
    pub retry_us: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchanges: 256,
            exchanges_per_tenant: 64,
            fragments: FRAGMENTS,
            message_bytes: MESSAGE_BYTES,
            sessions: 4096,
            entries_per_address: 512,
            cache_bytes: 4 << 20,
            cache_bytes_per_tenant: 1 << 20,
            tenants: 256,
            require_crc: true,
            nack_us: 5_000,
            repeat_us: 20_000,
            wait_us: 320_000,
            idle_us: 5_000_000,
            linger_us: 100_000,
            hold_us: 2 * AT_MOST_ONCE_LIFETIME_US,
            cookie_us: 15_000_000,
            retry_us: 1_000,
        }
    }
}
