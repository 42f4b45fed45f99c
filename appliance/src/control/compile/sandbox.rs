//! What the compile server and its children give up: all that compiling does not need.
//!
//! | | server | child, which sees the module |
//! |---|---|---|
//! | files, sockets, programs | none can be opened, made or run | the same; it has one socket, to whoever asked |
//! | capabilities, privileges | none, and none can be got | the same |
//! | network | a namespace of its own, if the system allows | the same |
//! | other processes | makes children, and ends them | signals itself only |
//! | memory, CPU time, wall-clock time | | bounded |
//! | machine code | | none can be made executable |

use std::collections::BTreeMap;
use std::fs;
use std::io;

use caps::CapSet;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::alarm;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::job::Limits;

/// What compiling and answering takes.
const COMPILE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
];

/// What serving takes besides: making children, giving them their limits, and waiting for them.
const SERVE: &[i64] = &[
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_pidfd_open,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_recvmsg,
    libc::SYS_rseq,
    libc::SYS_seccomp,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_setitimer,
    libc::SYS_wait4,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Namespaces that a child could be made in.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWUSER)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// Who starts servers: gives up for itself and all its children the rights that no one of them needs. There is no way back.
pub(super) fn give_up_rights() -> io::Result<()> {
    // No network but what a filter would have to let through. Needs a privilege: without it the filter has to do.
    let _ = unshare(CloneFlags::CLONE_NEWNET);
    // Neither traced nor dumped by others of the same user.
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    // The bounding set can only be emptied by who has the capability to; it counts for running programs, which nobody does here.
    let _ = caps::clear(None, CapSet::Bounding);
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

/// The server: gives up what neither it nor its children need, once it is ready to serve.
pub(super) fn confine_server() -> io::Result<()> {
    let mut rules = allowed(COMPILE.iter().chain(SERVE));
    rules.extend(memory_rules()?);
    let no_namespace = condition(0, SeccompCmpOp::MaskedEq(NAMESPACES.bits() as u64), 0)?;
    rules.insert(libc::SYS_clone, vec![rule(vec![no_namespace])?]);
    // By its limits or by its own abort().
    rules.insert(libc::SYS_tgkill, Vec::new());
    // Jobs that nobody waits for.
    let end = condition(1, SeccompCmpOp::Eq, libc::SIGKILL.cast_unsigned().into())?;
    rules.insert(libc::SYS_pidfd_send_signal, vec![rule(vec![end])?]);
    install(rules)
}

/// A child, before it sees what it is to compile. `base_bytes` is what its address space has already.
pub(super) fn confine_child(limits: &Limits, base_bytes: u64) -> io::Result<()> {
    // With the server goes who would take the answer.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let memory_bytes = base_bytes.saturating_add(u64::from(limits.mib) << 20);
    setrlimit(Resource::RLIMIT_AS, memory_bytes, memory_bytes)?;
    // The second one cannot be caught.
    let seconds = u64::from(limits.cpu_s);
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 1)?;
    for resource in
        [Resource::RLIMIT_CORE, Resource::RLIMIT_FSIZE, Resource::RLIMIT_NOFILE, Resource::RLIMIT_NPROC]
    {
        setrlimit(resource, 0, 0)?;
    }
    alarm::set(limits.wall_s());
    let mut rules = allowed(COMPILE);
    rules.extend(memory_rules()?);
    let itself = condition(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![rule(vec![itself])?]);
    install(rules)
}

/// Bytes of this process's address space.
pub(super) fn address_space_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.ok_or(io::ErrorKind::InvalidData)? * rustix::param::page_size() as u64)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn allowed<'a>(calls: impl IntoIterator<Item = &'a i64>) -> Rules {
    calls.into_iter().map(|&call| (call, Vec::new())).collect()
}

/// Memory, as long as it is not to be executable.
fn memory_rules() -> io::Result<Rules> {
    let not_executable =
        || rule(vec![condition(2, SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.cast_unsigned())), 0)?]);
    Ok(BTreeMap::from([
        (libc::SYS_mmap, vec![not_executable()?]),
        (libc::SYS_mprotect, vec![not_executable()?]),
    ]))
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

fn rule(conditions: Vec<SeccompCondition>) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions).map_err(io::Error::other)
}

/// From here on these calls are made and all others answered EPERM.
fn install(rules: Rules) -> io::Result<()> {
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}
