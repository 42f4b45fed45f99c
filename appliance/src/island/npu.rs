//! One NPU: runs one lambda at a time, to completion.

use lnic_abi as abi;

use crate::ids::{Generation, LambdaId, LambdaRef};
use crate::lambda::{Failure, Instance, extract};
use crate::matcher::Parameters;
use crate::parser::Parsed;

/// What a lambda runs on.
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
}

/// What came of a run. Headers and payload lie in the lambda's memory until its next run.
pub enum Outcome<'a> {
    /// FORWARD: send what the headers say.
    Forward {
        /// Headers as the lambda left them.
        headers: &'a abi::Headers,
        /// Payload that leaves.
        payload: &'a [u8],
    },
    /// DROP.
    Drop,
    /// `TO_HOST`: the frame goes there as it came.
    ToHost,
    /// It gave a verdict that means nothing, or a payload length over its capacity.
    BadVerdict,
    /// It trapped or ran out of budget.
    Failed(Failure),
    /// The reference is stale: that deployment is not here any more.
    Gone,
}

struct Loaded {
    id: LambdaId,
    generation: Generation,
    instance: Instance,
}

/// One worker with its own instance of every lambda that it may run.
#[derive(Default)]
pub struct Npu {
    slots: Vec<Option<Loaded>>,
}

impl Npu {
    /// An NPU without lambdas.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads an instance where `lambda` points; what was there is dropped.
    pub fn load(&mut self, lambda: LambdaRef, id: LambdaId, instance: Instance) {
        let index = lambda.slot.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index] = Some(Loaded { id, generation: lambda.generation, instance });
    }

    /// Runs a lambda to completion. Returns what came of it and the fuel that it used.
    #[inline]
    pub fn run(&mut self, lambda: LambdaRef, task: &Task<'_>) -> (Outcome<'_>, u64) {
        let Some(Some(loaded)) = self.slots.get_mut(lambda.slot.index()) else { return (Outcome::Gone, 0) };
        if loaded.generation != lambda.generation {
            return (Outcome::Gone, 0);
        }
        let Some(payload) = task.bytes.get(usize::from(task.parsed.payload)..usize::from(task.parsed.end))
        else {
            return (Outcome::BadVerdict, 0);
        };
        let id = loaded.id;
        let instance = &mut loaded.instance;
        if !prepare(instance, task, payload, id) {
            return (Outcome::BadVerdict, 0);
        }
        let result = instance.run();
        let fuel = instance.fuel_used();
        let outcome = match result {
            Ok(abi::FORWARD) => {
                let io = instance.io();
                let length = io.match_data.length;
                if length <= task.capacity && length as usize <= io.payload.len() {
                    Outcome::Forward { headers: io.headers, payload: &io.payload[..length as usize] }
                } else {
                    Outcome::BadVerdict
                }
            }
            Ok(abi::DROP) => Outcome::Drop,
            Ok(abi::TO_HOST) => Outcome::ToHost,
            Ok(_) => Outcome::BadVerdict,
            Err(failure) => Outcome::Failed(failure),
        };
        (outcome, fuel)
    }
}

/// Writes headers, match data and payload into the lambda's memory. False if the payload does not fit.
#[inline]
fn prepare(instance: &mut Instance, task: &Task<'_>, payload: &[u8], id: LambdaId) -> bool {
    let io = instance.io();
    let Some(place) = io.payload.get_mut(..payload.len()) else { return false };
    place.copy_from_slice(payload);
    extract::extract(task.bytes, task.parsed, task.time_ns, io.headers);
    let data = io.match_data;
    data.payload = io.payload_address;
    #[expect(clippy::cast_possible_truncation, reason = "the payload fits the I/O area")]
    {
        data.length = payload.len() as u32;
        data.parameters_length = task.parameters.as_slice().len() as u32;
    }
    data.capacity = task.capacity;
    data.lambda_id = id.raw();
    data.rule = task.rule;
    data.parameters = *task.parameters.padded();
    true
}
