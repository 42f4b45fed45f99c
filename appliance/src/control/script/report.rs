//! What came of a script.

use std::path::PathBuf;

use serde::Serialize;

pub use super::payload::Difference;

/// What came of a script.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its file.
    pub path: PathBuf,
    /// Its packets, in order.
    pub packets: Vec<PacketReport>,
    /// What services were not asked: the line, and what to say of it.
    pub unasked: Vec<(usize, String)>,
}

/// What came of a packet.
#[derive(Clone, Debug)]
pub struct PacketReport {
    /// Its line in the file.
    pub line: usize,
    /// What the script calls it.
    pub name: String,
    /// Fuel that the lambda used for it.
    pub fuel: u64,
    /// Times that the lambda ran.
    pub invocations: u64,
    /// What went wrong, if something did.
    pub trouble: Option<Trouble>,
    /// Every frame, for people; empty unless asked for.
    pub trace: Vec<String>,
}

/// What is different from what a script says.
#[derive(Clone, Debug, Serialize)]
pub struct Trouble {
    /// Which one, of a packet that is sent several times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
    /// What was sent.
    pub sent: Vec<String>,
    /// What was to come.
    pub expected: Vec<String>,
    /// What came.
    pub got: Vec<String>,
    /// What is different in it.
    pub differences: Vec<Difference>,
    /// What else is known.
    pub notes: Vec<String>,
}

impl Report {
    /// Packets that came out as the script says.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.packets.iter().filter(|packet| packet.trouble.is_none()).count()
    }

    /// Packets that did not, and services that were asked too seldom.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.packets.len() - self.passed() + self.unasked.len()
    }
}
