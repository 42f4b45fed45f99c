//! A network with weather.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What happens to datagrams: probabilities, and times in µs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) corruption: f64,
    pub(crate) delay_us: u64,
    /// Up to this much more, for each datagram anew: they overtake each other.
    pub(crate) jitter_us: u64,
}

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Server,
    /// By its number, which is its port.
    Port(u16),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    arrives_us: u64,
    number: u64,
    from: Host,
    to: Host,
    datagram: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    flights: BinaryHeap<Reverse<Flight>>,
    sent: u64,
}

impl Network {
    pub(crate) fn new(weather: Weather) -> Self {
        Self { weather, flights: BinaryHeap::new(), sent: 0 }
    }

    pub(crate) fn send(
        &mut self,
        now_us: u64,
        from: Host,
        to: Host,
        datagram: Vec<u8>,
        random: &mut fastrand::Rng,
    ) {
        self.sent += 1;
        let copies = 1 + u32::from(random.f64() < self.weather.duplication);
        for _ in 0..copies {
            if random.f64() < self.weather.loss {
                continue;
            }
            let mut datagram = datagram.clone();
            if random.f64() < self.weather.corruption {
                corrupt(&mut datagram, random);
            }
            let arrives_us = now_us + self.weather.delay_us + random.u64(0..=self.weather.jitter_us);
            let number = self.sent << 1 | u64::from(copies > 1);
            self.flights.push(Reverse(Flight { arrives_us, number, from, to, datagram }));
        }
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.flights.peek().map(|Reverse(flight)| flight.arrives_us)
    }

    /// A datagram that has arrived: from, to, bytes.
    pub(crate) fn receive(&mut self, now_us: u64) -> Option<(Host, Host, Vec<u8>)> {
        if self.next_us()? > now_us {
            return None;
        }
        let Reverse(flight) = self.flights.pop()?;
        Some((flight.from, flight.to, flight.datagram))
    }

    /// Datagrams given to it.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

fn corrupt(datagram: &mut Vec<u8>, random: &mut fastrand::Rng) {
    if datagram.is_empty() || random.u8(0..8) == 0 {
        datagram.truncate(random.usize(0..=datagram.len()));
        return;
    }
    for _ in 0..random.u32(1..4) {
        let at = random.usize(0..datagram.len());
        datagram[at] ^= 1 << random.u32(0..8);
    }
}
