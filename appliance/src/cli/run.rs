//! `lnic run`: the appliance, in the foreground.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::control::appliance::{Appliance, Event};
use crate::control::config::Machine;
use crate::control::server;
use crate::control::topology::{Pages, Topology};

/// Exit code: the configuration is wrong.
const WRONG: u8 = 2;
/// Lambdas that are announced one by one.
const ANNOUNCED: usize = 20;
/// How often the workers are looked after.
const WATCH: Duration = Duration::from_millis(200);

/// Run the appliance
///
/// Stays in the foreground and logs to standard error (RUST_LOG sets what, "info" by default). SIGTERM and SIGINT drain the ports
/// and end it with exit code 0. Tells systemd when it is ready, if NOTIFY_SOCKET is set. Exit code 2 if the configuration
/// is wrong, 1 if the appliance does not start or a worker fails.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
}

/// Runs `lnic run`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let machine = Machine::read()?;
    let topology = match Topology::load(&args.config, &machine) {
        Ok(topology) => topology,
        Err(error) => {
            writeln!(std::io::stderr(), "{error}")?;
            return Ok(ExitCode::from(WRONG));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything that takes time: a stop may be asked for while the ports open.
    let signals = runtime.block_on(async { Signals::new() }).context("signals")?;
    // It tells whether another appliance runs from this configuration, before that one's ports are touched.
    let (socket, listener) = runtime.block_on(async { server::listen(&topology.socket) })?;
    let mut appliance = Appliance::start(&topology, &machine)?;
    announce(&topology, &appliance);
    let ended = runtime.block_on(serve(listener, signals, &topology, &mut appliance))?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // With the runtime go the connections that are still open, and what they hold.
    drop(runtime);
    let summary = appliance.sources().snapshot().frames;
    let stopped = appliance.stop();
    // Last: from here on another may start.
    drop(socket);
    for panic in &stopped.panics {
        error!("a worker failed: {panic}");
    }
    if stopped.lost_frames > 0 {
        warn!("{} frame buffers did not come home", stopped.lost_frames);
    }
    info!(
        received = summary.received,
        sent = summary.sent,
        to_host = summary.to_host,
        dropped = summary.dropped,
        "{ended}"
    );
    Ok(if stopped.panics.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What ends the appliance from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

/// Answers on the control socket until a signal comes or the workers end. Says which.
async fn serve(
    listener: UnixListener,
    mut signals: Signals,
    topology: &Topology,
    appliance: &mut Appliance,
) -> anyhow::Result<&'static str> {
    let server = tokio::spawn(server::serve(listener, appliance.sources()));
    info!(socket = %topology.socket.display(), "ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut watch = tokio::time::interval(WATCH);
    let ended = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break "stopped by SIGTERM",
            _ = signals.interrupt.recv() => break "stopped by SIGINT",
            _ = watch.tick() => {
                appliance.look_after().into_iter().for_each(report);
                if appliance.has_ended() { break "a worker has ended" }
            }
        }
    };
    server.abort();
    Ok(ended)
}

fn report(event: Event) {
    match event {
        // Escaped, so that a lambda cannot write to the terminal or forge a line.
        Event::Log { lambda, text } => info!("lambda {lambda} says: {}", text.escape_ascii()),
        Event::Quarantined(name) => {
            warn!(
                "lambda \"{name}\": quarantined; its callers are told UNAVAILABLE until `lnic release {name}`"
            );
        }
        Event::NpuDied(npu) => error!("{npu}: its lcore has ended; others take over"),
        Event::Revived(name) => warn!("lambda \"{name}\": its NPU died; it goes on with fresh state"),
        Event::NotRevived(name, error) => error!("lambda \"{name}\": its NPU died; {error}"),
    }
}

fn announce(topology: &Topology, appliance: &Appliance) {
    match appliance.pages() {
        Pages::Huge { page_bytes, pages } => info!("memory: {pages} hugepages of {} KiB", page_bytes / 1024),
        Pages::Small => info!("memory: {} MiB in 4 KiB pages", topology.memory.eal_mib),
        Pages::SmallForWant(want) => {
            warn!("memory: {} MiB in 4 KiB pages: {want}", topology.memory.eal_mib);
        }
    }
    info!("{}: main on {}", topology.scheduling.mode.name(), topology.lcores.main.cpu);
    for lcore in &appliance.sources().lcores {
        info!("lcore {} on CPU {}: {}", lcore.lcore, lcore.cpu, lcore.roles);
    }
    for (spec, stats) in topology.ports.iter().zip(appliance.sources().snapshot().ports) {
        let addresses: Vec<_> =
            [spec.ipv4.map(|ip| ip.to_string()), spec.ipv6.map(|ip| ip.to_string())].into();
        let addresses: Vec<_> = addresses.into_iter().flatten().collect();
        info!("port \"{}\": {} {} {}", spec.name, stats.driver, stats.mac, addresses.join(" "));
    }
    let origin = if topology.budget.fuel_per_us.is_some() { "configured" } else { "calibrated" };
    info!("budgets: {} fuel a microsecond, {origin}", appliance.fuel_per_us());
    for lambda in topology.lambdas.iter().take(ANNOUNCED) {
        info!(
            "lambda \"{}\": ID {}, weight {}, budget {} µs",
            lambda.name, lambda.id, lambda.weight, lambda.budget_us
        );
    }
    if let Some(more) = topology.lambdas.len().checked_sub(ANNOUNCED).filter(|&more| more > 0) {
        info!("and {more} lambdas more");
    }
}
