//! Lets so many packets a second of each source pass to the host, and drops the others. See README.md.
#![no_std]
#![deny(unsafe_code)]

use lnic_lambda::{prelude::*, Full};

mod bucket;

use bucket::{Bucket, Limit};

/// Sources that are remembered.
const SOURCES: usize = 16_384;

/// Where a packet comes from: an IPv6 address, or an IPv4 address as one.
type Source = [u8; 16];

emem! {
    static BUCKETS: Pinned<Map<Source, Bucket, SOURCES>> = Pinned::new(Map::new());
}

static LIMIT: Pinned<Limit> = Pinned::new(Limit::DEFAULT);
static PASSED: Pinned<u64> = Pinned::new(0);
static DROPPED: Pinned<u64> = Pinned::new(0);

init! {
    fn prepare() {
        LIMIT.set(Limit::new(
            number("RATE").unwrap_or(Limit::RATE),
            number("BURST").unwrap_or(Limit::BURST),
        ));
        // Nobody can choose addresses that take each other's places.
        BUCKETS.with(|buckets| buckets.set_seed(host::random()));
    }
}

lambda! {
    /// Passes or drops; answers λ-RPC with its counts.
    pub fn rate_limiter(headers: &mut Headers, message: &mut Message) -> Verdict {
        if headers.is_rpc_request() {
            return report(headers, message);
        }
        if source(headers).map_or(Ok(true), |source| take(source, headers.meta.time_ns)) == Ok(true) {
            PASSED.update(|passed| passed + 1);
            Verdict::ToHost
        } else {
            DROPPED.update(|dropped| dropped + 1);
            Verdict::Drop
        }
    }
}

/// False if the source has used up what it may send.
fn take(source: Source, now_ns: u64) -> Result<bool, Full> {
    let limit = LIMIT.get();
    BUCKETS.with(|buckets| {
        // Without room, the source that was quiet for longest begins anew.
        let bucket = buckets.get_or_replace(source, Bucket::full(limit, now_ns), Bucket::last_ns)?;
        Ok(bucket.take(limit, now_ns))
    })
}

fn report(headers: &mut Headers, message: &mut Message<'_>) -> Verdict {
    let sources = BUCKETS.with(|buckets| buckets.len());
    let (passed, dropped) = (PASSED.get(), DROPPED.get());
    message.reply_text(headers, Status::OK, |text| {
        for (what, number) in [("passed", passed), ("dropped", dropped), ("sources", sources as u64)] {
            text.push(what.as_bytes());
            text.push(b" ");
            text.push_number(number);
            text.push(b"\n");
        }
    })
}

/// `None` if the packet is not IP.
fn source(headers: &Headers) -> Option<Source> {
    if headers.ipv6.valid != 0 {
        return Some(headers.ipv6.source);
    }
    let mut mapped = [0; 16];
    mapped[10..12].fill(0xff);
    mapped[12..].copy_from_slice(&headers.source_v4()?);
    Some(mapped)
}

/// A decimal number of the environment; one that is none is said in the log.
fn number(name: &str) -> Option<u32> {
    let mut buffer = [0; 16];
    let text = match host::environment(name, &mut buffer) {
        Err(ValueError::Absent) => return None,
        Err(ValueError::Longer { .. }) => "",
        Ok(text) => core::str::from_utf8(text).unwrap_or_default(),
    };
    let number = text.parse().ok();
    if number.is_none() {
        // Without formatting: see lnic_lambda.
        host::log_bytes(b"RATE or BURST is no number up to 4294967295: using the default");
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use lnic_lambda::testing::{take_log, Platform, Request};

    #[test]
    fn each_source_has_its_own_burst_and_gets_more_as_time_passes() {
        Platform::new().environment("RATE", "10").environment("BURST", "2").install();
        prepare();
        let send = |last: u8, time_ms: u64| {
            Request::udp(53, b"query")
                .from([10, 0, 0, last], 4000)
                .at(time_ms * 1_000_000)
                .run(rate_limiter)
                .verdict
        };
        assert_eq!([send(1, 0), send(1, 0), send(1, 0)], [Verdict::ToHost, Verdict::ToHost, Verdict::Drop]);
        assert_eq!(send(2, 0), Verdict::ToHost);
        assert_eq!(
            [send(1, 99), send(1, 101), send(1, 101)],
            [Verdict::Drop, Verdict::ToHost, Verdict::Drop]
        );
        let report = Request::rpc(b"").run(rate_limiter);
        assert_eq!(report.payload, b"passed 4\ndropped 3\nsources 2\n");

        Platform::new().environment("RATE", "many").install();
        assert_eq!(number("RATE"), None);
        assert_eq!(take_log(), ["RATE or BURST is no number up to 4294967295: using the default"]);
    }
}
