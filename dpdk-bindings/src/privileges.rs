//! Gives up capabilities in every thread of the process. Each thread has its own in Linux, and those that DPDK has started
//! cannot be asked to give up theirs: a signal makes them, as libpsx does.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;

/// How long threads may take. One that has blocked the signal never does it.
const PATIENCE: Duration = Duration::from_secs(5);
/// After which a thread is sent the signal again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is seen who has done it.
const LOOK: Duration = Duration::from_millis(1);

/// Version 3 of the kernel's structures: 64 capabilities in two words.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// Bounding set: larger numbers are no capabilities, on any kernel so far.
const CAPABILITIES: libc::c_ulong = 64;
/// Its holder may take capabilities out of the bounding set.
const SETPCAP: u64 = 1 << 8;

/// Most threads that can be restricted.
const THREADS: usize = 4096;

#[repr(C)]
struct Header {
    version: u32,
    thread: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What the handler leaves a thread.
static KEEP: AtomicU64 = AtomicU64::new(0);
/// The errno of a thread that could not.
static FAILED: AtomicI32 = AtomicI32::new(0);
/// Threads that have restricted themselves, in the order in which they did.
static RESTRICTED: [AtomicI32; THREADS] = [const { AtomicI32::new(0) }; THREADS];
/// How many there are, or more than have room.
static RESTRICTED_COUNT: AtomicUsize = AtomicUsize::new(0);
/// The ruleset that a thread restricts itself to.
static RULESET: AtomicI32 = AtomicI32::new(-1);
/// One at a time.
static REDUCING: Mutex<()> = Mutex::new(());

/// Leaves every thread of this process, those of DPDK included, no capabilities but those in `keep`, as bits, that it has:
/// effective and permitted ones; nothing inheritable or ambient. The bounding set is reduced too, where a thread may do that. Returns
/// once all threads have done it; threads that they start later inherit it.
///
/// Uses the last real-time signal, which is ignored afterwards. Sleeping system calls of other threads may be interrupted.
pub fn reduce(keep: u64) -> Result<(), Error> {
    const ACTION: &str = "reduce capabilities of";
    let _reducing = REDUCING.lock().unwrap_or_else(PoisonError::into_inner);
    KEEP.store(keep, SeqCst);
    FAILED.store(0, SeqCst);
    in_all_threads(ACTION, handler, |thread| has_more(thread, keep))
}

/// Restricts every thread of this process, those of DPDK included, to a Landlock ruleset, for good: what it does not allow they
/// cannot open. None of them can get new privileges afterwards. Returns once all threads have done it; threads that they start later
/// inherit it.
///
/// Uses the same signal as [`reduce`], in the same way.
pub fn restrict_files(ruleset: BorrowedFd<'_>) -> Result<(), Error> {
    let _reducing = REDUCING.lock().unwrap_or_else(PoisonError::into_inner);
    RULESET.store(ruleset.as_raw_fd(), SeqCst);
    RESTRICTED_COUNT.store(0, SeqCst);
    RESTRICTED.iter().for_each(|thread| thread.store(0, SeqCst));
    FAILED.store(0, SeqCst);
    in_all_threads("restrict the files of", restrict_handler, |thread| {
        let count = RESTRICTED_COUNT.load(SeqCst).min(THREADS);
        !RESTRICTED[..count].iter().any(|it| it.load(SeqCst) == thread) && is_alive(thread)
    })
}

/// Has every thread run a handler until none is left that has not.
fn in_all_threads(
    action: &'static str,
    handler: extern "C" fn(c_int),
    is_left: impl Fn(i32) -> bool,
) -> Result<(), Error> {
    let signal = libc::SIGRTMAX();
    set_action(signal, handler as *const () as libc::sighandler_t)
        .map_err(|errno| Error::new(action, "process", errno))?;
    let done = all_threads(signal, is_left);
    // Ignored, and not what it was: a second signal may still be on its way to a thread, and by default it ends the process.
    let ignored = set_action(signal, libc::SIG_IGN);
    match (FAILED.load(SeqCst), done, ignored) {
        (0, Ok(()), Ok(())) => Ok(()),
        (0, Err(thread), _) => Err(Error::new(action, thread, libc::ETIMEDOUT)),
        (0, Ok(()), Err(errno)) => Err(Error::new(action, "process", errno)),
        (errno, ..) => Err(Error::new(action, "thread", errno)),
    }
}

/// Signals threads until none is left; else says which one is.
fn all_threads(signal: c_int, is_left: impl Fn(i32) -> bool) -> Result<(), String> {
    let start = Instant::now();
    let mut told: BTreeMap<i32, Instant> = BTreeMap::new();
    let mut clean: Option<Vec<i32>> = None;
    loop {
        let threads = threads();
        let more: Vec<i32> = threads.iter().copied().filter(|&thread| is_left(thread)).collect();
        if more.is_empty() {
            // Somebody may have started a thread after it was listed and before it was reduced: it shows in the next list.
            if !threads.is_empty() && clean.as_ref() == Some(&threads) {
                return Ok(());
            }
            clean = Some(threads);
            continue;
        }
        clean = None;
        let now = Instant::now();
        if FAILED.load(SeqCst) != 0 || now - start > PATIENCE {
            return Err(format!("thread {}", name(more[0])));
        }
        for thread in more {
            if told.get(&thread).is_none_or(|&when| now - when > AGAIN) {
                told.insert(thread, now);
                // SAFETY: the signal has a handler. A thread that has ended meanwhile gives an error, which is as well.
                unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn threads() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads: Vec<i32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    threads.sort_unstable();
    threads
}

fn name(thread: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    format!("{thread} ({})", name.trim())
}

/// True unless a thread has ended or has no more than `keep`.
fn has_more(thread: i32, keep: u64) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")) else {
        return false;
    };
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    // What cannot be read counts as too much. A zombie has what it had, and will have nothing.
    let is_over = status.lines().any(|line| line.starts_with("State:") && line.contains(['Z', 'X']));
    let more = |name: &str, allowed: u64| set(name).is_none_or(|bits| bits & !allowed != 0);
    !is_over && (more("CapPrm:", keep) || more("CapEff:", keep) || more("CapInh:", 0) || more("CapAmb:", 0))
}

/// False of a thread that has ended.
fn is_alive(thread: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains(['Z', 'X']))
}

fn set_action(signal: c_int, action: libc::sighandler_t) -> Result<(), i32> {
    // SAFETY: zero is valid for every field; the mask is emptied below.
    let mut new: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    new.sa_sigaction = action;
    new.sa_flags = libc::SA_RESTART;
    // SAFETY: the place outlives both calls. `handler` does only what a signal handler may do.
    let code = unsafe {
        libc::sigemptyset(&raw mut new.sa_mask);
        libc::sigaction(signal, &raw const new, std::ptr::null_mut())
    };
    if code == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

/// Reduces the thread that it interrupts. System calls and atomics only, and errno as it was.
extern "C" fn handler(_signal: c_int) {
    // SAFETY: errno's place is the thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    if let Err(code) = reduce_this_thread(KEEP.load(SeqCst)) {
        FAILED.store(code, SeqCst);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

fn reduce_this_thread(keep: u64) -> Result<(), i32> {
    let mut header = Header { version: CAPABILITY_VERSION, thread: 0 };
    let mut words = [Word::default(); 2];
    // SAFETY: both places outlive the call and have the layout of version 3.
    let code = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if code != 0 {
        // SAFETY: errno's place is the thread's own.
        return Err(unsafe { *libc::__errno_location() });
    }
    let effective = u64::from(words[0].effective) | u64::from(words[1].effective) << 32;
    // SAFETY: takes no memory. A kernel without ambient capabilities answers with an error, and has none.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    if effective & SETPCAP != 0 {
        for capability in (0..CAPABILITIES).filter(|&capability| keep >> capability & 1 == 0) {
            // SAFETY: takes no memory. Numbers that are no capability give an error.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
    for (word, keep) in words.iter_mut().zip([keep as u32, (keep >> 32) as u32]) {
        word.effective &= keep;
        word.permitted &= keep;
        word.inheritable = 0;
    }
    // SAFETY: as above; the kernel only reads.
    let code = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    // SAFETY: errno's place is the thread's own.
    if code == 0 { Ok(()) } else { Err(unsafe { *libc::__errno_location() }) }
}

/// Restricts the thread that it interrupts. System calls and atomics only, and errno as it was.
extern "C" fn restrict_handler(_signal: c_int) {
    // SAFETY: errno's place is the thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    // SAFETY: takes no memory. Without it the kernel restricts who has CAP_SYS_ADMIN only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: takes two numbers; the ruleset is open as long as `restrict_files` runs, and afterwards this is no handler any more.
    let code = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, RULESET.load(SeqCst), 0) };
    if code == 0 {
        // SAFETY: takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        if let Some(place) = RESTRICTED.get(RESTRICTED_COUNT.fetch_add(1, SeqCst)) {
            place.store(thread, SeqCst);
        }
    } else {
        // SAFETY: as above.
        FAILED.store(unsafe { *errno }, SeqCst);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}
