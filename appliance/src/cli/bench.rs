//! `lnic bench`: loads a lambda over UDP and prints what it measured.
//!
//! Exit codes: 0 some request answered OK; 1 none was, but there were replies; 2 the command line or what it names is
//! wrong; 3 no reply at all.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lnic_client::load::{self, Mode, Outcome, Plan};
use lnic_client::{Error, MESSAGE_BYTES, resolve};

use super::invoke::{Failure, lambda_id, print_json, read_payload};

/// A request that left later than this was held up by the client, not by the kernel's timer.
const LAG_WORTH_SAYING_US: f64 = 1_000.0;

/// Loads a lambda over λ-RPC and measures latency, rate and loss
///
/// Exit code 0 if any request was answered OK, 1 if all had other statuses, 2 if the command line is wrong, 3 without any reply.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("mode").required(true).args(["closed_loop", "rate"])))]
pub struct Args {
    /// Appliance: address or host name; the port is 4793 unless given
    #[arg(long, value_name = "ADDR[:PORT]")]
    to: String,
    /// Lambda: its ID, or its name with --config
    #[arg(long, value_name = "NAME-OR-ID")]
    lambda: String,
    /// Configuration that maps names of lambdas to IDs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep this many requests outstanding
    #[arg(long, visible_alias = "in-flight", value_name = "N")]
    closed_loop: Option<u32>,
    /// Send this many requests a second, whatever comes back
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// Seconds before that
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    warmup: Duration,
    /// Payload of this many bytes "x", up to 64 MiB. What does not fit a frame is sent as messages, with retransmission
    #[arg(long, visible_alias = "size", value_name = "N", conflicts_with_all = ["data", "file"])]
    bytes: Option<usize>,
    /// Payload as text
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    data: Option<String>,
    /// Payload from a file; - is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Send messages though the requests fit a frame: for replies that do not
    #[arg(long)]
    messages: bool,
    /// A request without a reply for so long is lost
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    timeout_ms: u64,
    /// Budget that the requests carry, for the lambda to read; 0 is none
    #[arg(long, value_name = "US", default_value_t = 0)]
    budget_us: u32,
    /// With nothing to do, poll for so long before sleeping: lower latency for CPU time
    #[arg(long, value_name = "US", default_value_t = 100)]
    spin_us: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Runs `lnic bench`.
///
/// # Errors
/// None: every failure is printed, and has an exit code.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    Ok(bench(args, &mut io::stdout().lock()).unwrap_or_else(|failure| failure.report()))
}

fn bench(args: &Args, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let plan = plan(args)?;
    if !args.json {
        writeln!(out, "{}", Title(&plan))?;
        out.flush()?;
    }
    let outcome = load::run(&plan)?;
    if args.json {
        print_json(out, &outcome)?;
    } else {
        print_table(out, &plan, &outcome)?;
    }
    out.flush()?;
    Ok(match (outcome.latency.samples, outcome.replied) {
        (0, 0) => ExitCode::from(3),
        (0, _) => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    })
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    let mode = match (args.closed_loop, args.rate) {
        (Some(outstanding), _) => Mode::ClosedLoop { outstanding },
        (None, Some(rate)) => Mode::OpenLoop { rate },
        (None, None) => return Err(Failure::Usage("give --closed-loop or --rate".to_owned())),
    };
    let lambda = lambda_id(&args.lambda, args.config.as_deref())?;
    let payload = match (&args.data, &args.file, args.bytes) {
        (Some(text), ..) => text.clone().into_bytes(),
        (None, Some(path), _) => read_payload(path)?,
        (None, None, Some(bytes)) if bytes > MESSAGE_BYTES as usize => {
            return Err(Error::PayloadTooLong { bytes, limit_bytes: MESSAGE_BYTES as usize }.into());
        }
        (None, None, bytes) => vec![b'x'; bytes.unwrap_or(0)],
    };
    Ok(Plan {
        payload,
        duration: args.duration,
        warm_up: args.warmup,
        timeout: Duration::from_millis(args.timeout_ms),
        spin: Duration::from_micros(args.spin_us),
        budget_us: args.budget_us,
        messages: args.messages,
        ..Plan::new(resolve(&args.to)?, lambda, mode)
    })
}

/// What is about to run, in a line.
struct Title<'a>(&'a Plan);

impl std::fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(plan) = self;
        write!(f, "{}, lambda {}, {} bytes", plan.address, plan.lambda, plan.payload.len())?;
        write!(f, "{}", if plan.sends_messages() { " as messages, " } else { ", " })?;
        match plan.mode {
            Mode::ClosedLoop { outstanding } => write!(f, "{outstanding} outstanding")?,
            Mode::OpenLoop { rate } => write!(f, "{rate} requests/s")?,
        }
        write!(f, ", {} s after {} s", plan.duration.as_secs_f64(), plan.warm_up.as_secs_f64())
    }
}

fn print_table(out: &mut impl Write, plan: &Plan, outcome: &Outcome) -> io::Result<()> {
    let latency = &outcome.latency;
    writeln!(
        out,
        "rate       {} OK/s, {} replies/s",
        grouped(outcome.achieved_rate),
        grouped(outcome.reply_rate)
    )?;
    if plan.sends_messages() {
        writeln!(
            out,
            "goodput    {:.1} Mbit/s of requests, {:.1} Mbit/s of replies",
            outcome.request_mbit_s, outcome.reply_mbit_s
        )?;
    }
    if latency.samples > 0 {
        writeln!(
            out,
            "latency    {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}  µs",
            "p50", "p90", "p99", "p99.9", "max", "mean"
        )?;
        writeln!(
            out,
            "           {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
            latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us, latency.mean_us
        )?;
    }
    write!(out, "requests   {} sent, {} answered, {} lost", outcome.sent, outcome.replied, outcome.lost)?;
    writeln!(out, " ({:.3} %)", outcome.loss * 100.0)?;
    for count in &outcome.statuses {
        writeln!(out, "status     {:<20} {:>12}", count.status, count.replies)?;
    }
    let ignored = [
        (outcome.late, "late"),
        (outcome.duplicate, "duplicate"),
        (outcome.foreign, "foreign"),
        (outcome.corrupt, "corrupt"),
        (outcome.malformed, "malformed"),
        (outcome.unexpected, "unexpected"),
        (outcome.fragmented, "fragments of replies"),
        (outcome.socket_errors, "socket errors"),
    ];
    for (count, what) in ignored.into_iter().filter(|&(count, _)| count > 0) {
        writeln!(out, "ignored    {what:<20} {count:>12}")?;
    }
    if outcome.challenged > 0 {
        writeln!(out, "cookie     {:<20} {:>12}", "asked for", outcome.challenged)?;
    }
    if outcome.retransmitted > 0 {
        writeln!(out, "again      {:<20} {:>12}", "fragments", outcome.retransmitted)?;
    }
    let core = outcome.cpu_s / plan.duration.as_secs_f64() * 100.0;
    writeln!(out, "client     {:.2} CPU seconds, {core:.0} % of a core", outcome.cpu_s)?;
    if outcome.unsent > 0 {
        writeln!(
            out,
            "warning    {} requests were due but never left: the rate is too high for this client",
            outcome.unsent
        )?;
    }
    if outcome.fragmented > 0 {
        writeln!(out, "warning    replies take several frames: measure with --messages")?;
    }
    if outcome.max_send_lag_us > LAG_WORTH_SAYING_US {
        let lag_ms = outcome.max_send_lag_us / 1e3;
        writeln!(out, "warning    requests left up to {lag_ms:.1} ms late; their latency includes that")?;
    }
    Ok(())
}

/// A whole number with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        <Command as clap::Parser>::try_parse_from(line.split(' ')).map(|command| command.args)
    }

    #[test]
    fn arguments_become_a_plan() {
        let args =
            parse("bench --to ::1 --lambda 0x10 --rate 2.5e3 --duration 0.5 --bytes 64").expect("valid");
        let plan = plan(&args).expect("a plan");
        assert_eq!(
            Title(&plan).to_string(),
            "[::1]:4793, lambda 16, 64 bytes, 2500 requests/s, 0.5 s after 1 s"
        );
        assert_eq!(plan.mode, Mode::OpenLoop { rate: 2500.0 });
        let args = parse("bench --to ::1 --lambda 1 --in-flight 4 --size 100000").expect("valid");
        let plan = super::plan(&args).expect("a plan");
        assert!(Title(&plan).to_string().contains("100000 bytes as messages, 4 outstanding, "));
        let args = parse("bench --to ::1 --lambda 1 --in-flight 4 --messages").expect("valid");
        assert!(super::plan(&args).expect("a plan").sends_messages());
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        for line in [
            "bench --to ::1 --lambda 1",
            "bench --to ::1 --lambda 1 --rate 1 --closed-loop 1",
            "bench --to ::1 --lambda 1 --rate 1 --bytes 1 --data x",
            "bench --to ::1 --lambda 1 --rate 1 --duration -1",
            "bench --to ::1 --lambda 1 --rate 1 --duration nan",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in ["--rate nan", "--rate 0", "--closed-loop 0", "--closed-loop 1 --bytes 67108865"] {
            let args = parse(&format!("bench --to ::1 --lambda 1 {line}")).expect("numbers");
            assert!(matches!(bench(&args, &mut Vec::new()), Err(Failure::Client(_))), "{line}");
        }
    }

    #[test]
    fn groups_thousands() {
        for (value, text) in [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }
}
