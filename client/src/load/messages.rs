//! A run whose requests are messages: calls of one client, as many in flight as the plan says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lnic_wire::rpc;

use super::generator::Generator;
use super::{CpuMeter, Outcome, Plan, SLEEP_MOST};
use crate::{CallOptions, Client, Config, Error, config_for};

/// Runs a plan to its end on this thread.
pub(super) fn run(plan: &Plan) -> Result<Outcome, Error> {
    let mut generator = Generator::new(plan, 0);
    let requests = generator.capacity();
    let config = Config { requests, in_flight: requests, ..config_for(plan.address) };
    let mut client = Client::with_config(plan.address, config)?;
    let payload: Arc<[u8]> = plan.payload.as_slice().into();
    let options = CallOptions {
        timeout: plan.timeout,
        budget_us: plan.budget_us,
        idempotent: plan.flags & rpc::IDEMPOTENT != 0,
        at_most_once: plan.flags & rpc::AT_MOST_ONCE != 0,
        priority: (plan.flags & rpc::PRIORITY_MASK) as u8,
        trace: None,
    };
    let mut sequences = HashMap::new();
    let mut cpu = CpuMeter::default();

    let start = Instant::now();
    loop {
        let mut clock = start.elapsed();
        cpu.tick(plan, clock);
        generator.expire(clock);
        // What was given up here may be open in the client a moment longer.
        while client.open_calls() < requests
            && let Some(request) = generator.due(clock)
        {
            let id = client.start(plan.lambda, Arc::clone(&payload), &options)?;
            sequences.insert(id, request as u32);
            clock = start.elapsed();
        }
        if generator.is_done(clock) {
            break;
        }
        let mut idle = generator.next_event(clock).saturating_sub(clock).min(SLEEP_MOST);
        while let Some((id, result)) = client.wait_for(idle) {
            idle = Duration::ZERO;
            let Some(sequence) = sequences.remove(&id) else { continue };
            match result {
                Ok(reply) => {
                    generator.answered(sequence, reply.status, reply.payload.len(), start.elapsed());
                }
                Err(error @ (Error::Refused { .. } | Error::Socket { .. })) if !generator.has_answers() => {
                    return Err(error);
                }
                Err(Error::Refused { .. } | Error::Socket { .. }) => generator.count_socket_error(),
                // It is lost once its time is over.
                Err(_) => {}
            }
        }
        if client.open_calls() == 0 && !idle.is_zero() {
            std::thread::sleep(idle);
        }
    }
    generator.count_messages(client.counters());
    Ok(generator.into_outcome(plan, cpu.used()))
}
