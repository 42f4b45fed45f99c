//! Packet scripts: what a lambda is sent, and what has to come of it, in TOML files beside its code.
//!
//! ```text
//! raw ─► judge ─► Script ─► run ─► Report
//!                            │
//!          caller, network ◄─┴─► simulation: the real path on simulated ports, virtual time
//! ```
//!
//! [`read`] takes a file apart and finds every mistake in it, with its line. [`play`] deploys the lambda in a simulated appliance, as the
//! real one would, sends the script's packets one after the other, and says what is different from what the script expects. Each script
//! begins with a fresh lambda; within one, state carries over. Time stands still unless a script lets it pass, or something waits for it.
//! `lambdas/sdk/README.md` describes the format.

mod caller;
mod compare;
mod decode;
mod frame;
mod judge;
mod network;
mod payload;
mod raw;
mod report;
mod run;
mod simulation;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use judge::{Companion, Script};
pub use report::{Difference, PacketReport, Report, Trouble};
pub use run::play;
pub use simulation::Bench;

use crate::control::appliance::DeployError;
use crate::control::config::{self, Problems};
use crate::control::plane::Manifest;
use crate::lambda::PrepareError;

/// Folder of the scripts, beside a lambda's code.
pub const FOLDER: &str = "tests";
/// Longest script.
const SCRIPT_BYTES: u64 = 16 << 20;

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file.
    #[error("packet script {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It says what cannot be.
    #[error(transparent)]
    Invalid(#[from] config::Error),
    /// No appliance would take the lambda as the script deploys it.
    #[error("{}", .0.join("\n"))]
    Manifest(Vec<String>),
    /// The code of a lambda.
    #[error("lambda \"{name}\": {source}")]
    Prepare {
        /// Its name.
        name: String,
        /// What is wrong.
        source: Box<PrepareError>,
    },
    /// It cannot be deployed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The means that control has.
    #[error("simulated appliance: {0}")]
    System(std::io::Error),
    /// The simulated appliance has nobody to work for it.
    #[error("simulated appliance: no lcore")]
    NoLcore,
    /// Frames go round in it without an end.
    #[error("simulated appliance: does not come to rest")]
    Restless,
    /// All buffers are taken, or none is large enough.
    #[error("simulated appliance: no buffer for a frame of {bytes} bytes")]
    Buffers {
        /// Bytes of the frame.
        bytes: usize,
    },
}

/// A lambda, ready to be deployed.
#[derive(Clone, Debug)]
pub struct Module {
    /// What its author says, with a name and an entry.
    pub manifest: Manifest,
    /// Its code.
    pub wasm: Vec<u8>,
}

/// Reads a script for a lambda with this manifest. All mistakes at once, each with its line.
///
/// # Errors
/// The file cannot be read, or says what cannot be.
pub fn read(path: &Path, manifest: &Manifest) -> Result<Script, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > SCRIPT_BYTES {
        return Err(failed(std::io::Error::other(format!("{bytes} bytes: at most {SCRIPT_BYTES}"))));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    from_text(&text, path, manifest)
}

/// The script that a text holds; `path` is where it comes from, for people and for the files that it names.
///
/// # Errors
/// It says what cannot be.
pub fn from_text(text: &str, path: &Path, manifest: &Manifest) -> Result<Script, Error> {
    let mut problems = Problems::new(text);
    let script = judge::judge(text, path, manifest, &mut problems);
    let problems = problems.into_sorted();
    if problems.is_empty() {
        return Ok(script);
    }
    Err(config::Error::Invalid { path: path.into(), problems }.into())
}
