//! Judges what concerns the appliance as a whole: names, roles of CPUs, idling.

use std::path::{Component, Path, PathBuf};

use super::{
    DEFAULT_SOCKET, DispatcherSpec, Idle, IslandSpec, Lcores, MessageLimits, NpuSpec, SchedulingMode, Sleep,
    Topology,
};
use super::{
    control, dispatchers, islands, lambdas, lcores, memory, ports, rules, scheduling, services, tenants,
};
use crate::control::config::raw::{self, Value};
use crate::control::config::{Machine, Problems};

/// Longest path that a unix socket can have, without its final zero.
const SOCKET_PATH_BYTES: usize = 107;
/// UDP port that λ-RPC has if nothing else is said.
const RPC_PORT: u16 = 4793;

/// Judges all of a configuration.
pub(super) fn topology(
    raw: &raw::Configuration,
    folder: &Path,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Topology {
    let memory = memory::memory(&raw.memory, problems);
    let mode = scheduling::mode(&raw.scheduling, problems);
    let Roles { lcores, islands, npus, dispatchers } = roles(raw, mode, machine, problems);
    let scheduling = scheduling::scheduling(&raw.scheduling, mode, dispatchers.len(), &memory, problems);
    let budget = scheduling::budget(&raw.budget, problems);
    let (pollers, polled_by) = match mode {
        SchedulingMode::RunToCompletion => (lcores.workers.len(), "workers"),
        SchedulingMode::Dispatcher => (dispatchers.len(), "dispatchers"),
    };
    let context = ports::Context { folder, machine, memory: &memory, pollers: pollers as u16, polled_by };
    let gateway = control::gateway(&raw.gateway, problems);
    let ports = ports::ports(raw, &context, gateway.enabled, problems);
    let tenants = tenants::tenants(&raw.tenants, problems);
    let rpc_port = problems.integer("[rpc] port", &raw.rpc.port, 1..=u16::MAX, RPC_PORT);
    let limits = services::limits(&raw.services, pollers, rpc_port, problems);
    let bounds = lambdas::Bounds {
        budget: &budget,
        queue_frames: scheduling.queue_frames,
        islands: Some(&islands),
        services: Some(services::Context { ports: &ports, limits: &limits }),
    };
    let context = lambdas::Context { folder, tenants: &tenants, bounds };
    let lambdas = lambdas::lambdas(&raw.lambdas, &context, problems);
    let rules = rules::rules(&raw.rules, &ports, &lambdas, problems);
    Topology {
        name: name(&raw.name, problems),
        socket: socket(&raw.socket, folder, problems),
        memory,
        eal_extra_args: extra_args(&raw.eal, problems),
        lcores,
        idle: idle(&raw.idle, problems),
        rpc_port,
        messages: messages(&raw.rpc, problems),
        scheduling,
        quarantine: scheduling::quarantine(&raw.quarantine, problems),
        budget,
        control: control::control(&raw.control, folder, problems),
        gateway,
        services: limits,
        islands,
        npus,
        dispatchers,
        tenants,
        ports,
        lambdas,
        rules,
    }
}

/// Which CPU does what.
struct Roles {
    lcores: Lcores,
    islands: Vec<IslandSpec>,
    npus: Vec<NpuSpec>,
    dispatchers: Vec<DispatcherSpec>,
}

fn roles(
    raw: &raw::Configuration,
    mode: SchedulingMode,
    machine: &Machine,
    problems: &mut Problems<'_>,
) -> Roles {
    let mut island_drafts = islands::written(&raw.islands, machine, problems);
    let mut dispatcher_drafts = dispatchers::written(&raw.dispatchers, mode, machine, problems);
    let lcores = lcores::lcores(raw, &island_drafts, &dispatcher_drafts, machine, problems);
    if island_drafts.is_empty() {
        let cpus = dispatchers::npu_cpus(&dispatcher_drafts, &lcores);
        island_drafts = islands::by_numa_node(cpus.into_iter(), machine);
    }
    if mode == SchedulingMode::Dispatcher && dispatcher_drafts.is_empty() {
        dispatcher_drafts.push(dispatchers::default(&mut island_drafts, &lcores));
    }
    let (islands, npus) = islands::number(&island_drafts, &lcores, machine);
    let dispatchers = dispatchers::feed(&dispatcher_drafts, &island_drafts, &islands, &lcores, problems);
    Roles { lcores, islands, npus, dispatchers }
}

/// A relative path starts at the configuration's folder. `configs/../lambdas` becomes `lambdas`, unless `configs` is a symbolic
/// link, whose parent is another's.
pub(super) fn resolve(folder: &Path, path: &str) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in folder.join(path).components() {
        let last = resolved.components().next_back();
        if component == Component::ParentDir
            && matches!(last, Some(Component::Normal(_)))
            && !resolved.is_symlink()
        {
            resolved.pop();
        } else {
            resolved.push(component);
        }
    }
    resolved
}

fn name(value: &Value<String>, problems: &mut Problems<'_>) -> String {
    let Some(value) = value else { return "lnic".into() };
    let name = value.get_ref();
    let fits = (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !fits {
        problems.wrong(
            Some(value.span()),
            format!("name: \"{name}\": allowed are 1–32 letters, digits, - and _"),
        );
    }
    name.clone()
}

fn socket(value: &Value<String>, folder: &Path, problems: &mut Problems<'_>) -> PathBuf {
    let Some(value) = value else { return DEFAULT_SOCKET.into() };
    let path = resolve(folder, value.get_ref());
    let bytes = path.as_os_str().len();
    if value.get_ref().is_empty() || bytes > SOCKET_PATH_BYTES {
        problems.wrong(
            Some(value.span()),
            format!("socket: a path of {bytes} bytes; a unix socket's has 1–{SOCKET_PATH_BYTES}"),
        );
    }
    path
}

/// Arguments that this configuration has keys for would contradict them.
fn extra_args(raw: &raw::Eal, problems: &mut Problems<'_>) -> Vec<String> {
    const OWNED: [(&str, &str); 9] = [
        ("-l", "[lcores]"),
        ("-c", "[lcores]"),
        ("--lcores", "[lcores]"),
        ("--main-lcore", "[lcores] main"),
        ("-m", "[memory] eal_mib"),
        ("--no-huge", "[memory] hugepages"),
        ("--vdev", "[[ports]] devargs"),
        ("-a", "[[ports]] devargs"),
        ("--allow", "[[ports]] devargs"),
    ];
    for argument in &raw.extra_args {
        let text = argument.get_ref();
        // Short options may have their value attached: -l0-1.
        let short = text.get(..2).filter(|_| text.starts_with('-') && !text.starts_with("--"));
        let option = short.unwrap_or_else(|| text.split('=').next().unwrap_or(text));
        if ["-h", "--help", "-v"].contains(&option) {
            let text = format!(
                "[eal] extra_args: \"{option}\" would end the appliance: `lnic run --help` is its own"
            );
            problems.wrong(Some(argument.span()), text);
        }
        if let Some((_, key)) = OWNED.iter().find(|(owned, _)| *owned == option) {
            problems.wrong(
                Some(argument.span()),
                format!("[eal] extra_args: \"{option}\" is not allowed here: use {key}"),
            );
        }
    }
    raw.extra_args.iter().map(|argument| argument.get_ref().clone()).collect()
}

fn messages(raw: &raw::Rpc, problems: &mut Problems<'_>) -> MessageLimits {
    let default = MessageLimits::default();
    let kib = default.reply_cache_bytes >> 10;
    MessageLimits {
        exchanges: problems.integer("[rpc] exchanges", &raw.exchanges, 1..=4096, default.exchanges),
        sessions: problems.integer("[rpc] sessions", &raw.sessions, 1..=1 << 20, default.sessions),
        reply_cache_bytes: problems.integer("[rpc] reply_cache_kib", &raw.reply_cache_kib, 16..=1 << 20, kib)
            << 10,
        require_crc: raw.require_crc.as_ref().is_none_or(|value| *value.get_ref()),
        copy_engines: raw.copy_engines.iter().map(|engine| engine.get_ref().clone()).collect(),
        copy_engine_bytes: problems.integer(
            "[rpc] copy_engine_bytes",
            &raw.copy_engine_bytes,
            0..=u32::from(u16::MAX),
            default.copy_engine_bytes,
        ),
    }
}

fn idle(raw: &raw::Idle, problems: &mut Problems<'_>) -> Idle {
    let default = Idle::default();
    let ways = [
        ("auto", Sleep::Auto),
        ("descriptor", Sleep::Descriptor),
        ("timer", Sleep::Timer),
        ("never", Sleep::Never),
    ];
    Idle {
        spin_polls: problems.integer(
            "[idle] spin_polls",
            &raw.spin_polls,
            0..=1_000_000_000,
            default.spin_polls,
        ),
        yield_polls: problems.integer(
            "[idle] yield_polls",
            &raw.yield_polls,
            0..=1_000_000_000,
            default.yield_polls,
        ),
        sleep: problems.choice("[idle] sleep", &raw.sleep, &ways, default.sleep),
        timer_us: problems.integer("[idle] timer_us", &raw.timer_us, 1..=1_000_000, default.timer_us),
        max_sleep_ms: problems.integer(
            "[idle] max_sleep_ms",
            &raw.max_sleep_ms,
            1..=10_000,
            default.max_sleep_ms,
        ),
    }
}
