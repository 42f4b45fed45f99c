//! Why a module is not compiled.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a module is not compiled. Cheap to clone: everybody who waits for the same job gets it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CompileError {
    /// The module is no lambda, or cannot be deployed like this.
    #[error("{0}")]
    Refused(String),
    /// Compiling it takes more memory than it may.
    #[error("compiling it takes more than {mib} MiB of memory: see compile_mib in [control]")]
    Memory {
        /// The limit.
        mib: u32,
    },
    /// Compiling it takes more CPU time than it may.
    #[error("compiling it takes more than {seconds} s of CPU time: see compile_s in [control]")]
    CpuTime {
        /// The limit.
        seconds: u32,
    },
    /// It was not compiled within the time that follows from the limit of CPU time: the machine is busy.
    #[error("compiling it took longer than {seconds} s: the machine has too little CPU time left")]
    Time {
        /// How long was waited.
        seconds: u32,
    },
    /// The compiler did not survive it.
    #[error("the compiler failed on it: {0}")]
    Crashed(String),
    /// The module is another than the digest says.
    #[error("the module is not the one with the digest {0}")]
    OtherModule(lnic_registry::Digest),
    /// The process that compiles is not there.
    #[error("compile server: {0}")]
    Server(Arc<io::Error>),
    /// It has ended, and cannot be started again: a confined appliance starts no programs.
    #[error(
        "compile server: it has ended and cannot be started again: {0}; what is not compiled yet waits for a restart"
    )]
    Lost(Arc<io::Error>),
    /// It ended while it worked.
    #[error("compile server: it ended, {0}")]
    Gone(String),
    /// It answered something that makes no sense.
    #[error("compile server: answer: {0}")]
    Answer(String),
    /// The folder for compiled code, or its key.
    #[error("{}: {source}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: Arc<io::Error>,
    },
}

impl CompileError {
    /// The module is to blame: it will fare the same the next time.
    #[must_use]
    pub fn is_the_modules_fault(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Memory { .. } | Self::CpuTime { .. } | Self::Crashed(_))
    }
}
