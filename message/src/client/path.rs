//! What is known of the way to the server: its round trip, its largest datagram, its cookie.

use lnic_wire::rpc::{self, HEADER_BYTES, Header, Kind};

use super::Config;
use crate::{Head, Options};

/// How often a size is tried.
const TRIES: u32 = 3;
/// Bytes of a cookie's TLV with padding: always left room for.
const COOKIE_AREA_BYTES: usize = 16;

/// What a PING is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Cookie,
    Probe(u16),
}

/// A PING that has no answer yet.
#[derive(Clone, Copy, Debug)]
struct Ping {
    purpose: Purpose,
    request: u64,
    sent_us: u64,
    resend_us: u64,
    tries: u32,
    /// To be sent now.
    due: bool,
}

/// The way to the server.
#[derive(Debug)]
pub(super) struct Path {
    smoothed_us: Option<u64>,
    variation_us: u64,
    /// Datagrams of this size pass.
    datagram_bytes: u16,
    /// Sizes still to be tried, largest first.
    probes: Vec<u16>,
    pings: [Option<Ping>; 2],
    pub(super) cookie: Option<[u8; 8]>,
    pub(super) epoch: Option<u32>,
    /// The server has answered a request for a cookie without one.
    pub(super) knows_no_cookies: bool,
}

const COOKIE: usize = 0;
const PROBE: usize = 1;

impl Path {
    pub(super) fn new(config: &Config) -> Self {
        let mut probes = config.probes.clone();
        probes.retain(|&bytes| bytes > config.datagram_bytes);
        probes.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            smoothed_us: None,
            variation_us: 0,
            datagram_bytes: config.datagram_bytes,
            probes,
            pings: [None; 2],
            cookie: None,
            epoch: None,
            knows_no_cookies: false,
        }
    }

    /// Whether what needs a cookie may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.cookie.is_some() || self.knows_no_cookies
    }

    /// Notes a round trip of something that was sent once.
    pub(super) fn measure(&mut self, round_trip_us: u64) {
        // RFC 6298.
        if let Some(smoothed_us) = &mut self.smoothed_us {
            self.variation_us = (3 * self.variation_us + smoothed_us.abs_diff(round_trip_us)) / 4;
            *smoothed_us = (7 * *smoothed_us + round_trip_us) / 8;
        } else {
            self.smoothed_us = Some(round_trip_us);
            self.variation_us = round_trip_us / 2;
        }
    }

    /// How long to wait for a word.
    pub(super) fn repeat_us(&self, config: &Config) -> u64 {
        self.smoothed_us.map_or(config.repeat_us, |smoothed_us| {
            (smoothed_us + 4 * self.variation_us).clamp(config.repeat_least_us, config.wait_us)
        })
    }

    /// How long to wait for a fragment.
    pub(super) fn nack_us(&self, config: &Config) -> u64 {
        self.smoothed_us.unwrap_or(0).clamp(config.nack_us, config.wait_us)
    }

    /// Fragment size of a message with these TLVs and a cookie.
    pub(super) fn fragment_bytes(&self, config: &Config, trace: bool) -> u16 {
        let options = Options { cookie: Some([0; 8]), trace: trace.then_some([0; 25]), epoch: None };
        debug_assert!(options.area_bytes() >= COOKIE_AREA_BYTES);
        let room = usize::from(self.datagram_bytes).saturating_sub(HEADER_BYTES + options.area_bytes());
        let most = if self.datagram_bytes == config.datagram_bytes { rpc::FRAGMENT_BYTES } else { u16::MAX };
        u16::try_from(room).unwrap_or(u16::MAX).clamp(1, most)
    }

    /// Fragment size of a request of so many bytes: all of them, if it goes in one.
    pub(super) fn request_fragment_bytes(&self, config: &Config, message_bytes: u32, trace: bool) -> u16 {
        let options = Options { cookie: Some([0; 8]), trace: trace.then_some([0; 25]), epoch: None };
        let overhead_bytes = (HEADER_BYTES + options.area_bytes()) as u16;
        let single_bytes = config.single_datagram_bytes.saturating_sub(overhead_bytes);
        let fragment_bytes = self.fragment_bytes(config, trace);
        let whole = u16::try_from(message_bytes).ok().filter(|&bytes| bytes <= single_bytes);
        whole.unwrap_or(0).max(fragment_bytes)
    }

    /// Asks for a cookie, if nobody has yet.
    pub(super) fn want_cookie(&mut self, request: u64) {
        let ping = Ping { purpose: Purpose::Cookie, request, sent_us: 0, resend_us: 0, tries: 0, due: true };
        self.pings[COOKIE].get_or_insert(ping);
    }

    /// Tries the next size, if there is one and none is being tried.
    pub(super) fn want_size(&mut self, request: u64) {
        if self.pings[PROBE].is_none()
            && let Some(bytes) = self.probes.pop()
        {
            let purpose = Purpose::Probe(bytes);
            self.pings[PROBE] =
                Some(Ping { purpose, request, sent_us: 0, resend_us: 0, tries: 0, due: true });
        }
    }

    /// Whether sizes are left to be tried.
    pub(super) fn has_probes(&self) -> bool {
        !self.probes.is_empty()
    }

    /// A cookie that nobody waits for any more is not asked for again.
    pub(super) fn expire(&mut self, now_us: u64, cookie_is_wanted: bool) {
        for ping in &mut self.pings {
            let Some(waiting) = ping else { continue };
            if waiting.due || now_us < waiting.resend_us {
                continue;
            }
            let probing = waiting.purpose != Purpose::Cookie;
            let give_up = if probing { waiting.tries >= TRIES } else { !cookie_is_wanted };
            if give_up {
                *ping = None;
                if probing {
                    // What is larger does not pass either.
                    self.probes.clear();
                }
            } else {
                waiting.due = true;
            }
        }
    }

    /// When to look again.
    pub(super) fn timeout_us(&self) -> Option<u64> {
        self.pings.iter().flatten().map(|ping| if ping.due { 0 } else { ping.resend_us }).min()
    }

    /// Writes the PING that is due; its bytes.
    pub(super) fn transmit(&mut self, now_us: u64, config: &Config, buffer: &mut [u8]) -> Option<usize> {
        let repeat_us = self.repeat_us(config);
        let ping = self.pings.iter_mut().flatten().find(|ping| ping.due)?;
        (ping.due, ping.sent_us) = (false, now_us);
        ping.resend_us = now_us + (repeat_us << ping.tries.min(8)).min(config.wait_us);
        ping.tries += 1;
        let mut header = Header { kind: Kind::Ping, flags: rpc::CRC, ..Header::request(0, ping.request, 0) };
        let mut options = Options::default();
        let bytes = match ping.purpose {
            Purpose::Cookie => {
                options.cookie = Some([0; 8]);
                HEADER_BYTES + COOKIE_AREA_BYTES
            }
            Purpose::Probe(bytes) => {
                header.message_length = u32::from(bytes).saturating_sub(HEADER_BYTES as u32);
                header.fragment_bytes = header.message_length as u16;
                usize::from(bytes)
            }
        };
        let Some(datagram) = buffer.get_mut(..bytes) else {
            // The caller cannot send as much.
            self.pings[PROBE] = None;
            self.probes.clear();
            return None;
        };
        datagram.fill(0);
        Head::new(header, options).emit(datagram)?;
        Some(bytes)
    }

    /// Takes a PONG; whether it answers a PING.
    pub(super) fn pong(&mut self, header: &Header, now_us: u64) -> bool {
        let answered =
            |ping: &Option<Ping>| ping.is_some_and(|ping| ping.request == header.request && !ping.due);
        let Some(at) = self.pings.iter().position(answered) else { return false };
        let Some(ping) = self.pings[at].take() else { return false };
        if ping.tries == 1 {
            self.measure(now_us.saturating_sub(ping.sent_us));
        }
        match ping.purpose {
            Purpose::Cookie => self.knows_no_cookies = true,
            // A server that does not say how much it heard has heard all of it: a datagram comes whole or not at all.
            Purpose::Probe(bytes)
                if header.heard_bytes() == 0 || header.heard_bytes() >= u32::from(bytes) =>
            {
                self.datagram_bytes = self.datagram_bytes.max(bytes);
            }
            Purpose::Probe(_) => self.probes.clear(),
        }
        true
    }

    /// Takes the cookie of a challenge.
    pub(super) fn challenged(&mut self, request: u64, options: &Options, now_us: u64) {
        (self.cookie, self.epoch) = (options.cookie, options.epoch);
        self.knows_no_cookies = false;
        if let Some(ping) = self.pings[COOKIE].take()
            && (ping.request, ping.tries) == (request, 1)
        {
            self.measure(now_us.saturating_sub(ping.sent_us));
        }
    }
}
