//! Plays a script: sends its packets one after the other, and holds what comes against what it says.

use std::collections::BTreeMap;

use super::caller::{Caller, Outcome};
use super::compare::{Arrived, Ending, Expect, side_name};
use super::decode::decode;
use super::frame::{Side, Template, Transport};
use super::judge::{Script, Send, Step};
use super::network::Network;
use super::payload::{Difference, dump, shown};
use super::report::{PacketReport, Report, Trouble};
use super::simulation::{Bench, Simulation, Snapshot};
use super::{Error, Module};

/// Seed of clients' request IDs: the same in every run.
const SEED: u64 = 7;
/// Session of requests that are made by hand.
const SESSION: u64 = 0xC0FF_EE01;
/// Time that passes at least before the appliance or a client is looked at again.
const LEAST_NS: u64 = 1_000;
/// Most that a client sends before the appliance is given a turn.
const BURST: usize = 256;

/// Plays a script with a lambda's module, and those of its companions in the order in which it names them. With `verbose`, every frame
/// is noted.
///
/// # Errors
/// The lambda cannot be deployed. What a script expects and does not get is no error: the report says it.
pub fn play(
    bench: &mut Bench,
    script: &Script,
    wasm: &[u8],
    companions: &[Module],
    verbose: bool,
) -> Result<Report, Error> {
    let mut player = Player {
        simulation: Simulation::new(bench, script, wasm, companions)?,
        network: Network::new(script),
        callers: BTreeMap::new(),
        requests: 0,
        trace: Vec::new(),
        verbose,
    };
    // What `init` logged is no packet's.
    player.simulation.log_lines();
    let mut packets = Vec::new();
    for step in &script.steps {
        packets.push(player.step(step)?);
    }
    Ok(Report { path: script.path.clone(), packets, unasked: player.network.unasked() })
}

struct Player {
    simulation: Simulation,
    network: Network,
    /// By the flow that they send in.
    callers: BTreeMap<String, Caller>,
    /// Made by hand so far.
    requests: u64,
    /// Frames of the packet that is played, for people.
    trace: Vec<String>,
    verbose: bool,
}

/// What came of a packet.
struct Came {
    arrived: Vec<Arrived>,
    since: Snapshot,
    log: Vec<String>,
    /// What else there is to say.
    notes: Vec<String>,
    /// What was wrong with what lambdas asked services.
    complaints: Vec<Difference>,
}

/// A request of a client's that is under way.
#[derive(Default)]
struct Call {
    flow: Option<String>,
    /// The last frame of its reply.
    last: Option<Vec<u8>>,
    failure: Option<String>,
}

impl Player {
    fn step(&mut self, step: &Step) -> Result<PacketReport, Error> {
        self.trace.clear();
        let (mut fuel, mut invocations, mut trouble) = (0, 0, None);
        for repetition in 1..=step.repeat {
            let came = self.once(step)?;
            fuel += came.since.fuel;
            invocations += came.since.counter("invocations");
            trouble = judge(step, came);
            if let Some(trouble) = &mut trouble {
                trouble.repetition = (step.repeat > 1).then_some(repetition);
                break;
            }
        }
        let trace = std::mem::take(&mut self.trace);
        Ok(PacketReport { line: step.line, name: step.name.clone(), fuel, invocations, trouble, trace })
    }

    /// Sends what a step sends, once, and waits for what comes of it.
    fn once(&mut self, step: &Step) -> Result<Came, Error> {
        // A client that is new makes itself known first, which is not the step's business.
        for send in &step.send {
            self.introduce(send)?;
        }
        let before = self.simulation.snapshot();
        let (mut arrived, mut notes, mut call) = (Vec::new(), Vec::new(), Call::default());
        let then_ns = self.simulation.now_ns() + step.after_ns;
        if step.after_ns > 0 {
            self.pump(then_ns, &mut call, &mut arrived)?;
            self.simulation.pass_until(then_ns);
            self.simulation.settle()?;
        }
        let until_ns = then_ns + step.wait_ns;
        for send in &step.send {
            self.send(send, step.wait_ns, &mut call, &mut notes)?;
            // Several frames, of a capture, each in a turn of its own.
            if step.send.len() > 1 {
                self.simulation.settle()?;
            }
        }
        self.pump(until_ns, &mut call, &mut arrived)?;
        if let Some(caller) = call.flow.as_ref().and_then(|flow| self.callers.get_mut(flow)) {
            caller.give_up(self.simulation.now_ns());
        }
        notes.extend(call.failure.map(|failure| format!("the client got no reply: {failure}")));
        Ok(Came {
            arrived,
            since: self.simulation.snapshot().since(&before),
            log: self.simulation.log_lines(),
            notes,
            complaints: self.network.complaints(),
        })
    }

    /// Lets a client get a cookie, if it has not called before: what is longer than its request may be answered then.
    fn introduce(&mut self, send: &Send) -> Result<(), Error> {
        let Send::Packet(template) = send else { return Ok(()) };
        if !is_call(template) || self.callers.contains_key(&template.flow()) {
            return Ok(());
        }
        let flow = template.flow();
        let mut caller = Caller::new(template, SEED + self.callers.len() as u64);
        let now_ns = self.simulation.now_ns();
        caller.introduce(now_ns);
        self.callers.insert(flow.clone(), caller);
        let mut call = Call { flow: Some(flow.clone()), ..Call::default() };
        let verbose = std::mem::replace(&mut self.verbose, false);
        self.pump(now_ns, &mut call, &mut Vec::new())?;
        self.verbose = verbose;
        if let Some(caller) = self.callers.get_mut(&flow) {
            caller.give_up(now_ns);
        }
        Ok(())
    }

    fn send(
        &mut self,
        send: &Send,
        wait_ns: u64,
        call: &mut Call,
        notes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let template = match send {
            Send::Frame(side, frame) => return self.send_frame(*side, frame),
            Send::Packet(template) => template,
        };
        let Transport::Rpc { rpc, .. } = &template.transport else {
            return self.send_frame(template.side, &template.frame());
        };
        if let Some(by_hand) = &rpc.by_hand {
            self.requests += 1;
            let datagram = rpc.datagram(by_hand, SESSION << 32 | self.requests, &template.payload);
            return self.send_frame(template.side, &template.with_datagram(&datagram));
        }
        let flow = template.flow();
        if let Some(caller) = self.callers.get_mut(&flow) {
            let now_ns = self.simulation.now_ns();
            notes.extend(caller.request(now_ns, rpc, template.payload.clone(), wait_ns).err());
            call.flow = Some(flow);
        }
        Ok(())
    }

    fn send_frame(&mut self, side: Side, frame: &[u8]) -> Result<(), Error> {
        self.note("→", side, frame);
        if self.simulation.send(side, frame) {
            return Ok(());
        }
        // Buffers come back as the appliance works.
        self.simulation.settle()?;
        if self.simulation.send(side, frame) { Ok(()) } else { Err(Error::Buffers { bytes: frame.len() }) }
    }

    /// Lets everything go on until it rests, at most until then. Time passes only for what waits for it.
    fn pump(&mut self, until_ns: u64, call: &mut Call, arrived: &mut Vec<Arrived>) -> Result<(), Error> {
        loop {
            self.simulation.settle()?;
            let moved = self.deliver(call, arrived)? | self.transmit(call, arrived)?;
            if moved {
                continue;
            }
            let now_ns = self.simulation.now_ns();
            let own = self.simulation.next_deadline_ns().filter(|_| self.simulation.is_busy());
            let caller = call.flow.as_ref().and_then(|flow| self.callers.get(flow));
            let caller = caller.filter(|caller| caller.is_open()).and_then(Caller::timeout_ns);
            let next = [own, caller, self.network.next_ns()].into_iter().flatten().min();
            match next.map(|next_ns| next_ns.max(now_ns + LEAST_NS)) {
                Some(next_ns) if next_ns <= until_ns => self.simulation.pass_until(next_ns),
                _ => return Ok(()),
            }
        }
    }

    /// Takes what the appliance sent, and brings it what services answer. True if there was something.
    fn deliver(&mut self, call: &mut Call, arrived: &mut Vec<Arrived>) -> Result<bool, Error> {
        let mut moved = false;
        for side in [Side::Wire, Side::Host] {
            while let Some(frame) = self.simulation.receive(side) {
                moved = true;
                self.note("←", side, &frame);
                let now_ns = self.simulation.now_ns();
                let is_of_services = match side {
                    Side::Wire => self.network.take(&frame, now_ns),
                    Side::Host => self.network.take_back(&frame),
                };
                if is_of_services {
                    continue;
                }
                if !self.take_reply(call, &frame, now_ns) {
                    arrived.push(Arrived { side, frame, message: None });
                }
            }
        }
        while let Some(frame) = self.network.due(self.simulation.now_ns()) {
            moved = true;
            self.send_frame(Side::Wire, &frame)?;
        }
        Ok(moved)
    }

    /// Gives a datagram to the client that it is for, if there is one.
    fn take_reply(&mut self, call: &mut Call, frame: &[u8], now_ns: u64) -> bool {
        let Some(caller) = call.flow.as_ref().and_then(|flow| self.callers.get_mut(flow)) else {
            return false;
        };
        let decoded = decode(frame);
        if !decoded.faults.is_empty() || !caller.is_for(&decoded) {
            return false;
        }
        caller.receive(now_ns, &frame[decoded.payload.clone()]);
        if decoded.field("rpc.kind") == Some("reply") {
            call.last = Some(frame.to_vec());
        }
        true
    }

    /// Sends what the client has to send. True if there was something, or its request has ended.
    fn transmit(&mut self, call: &mut Call, arrived: &mut Vec<Arrived>) -> Result<bool, Error> {
        let Some(flow) = &call.flow else { return Ok(false) };
        let now_ns = self.simulation.now_ns();
        let mut moved = false;
        for _ in 0..BURST {
            let Some(frame) = self.callers.get_mut(flow).and_then(|caller| caller.transmit(now_ns)) else {
                break;
            };
            moved = true;
            self.send_frame(Side::Wire, &frame)?;
        }
        match self.callers.get_mut(flow).and_then(Caller::ended) {
            Some(Outcome::Reply(message)) => {
                let frame = call.last.take().unwrap_or_default();
                arrived.push(Arrived { side: Side::Wire, frame, message: Some(message) });
                moved = true;
            }
            Some(Outcome::Failed(failure)) => {
                call.failure = Some(failure);
                moved = true;
            }
            None => {}
        }
        Ok(moved)
    }

    fn note(&mut self, arrow: &str, side: Side, frame: &[u8]) {
        if !self.verbose {
            return;
        }
        let decoded = decode(frame);
        let payload = frame.get(decoded.innermost()).unwrap_or_default();
        let (at_us, side) = (self.simulation.now_ns() / 1_000 % 1_000_000_000, side_name(side));
        let line = format!("{at_us:>9} µs {arrow} {side} {} bytes: {}", frame.len(), decoded.line());
        self.trace.push(format!("{line}, {}", shown(payload)));
        self.trace.extend(decoded.faults.iter().map(|fault| format!("             {fault}")));
        self.trace.extend(dump(payload).into_iter().take(8).map(|line| format!("             {line}")));
    }
}

/// Is it a call by a client, and not a datagram that is made by hand?
fn is_call(template: &Template) -> bool {
    template.side == Side::Wire
        && matches!(&template.transport, Transport::Rpc { rpc, .. } if rpc.by_hand.is_none())
}

/// Holds what came against what is expected.
fn judge(step: &Step, came: Came) -> Option<Trouble> {
    let mut differences = came.complaints;
    if let Some(expect) = &step.expect {
        differences.extend(frames(step, expect, &came.arrived, &came.since));
    }
    if let Some(log) = step.log.as_ref().filter(|log| **log != came.log) {
        differences.push(Difference::new("log", format!("{log:?}"), format!("{:?}", came.log)));
    }
    if let Some(most) = step.max_fuel.filter(|&most| came.since.fuel > most) {
        differences.push(Difference::new("fuel", format!("at most {most}"), came.since.fuel));
    }
    // Nothing is cheaper than a lambda that the packet does not reach. One that goes on after a wait uses fuel and is not counted anew.
    let has_run = came.since.fuel > 0 || came.since.counter("invocations") > 0;
    if let Some(most) = step.max_fuel.filter(|_| !has_run) {
        differences.push(Difference::new(
            "fuel",
            format!("a run with at most {most}"),
            "none: the lambda did not run",
        ));
    }
    for (name, expected) in &step.counters {
        let got = came.since.counter(name);
        if got != *expected {
            differences.push(Difference::new(&format!("counter {name}"), expected, got));
        }
    }
    if differences.is_empty() {
        return None;
    }
    let mut got: Vec<String> = came.arrived.iter().map(Arrived::line).collect();
    got.extend(came.since.drops().map(|(reason, frames)| match frames {
        1 => format!("a drop: {reason}"),
        _ => format!("{frames} drops: {reason}"),
    }));
    if got.is_empty() {
        got.push("nothing".into());
    }
    let mut notes = came.notes;
    for (counter, note) in [
        ("traps", "the lambda trapped"),
        ("exhausted", "the lambda used up its budget"),
        ("bad_verdicts", "the lambda's verdict or headers made no frame that may leave"),
        ("unavailable", "the lambda is quarantined: it failed too often"),
    ] {
        if came.since.counter(counter) > 0 {
            notes.push(note.into());
        }
    }
    if step.log.is_none() {
        notes.extend(came.log.iter().map(|line| format!("log: {line:?}")));
    }
    Some(Trouble {
        repetition: None,
        sent: step.send.iter().map(sent).collect(),
        expected: step.expect.iter().flatten().map(Expect::line).collect(),
        got,
        differences,
        notes,
    })
}

/// What is different in the frames that came.
fn frames(step: &Step, expect: &[Expect], arrived: &[Arrived], since: &Snapshot) -> Vec<Difference> {
    let from = step.send.first().map_or(Side::Wire, |send| match send {
        Send::Packet(template) => template.side,
        Send::Frame(side, _) => *side,
    });
    let mut found = Vec::new();
    let leaves: Vec<&Expect> =
        expect.iter().filter(|expect| matches!(expect.ending, Ending::Leaves(_))).collect();
    for (at, expect) in leaves.iter().enumerate() {
        match arrived.get(at) {
            Some(arrived) => found.extend(expect.differences(arrived, from)),
            None => found.push(Difference::new("frames", expect.line(), "nothing")),
        }
    }
    for extra in arrived.iter().skip(leaves.len()) {
        found.push(Difference::new("frames", "no more", extra.line()));
    }
    let mut left: BTreeMap<&str, u64> =
        since.drops().map(|(reason, frames)| (reason.name(), frames)).collect();
    let mut any = 0;
    for expect in expect {
        match expect.ending {
            Ending::Dropped(None) => any += 1,
            Ending::Dropped(Some(reason)) => match left.get_mut(reason.name()).filter(|left| **left > 0) {
                Some(left) => *left -= 1,
                None => found.push(Difference::new("drops", reason, drops(since))),
            },
            Ending::Leaves(_) | Ending::Nothing => {}
        }
    }
    if left.values().sum::<u64>() < any {
        found.push(Difference::new("drops", "a drop", drops(since)));
    }
    found
}

fn drops(since: &Snapshot) -> String {
    let all: Vec<String> = since.drops().map(|(reason, frames)| format!("{frames} × {reason}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// A line about what was sent.
fn sent(send: &Send) -> String {
    match send {
        Send::Frame(side, frame) => {
            let arrived = Arrived { side: *side, frame: frame.clone(), message: None };
            format!("a frame: {}", arrived.line())
        }
        Send::Packet(template) if is_call(template) => {
            let Transport::Rpc { rpc, .. } = &template.transport else { return String::new() };
            format!("λ-RPC request for lambda {}, {}", rpc.lambda, shown(&template.payload))
        }
        Send::Packet(template) => {
            let frame = template.frame();
            format!("{}, {}", decode(&frame).line(), shown(&template.payload))
        }
    }
}
