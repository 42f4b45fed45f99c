//! An artifact's file: what a job made, sealed.
//!
//! ```text
//! │ magic: 8 │ format: u32 │ program: 32 │ key: 32 │ made: see `made.rs` │ HMAC-SHA256 of all before: 32 │
//! ```
//!
//! `program` stands for this program and for everything of the machine that compiled code depends on, `key` for what was compiled and how.
//! Nothing behind the magic is looked at before the seal is found to be whole.

use std::fs;
use std::hash::{Hash as _, Hasher};
use std::os::unix::fs::MetadataExt as _;

use sha2::{Digest as _, Sha256};

use super::job::Key;
use super::made;
use crate::control::appliance::Made;
use crate::lambda::{ArtifactKey, Engine, TAG_BYTES};

/// What a file begins with.
const MAGIC: [u8; 8] = *b"lnic-art";
/// Grows with each change of the format.
const FORMAT: u32 = 1;
/// Bytes before what was made.
pub(super) const HEADER_BYTES: usize = 8 + 4 + 32 + 32;

/// Why a file is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("it is no artifact")]
    NoArtifact,
    #[error("it was cut off, changed, or sealed with another key")]
    NotSealed,
    #[error("it was made by another version of the program, or on another machine")]
    OtherProgram,
    #[error("it is another lambda's")]
    OtherKey,
    #[error("{0}")]
    Malformed(String),
}

/// What compiled code depends on besides the module and the wishes: the program, its engine with all settings, and the CPU's features.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Program([u8; 32]);

impl Program {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut hash = Hashed(Sha256::new());
        env!("CARGO_PKG_VERSION").hash(&mut hash);
        engine.compatibility().hash(&mut hash);
        // A program that was built again is another one, whatever its version says.
        if let Ok(file) = fs::metadata("/proc/self/exe") {
            (file.len(), file.mtime(), file.mtime_nsec()).hash(&mut hash);
        }
        Self(hash.0.finalize().into())
    }
}

/// SHA-256 for what can be hashed.
struct Hashed(Sha256);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Seals what a job made. This is where the appliance decides to believe it: `made` comes from our own compile process, which had
/// nothing but the key's module to make it of.
pub(super) fn seal(seal: &ArtifactKey, program: &Program, key: &Key, made: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + made.len() + TAG_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&program.0);
    bytes.extend_from_slice(key.bytes());
    bytes.extend_from_slice(made);
    seal.seal(&mut bytes);
    bytes
}

/// What was sealed, if it was sealed by us, by this program, under this key.
pub(super) fn open(seal: &ArtifactKey, program: &Program, key: &Key, file: &[u8]) -> Result<Made, Rejected> {
    if !file.starts_with(&MAGIC) {
        return Err(Rejected::NoArtifact);
    }
    let sealed = seal.open(file).ok_or(Rejected::NotSealed)?;
    let (header, made) = sealed.split_at(HEADER_BYTES).ok_or(Rejected::NotSealed)?;
    let header = header.bytes();
    if header[8..12] != FORMAT.to_le_bytes() || header[12..44] != program.0 {
        return Err(Rejected::OtherProgram);
    }
    if header[44..] != *key.bytes() {
        return Err(Rejected::OtherKey);
    }
    made::decode(made).map_err(Rejected::Malformed)
}

#[cfg(test)]
impl Program {
    /// One that differs.
    pub(super) fn other(self) -> Self {
        Self(self.0.map(|byte| !byte))
    }
}
