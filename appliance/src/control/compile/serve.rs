//! The compile server: `lnic compile --serve`, a process of one thread with one engine, and a child for each job.
//!
//! ```text
//!                                     keeper ─ fork, again if it dies
//!                                         ▼
//! Compiler ─ a socket for each job ─► server ─ fork ─► child: request ─► verify, analyse, place, compile ─► answer
//!     ▲                                   └─ waits for the child ─► trailer: how it ended               │
//!     └─────────────────────────────────── the job's socket ◄──────────────────────────────────────────┘
//! ```
//!
//! The server never sees a module: it hands the socket to a child, which has the engine ready from the fork, gives up what it does not
//! need, and only then reads what it is to compile. A child does one job, so no module can leave something behind for the next.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, getpid, getppid};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::job::{self, Limits, MADE, REFUSED, Request};
use super::process::{self, Child};
use super::{made, sandbox};
use crate::control::appliance;
use crate::lambda::{self, Engine};

/// A child that could not begin. It has said why on its socket.
const NOT_CONFINED: u8 = 102;
/// A child that panicked; the panic's text is on its socket.
const PANICKED: u8 = 101;

/// A server that lived so long had started well.
const STEADY: Duration = Duration::from_secs(1);
/// After so many servers in a row that did not, there is no use in more.
const EARLY_ENDS: u32 = 10;
/// Pause before the next one, times how many there were.
const PAUSE: Duration = Duration::from_millis(50);

/// A job under way.
struct Job {
    child: Child,
    /// Closed with the last word.
    socket: File,
    /// Who asked has gone, and the child was told to end.
    abandoned: bool,
}

/// Serves whoever is at the other end of standard input until that is closed. How many jobs there are at a time is up to the other side.
///
/// The server is a child of this process, which does nothing but start the next one when it dies: a confined appliance cannot. Jobs
/// that it has not taken wait in the socket for the next.
pub fn serve(compile_mib: u32, compile_s: u32, cpus: &[u32]) -> anyhow::Result<()> {
    let limits = Limits { mib: compile_mib, cpu_s: compile_s };
    // Whatever the process was started with is not for jobs.
    process::close_from(3)?;
    anyhow::ensure!(cfg!(test) || process::is_single_threaded()?, "the compile server has several threads");
    keep_to(cpus)?;
    sandbox::give_up_rights()?;
    let keeper = getpid();
    let mut early_ends = 0;
    loop {
        let started = Instant::now();
        let server = process::fork(|| guarded(|| keep_serving(keeper, limits)))?;
        let status = wait_for(&server)?;
        if status == WaitStatus::Exited(server.pid, 0) {
            return Ok(());
        }
        early_ends = if started.elapsed() < STEADY { early_ends + 1 } else { 0 };
        // What it says at the start the next one says too.
        let is_lasting = early_ends > 0 && matches!(status, WaitStatus::Exited(..));
        anyhow::ensure!(
            !is_lasting && early_ends < EARLY_ENDS,
            "the compile server does not start: {status:?}"
        );
        let _ = writeln!(io::stderr(), "compile server: it ended, {status:?}: started again");
        std::thread::sleep(PAUSE * early_ends);
    }
}

fn wait_for(child: &Child) -> io::Result<WaitStatus> {
    loop {
        match waitpid(child.pid, None) {
            Err(Errno::EINTR) => {}
            ended => return Ok(ended?),
        }
    }
}

/// The exit status of what a child does; its panics go no further.
fn guarded<E: std::fmt::Display>(work: impl FnOnce() -> Result<(), E>) -> u8 {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            complain(&error);
            1
        }
        Err(_) => PANICKED,
    }
}

/// The server.
fn keep_serving(keeper: Pid, limits: Limits) -> anyhow::Result<()> {
    // It goes with who would start it again; that may be gone already.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != keeper {
        return Ok(());
    }
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let engine = Engine::new()?;
    // Once, so that no job has to find its pages for the first time.
    let _ = lambda::calibrate::warm_up(&engine);
    let base_bytes = sandbox::address_space_bytes()?;
    sandbox::confine_server()?;
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        let Woken { asked, ended, abandoned } = wait(&control, &jobs)?;
        for at in abandoned {
            abandon(&mut jobs[at]);
        }
        for at in ended.into_iter().rev() {
            end(jobs.swap_remove(at));
        }
        if !asked {
            continue;
        }
        let Some(socket) = process::receive(control.as_fd())? else { return Ok(()) };
        match process::fork(|| work(&engine, &socket, limits, base_bytes)) {
            Ok(child) => jobs.push(Job { child, socket: File::from(socket), abandoned: false }),
            // The other side sees its socket closed without a trailer.
            Err(error) => complain(&error),
        }
    }
}

/// What there is to do.
struct Woken {
    /// Somebody asks.
    asked: bool,
    /// Places of jobs whose child has ended, in order.
    ended: Vec<usize>,
    /// Places of jobs that nobody waits for any more.
    abandoned: Vec<usize>,
}

/// Sleeps until there is something to do.
fn wait(control: &OwnedFd, jobs: &[Job]) -> io::Result<Woken> {
    let mut watched = vec![PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    watched.extend(jobs.iter().map(|job| PollFd::new(job.child.ended.as_fd(), PollFlags::POLLIN)));
    // Nothing is asked of them but whether the other side is there, which is always told.
    let attended: Vec<usize> = (0..jobs.len()).filter(|&at| !jobs[at].abandoned).collect();
    watched.extend(attended.iter().map(|&at| PollFd::new(jobs[at].socket.as_fd(), PollFlags::empty())));
    while let Err(error) = poll(&mut watched, PollTimeout::NONE) {
        if error != nix::errno::Errno::EINTR {
            return Err(error.into());
        }
    }
    let ready: Vec<bool> = watched.iter().map(|watched| watched.any().unwrap_or(true)).collect();
    let (children, sockets) = ready[1..].split_at(jobs.len());
    let ended = (0..jobs.len()).filter(|&at| children[at]).collect();
    let abandoned = attended.into_iter().zip(sockets).filter_map(|(at, &gone)| gone.then_some(at)).collect();
    Ok(Woken { asked: ready[0], ended, abandoned })
}

/// Ends a child that works for nobody: whoever asked has given its place to another job.
fn abandon(job: &mut Job) {
    job.abandoned = true;
    if let Err(error) = job.child.kill() {
        // Its limits end it.
        complain(&error);
    }
}

/// Adds how the child ended to its answer.
fn end(mut job: Job) {
    let status = match waitpid(job.child.pid, None) {
        Ok(status) => raw(status),
        Err(_) => return,
    };
    // Whoever asked may have gone.
    let _ = job.socket.write_all(&job::trailer(status));
}

/// The status as the system has it.
fn raw(status: nix::sys::wait::WaitStatus) -> i32 {
    use nix::sys::wait::WaitStatus::{Exited, Signaled};
    match status {
        Exited(_, code) => (code & 0xFF) << 8,
        Signaled(_, signal, _) => signal as i32,
        _ => i32::MAX,
    }
}

/// Keeps away from the CPUs of lcores that poll.
fn keep_to(cpus: &[u32]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| (cpu as usize) < CpuSet::MAX_CPU) {
        set.set(cpu as usize);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// The child.
fn work(engine: &Engine, socket: &OwnedFd, limits: Limits, base_bytes: u64) -> u8 {
    // Last words of an abort, such as for want of memory, go where the answer would.
    let confined = dup2_stdin(socket)
        .and_then(|()| dup2_stderr(socket))
        .map_err(io::Error::from)
        .and_then(|()| process::close_from(3))
        .and_then(|()| io::stdin().as_fd().try_clone_to_owned())
        .and_then(|socket| sandbox::confine_child(&limits, base_bytes).map(|()| File::from(socket)));
    let socket = match confined {
        Ok(socket) => socket,
        Err(error) => {
            complain(&error);
            return NOT_CONFINED;
        }
    };
    guarded(|| answer(engine, &socket))
}

/// Reads a request and answers it.
fn answer(engine: &Engine, mut socket: &File) -> io::Result<()> {
    let (request, module) = Request::read(&mut BufReader::new(socket))?;
    #[cfg(test)]
    if let Some(probe) = request.probe {
        return socket.write_all(&super::tests::probe(probe));
    }
    let wishes = request.wishes().ok_or(io::ErrorKind::InvalidData)?;
    let mut answer = vec![MADE];
    match appliance::make(engine, &module, request.entry(), &wishes, &request.bounds()) {
        Ok(made) => made::encode(made, &mut answer)?,
        Err(error) => {
            answer[0] = REFUSED;
            answer.extend_from_slice(error.to_string().as_bytes());
        }
    }
    socket.write_all(&answer)
}

fn complain(error: &impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "compile server: {error}");
}
