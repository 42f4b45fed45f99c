//! The time stamp counter: the only clock that a polling lcore reads.

use crate::sys;

/// Cycles since boot; about 10 ns to read, synchronous between cores on every machine that DPDK runs on.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    // SAFETY: reads a register.
    unsafe { sys::rte_rdtsc() }
}

/// Cycles per second, as DPDK measured them when it started; 0 before.
#[must_use]
pub fn cycles_per_second() -> u64 {
    // SAFETY: reads a variable.
    unsafe { sys::rte_get_tsc_hz() }
}
