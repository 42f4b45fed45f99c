//! `lnic run`: the appliance, in the foreground.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use lnic_registry::{Backend, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::control::appliance::Appliance;
use crate::control::compile::{CompileSettings, Compiler};
use crate::control::config::{Cpu, Machine};
use crate::control::confine;
use crate::control::http::{ControlSocket, Listeners, Network};
use crate::control::manager::{Driver, Manager};
use crate::control::topology::Topology;
use crate::lambda::Engine;

mod announce;
mod services;

use services::Services;

/// Exit code: the configuration is wrong.
const WRONG: u8 = 2;

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
    raise_descriptor_limit();
    // Before anything that takes time: a stop may be asked for while the ports open.
    let mut signals = runtime.block_on(async { Signals::new() }).context("signals")?;
    // It tells whether another appliance runs from this configuration, before that one's ports are touched.
    let (socket, listener) = ControlSocket::bind(&topology.socket, topology.control.socket_mode)?;
    let network = topology.control.listen.as_ref().map(Network::open).transpose()?;
    let registry = runtime.block_on(Registry::open(backend(&topology)))?;
    registry.announce(&network.as_ref().map_or_else(String::new, |network| network.address().to_string()));

    let engine = Engine::new()?;
    // While it may still start processes, and before DPDK takes CPUs.
    let compiler = Compiler::start(&compile_settings(&topology, &machine), &engine)?;
    let mut appliance = Appliance::start_with(&topology, &machine, engine, &compiler)?;
    announce::appliance(&topology, &appliance);
    let queues = appliance.take_gateway_queues();
    let (manager, orders) = Manager::new(&topology, registry.clone(), compiler, appliance.sources());
    let mut driver = Driver::new(appliance, orders, manager.clone());
    let listeners = Listeners { control: Some(listener), network };
    let mut services =
        runtime.block_on(Services::start(&topology, &manager, &registry, queues, listeners))?;
    // Everything runs that ever starts a thread or a process.
    if topology.control.confine {
        confine::apply(&confine::plan(&topology))?.to_string().lines().for_each(|line| info!("{line}"));
    }

    let ended = runtime.block_on(operate(&topology, &manager, &mut driver, &mut services, &mut signals))?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    // Callers of the gateway are answered as long as the lcores are there, and whoever changes something as long as there is a driver.
    runtime.block_on(services.stop(&mut driver));
    runtime.block_on(registry.close());
    let appliance = driver.into_appliance();
    // With the last who asks for statistics go the handles that keep the devices open.
    drop((manager, runtime));
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

/// Deploys what the registry has, and then works until a signal comes or the workers end. Says which.
async fn operate(
    topology: &Topology,
    manager: &Manager,
    driver: &mut Driver,
    services: &mut Services,
    signals: &mut Signals,
) -> anyhow::Result<&'static str> {
    // Before the registry is read, so that no change falls between.
    let changes = manager.watch();
    let restored = tokio::select! {
        restored = manager.restore() => restored?,
        ended = driver.run() => return Ok(ended),
        ended = signals.wait() => return Ok(ended),
    };
    announce::restored(topology, restored);
    services.work();
    driver.look_after().await;
    info!(socket = %topology.socket.display(), "ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let follower = tokio::spawn({
        let manager = manager.clone();
        async move { manager.follow(changes).await }
    });
    let ended = tokio::select! {
        ended = driver.run() => ended,
        ended = signals.wait() => ended,
    };
    follower.abort();
    Ok(ended)
}

/// Every connection is a descriptor, and so is a part of every lambda's memory: as many as the system grants.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // It works without, with fewer connections.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn backend(topology: &Topology) -> Backend {
    match (&topology.control.etcd, &topology.control.state) {
        (Some(etcd), folder) => Backend::Etcd {
            folder: folder.clone(),
            endpoints: etcd.endpoints.clone(),
            prefix: etcd.prefix.clone(),
            lease_s: etcd.lease_s,
            appliance: topology.name.clone(),
        },
        (None, Some(folder)) => Backend::Folder(folder.clone()),
        (None, None) => Backend::Memory,
    }
}

/// Compiling keeps away from CPUs that poll: on main's, and on those that no lcore has.
fn compile_settings(topology: &Topology, machine: &Machine) -> CompileSettings {
    let polls = |cpu: &Cpu| topology.lcores.workers.iter().any(|worker| worker.cpu == *cpu);
    let main = topology.lcores.main.cpu;
    let cpus = machine.cpus.iter().filter(|&cpu| *cpu == main || !polls(cpu));
    CompileSettings { cpus: cpus.map(|cpu| cpu.raw()).collect(), ..CompileSettings::of(&topology.control) }
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

    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "stopped by SIGTERM",
            _ = self.interrupt.recv() => "stopped by SIGINT",
        }
    }
}
