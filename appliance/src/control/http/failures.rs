//! Who guesses credentials has to wait: a leaky bucket for each source address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong credentials at once.
const BURST: u32 = 10;
/// After them, one more each.
const INTERVAL: Duration = Duration::from_secs(1);
/// Sources that are remembered; those beyond share one bucket.
const SOURCES: usize = 16_384;

/// Wrong credentials by source. A source is forgotten once its bucket is empty.
#[derive(Default)]
pub(super) struct Failures {
    /// When each source's bucket will be empty (the generic cell rate algorithm).
    buckets: Mutex<HashMap<IpAddr, Instant>>,
}

impl Failures {
    /// How long a source has to wait before its credentials are looked at.
    pub(super) fn wait(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.is_empty() {
            return None;
        }
        let own = buckets.get(&key(source));
        // One that may have found no room for a bucket of its own.
        let shared = own.is_none().then(|| buckets.get(&SHARED)).flatten();
        let full = own.or(shared)?.checked_sub(INTERVAL * (BURST - 1))?;
        full.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Its credentials were wrong.
    pub(super) fn note(&self, source: IpAddr, now: Instant) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = key(source);
        if !buckets.contains_key(&key) && buckets.len() >= SOURCES {
            buckets.retain(|_, empty_at| *empty_at > now);
            if buckets.len() >= SOURCES {
                key = SHARED;
            }
        }
        let empty_at = buckets.entry(key).or_insert(now);
        *empty_at = (*empty_at).max(now) + INTERVAL;
    }
}

/// The bucket of sources for which there is no room; no client has this address.
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What counts as one source: an address, of IPv6 a /64, which is what one host is given.
pub(super) fn key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        ipv4 => ipv4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn ten_guesses_at_once_and_then_one_a_second() {
        let (failures, start) = (Failures::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(failures.wait(v4(1), start), None);
            failures.note(v4(1), start);
        }
        assert_eq!(failures.wait(v4(1), start), Some(INTERVAL));
        assert_eq!(failures.wait(v4(2), start), None, "another address");
        let mut guesses = 0;
        for ms in 1..=60_000 {
            let now = start + Duration::from_millis(ms);
            if failures.wait(v4(1), now).is_none() {
                failures.note(v4(1), now);
                guesses += 1;
            }
        }
        assert_eq!(guesses, 60);
        let later = start + Duration::from_secs(60 + 10);
        assert_eq!(failures.wait(v4(1), later), None);
    }

    #[test]
    fn a_host_has_one_bucket_for_all_its_addresses() {
        let (failures, now) = (Failures::default(), Instant::now());
        for host in 0..u128::from(BURST) {
            failures.note(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | host)), now);
        }
        assert!(failures.wait("2001:db8::ffff".parse().unwrap(), now).is_some());
        assert!(failures.wait("2001:db8:0:1::1".parse().unwrap(), now).is_none());
        assert_eq!(key("::ffff:192.0.2.1".parse().unwrap()), key("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn many_addresses_take_no_more_memory_and_still_wait() {
        let (failures, now) = (Failures::default(), Instant::now());
        for number in 1..=200_000 {
            failures.note(v4(number), now);
        }
        assert_eq!(failures.buckets.lock().unwrap().len(), SOURCES + 1);
        assert!(failures.wait(v4(200_000), now).is_some(), "shares a full bucket");
        let later = now + Duration::from_secs(2);
        failures.note(v4(200_001), later);
        assert!(failures.buckets.lock().unwrap().len() < 10, "those whose buckets are empty are forgotten");
    }
}
