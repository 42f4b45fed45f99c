//! What a lambda's linear memory is made of.

use std::fmt;
use std::sync::Arc;

/// A memory of the card (λ-NIC, section II-B), stood for by a region of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// An NPU's own.
    Local,
    /// An island's: cluster target memory.
    Ctm,
    /// All islands': internal memory, for what is read more than written.
    Imem,
    /// All islands': external memory, large.
    Emem,
}

impl Tier {
    /// All of them, nearest first.
    pub const ALL: [Self; 4] = [Self::Local, Self::Ctm, Self::Imem, Self::Emem];

    /// Its place in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in configurations, sections and messages: `local`, `ctm`, `imem`, `emem`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ctm => "ctm",
            Self::Imem => "imem",
            Self::Emem => "emem",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who sees the same bytes in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sharing {
    /// Nobody else: each instance has its own.
    Instance,
    /// The instances on one NPU.
    Npu,
    /// The instances on the NPUs of one island.
    Island,
    /// All instances.
    All,
}

/// A range of a lambda's linear memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where its bytes lie.
    pub tier: Tier,
    /// Who sees the same bytes.
    pub sharing: Sharing,
    /// Its bytes, a multiple of 4,096.
    pub bytes: u64,
}

/// Bytes that a memory begins with; where none are said it begins with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialData {
    /// Address in linear memory.
    pub address: u32,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

/// What a lambda's linear memory is made of: windows side by side from address 0, without gaps, so that no access within the
/// memory's bounds can fault, not even a bulk one (`memory.fill`, `memory.copy`) that runs in the host.
///
/// One window of its own is the *dense* layout; a memory of several is the *windows* layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// In the order of addresses; the first is [`Sharing::Instance`] and holds stack and I/O area.
    pub windows: Vec<Window>,
    /// For the windows layout, whose module has no data segments: a segment runs for every instance and would overwrite what
    /// others share. Empty for the dense one.
    pub initial: Vec<InitialData>,
}

impl MemoryPlan {
    /// The dense layout.
    #[must_use]
    pub fn dense(tier: Tier, bytes: u64) -> Self {
        Self { windows: vec![Window { tier, sharing: Sharing::Instance, bytes }], initial: Vec::new() }
    }

    /// Is it one slice of its own?
    #[must_use]
    pub fn is_dense(&self) -> bool {
        matches!(self.windows.as_slice(), [Window { sharing: Sharing::Instance, .. }])
    }

    /// Bytes of the whole memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.windows.iter().map(|window| window.bytes).sum()
    }
}
