//! What the appliance gives up once it has started: capabilities, system calls, the way to more rights.
//!
//! A lambda that breaks out of its sandbox, or a frame that breaks a driver, finds a process that cannot start programs, look
//! into others, open packet sockets or files that are not its own, mount or load anything. [`plan`] says what the ports' drivers need while they run and no
//! more; [`apply`] gives up the rest, in every thread.
//!
//! Three filters of system calls lie on each other; the kernel takes the strictest answer:
//! 1. what a running appliance uses is allowed, some of it with certain arguments only; all else is refused with EPERM;
//! 2. what only an attacker would call ends the process (SIGSYS);
//! 3. what libraries try and can do without is answered ENOSYS: so `clone3`, whose flags no filter can read, becomes `clone`.
//!
//! Beside these, files: Landlock leaves the state folder, the socket's, what is read again, and what the system's libraries need.
//!
//! A refused call shows as EPERM in `strace -f -p PID`; with `[control] confine = false` nothing is given up.

mod calls;
mod files;
mod filter;
mod plan;

use std::fmt;

use caps::{CapSet, Capability};

pub use files::{Files, Restricted};
pub use plan::{Devices, KeptCapability, Plan, plan};

/// What could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Reading what there is.
    #[error("confine: reading capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// Threads kept theirs.
    #[error("confine: {0}; [control] confine = false does without")]
    Threads(#[from] dpdk_bindings::Error),
    /// The rules for files.
    #[error("confine: files: {0}; [control] confine = false does without")]
    Files(#[from] landlock::RulesetError),
    /// The filter of system calls.
    #[error("confine: system calls: {0}; [control] confine = false does without")]
    Filter(#[from] seccompiler::Error),
    /// The filter of system calls cannot be made for this machine.
    #[error("confine: system calls: {0}; [control] confine = false does without")]
    Compile(#[from] seccompiler::BackendError),
}

/// What was kept of what the process had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Capabilities that a plan names and the process had.
    pub capabilities: Vec<KeptCapability>,
    /// System calls beyond those of every appliance.
    pub devices: Devices,
    /// Whether files are restricted to those that are needed.
    pub files: Restricted,
    /// Capabilities that were given up.
    pub dropped: usize,
}

impl fmt::Display for Kept {
    /// A line for each thing that was kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, hostile) = (calls::ALLOWED.len(), calls::HOSTILE.len());
        write!(f, "confined: {} capabilities dropped, ", self.dropped)?;
        write!(f, "{calls} system calls allowed and {hostile} deadly, no new privileges")?;
        write!(f, "\n{}", self.files)?;
        for kept in &self.capabilities {
            write!(f, "\n{kept}")?;
        }
        self.devices.lines().iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

/// Gives up what the plan does not name, in all threads and for good. Call it when ports are open, lcores run and the helper processes
/// are started: afterwards no program can be.
pub fn apply(plan: &Plan) -> Result<Kept, ConfineError> {
    let had = caps::read(None, CapSet::Permitted)?;
    let has = |kept: &&KeptCapability| had.contains(&kept.capability);
    let capabilities: Vec<_> = plan.capabilities.iter().filter(has).cloned().collect();
    let mut names: Vec<Capability> = capabilities.iter().map(|kept| kept.capability).collect();
    names.sort_unstable_by_key(|name| name.index());
    names.dedup();
    let bits = names.iter().fold(0, |bits, name| bits | name.bitmask());
    let filters = filter::filters(plan.devices)?;
    // Before capabilities go: it may need one, and what it allows must not depend on what can be looked at afterwards.
    let files = plan.files.restrict()?;
    dpdk_bindings::privileges::reduce(bits)?;
    for program in &filters {
        // Sets no-new-privileges too, in all threads.
        seccompiler::apply_filter_all_threads(program)?;
    }
    Ok(Kept { dropped: had.len() - names.len(), capabilities, files, devices: plan.devices })
}
