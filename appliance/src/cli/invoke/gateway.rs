//! Calls over HTTP, by the appliance's gateway.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::payload::{self, printable};
use super::{Args, Failed, Failure, Summary, print_json};
use crate::cli::connection::block_on;
use crate::control::client::{Bytes, Invoked};
use crate::control::plane::LambdaKey;

/// Longest time of a call unless something else is said: over what a gateway waits by default.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a gateway says that has had no reply in time.
const GATEWAY_TIMEOUT: u16 = 504;

#[derive(Serialize)]
struct Answered<'a> {
    sequence: u64,
    status: &'a str,
    code: u16,
    round_trip_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<&'a str>,
    payload_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

/// Makes the calls, one after the other.
pub(super) fn invoke(args: &Args, payload: Vec<u8>, out: &mut impl Write) -> Result<ExitCode, Failure> {
    if args.lambda.starts_with(|first: char| first.is_ascii_digit()) {
        let text = format!("lambda {:?}: an ID needs --to ADDR; over HTTP, lambdas have names", args.lambda);
        return Err(Failure::Usage(text));
    }
    let key = args.namespace.key(&args.lambda).map_err(|error| Failure::Usage(error.to_string()))?;
    let usage = |error: anyhow::Error| Failure::Usage(format!("{error:#}"));
    let client = args.connection.client().map_err(usage)?;
    let payload = Bytes::from(payload);
    let deadline = args.deadline_ms.map_or(DEADLINE, Duration::from_millis);
    let mut summary = Summary::default();
    for sequence in 1..=args.count {
        let start = Instant::now();
        let call = async { Ok(client.invoke(&key, payload.clone(), deadline).await) };
        let result = block_on(call).map_err(usage)?;
        let replied = result.as_ref().ok().filter(|reply| reply.status.as_u16() != GATEWAY_TIMEOUT);
        summary.count(replied.map(|reply| (reply.status.is_success(), reply.round_trip)));
        match result {
            Ok(reply) => print(args, out, &key, sequence, &reply)?,
            Err(error) if args.count == 1 && !args.json => return Err(error.into()),
            Err(error) if args.json => print_json(out, &Failed { sequence, error: error.to_string() })?,
            Err(error) => writeln!(out, "{sequence}: {error}")?,
        }
        out.flush()?;
        if sequence < args.count {
            thread::sleep(Duration::from_millis(args.interval_ms).saturating_sub(start.elapsed()));
        }
    }
    summary.finish(args, out)
}

fn print(
    args: &Args,
    out: &mut impl Write,
    key: &LambdaKey,
    sequence: u64,
    reply: &Invoked,
) -> Result<(), Failure> {
    let is_ok = reply.status.is_success();
    if let (Some(path), true) = (&args.output, is_ok) {
        let written = std::fs::write(path, &reply.body);
        written.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    }
    // Whatever was asked for: why there is no reply is said.
    let show = !is_ok || (!args.quiet && args.output.is_none());
    let text = if args.hex && is_ok { None } else { printable(&reply.body) };
    let status = reply.status.canonical_reason().unwrap_or("unknown status");
    let round_trip_us = reply.round_trip.as_secs_f64() * 1e6;
    if args.json {
        let answered = Answered {
            sequence,
            status,
            code: reply.status.as_u16(),
            round_trip_us,
            call_id: reply.call_id.as_deref(),
            payload_bytes: reply.body.len(),
            payload: text.filter(|_| show),
            payload_hex: (show && text.is_none()).then(|| payload::hex(&reply.body)),
        };
        return print_json(out, &answered);
    }
    if args.count > 1 {
        write!(out, "{sequence}: ")?;
    }
    if is_ok {
        writeln!(out, "{status}, {} bytes in {round_trip_us:.1} µs", reply.body.len())?;
    } else {
        writeln!(out, "{key}: {} {status} in {round_trip_us:.1} µs", reply.status.as_u16())?;
    }
    if show {
        payload::write(out, &reply.body, text)?;
    }
    Ok(())
}
