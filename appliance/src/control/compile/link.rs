//! The appliance's side of the compile server: starts it, hands it jobs, and makes sense of how they end.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::job::{self, ANSWER_BYTES, Limits, MADE, REFUSED, Request};
use super::{CompileError, CompileSettings};

/// How much longer than a job may take its answer is waited for.
const GRACE: Duration = Duration::from_secs(5);
/// Most bytes that are said of what a child said last.
const LAST_WORDS: usize = 300;
/// What the standard library says when there is no memory.
const NO_MEMORY: &[u8] = b"memory allocation of ";

/// The server, wherever it is just now.
pub(super) struct Link {
    command: Vec<String>,
    program: std::path::PathBuf,
    limits: Limits,
    server: Mutex<Option<Server>>,
    starts: AtomicU64,
}

/// The process. It ends when nobody holds the other end of its standard input.
struct Server {
    control: Option<OwnedFd>,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends by itself when this is closed; one that hangs does not.
        drop(self.control.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Link {
    /// Starts the server.
    pub(super) fn start(settings: &CompileSettings) -> Result<Self, CompileError> {
        let link = Self {
            command: settings.arguments(),
            program: settings.program.clone(),
            limits: Limits { mib: settings.compile_mib, cpu_s: settings.compile_s },
            server: Mutex::new(None),
            starts: AtomicU64::new(0),
        };
        let server = link.spawn().map_err(|error| CompileError::Server(Arc::new(error)))?;
        *link.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(link)
    }

    /// What keeps it from working, if it cannot be started any more.
    pub(super) fn problem(&self) -> Option<String> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.is_none().then(|| "compile server: it has ended and cannot be started again".to_owned())
    }

    /// Times that its program was started again; a server that dies is replaced without that.
    pub(super) fn restarts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed).saturating_sub(1)
    }

    fn spawn(&self) -> io::Result<Server> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let mut command = Command::new(&self.program);
        command.arg0("lnic").args(&self.command).env_clear().current_dir("/");
        // Where DPDK's libraries are, if they are not where the system looks.
        if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", path);
        }
        // What a terminal's Ctrl-C asks for is the appliance's business: it lets go of the server when it ends.
        command.process_group(0).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let process = command.spawn()?;
        self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(Server { control: Some(ours), process })
    }

    /// A job's socket, whose other end a child of the server has. A server that has ended is started again.
    fn connect(&self) -> Result<UnixStream, CompileError> {
        let failed = |error: io::Error| CompileError::Server(Arc::new(error));
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let lost = match server.as_ref() {
            Some(server) => hand_over(server, &theirs).is_err(),
            None => true,
        };
        if lost {
            // The old one first, so that it is waited for.
            *server = None;
            let fresh = self.spawn().map_err(|error| CompileError::Lost(Arc::new(error)))?;
            let fresh = server.insert(fresh);
            hand_over(fresh, &theirs).map_err(failed)?;
        }
        Ok(ours)
    }

    /// Has a module compiled: what was made, as `made.rs` reads it.
    pub(super) async fn run(&self, request: &Request, module: &[u8]) -> Result<Vec<u8>, CompileError> {
        match self.try_run(request, module).await {
            // It may have ended for a reason that is not this job: with a job it has nothing to do but to hand it on.
            Err(CompileError::Gone(_)) => self.try_run(request, module).await,
            done => done,
        }
    }

    async fn try_run(&self, request: &Request, module: &[u8]) -> Result<Vec<u8>, CompileError> {
        let failed = |error: io::Error| CompileError::Server(Arc::new(error));
        let head = request.encode(module.len()).map_err(failed)?;
        let socket = self.connect()?;
        socket.set_nonblocking(true).map_err(failed)?;
        let mut socket = tokio::net::UnixStream::from_std(socket).map_err(failed)?;
        let (from, mut to) = socket.split();
        let ask = async {
            // Whoever does not read to the end has something to say about it.
            if to.write_all(&head).await.is_ok() {
                let _ = to.write_all(module).await;
            }
        };
        let mut answer = Vec::new();
        let mut from = from.take(ANSWER_BYTES);
        let listen = from.read_to_end(&mut answer);
        let seconds = self.limits.wall_s();
        let longest = Duration::from_secs(seconds.into()) + GRACE;
        let both = async { tokio::join!(ask, listen).1 };
        match tokio::time::timeout(longest, both).await {
            Err(_) => return Err(CompileError::Time { seconds }),
            // A reset is an end too.
            Ok(Err(error)) if answer.is_empty() => return Err(CompileError::Gone(error.to_string())),
            Ok(_) => {}
        }
        self.judge(answer)
    }

    /// What a job came to.
    fn judge(&self, mut answer: Vec<u8>) -> Result<Vec<u8>, CompileError> {
        let Some((said, status)) = job::split_trailer(&answer) else { return Err(self.gone()) };
        let status = ExitStatus::from_raw(status);
        let Limits { mib, cpu_s } = self.limits;
        match status.signal() {
            None if status.success() => {}
            Some(libc::SIGXCPU) => return Err(CompileError::CpuTime { seconds: cpu_s }),
            Some(libc::SIGALRM) => return Err(CompileError::Time { seconds: self.limits.wall_s() }),
            Some(libc::SIGABRT) if contains(said, NO_MEMORY) => return Err(CompileError::Memory { mib }),
            _ => return Err(CompileError::Crashed(format!("{status}: {}", last_words(said)))),
        }
        match said.first() {
            Some(&REFUSED) => Err(CompileError::Refused(String::from_utf8_lossy(&said[1..]).into_owned())),
            Some(&MADE) => {
                let end = said.len();
                answer.truncate(end);
                answer.remove(0);
                Ok(answer)
            }
            _ => Err(CompileError::Answer(last_words(said))),
        }
    }

    /// The server ended, or could not make a child.
    fn gone(&self) -> CompileError {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let status = server.as_mut().and_then(|server| server.process.try_wait().ok().flatten());
        CompileError::Gone(match status {
            Some(status) => status.to_string(),
            None => "or could not make a process for the job".to_owned(),
        })
    }

    /// The process ID of the program, for tests; the server is its child.
    #[cfg(test)]
    pub(super) fn process_id(&self) -> u32 {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map_or(0, |server| server.process.id())
    }
}

fn hand_over(server: &Server, socket: &UnixStream) -> io::Result<()> {
    let Some(control) = &server.control else { return Err(io::ErrorKind::NotConnected.into()) };
    let sockets = [socket.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&sockets)];
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(control.as_raw_fd(), &[IoSlice::new(b"j")], &message, flags, None)?;
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The end of what somebody said, without what could do harm to a terminal.
fn last_words(said: &[u8]) -> String {
    let end = &said[said.len().saturating_sub(LAST_WORDS)..];
    end.trim_ascii().escape_ascii().to_string()
}
