//! One NPU: runs one lambda at a time, to completion or until it waits for a call's answer.

use lnic_abi as abi;

use crate::ids::{Generation, LambdaId, LambdaRef};
use crate::lambda::{Answer, Failure, Instance, PendingCall, Run, extract};
use crate::matcher::Parameters;
use crate::message::SlotRef;
use crate::parser::Parsed;

/// Part of its nominal fuel that a lambda keeps however slow its instructions are.
const LEAST_FUEL: u64 = 16;
/// Runs that overrun their time one after the other before it is the lambda's doing: until then the lcore may have been away.
const OVERRUNS: u32 = 8;

/// A frame for a lambda to run on.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The frame's bytes.
    pub bytes: &'a [u8],
    /// Where its headers lie.
    pub parsed: &'a Parsed,
    /// When the burst was polled, nanoseconds since the appliance started.
    pub time_ns: u64,
    /// Rule that matched.
    pub rule: u32,
    /// Its parameters.
    pub parameters: &'a Parameters,
    /// Most payload bytes that may leave.
    pub capacity: u32,
    /// The message, if it is not the frame's payload: it is in the lambda's memory already, and so will be the reply.
    pub slot: Option<SlotRef>,
}

/// Another lambda's call to run on.
#[derive(Clone, Copy)]
pub struct CallTask<'a> {
    /// What it sends.
    pub request: &'a [u8],
    /// Nanoseconds since the appliance started.
    pub time_ns: u64,
}

/// What came of a run. Headers and payload lie in the lambda's memory until its next run.
pub enum Outcome<'a> {
    /// FORWARD: send what the headers say.
    Forward {
        /// Headers as the lambda left them; those that it does not touch, as they came.
        headers: &'a mut abi::Headers,
        /// Payload that leaves.
        payload: &'a [u8],
    },
    /// FORWARD of a message in a slot: the reply is in the slot.
    Answer {
        /// Headers as the lambda left them.
        headers: &'a mut abi::Headers,
        /// Bytes of the reply.
        bytes: u32,
    },
    /// DROP.
    Drop,
    /// `TO_HOST`: the frame goes there as it came.
    ToHost,
    /// It gave a verdict that means nothing, or a payload length over its capacity.
    BadVerdict,
    /// It trapped or ran out of budget.
    Failed(Failure),
    /// It waits for the answer to a call.
    Suspended(Context),
    /// All its instances here wait for answers.
    Busy,
    /// The reference is stale: that deployment is not here any more.
    Gone,
}

/// One of a lambda's instances on an NPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(u8);

/// What a lambda may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Fuel of one invocation, by the machine's calibration.
    pub fuel: u64,
    /// NPU time that the fuel stands for, in ns; `u64::MAX` if it shall last whatever time it takes.
    pub time_ns: u64,
}

/// A lambda with its memory, ready to run; moves between NPUs as one piece.
pub struct Loaded {
    id: LambdaId,
    generation: Generation,
    budget: Budget,
    /// Instances that nobody uses, a bit each.
    free: u64,
    /// The first lies here, and not behind another pointer: a lambda that has not run for a while is slow enough.
    first: Instance,
    more: Box<[Instance]>,
    /// Runs in a row that overran.
    overruns: u32,
    /// Most fuel that one of them could have used in time.
    affordable: u64,
}

/// Most instances of a lambda on an NPU.
const INSTANCES: usize = 64;

impl Loaded {
    /// As many requests of it as it has instances may be under way here at a time; `more` than the first only if it calls others,
    /// and at most 63.
    #[must_use]
    pub fn new(
        id: LambdaId,
        generation: Generation,
        budget: Budget,
        first: Instance,
        mut more: Vec<Instance>,
    ) -> Box<Self> {
        more.truncate(INSTANCES - 1);
        let free = u64::MAX >> (INSTANCES - 1 - more.len());
        Box::new(Self { id, generation, budget, free, first, more: more.into(), overruns: 0, affordable: 0 })
    }
}

/// One worker with the lambdas that it may run.
#[derive(Default)]
pub struct Npu {
    slots: Vec<Option<Box<Loaded>>>,
}

impl Npu {
    /// An NPU without lambdas, and room for those of `slots` slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let mut npu = Self::default();
        npu.slots.resize_with(slots, || None);
        npu
    }

    /// Takes a lambda in where `lambda` points; what was there is dropped.
    pub fn load(&mut self, lambda: LambdaRef, loaded: Box<Loaded>) {
        let index = lambda.slot.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(loaded);
    }

    /// Lets a lambda go, to move it. `None` if it is not here.
    pub fn unload(&mut self, lambda: LambdaRef) -> Option<Box<Loaded>> {
        self.slots.get_mut(lambda.slot.index())?.take_if(|loaded| loaded.generation == lambda.generation)
    }

    /// Runs a lambda on a frame. Returns what came of it and the fuel that it used.
    #[inline]
    pub fn run(&mut self, lambda: LambdaRef, task: &Task<'_>) -> (Outcome<'_>, u64) {
        let Some(loaded) = self.loaded(lambda) else { return (Outcome::Gone, 0) };
        let Some(payload) = task.bytes.get(usize::from(task.parsed.payload)..usize::from(task.parsed.end))
        else {
            return (Outcome::BadVerdict, 0);
        };
        let (id, context) = (loaded.id, loaded.free.trailing_zeros() as u8);
        let Some(instance) = loaded.instance(context) else { return (Outcome::Busy, 0) };
        if !prepare(instance, task, payload, id) {
            return (Outcome::BadVerdict, 0);
        }
        let run = instance.run(task.time_ns);
        loaded.judge(context, run, Some(task))
    }

    /// Runs a lambda on another's call.
    pub fn run_call(&mut self, lambda: LambdaRef, task: &CallTask<'_>) -> (Outcome<'_>, u64) {
        let Some(loaded) = self.loaded(lambda) else { return (Outcome::Gone, 0) };
        let (id, context) = (loaded.id, loaded.free.trailing_zeros() as u8);
        let Some(instance) = loaded.instance(context) else { return (Outcome::Busy, 0) };
        if !prepare_call(instance, task, id) {
            return (Outcome::BadVerdict, 0);
        }
        let run = instance.run(task.time_ns);
        loaded.judge(context, run, None)
    }

    /// Goes on with a suspended lambda: with the `task` that it runs on, if that is a frame. The fuel is that of the whole
    /// invocation.
    pub fn resume(
        &mut self,
        lambda: LambdaRef,
        context: Context,
        answer: Answer<'_>,
        task: Option<&Task<'_>>,
    ) -> (Outcome<'_>, u64) {
        let Some(loaded) = self.loaded(lambda) else { return (Outcome::Gone, 0) };
        let Some(instance) = loaded.instance(context.0) else { return (Outcome::Gone, 0) };
        let run = instance.resume(answer);
        loaded.free |= 1 << context.0;
        loaded.judge(context.0, run, task)
    }

    /// What a suspended lambda asks for.
    #[must_use]
    pub fn pending(&self, lambda: LambdaRef, context: Context) -> Option<PendingCall<'_>> {
        let loaded = self.slots.get(lambda.slot.index())?.as_ref()?;
        match context.0 {
            0 => loaded.first.pending(),
            at => loaded.more.get(usize::from(at) - 1)?.pending(),
        }
    }

    /// Accounts for a measured run. Fuel counts instructions; one whose loads all miss the caches takes much longer than the
    /// calibration says. A lambda that overruns its time again and again gets less fuel for it, and more again once it is quick.
    #[inline]
    pub fn account(&mut self, lambda: LambdaRef, fuel: u64, time_ns: u64) {
        let Some(loaded) = self.loaded(lambda) else { return };
        if time_ns > loaded.budget.time_ns {
            loaded.shrink(fuel, time_ns);
            return;
        }
        if loaded.overruns > 0 {
            loaded.forgive(fuel);
        }
        if loaded.first.budget() < loaded.budget.fuel {
            loaded.grow();
        }
    }

    #[inline]
    fn loaded(&mut self, lambda: LambdaRef) -> Option<&mut Loaded> {
        let loaded = self.slots.get_mut(lambda.slot.index())?.as_deref_mut()?;
        (loaded.generation == lambda.generation).then_some(loaded)
    }
}

impl Loaded {
    /// The instance with this number; `None` if there is none.
    #[inline]
    fn instance(&mut self, context: u8) -> Option<&mut Instance> {
        match context {
            0 => Some(&mut self.first),
            at => self.more.get_mut(usize::from(at) - 1),
        }
    }

    /// `context` is among those that are free, and stays there unless it is suspended.
    #[inline]
    fn judge(&mut self, context: u8, run: Run, task: Option<&Task<'_>>) -> (Outcome<'_>, u64) {
        if run == Run::Suspended {
            self.free &= !(1 << context);
            let fuel = self.instance(context).map_or(0, |instance| instance.fuel_used());
            return (Outcome::Suspended(Context(context)), fuel);
        }
        let Some(instance) = self.instance(context) else { return (Outcome::Gone, 0) };
        let fuel = instance.fuel_used();
        let extracted = instance.headers();
        let capacity = task.map_or(abi::PAYLOAD_CAPACITY as u32, |task| {
            task.slot.map_or(task.capacity, |slot| slot.capacity)
        });
        let outcome = match run {
            Run::Verdict(abi::FORWARD) => match instance.io() {
                Some(io) if io.match_data.length <= capacity => {
                    if let Some(Task { slot: Some(_), bytes, parsed, time_ns, .. }) = task {
                        extract::complete(bytes, parsed, *time_ns, extracted, io.headers);
                        let outcome = Outcome::Answer { bytes: io.match_data.length, headers: io.headers };
                        return (outcome, fuel);
                    }
                    match io.payload.get(..io.match_data.length as usize) {
                        Some(payload) => {
                            if let Some(task) = task {
                                let (bytes, parsed) = (task.bytes, task.parsed);
                                extract::complete(bytes, parsed, task.time_ns, extracted, io.headers);
                            }
                            Outcome::Forward { headers: io.headers, payload }
                        }
                        None => Outcome::BadVerdict,
                    }
                }
                _ => Outcome::BadVerdict,
            },
            Run::Verdict(abi::DROP) => Outcome::Drop,
            Run::Verdict(abi::TO_HOST) => Outcome::ToHost,
            Run::Verdict(_) => Outcome::BadVerdict,
            Run::Failed(failure) => Outcome::Failed(failure),
            Run::Suspended => Outcome::Suspended(Context(context)),
        };
        (outcome, fuel)
    }

    #[cold]
    fn shrink(&mut self, fuel: u64, time_ns: u64) {
        let affordable = u128::from(fuel) * u128::from(self.budget.time_ns) / u128::from(time_ns.max(1));
        let least = (self.budget.fuel / LEAST_FUEL).max(1);
        // Little fuel and much time: the lcore was away, and the lambda has nothing to do with it.
        let now = self.first.budget();
        if fuel <= now / 4 {
            return;
        }
        self.affordable = self.affordable.max(affordable as u64);
        self.overruns += 1;
        if self.overruns == OVERRUNS {
            self.set_budget(self.affordable.clamp(least, now));
            (self.overruns, self.affordable) = (0, 0);
        }
    }

    /// A run in time ends a row of overruns, unless it was too short to say anything.
    #[cold]
    fn forgive(&mut self, fuel: u64) {
        if fuel > self.first.budget() / 4 {
            (self.overruns, self.affordable) = (0, 0);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let now = self.first.budget();
        self.set_budget((now + now / 8 + 1).min(self.budget.fuel));
    }

    fn set_budget(&mut self, fuel: u64) {
        self.first.set_budget(fuel);
        self.more.iter_mut().for_each(|instance| instance.set_budget(fuel));
    }
}

/// Writes headers, match data and payload into the lambda's memory. False if the payload does not fit.
#[inline]
fn prepare(instance: &mut Instance, task: &Task<'_>, payload: &[u8], id: LambdaId) -> bool {
    let headers = instance.headers();
    let Some(io) = instance.io() else { return false };
    // A message in a slot is where it belongs.
    let payload = if task.slot.is_some() { &[] } else { payload };
    let Some(place) = io.payload.get_mut(..payload.len()) else { return false };
    place.copy_from_slice(payload);
    extract::extract_only(task.bytes, task.parsed, task.time_ns, headers, io.headers);
    let data = io.match_data;
    data.payload = io.payload_address;
    #[expect(clippy::cast_possible_truncation, reason = "the payload fits the I/O area")]
    {
        data.length = payload.len() as u32;
        data.parameters_length = task.parameters.as_slice().len() as u32;
    }
    data.capacity = task.capacity;
    if let Some(slot) = task.slot {
        (data.payload, data.length, data.capacity) = (slot.address, slot.bytes, slot.capacity);
    }
    data.lambda_id = id.raw();
    data.rule = task.rule;
    data.parameters = *task.parameters.padded();
    true
}

/// The same for a call: there is no frame, so of the headers only λ-RPC's are valid.
fn prepare_call(instance: &mut Instance, task: &CallTask<'_>, id: LambdaId) -> bool {
    let Some(io) = instance.io() else { return false };
    let Some(place) = io.payload.get_mut(..task.request.len()) else { return false };
    place.copy_from_slice(task.request);
    #[expect(clippy::cast_possible_truncation, reason = "the request fits the I/O area")]
    let length = task.request.len() as u32;
    *io.headers = abi::Headers {
        meta: abi::Meta { time_ns: task.time_ns, ..abi::Meta::default() },
        rpc: abi::Rpc { valid: 1, lambda_id: id.raw(), message_length: length, ..abi::Rpc::default() },
        ..abi::Headers::default()
    };
    *io.match_data = abi::MatchData {
        payload: io.payload_address,
        length,
        capacity: abi::PAYLOAD_CAPACITY as u32,
        lambda_id: id.raw(),
        ..abi::MatchData::default()
    };
    true
}
