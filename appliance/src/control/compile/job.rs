//! What a job is, and how it goes to a child of the compile server and back: over a socket of its own.
//!
//! ```text
//! request   │ bytes of head: u32 │ bytes of module: u32 │ head │ module │
//! answer    │ 0 │ made: see `made.rs` │   or   │ 1 │ why not: text │   or, if the child died, what it had to say
//! trailer   │ status of the child, as the system has it: i32 │ mark │       written by the server once the child has ended
//! ```

use std::io::{self, Read};

use lnic_compiler::placement::{Concurrency, LayoutWish};
use lnic_registry::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::control::appliance::{Bounds, Wishes};
use crate::lambda;
use crate::memory::TierBytes;

/// Most bytes of an answer: far more than the largest module makes.
pub(super) const ANSWER_BYTES: u64 = 256 << 20;
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Ends a trailer.
const MARK: [u8; 4] = *b"ends";
/// First byte of an answer with code.
pub(super) const MADE: u8 = 0;
/// First byte of an answer with text.
pub(super) const REFUSED: u8 = 1;

/// What a job may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) mib: u32,
    pub(super) cpu_s: u32,
}

impl Limits {
    /// Seconds after which a job is given up whatever it does: lcores that poll leave it a part of a CPU.
    pub(super) const fn wall_s(self) -> u32 {
        self.cpu_s.saturating_mul(4).saturating_add(5)
    }
}

/// What is to be compiled, but for the module itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Request {
    entry: String,
    concurrency: String,
    layout: String,
    npus: u32,
    islands: u32,
    in_flight: u32,
    slots: Option<(u32, u32)>,
    tier_bytes: [u64; 4],
    module_bytes: u64,
    memory_bytes: u64,
    table_elements: u64,
    functions: u32,
    function_bytes: u64,
    /// Something else is to be done instead, to see whether the sandbox holds.
    #[cfg(test)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probe: Option<super::tests::Probe>,
}

impl Request {
    pub(super) fn new(entry: &str, wishes: &Wishes, bounds: &Bounds) -> Self {
        let limits = &bounds.limits;
        Self {
            entry: entry.to_owned(),
            concurrency: wishes.concurrency.name().to_owned(),
            layout: wishes.layout.name().to_owned(),
            npus: wishes.npus,
            islands: wishes.islands,
            in_flight: wishes.in_flight,
            slots: wishes.slots,
            tier_bytes: bounds.tier_bytes.0,
            module_bytes: limits.module_bytes as u64,
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            functions: limits.functions,
            function_bytes: limits.function_bytes as u64,
            #[cfg(test)]
            probe: None,
        }
    }

    pub(super) fn entry(&self) -> &str {
        &self.entry
    }

    /// `None` if a word is none of ours.
    pub(super) fn wishes(&self) -> Option<Wishes> {
        Some(Wishes {
            concurrency: Concurrency::ALL.into_iter().find(|known| known.name() == self.concurrency)?,
            layout: LayoutWish::ALL.into_iter().find(|known| known.name() == self.layout)?,
            npus: self.npus,
            islands: self.islands,
            in_flight: self.in_flight,
            slots: self.slots,
        })
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            tier_bytes: TierBytes(self.tier_bytes),
            limits: lambda::Limits {
                module_bytes: usize::try_from(self.module_bytes).unwrap_or(usize::MAX),
                memory_bytes: self.memory_bytes,
                table_elements: self.table_elements,
                functions: self.functions,
                function_bytes: usize::try_from(self.function_bytes).unwrap_or(usize::MAX),
            },
        }
    }

    /// What goes to the child, but for the module.
    pub(super) fn encode(&self, module_bytes: usize) -> io::Result<Vec<u8>> {
        let head = serde_json::to_vec(self)?;
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let mut bytes = Vec::with_capacity(8 + head.len());
        bytes.extend_from_slice(&u32::try_from(head.len()).map_err(too_long)?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(module_bytes).map_err(too_long)?.to_le_bytes());
        bytes.extend_from_slice(&head);
        Ok(bytes)
    }

    /// A request and its module.
    pub(super) fn read(from: &mut impl Read) -> io::Result<(Self, Vec<u8>)> {
        let mut lengths = [[0; 4]; 2];
        for length in &mut lengths {
            from.read_exact(length)?;
        }
        let [head_bytes, module_bytes] = lengths.map(|length| u32::from_le_bytes(length) as usize);
        if head_bytes > HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut head = vec![0; head_bytes];
        from.read_exact(&mut head)?;
        let request: Self = serde_json::from_slice(&head)?;
        if module_bytes as u64 > request.module_bytes {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut module = vec![0; module_bytes];
        from.read_exact(&mut module)?;
        Ok((request, module))
    }
}

/// Names what a job makes: whatever its result depends on but this program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(module: &Digest, request: &Request) -> Self {
        let mut hash = Sha256::new();
        hash.update(module.bytes());
        // Fields in their order, each with its name: no two requests are the same text.
        hash.update(serde_json::to_vec(request).unwrap_or_default());
        Self(hash.finalize().into())
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A name for a file.
    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the server adds when the child has ended.
pub(super) fn trailer(status: i32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&status.to_le_bytes());
    bytes[4..].copy_from_slice(&MARK);
    bytes
}

/// What the child said, and how it ended; `None` if the server did not say.
pub(super) fn split_trailer(answer: &[u8]) -> Option<(&[u8], i32)> {
    let (rest, mark) = answer.split_last_chunk::<4>()?;
    let (said, status) = rest.split_last_chunk::<4>()?;
    (*mark == MARK).then(|| (said, i32::from_le_bytes(*status)))
}
