//! Lcores: DPDK's pinned threads, and closures on them.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::eal::Eal;
use crate::error::Error;
use crate::sys;

/// Lcores other than the main one, in order.
#[must_use]
pub fn workers(_eal: &Eal) -> Vec<u32> {
    let mut found = Vec::new();
    let mut lcore = u32::MAX;
    loop {
        // SAFETY: reads the configuration; u32::MAX starts the walk, as RTE_LCORE_FOREACH_WORKER does.
        lcore = unsafe { sys::rte_get_next_lcore(lcore, 1, 0) };
        if lcore >= sys::RTE_MAX_LCORE {
            return found;
        }
        found.push(lcore);
    }
}

/// The lcore of the calling thread; `None` on a thread that is not DPDK's.
#[must_use]
pub fn current() -> Option<u32> {
    // SAFETY: reads a thread local.
    let lcore = unsafe { sys::rte_lcore_id() };
    (lcore != sys::LNIC_LCORE_ID_ANY).then_some(lcore)
}

/// CPU that an lcore is pinned to, the first if there are several.
#[must_use]
pub fn cpu(_eal: &Eal, lcore: u32) -> u32 {
    // SAFETY: reads the configuration; out of range gives -1.
    let cpu = unsafe { sys::rte_lcore_to_cpu_id(c_int::try_from(lcore).unwrap_or(c_int::MAX)) };
    u32::try_from(cpu).unwrap_or(0)
}

/// NUMA node of an lcore.
#[must_use]
pub fn numa_node(_eal: &Eal, lcore: u32) -> u32 {
    if lcore >= sys::RTE_MAX_LCORE {
        return 0;
    }
    // SAFETY: reads the configuration of an lcore in range.
    unsafe { sys::rte_lcore_to_socket_id(lcore) }
}

type Outcome<T> = Result<T, String>;
type Shared<T> = Arc<Mutex<Option<Outcome<T>>>>;

/// A closure that runs on an lcore. [`join`](Task::join) waits for it; dropping it waits too.
pub struct Task<T> {
    lcore: u32,
    outcome: Shared<T>,
    joined: bool,
    _eal: Eal,
}

/// Runs `work` on a worker lcore, one of [`workers`]. A panic in it is caught and reported by [`Task::join`].
pub fn launch<T: Send + 'static>(
    eal: &Eal,
    lcore: u32,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Task<T>, Error> {
    // DPDK indexes its table by the number, unchecked; and would wait for ever for the main lcore to answer.
    if !workers(eal).contains(&lcore) {
        return Err(Error::new("launch on lcore", format!("{lcore}, which is no worker"), libc::EINVAL));
    }
    let outcome: Shared<T> = Arc::default();
    let result = Arc::clone(&outcome);
    let run: Box<dyn FnOnce() + Send> = Box::new(move || {
        let caught = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(panic.as_ref()));
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(caught);
    });
    // A thin pointer to the fat one, for C to carry.
    let argument = Box::into_raw(Box::new(run)).cast::<c_void>();
    // SAFETY: `trampoline` takes the argument back exactly once, on the lcore; if the launch fails it is taken back here.
    let code = unsafe { sys::rte_eal_remote_launch(Some(trampoline), argument, lcore) };
    if code != 0 {
        // SAFETY: the launch failed, so nobody else has it.
        drop(unsafe { Box::from_raw(argument.cast::<Box<dyn FnOnce() + Send>>()) });
        return Err(Error::from_code("launch on lcore", lcore.to_string(), code));
    }
    Ok(Task { lcore, outcome, joined: false, _eal: eal.clone() })
}

unsafe extern "C" fn trampoline(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` made it with Box::into_raw and gives it to one lcore.
    let run = unsafe { Box::from_raw(argument.cast::<Box<dyn FnOnce() + Send>>()) };
    // The closure catches its own panics: none reaches C.
    run();
    0
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

impl<T> Task<T> {
    /// The lcore that it runs on.
    #[must_use]
    pub fn lcore(&self) -> u32 {
        self.lcore
    }

    /// True once the closure has returned or panicked.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits for the closure; its result, or the message of its panic.
    pub fn join(mut self) -> Result<T, String> {
        self.wait();
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.unwrap_or_else(|| Err(format!("lcore {} returned nothing", self.lcore)))
    }

    fn wait(&mut self) {
        if !self.joined {
            self.joined = true;
            // SAFETY: the lcore was launched by us; waiting sets it free for the next launch.
            unsafe { sys::rte_eal_wait_lcore(self.lcore) };
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.wait();
    }
}
