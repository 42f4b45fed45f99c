//! Memory stratification (λ-NIC, section IV-B): decides where each object lives and who may run the lambda at once.
//!
//! **Meaning comes first.** A variable stays one object for all NPUs that run the lambda, unless its author marked it `.local`, of
//! which each NPU has one. Constants may be copied anywhere. Who may run at once follows:
//!
//! | variables | runs on |
//! |---|---|
//! | none, or only `.local` ones | any NPU |
//! | all accesses are atomic, or the manifest says `shared` | any NPU; they lie in memory that all NPUs see |
//! | others | one NPU at a time |
//!
//! **Then cost.** Each object may go to some tiers; the explicit section of its author leaves one. An object costs
//! `reads × read_ns + writes × write_ns` of its tier a run, with reads and writes weighted by loops. Those that gain most for
//! each byte choose first, as far as the quotas reach: a greedy knapsack, optimal but for the last object of a tier.

mod choice;
mod model;

#[cfg(test)]
mod tests;

pub use choice::{Placed, Why, place};
pub use model::{CostModel, ObjectFacts};

use crate::Tier;

/// What the manifest says about who may run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Concurrency {
    /// What follows from the variables.
    #[default]
    Auto,
    /// One NPU at a time.
    Pinned,
    /// All NPUs, on the same variables: the author takes care of races.
    Shared,
    /// All NPUs, each with variables of its own.
    Replicated,
}

impl Concurrency {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Pinned, Self::Shared, Self::Replicated];

    /// The word of configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pinned => "pinned",
            Self::Shared => "shared",
            Self::Replicated => "replicated",
        }
    }
}

/// What the manifest says about the layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LayoutWish {
    /// Dense unless something has to be shared or is too large.
    #[default]
    Auto,
    /// One slice for each instance.
    Dense,
    /// A window for each tier.
    Windows,
}

impl LayoutWish {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Dense, Self::Windows];

    /// The word of configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Dense => "dense",
            Self::Windows => "windows",
        }
    }
}

/// How a memory is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One slice for each instance, in this tier; objects in it by heat.
    Dense(Tier),
    /// A window for each tier.
    Windows,
}

/// Who may run the lambda at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// All NPUs of its islands.
    Anywhere,
    /// One NPU at a time.
    OnOneNpu,
}

/// What is asked for a lambda.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who may run at once.
    pub concurrency: Concurrency,
    /// The layout.
    pub layout: LayoutWish,
    /// NPUs that may run it.
    pub npus: u32,
    /// Islands that these belong to.
    pub islands: u32,
    /// Requests of it that may be under way on one NPU, each in an instance, if variables do not forbid it.
    pub in_flight: u32,
    /// Bytes that the lambda may have in each tier, by [`Tier::index`]; in Local, of each instance.
    pub quota_bytes: [u64; 4],
    /// Largest dense memory, bytes.
    pub dense_bytes: u64,
    /// Bytes of stack and I/O area.
    pub own_bytes: u64,
    /// What accesses cost.
    pub model: CostModel,
}

/// Where everything of a lambda goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Who may run it.
    pub runs: Runs,
    /// Why.
    pub because: Because,
    /// The layout.
    pub layout: Layout,
    /// For each object, in the module's order.
    pub objects: Vec<Placed>,
    /// Objects by heat, those first that are accessed most for each byte.
    pub order: Vec<usize>,
    /// What a run's accesses to objects cost by the model, in ns.
    pub cost_ns: f64,
    /// The same if every object that may be were in EMEM: a memory that is not stratified.
    pub flat_cost_ns: f64,
}

/// Why a lambda runs where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The manifest says so.
    Manifest,
    /// Nothing of it outlives a run, but what is `.local`.
    NoVariables,
    /// All variables are accessed by atomics only.
    Atomics,
    /// This variable is written, and not by atomics only.
    Variable(String),
    /// It has variables that are no objects in memory: WebAssembly globals, or tables that change.
    Globals,
}

/// Why a lambda cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A dense memory belongs to one instance.
    #[error(
        "\"{object}\" is written, and a dense memory is one instance's own while {instances} would run the lambda: \
         say layout = \"windows\" or concurrency = \"pinned\", or mark it LOCAL"
    )]
    DenseShared {
        /// The variable.
        object: String,
        /// Instances that would run it.
        instances: u32,
    },
    /// A dense memory is too small for it.
    #[error(
        "{bytes} bytes, over the {limit} of a dense memory; the largest object is \"{object}\": say layout = \"windows\""
    )]
    DenseSize {
        /// Bytes of the memory.
        bytes: u64,
        /// Most that a dense one has.
        limit: u64,
        /// The largest object.
        object: String,
    },
    /// The module tells too little to share its variables.
    #[error("its variables cannot be shared: {0}")]
    NotMovable(&'static str),
    /// The author's section contradicts what the object is.
    #[error("\"{object}\" is in section \".{tier}\", but {why}")]
    Section {
        /// The object.
        object: String,
        /// The tier that it asks for.
        tier: Tier,
        /// Why it cannot be there.
        why: &'static str,
    },
    /// It does not fit.
    #[error("\"{object}\", {bytes} bytes, does not fit into {tiers}: {used}")]
    Quota {
        /// The object.
        object: String,
        /// Its bytes.
        bytes: u64,
        /// Tiers that it may be in.
        tiers: String,
        /// What is used of each, of how much.
        used: String,
    },
}
