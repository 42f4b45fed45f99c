//! Cookies: what a source shows to prove that it gets what is sent to it. Keyed hashes, so that nothing is stored for them.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher24;

use super::Source;

/// The server's secret. It is new with each life of the server, so cookies end with it.
pub(super) struct Secret {
    key: [u8; 16],
    /// A cookie is good in its period and in the next one.
    period_us: u64,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(super) fn new(key: [u8; 16], period_us: u64) -> Self {
        Self { key, period_us: period_us.max(1) }
    }

    /// The cookie for a source at this time. Never all zero: that is what a client sends that has none.
    pub(super) fn cookie(&self, source: &Source, now_us: u64) -> [u8; 8] {
        self.of_period(source, now_us / self.period_us)
    }

    /// Whether a source was given this cookie, not long ago.
    pub(super) fn accepts(&self, source: &Source, now_us: u64, cookie: [u8; 8]) -> bool {
        let period = now_us / self.period_us;
        self.of_period(source, period) == cookie
            || period.checked_sub(1).is_some_and(|before| self.of_period(source, before) == cookie)
    }

    /// Hash of a key of this server's tables: a sender cannot choose keys that collide.
    pub(super) fn hash(&self, key: impl Hash) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(0);
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn of_period(&self, source: &Source, period: u64) -> [u8; 8] {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(1);
        (source, period).hash(&mut hasher);
        hasher.finish().max(1).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_for_one_source_two_periods_and_one_life() {
        let secret = Secret::new([7; 16], 1000);
        let source = Source { address: [1; 16], port: 2, interface: 3 };
        let period_us = 1000;
        let now_us = 10 * period_us + 5;
        let cookie = secret.cookie(&source, now_us);
        assert!(secret.accepts(&source, now_us, cookie));
        assert!(secret.accepts(&source, now_us + period_us, cookie));
        assert!(!secret.accepts(&source, now_us + 2 * period_us, cookie));
        assert!(!secret.accepts(&source, now_us - period_us, cookie), "of the future");
        assert!(!secret.accepts(&Source { port: 3, ..source }, now_us, cookie));
        assert!(!secret.accepts(&Source { interface: 4, ..source }, now_us, cookie));
        assert!(!secret.accepts(&source, now_us, [0; 8]));
        assert!(!Secret::new([8; 16], 1000).accepts(&source, now_us, cookie));
    }
}
