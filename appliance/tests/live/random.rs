//! Random deployments with traffic: one answer to each request, never from an older generation than an earlier request of the same flow
//! got, and in the end everything is back.

use std::collections::BTreeMap;

use lnic::control::appliance::Event;
use lnic_wire::rpc::Header;

use crate::*;

/// Lambdas that come and go.
const LAMBDAS: u32 = 4;

/// A request that is under way: its flow, its place there, and whether its lambda may be unknown, or asleep for too long.
struct Sent {
    poller: usize,
    lambda: u32,
}

struct World {
    fleet: Fleet,
    random: fastrand::Rng,
    next: u32,
    sent: BTreeMap<u32, Sent>,
    /// What each flow was answered, by request.
    answers: BTreeMap<(usize, u32), BTreeMap<u32, u32>>,
    generations: [u32; LAMBDAS as usize],
    answered: usize,
}

/// A module that answers with the number of its generation: that is in its rule's parameters.
static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let source = "#include <lnic.h>
        LAMBDA(number) {
            uint8_t *payload = lnic_payload(match_data);
            memcpy(payload, match_data->parameters, 4);
            return lnic_reply(headers, match_data, STATUS_OK, 8);
        }";
    built_from(source, "number")
});

impl World {
    fn new(arrangement: Arrangement, seed: u64) -> Self {
        Self {
            fleet: Fleet::new(arrangement),
            random: fastrand::Rng::with_seed(seed),
            next: 0,
            sent: BTreeMap::new(),
            answers: BTreeMap::new(),
            generations: [0; LAMBDAS as usize],
            answered: 0,
        }
    }

    fn wanted(&mut self, lambda: u32) -> Wanted {
        let generation = &mut self.generations[lambda as usize - 1];
        *generation += 1;
        let generation = *generation;
        let parameters = lnic::matcher::Parameters::new(&generation.to_be_bytes()).expect("few bytes");
        let any = lnic::matcher::Rule::any(lnic::ids::LambdaRef::default());
        let id = lnic::ids::LambdaId::new(lambda);
        let rule = lnic::matcher::Rule { priority: 1, rpc_lambda: Some(id), parameters, ..any };
        let replicas = [None, None, Some(1), Some(2)][self.random.usize(0..4)];
        let wanted = self.fleet.wanted(&format!("it-{lambda}"), lambda, &MODULE, "number");
        Wanted { rules: vec![rule], replicas, generation: generation.into(), ..wanted }
    }

    fn send(&mut self) {
        for _ in 0..self.random.usize(0..8) {
            let (poller, lambda) =
                (self.random.usize(0..self.fleet.peers.len()), self.random.u32(1..=LAMBDAS));
            let number = self.next;
            self.next += 1;
            let payload = [[0; 4], number.to_be_bytes()].concat();
            let frame = ethernet(
                None,
                0x0800,
                &ipv4(
                    &[],
                    17,
                    &udp4(RPC_PORT, &request_with(lambda, &payload, |header| header.request = number.into())),
                ),
            );
            if self.fleet.peers[poller].send(&frame) {
                self.sent.insert(number, Sent { poller, lambda });
            }
        }
    }

    fn receive(&mut self) {
        for poller in 0..self.fleet.peers.len() {
            for frame in self.fleet.received(poller) {
                let (_, bytes) = support::caller::datagram(&frame).expect("λ-RPC");
                let header = Header::parse(bytes).expect("a reply");
                let payload = header.payload(bytes);
                let number = header.request as u32;
                let sent = self.sent.remove(&number).expect("one answer to one request");
                assert_eq!((sent.poller, sent.lambda), (poller, header.lambda));
                self.answered += 1;
                match header.status() {
                    Status::Ok => {
                        let generation = u32::from_be_bytes(payload[..4].try_into().unwrap());
                        assert_eq!(payload[4..8], number.to_be_bytes());
                        self.answers.entry((poller, sent.lambda)).or_default().insert(number, generation);
                    }
                    // It is not deployed, or there is no room to wait for it, or to queue.
                    Status::Unimplemented | Status::Busy => {}
                    status => panic!("{status:?} for request {number} to lambda {}", sent.lambda),
                }
            }
        }
    }

    fn act(&mut self) {
        let lambda = self.random.u32(1..=LAMBDAS);
        let key = key(&format!("it-{lambda}"));
        match self.random.u32(0..10) {
            0..=3 => {
                let several = self.random.usize(1..=3);
                let mut lambdas: Vec<u32> = (1..=LAMBDAS).collect();
                self.random.shuffle(&mut lambdas);
                let wanted: Vec<Wanted> = lambdas[..several].iter().map(|&it| self.wanted(it)).collect();
                self.fleet.live.begin();
                for wanted in wanted {
                    self.fleet.live.prepare(wanted);
                    self.traffic();
                }
                self.fleet.live.complete();
                self.until(|fleet| fleet.live.is_published());
                for done in self.fleet.live.finish(None) {
                    // With all slots draining there is no room for a moment.
                    assert!(matches!(done, Ok(_) | Err(DeployError::Capacity { .. })), "{done:?}");
                }
            }
            4 => {
                let _ = self.fleet.live.remove(&[&key]);
                self.until(|fleet| fleet.live.is_in_force());
            }
            5 => {
                let _ = self.fleet.live.sleep(&key);
            }
            6..=7 => {
                let replicas = [None, Some(1), Some(2)][self.random.usize(0..3)];
                match self.fleet.live.begin_scale(&key, replicas) {
                    Ok(true) => {
                        self.until(|fleet| fleet.live.is_published());
                        drop(self.fleet.live.finish(None));
                    }
                    Ok(false) | Err(DeployError::NoLambda(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            _ => {}
        }
        for event in self.fleet.live.look_after() {
            let Event::Woken(key) = event else { panic!("{event:?}") };
            if self.fleet.live.begin_wake(&key).expect("it is there") {
                self.until(|fleet| fleet.live.is_published());
                for done in self.fleet.live.finish(None) {
                    assert!(matches!(done, Ok(_) | Err(DeployError::Capacity { .. })), "{done:?}");
                }
            }
        }
    }

    fn traffic(&mut self) {
        self.send();
        // Lcores do not keep step.
        for lcore in self.fleet.lcores.iter_mut().flatten() {
            for _ in 0..self.random.usize(0..3) {
                lcore.once();
            }
        }
        self.fleet.live.advance();
        self.receive();
    }

    fn until(&mut self, is_done: impl Fn(&Fleet) -> bool) {
        for _ in 0..10_000 {
            if is_done(&self.fleet) {
                return;
            }
            self.traffic();
        }
        panic!("lcores do not follow");
    }
}

fn run(arrangement: Arrangement, seed: u64) {
    let mut world = World::new(arrangement, seed);
    for _ in 0..150 {
        world.act();
        for _ in 0..world.random.usize(0..6) {
            world.traffic();
        }
    }
    // Everything comes to rest: who still waits is woken or told.
    for _ in 0..3 {
        world.fleet.settle();
        for event in world.fleet.look_after() {
            assert!(matches!(event, Event::Woken(_)), "{event:?}");
        }
        world.receive();
    }
    assert!(
        world.sent.is_empty(),
        "{} requests without an answer, seed {seed}, {arrangement:?}",
        world.sent.len()
    );
    assert!(world.answered > 500 && !world.answers.is_empty());
    for ((poller, lambda), answers) in &world.answers {
        let mut last = 0;
        for (number, &generation) in answers {
            assert!(
                generation >= last,
                "request {number} of flow {poller} to {lambda}: generation {generation} after {last}, seed {seed}, {arrangement:?}"
            );
            last = generation;
        }
    }
    let keys: Vec<LambdaKey> = world.fleet.live.keys().cloned().collect();
    assert!(world.fleet.live.remove(&keys.iter().collect::<Vec<_>>()).iter().all(Result::is_ok));
    world.fleet.assert_empty();
}

#[test]
fn nothing_is_lost_whatever_is_deployed_meanwhile() {
    for arrangement in ALL {
        for seed in 0..12 {
            run(arrangement, seed);
        }
    }
}
