//! The three filters, as programs for the kernel.

use std::collections::BTreeMap;

use libc::{EPERM, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::calls;
use super::plan::Devices;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

const ENOSYS: u32 = libc::ENOSYS as u32;
/// The kind of a socket, without the flags beside it.
const SOCKET_TYPE: u64 = 0xF;
/// The letter that says whose an ioctl is.
const IOCTL_LETTER: u64 = 0xFF00;

/// In the order in which they are installed: the last one no longer lets others be.
pub(super) fn filters(devices: Devices) -> Result<[BpfProgram; 3], BackendError> {
    let allow = || SeccompAction::Allow;
    let hostile = always(&[calls::HOSTILE, calls::HOSTILE_HERE, bpf(devices)]);
    Ok([
        program(hostile, allow(), SeccompAction::KillProcess)?,
        program(always(&[calls::ABSENT]), allow(), SeccompAction::Errno(ENOSYS))?,
        program(allowed(devices)?, SeccompAction::Errno(EPERM as u32), allow())?,
    ])
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, matched, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn always(lists: &[&[c_long]]) -> Rules {
    lists.iter().flat_map(|list| list.iter().map(|&call| (call, Vec::new()))).collect()
}

fn bpf(devices: Devices) -> &'static [c_long] {
    if devices.xdp { &[] } else { &[libc::SYS_bpf] }
}

fn allowed(devices: Devices) -> Result<Rules, BackendError> {
    let mut rules = always(&[calls::ALLOWED, calls::ALLOWED_HERE]);
    if devices.xdp {
        rules.insert(libc::SYS_bpf, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets(devices)?);
    rules.insert(libc::SYS_socketpair, vec![rule(&[equal(0, libc::AF_UNIX as u64)?])?]);
    rules.insert(libc::SYS_ioctl, ioctls(devices)?);
    rules.insert(libc::SYS_prctl, one_of(0, calls::PRCTLS)?);
    // Threads, not processes.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![rule(&[masked(0, thread, thread)?])?]);
    // Memory may be written or executed.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let without = |right: i32| rule(&[masked(2, right as u64, 0)?]);
        rules.insert(call, vec![without(libc::PROT_EXEC)?, without(libc::PROT_WRITE)?]);
    }
    // Limits are read, not set.
    let null = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![rule(&[null])?]);
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule(&[equal(0, own)?])?]);
    let mut targets = children();
    targets.push(own);
    rules.insert(libc::SYS_kill, one_of(0, &targets)?);
    Ok(rules)
}

fn sockets(devices: Devices) -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = Vec::new();
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
            rules.push(rule(&[equal(0, family as u64)?, masked(1, SOCKET_TYPE, kind as u64)?])?);
        }
    }
    if devices.xdp || devices.cards {
        rules.push(rule(&[equal(0, libc::AF_NETLINK as u64)?])?);
    }
    Ok(rules)
}

fn ioctls(devices: Devices) -> Result<Vec<SeccompRule>, BackendError> {
    if devices.cards {
        return Ok(Vec::new());
    }
    let mut rules = one_of(1, calls::IOCTLS)?;
    if devices.interfaces {
        rules.extend(one_of(1, calls::INTERFACE_IOCTLS)?);
    }
    if devices.vhost {
        rules.push(rule(&[masked(1, IOCTL_LETTER, calls::VHOST_IOCTLS)?])?);
    }
    Ok(rules)
}

/// Processes that this one has started: a helper is ended by a signal.
fn children() -> Vec<u64> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&value| rule(&[equal(argument, value)?])).collect()
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

/// Of arguments that the kernel takes as 32 bits, the rest means nothing.
fn equal(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_two_lists() {
        let rules = allowed(Devices::default()).unwrap();
        for call in [calls::HOSTILE, calls::HOSTILE_HERE, &[libc::SYS_bpf]].concat() {
            assert!(!rules.contains_key(&call), "system call {call} is allowed, and deadly");
        }
        let lists = [calls::ALLOWED, calls::ALLOWED_HERE];
        let special = [
            libc::SYS_socket,
            libc::SYS_ioctl,
            libc::SYS_clone,
            libc::SYS_mmap,
            libc::SYS_kill,
            libc::SYS_prctl,
        ];
        assert!(!lists.concat().iter().any(|call| special.contains(call)), "its rules would be lost");
        for call in calls::ABSENT {
            assert!(rules.contains_key(call), "system call {call} would be refused, not absent");
        }
    }

    #[test]
    fn profiles_are_programs_that_the_kernel_takes() {
        for bits in 0..16 {
            let bit = |at: u8| bits >> at & 1 == 1;
            let devices = Devices { interfaces: bit(0), vhost: bit(1), xdp: bit(2), cards: bit(3) };
            for program in filters(devices).unwrap() {
                assert!((1..4096).contains(&program.len()), "{} instructions", program.len());
            }
        }
    }
}
