//! Both ends under simulation: a network that loses, repeats, reorders, corrupts and delays, clients and a server that are
//! restarted, tables that are full, and senders that lie. A seed decides everything, so a failure can be looked at again:
//! `SEED=17 cargo test --release -p lnic-message --test simulation one_seed -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "prints what it measured")]

mod attacker;
mod lambdas;
mod ledger;
mod network;
mod world;

use lnic_message::client::{Config, RequestOptions};
use lnic_message::server::Limits;
use network::Weather;
use proptest::prelude::*;
use world::{Plan, World};

/// Small tables, small fragments and short times: everything overflows, and nothing takes long.
fn plan(random: &mut fastrand::Rng) -> Plan {
    let rough = |random: &mut fastrand::Rng, most: f64| if random.bool() { 0.0 } else { random.f64() * most };
    Plan {
        weather: Weather {
            loss: rough(random, 0.3),
            duplication: rough(random, 0.3),
            corruption: rough(random, 0.1),
            delay_us: random.u64(5..5_000),
            jitter_us: if random.bool() { 0 } else { random.u64(0..30_000) },
        },
        clients: random.usize(1..5),
        requests: random.usize(1..12),
        longest_bytes: [300, 3_000, 20_000][random.usize(0..3)],
        client_restarts: random.u32(0..3),
        server_restarts: random.u32(0..3),
        attackers: random.usize(0..3),
        slots: random.usize(1..6),
        limits: Limits {
            exchanges: random.u32(2..10),
            exchanges_per_tenant: random.u32(1..8),
            fragments: 256,
            message_bytes: 30_000,
            sessions: random.u32(2..12),
            entries_per_address: random.u32(2..12),
            cache_bytes: random.usize(1..40) * 256,
            cache_bytes_per_tenant: random.usize(1..20) * 256,
            tenants: 2,
            idle_us: 400_000,
            hold_us: 3_000_000,
            cookie_us: [200_000, 15_000_000][random.usize(0..2)],
            ..Limits::default()
        },
        config: Config {
            in_flight: random.usize(1..9),
            datagram_bytes: 200,
            probes: if random.bool() { vec![400] } else { vec![] },
            lifetime_us: 1_500_000,
            reply_bytes: 25_000,
            ..Config::default()
        },
    }
}

fn run(seed: u64) -> world::Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let plan = plan(&mut random);
    let mut world = World::new(plan, random);
    world.run();
    world.tally()
}

#[test]
fn every_request_ends_once_and_nothing_leaks() {
    let mut sum = world::Tally::default();
    for seed in 0..4_000 {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let Ok(tally) = outcome else { panic!("seed {seed}") };
        sum += tally;
    }
    println!("{sum:#?}");
    // The seeds reach what they are for.
    assert!(sum.replies > 20_000 && sum.deadlines > 0 && sum.restarted > 0 && sum.forgotten > 0);
    assert!(sum.busy > 0 && sum.challenges > 0 && sum.nacks > 0 && sum.grants > 0 && sum.replays > 0);
    assert!(sum.stale > 0 && sum.unknown > 0 && sum.cancelled > 0);
}

#[test]
#[ignore = "for looking at one seed"]
fn one_seed() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).expect("SEED=number");
    println!("{:#?}", run(seed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_the_weather(
        seed: u64,
        loss in 0.0..0.5,
        duplication in 0.0..0.5,
        corruption in 0.0..0.3,
        delay_us in 1..20_000_u64,
        jitter_us in 0..60_000_u64,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let weather = Weather { loss, duplication, corruption, delay_us, jitter_us };
        let plan = Plan { weather, ..plan(&mut random) };
        World::new(plan, random).run();
    }
}

/// Calm: nobody is restarted and there is room for everybody.
fn calm(weather: Weather, clients: usize, requests: usize, bytes: usize) -> Plan {
    Plan {
        weather,
        clients,
        requests,
        longest_bytes: bytes,
        client_restarts: 0,
        server_restarts: 0,
        attackers: 0,
        slots: 64,
        limits: Limits { tenants: 2, ..Limits::default() },
        config: Config { in_flight: 8, ..Config::default() },
    }
}

/// 1,000 requests of 64 KiB while 5 % of the frames are lost each way: all are answered, with at most 1.2 times the frames
/// that they would take without loss: 64 fragments, the reply, and its ACK.
#[test]
fn loss_costs_little() {
    let weather = Weather { loss: 0.05, delay_us: 100, jitter_us: 50, ..Weather::default() };
    let mut world = World::new(calm(weather, 4, 0, 0), fastrand::Rng::with_seed(5));
    for client in 0..4 {
        for _ in 0..250 {
            world.request(client, 1, 65_536, 13, RequestOptions::default());
        }
    }
    world.run();
    let tally = world.tally();
    let fragments = 65_536_u64.div_ceil(1024);
    let ideal = 1000 * (fragments + 2);
    let ratio = tally.frames as f64 / ideal as f64;
    println!("{} frames sent, ideal {ideal}: × {ratio:.3}", tally.frames);
    assert_eq!((tally.replies, tally.runs), (1000, 1000), "each is answered, and none ran twice");
    assert!(ratio <= 1.2, "× {ratio:.3}");
}

/// The same for replies of 64 KiB.
#[test]
fn loss_costs_little_the_other_way() {
    let weather = Weather { loss: 0.05, delay_us: 100, jitter_us: 50, ..Weather::default() };
    let mut world = World::new(calm(weather, 4, 0, 0), fastrand::Rng::with_seed(6));
    for client in 0..4 {
        for _ in 0..250 {
            let options = RequestOptions { at_most_once: true, ..RequestOptions::default() };
            world.request(client, 1, 64, 65_536, options);
        }
    }
    world.run();
    let tally = world.tally();
    let ideal = 1000 * (65_536_u64.div_ceil(1024) + 2);
    let ratio = tally.frames as f64 / ideal as f64;
    println!("{} frames sent, ideal {ideal}: × {ratio:.3}", tally.frames);
    assert_eq!((tally.replies, tally.runs), (1000, 1000));
    assert!(ratio <= 1.2, "× {ratio:.3}");
}

/// The longest message there is, both ways, over a path whose larger datagrams the client finds out about.
#[test]
fn sixty_four_mebibytes_arrive() {
    let weather = Weather { loss: 0.01, delay_us: 50, jitter_us: 20, ..Weather::default() };
    let mut plan = calm(weather, 1, 0, 0);
    plan.config.lifetime_us = 100_000_000;
    plan.config.probes = Config::PROBES_IPV4.to_vec();
    let mut world = World::new(plan, fastrand::Rng::with_seed(7));
    world.request(0, 1, 2_000, 13, RequestOptions::default());
    world.run();
    assert_eq!(world.fragment_bytes(0), 8972 - 32 - 16);
    world.request(0, 1, 64 << 20, 64 << 20, RequestOptions::default());
    world.run();
    let tally = world.tally();
    assert_eq!((tally.replies, tally.runs), (2, 2));
}

#[test]
fn sixty_four_mebibytes_arrive_in_the_smallest_fragments_too() {
    let weather = Weather { delay_us: 50, ..Weather::default() };
    let mut plan = calm(weather, 1, 0, 0);
    plan.config.lifetime_us = 100_000_000;
    let mut world = World::new(plan, fastrand::Rng::with_seed(8));
    world.request(0, 1, 64 << 20, 13, RequestOptions::default());
    world.run();
    assert_eq!(world.tally().replies, 1);
}
