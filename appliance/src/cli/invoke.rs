//! `lnic invoke`: calls a lambda and prints what it answers: over HTTP by the appliance's gateway, or with `--to` over λ-RPC as any
//! client on the network does.
//!
//! Exit codes: 0 every call answered OK; 1 some call answered with another status; 2 the command line or what it names is
//! wrong; 3 some call without a reply.

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lnic_client::{CallOptions, Client, Config, MESSAGE_BYTES, Reply, Status, config_for, resolve};
use serde::{Deserialize, Serialize};

mod gateway;
mod payload;
mod trace;

use payload::printable;

use super::connection::Connection;
use super::name::InNamespace;

/// What a call gets over its timeouts for each MiB of payload: 80 Mbit/s.
const PAYLOAD_TIME_PER_MIB: Duration = Duration::from_millis(100);

/// Call a lambda and print what it answers
///
/// Without --to, over HTTP: the appliance's gateway sends it on. With --to, over λ-RPC, as clients on the network do.
/// Exit code 0 if every call was answered OK, 1 if one had another status, 2 if the command line is wrong, 3 if one had no reply.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Lambda: NAME, or NAME.NAMESPACE; with --to its ID, or its name with --config
    #[arg(value_name = "NAME-OR-ID")]
    lambda: String,
    #[command(flatten)]
    namespace: InNamespace,
    /// Over λ-RPC, to this address or host name of the appliance; the port is 4793 unless given
    #[arg(long, value_name = "ADDR[:PORT]", conflicts_with_all = ["namespace", "socket", "url", "ca", "user", "password_file", "token_file"])]
    to: Option<String>,
    /// With --to: configuration that maps names of lambdas to IDs
    #[arg(long, value_name = "FILE", requires = "to")]
    config: Option<PathBuf>,
    /// Payload as text
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    data: Option<String>,
    /// Payload from a file, up to 64 MiB; - is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Write the reply's payload, raw, to this file
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Calls to make, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// From the start of a call to the start of the next
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    interval_ms: u64,
    /// With --to: send a request again after so long without a word of the appliance
    #[arg(long, value_name = "MS", requires = "to", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
    /// With --to: how often to send a request again before it is given up
    #[arg(long, value_name = "N", requires = "to", default_value_t = 3)]
    retries: u32,
    /// Give a call up after so long [default: with --to --timeout-ms × (--retries + 1) and 100 for each MiB of payload, else 60000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    deadline_ms: Option<u64>,
    /// With --to: budget that the requests carry, for the lambda to read; 0 is none
    #[arg(long, value_name = "US", requires = "to", default_value_t = 0)]
    budget_us: u32,
    /// With --to: the lambda must not run twice: mark the requests AT_MOST_ONCE. An appliance without cookies does not remember
    /// requests: combine with --retries 0 there
    #[arg(long, requires = "to", conflicts_with = "idempotent")]
    at_most_once: bool,
    /// With --to: the lambda may run more than once: mark the requests IDEMPOTENT
    #[arg(long, requires = "to")]
    idempotent: bool,
    /// With --to: priority of the requests
    #[arg(long, value_name = "0-7", requires = "to", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7))]
    priority: u8,
    /// With --to: W3C trace context of the requests; without a value, a new one, which is printed
    #[arg(long, value_name = "TRACEPARENT", requires = "to", num_args = 0..=1, require_equals = true, default_missing_value = "new", value_parser = trace::parse)]
    trace: Option<trace::Trace>,
    /// Print payloads as a hex dump even if they are text
    #[arg(long)]
    hex: bool,
    /// Print no payloads
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line, or a file that it names.
    #[error("{0}")]
    Usage(String),
    /// What the client says.
    #[error(transparent)]
    Client(#[from] lnic_client::Error),
    /// What the client of the gateway says.
    #[error(transparent)]
    Gateway(#[from] crate::control::client::Error),
    /// Standard output.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Prints it, and says how the process exits. A reader that has gone away is no failure.
    pub(super) fn report(&self) -> ExitCode {
        use lnic_client::Error;
        let code = match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Self::Usage(_)
            | Self::Client(Error::Address { .. } | Error::PayloadTooLong { .. } | Error::Plan(_))
            | Self::Output(_) => 2,
            Self::Client(_) | Self::Gateway(_) => 3,
        };
        // Nobody is left to tell if standard error fails too.
        let _ = writeln!(io::stderr(), "error: {self}");
        ExitCode::from(code)
    }
}

/// Runs `lnic invoke`.
///
/// # Errors
/// None: every failure is printed, and has an exit code.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    Ok(invoke(args, &mut io::stdout().lock()).unwrap_or_else(|failure| failure.report()))
}

fn invoke(args: &Args, out: &mut impl Write) -> Result<ExitCode, Failure> {
    if args.output.is_some() && args.count > 1 {
        return Err(Failure::Usage("--output takes the reply of one call, not of --count".to_owned()));
    }
    let Some(to) = &args.to else { return gateway::invoke(args, payload_of(args)?, out) };
    let lambda = lambda_id(&args.lambda, args.config.as_deref())?;
    let payload: Arc<[u8]> = payload_of(args)?.into();
    let options = CallOptions {
        timeout: deadline(args, payload.len()),
        budget_us: args.budget_us,
        idempotent: args.idempotent,
        at_most_once: args.at_most_once,
        priority: args.priority,
        trace: args.trace,
    };
    let address = resolve(to)?;
    let repeat_us = args.timeout_ms * 1_000;
    let config = config_for(address);
    let nack_us = config.nack_us.min(repeat_us);
    let config = Config { repeat_us, repeat_least_us: repeat_us, wait_us: repeat_us, nack_us, ..config };
    let mut client = Client::with_config(address, config)?;
    let mut summary = Summary::default();
    for sequence in 1..=args.count {
        let start = Instant::now();
        let result = client.call(lambda, Arc::clone(&payload), &options);
        let counted = result.as_ref().ok().map(|reply| (reply.status == Status::Ok, reply.round_trip));
        summary.count(counted);
        match result {
            Ok(reply) => print_reply(args, out, sequence, &reply)?,
            Err(error) if args.count == 1 && !args.json => return Err(error.into()),
            Err(error @ lnic_client::Error::PayloadTooLong { .. }) => return Err(error.into()),
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

fn payload_of(args: &Args) -> Result<Vec<u8>, Failure> {
    match (&args.data, &args.file) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(path)) => read_payload(path),
        (None, None) => Ok(Vec::new()),
    }
}

/// How long a call may take.
fn deadline(args: &Args, payload_bytes: usize) -> Duration {
    let timeouts = Duration::from_millis(args.timeout_ms).saturating_mul(args.retries.saturating_add(1));
    let sending = PAYLOAD_TIME_PER_MIB * u32::try_from(payload_bytes >> 20).unwrap_or(u32::MAX);
    args.deadline_ms.map_or(timeouts.saturating_add(sending), Duration::from_millis)
}

/// The lambda's ID: `text` itself if it is a number, else what the configuration says of that name.
pub(super) fn lambda_id(text: &str, config: Option<&Path>) -> Result<u32, Failure> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    if let Ok(id) = number {
        return Ok(id);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Failure::Usage(format!("lambda {text:?}: no number from 0 to {}", u32::MAX)));
    }
    let Some(path) = config else {
        let hint = "give the lambda's ID, or --config FILE to look the name up in";
        return Err(Failure::Usage(format!("lambda {text:?} is a name: {hint}")));
    };
    let bytes = read(path)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    let source = str::from_utf8(&bytes).map_err(|error| wrong(&error))?;
    let names: Names = toml::from_str(source).map_err(|error| wrong(&error))?;
    names.lambdas.iter().find(|lambda| lambda.name == text).map(|lambda| lambda.id).ok_or_else(|| {
        let known: Vec<&str> = names.lambdas.iter().map(|lambda| lambda.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        wrong(&format_args!("no lambda {text:?}; it has: {known}"))
    })
}

/// What a configuration says of names; the rest of it is not this command's.
#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    lambdas: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    id: u32,
}

/// A file's bytes.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// The bytes of a file, or of standard input if it is called `-`. Of more than a message has, only the first.
pub(super) fn read_payload(path: &Path) -> Result<Vec<u8>, Failure> {
    let limit_bytes = u64::from(MESSAGE_BYTES) + 1;
    let mut payload = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit_bytes).read_to_end(&mut payload)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit_bytes).read_to_end(&mut payload))
    };
    let name = if path.as_os_str() == "-" { "standard input".into() } else { path.to_string_lossy() };
    let bytes = read.map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    if bytes > MESSAGE_BYTES as usize {
        return Err(Failure::Usage(format!("{name}: more than the 64 MiB of a message")));
    }
    Ok(payload)
}

/// One JSON object on its line.
pub(super) fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

#[derive(Serialize)]
struct Answered<'a> {
    sequence: u64,
    status: String,
    code: u8,
    round_trip_us: f64,
    service_us: u16,
    credit: u8,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    payload_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

#[derive(Serialize)]
struct Failed {
    sequence: u64,
    error: String,
}

#[derive(Serialize)]
struct SummaryLine {
    summary: Totals,
}

fn print_reply(args: &Args, out: &mut impl Write, sequence: u64, reply: &Reply) -> Result<(), Failure> {
    if let Some(path) = &args.output {
        let written = fs::write(path, &reply.payload);
        written.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    }
    let show = !args.quiet && args.output.is_none();
    let text = if args.hex { None } else { printable(&reply.payload) };
    let round_trip_us = reply.round_trip.as_secs_f64() * 1e6;
    if args.json {
        let payload_hex = (show && text.is_none()).then(|| payload::hex(&reply.payload));
        return print_json(
            out,
            &Answered {
                sequence,
                status: reply.status.to_string(),
                code: reply.status.raw(),
                round_trip_us,
                service_us: reply.service_us,
                credit: reply.credit,
                attempts: reply.attempts,
                trace: args.trace.as_ref().map(trace::text),
                payload_bytes: reply.payload.len(),
                payload: text.filter(|_| show),
                payload_hex,
            },
        );
    }
    if args.count > 1 {
        write!(out, "{sequence}: ")?;
    }
    write!(out, "{}, {} bytes in {round_trip_us:.1} µs", reply.status, reply.payload.len())?;
    // An appliance that does not measure it says 0.
    if reply.service_us > 0 {
        write!(out, ", lambda {} µs", reply.service_us)?;
    }
    if reply.attempts > 1 {
        write!(out, ", attempt {}", reply.attempts)?;
    }
    if let Some(trace) = &args.trace {
        write!(out, ", trace {}", trace::text(trace))?;
    }
    writeln!(out)?;
    if show {
        payload::write(out, &reply.payload, text)?;
    }
    Ok(())
}

/// What all calls came to.
#[derive(Default)]
struct Summary {
    sent: u64,
    not_ok: u64,
    round_trips: Vec<Duration>,
}

impl Summary {
    /// Counts a call: whether its reply was OK and how long it took, if there was one.
    fn count(&mut self, reply: Option<(bool, Duration)>) {
        self.sent += 1;
        if let Some((is_ok, round_trip)) = reply {
            self.not_ok += u64::from(!is_ok);
            self.round_trips.push(round_trip);
        }
    }

    /// Prints what several calls came to; says how the process exits.
    fn finish(mut self, args: &Args, out: &mut impl Write) -> Result<ExitCode, Failure> {
        if args.count > 1 {
            let totals = self.totals();
            if args.json {
                print_json(out, &SummaryLine { summary: totals })?;
            } else {
                writeln!(out, "{totals}")?;
            }
            out.flush()?;
        }
        Ok(self.exit_code())
    }

    fn totals(&mut self) -> Totals {
        self.round_trips.sort_unstable();
        // Nearest rank, so p99 of a few calls is the slowest of them.
        let quantile_us = |quantile: f64| {
            let rank = (quantile * self.round_trips.len() as f64).ceil() as usize;
            self.round_trips.get(rank.saturating_sub(1)).map(|time| time.as_secs_f64() * 1e6)
        };
        let received = self.round_trips.len() as u64;
        Totals {
            sent: self.sent,
            received,
            not_ok: self.not_ok,
            loss: (self.sent - received) as f64 / self.sent.max(1) as f64,
            min_us: quantile_us(0.0),
            p50_us: quantile_us(0.5),
            p99_us: quantile_us(0.99),
            max_us: quantile_us(1.0),
        }
    }

    fn exit_code(&self) -> ExitCode {
        if (self.round_trips.len() as u64) < self.sent {
            ExitCode::from(3)
        } else if self.not_ok > 0 {
            ExitCode::from(1)
        } else {
            ExitCode::SUCCESS
        }
    }
}

#[derive(Debug, Serialize)]
struct Totals {
    sent: u64,
    received: u64,
    not_ok: u64,
    loss: f64,
    min_us: Option<f64>,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<f64>,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sent, {} received, {:.1} % loss", self.sent, self.received, self.loss * 100.0)?;
        if self.not_ok > 0 {
            write!(f, ", {} not OK", self.not_ok)?;
        }
        if let (Some(min), Some(p50), Some(p99), Some(max)) =
            (self.min_us, self.p50_us, self.p99_us, self.max_us)
        {
            write!(f, "; min/p50/p99/max {min:.1}/{p50:.1}/{p99:.1}/{max:.1} µs")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
