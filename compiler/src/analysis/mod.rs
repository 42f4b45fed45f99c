//! Who touches which memory: an abstract interpreter over a lambda's code.
//!
//! ```text
//! code: steps ─► engine: contexts, until nothing changes ─► report: objects, headers, sites
//!                 └ execute: a body ─► effect: a step ─► value, stack, contents
//! ```
//!
//! Every function is interpreted once for each chain of calls that leads to it, so that a `memcpy` does not mix up its callers.
//! The shadow stack is followed slot by slot; of other memory it is known what pointers each object may hold.
//!
//! What is reported as touched is all that can be touched, in any run, if the program keeps to what C defines:
//! - Arithmetic on a pointer stays in the object that it points into. (An object may be moved away from its neighbours for the same
//!   reason.)
//! - What is not derived from an object's address is no address of it. Deriving may go through memory, bytes, bit operations.
//! - The null pointer is not accessed, and what was never stored is not used.
//!
//! Where an address cannot be followed at all, the access counts as one of everything, and is listed with the reason.
//!
//! Work is bounded by [`Options`]: beyond it everything counts as touched, and [`Analysis::incomplete`] says why.

mod code;
mod contents;
mod context;
mod effect;
mod engine;
mod execute;
mod interval;
mod report;
mod stack;
mod step;
mod value;

use std::fmt;
use std::ops::Range;

use lnic_abi as abi;
use wasmparser::ValType;

use crate::header_use::HeaderUse;
use crate::module::Module;
use code::Code;
use engine::{Engine, Stop};
use value::{Region, Value};

/// Bounds of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Operators that are visited, and values that are copied or compared.
    pub work: u64,
    /// Functions times ways to call them; beyond these a function has one context for all its callers.
    pub contexts: usize,
    /// Calls within calls that have contexts of their own.
    pub call_depth: usize,
    /// Times that everything is interpreted again because something was learnt.
    pub rounds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { work: 5_000_000, contexts: 4_000, call_depth: 32, rounds: 100 }
    }
}

/// Why a module was not analysed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnalysisError {
    /// Not a module that a deployment would accept.
    #[error("not a valid module: {0}")]
    Invalid(String),
    /// Nobody knows what it does.
    #[error("imports \"{0}\", which is not known")]
    Import(String),
    /// There is no such entry.
    #[error("does not export \"{name}\" as a function {expected}")]
    Entry {
        /// Its name.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
}

/// Why everything counts as touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// Too much work.
    #[error("more than {0} steps of analysis")]
    Work(u64),
    /// It went on changing.
    #[error("more than {0} rounds of analysis")]
    Rounds(u32),
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// By the object's place in [`Module::objects`].
    pub objects: Vec<ObjectUse>,
    /// Header bytes of all entries together.
    pub headers: HeaderUse,
    /// Match data of all entries together.
    pub match_data: MatchDataUse,
    /// The entries that were asked for, then `init` if there is one.
    pub entries: Vec<EntryUse>,
    /// Functions that can be reached, by their index.
    pub functions: Vec<FunctionUse>,
    /// Places in the code that touch memory, by position.
    pub sites: Vec<Site>,
    /// Everything counts as touched, because of this.
    pub incomplete: Option<Incomplete>,
    /// What the analysis took, in units of [`Options::work`].
    pub work: u64,
}

impl Analysis {
    /// Sites that could not be followed.
    pub fn unattributed(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter().filter(|site| site.lost.is_some())
    }
}

/// How an object is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectUse {
    /// Reads of one invocation, a loop counted ten times; of several entries the most. `init` does not count.
    pub reads: f64,
    /// Writes, likewise.
    pub writes: f64,
    /// It is touched, and only by atomic operators.
    pub atomic_only: bool,
    /// Something may write it, `init` included.
    pub written: bool,
    /// Its address may be stored in memory other than the stack, or be in data.
    pub address_escapes: bool,
    /// Entries that may touch it, by their place in [`Analysis::entries`].
    pub entries: Vec<usize>,
    /// Those that may write it.
    pub writers: Vec<usize>,
}

/// A set of bytes of `MATCH_DATA_T`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchDataBytes(u128);

/// Bytes of `MATCH_DATA_T`.
pub const MATCH_DATA_BYTES: usize = size_of::<abi::MatchData>();

impl MatchDataBytes {
    /// Every byte.
    #[must_use]
    pub fn all() -> Self {
        Self((1 << MATCH_DATA_BYTES) - 1)
    }

    /// Adds a range; what lies behind match data is left out.
    pub fn insert(&mut self, bytes: Range<usize>) {
        for at in bytes.start..bytes.end.min(MATCH_DATA_BYTES) {
            self.0 |= 1 << at;
        }
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// True if it has this byte.
    #[must_use]
    pub fn contains(&self, at: usize) -> bool {
        at < MATCH_DATA_BYTES && self.0 >> at & 1 != 0
    }
}

/// Bytes of match data that may be touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchDataUse {
    /// They may be read.
    pub read: MatchDataBytes,
    /// They may be written.
    pub written: MatchDataBytes,
}

/// What one entry does.
#[derive(Clone, Debug)]
pub struct EntryUse {
    /// Its export.
    pub name: String,
    /// It is `init`, which runs once.
    pub is_init: bool,
    /// Header bytes that it may touch.
    pub headers: HeaderUse,
    /// Bytes of match data that it may touch.
    pub match_data: MatchDataUse,
    /// It may read the payload.
    pub reads_payload: bool,
    /// It may write the payload.
    pub writes_payload: bool,
    /// Most bytes of stack that its functions take; `None` if there is no bound.
    pub stack_bytes: Option<u64>,
    /// It may call other lambdas.
    pub calls_lambdas: bool,
    /// It may write to the log.
    pub logs: bool,
    /// It may call functions through a table.
    pub calls_through_tables: bool,
    /// Some function of it may call itself.
    pub is_recursive: bool,
    /// Functions that it may reach, by their place in [`Analysis::functions`].
    pub functions: Vec<usize>,
    /// Operators of one invocation, a loop counted ten times, all branches taken.
    pub operators: f64,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionUse {
    /// Its index in the module.
    pub index: u32,
    /// Its name, if the module has it.
    pub name: String,
    /// Bytes of its code.
    pub code_bytes: usize,
    /// Ways to call it that were told from one another.
    pub contexts: usize,
}

/// What can be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An object, by its place in [`Module::objects`].
    Object(usize),
    /// One of the objects, not known which.
    AnyObject,
    /// `EXTRACTED_HEADERS_T`.
    Headers,
    /// `MATCH_DATA_T`.
    MatchData,
    /// The message.
    Payload,
    /// The stack; offsets count from the stack pointer that the entry begins with, so they are negative.
    Stack,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What.
    pub place: Place,
    /// Bytes of it, counted from its start; `None` if it may be any.
    pub bytes: Option<Range<i64>>,
}

/// Why an access could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Its address is a number that was not derived from an object.
    Number,
    /// Its address was itself loaded from memory that could not be followed.
    Unknown,
    /// It lies outside of what its address points into.
    Outside,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "its address is a number that no object's address went into",
            Self::Unknown => "its address was loaded from memory that could not be followed",
            Self::Outside => "it lies outside of the object that its address points into",
        })
    }
}

/// A place in the code that touches memory: an operator, or a call of the host with a pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Name of its function.
    pub function: String,
    /// Where in the module's file its operator begins.
    pub position: usize,
    /// The operator, as the specification names it.
    pub operator: String,
    /// It may read its targets.
    pub reads: bool,
    /// It may write them.
    pub writes: bool,
    /// It is atomic.
    pub is_atomic: bool,
    /// What it may touch; everything if it is lost.
    pub targets: Vec<Target>,
    /// Why it could not be followed, if so.
    pub lost: Option<Lost>,
}

/// Finds out what these entries of a lambda touch, and `init`. `entries` are exports `(i32 headers, i32 match_data) -> i32`.
pub fn analyse(module: &Module<'_>, entries: &[&str], options: Options) -> Result<Analysis, AnalysisError> {
    let code = Code::read(module)?;
    let mut names: Vec<&str> = entries.iter().copied().filter(|name| *name != abi::EXPORT_INIT).collect();
    let mut roots = Vec::new();
    let pointers = [Value::pointer(Region::Headers, 0), Value::pointer(Region::MatchData, 0)];
    for name in &names {
        let function = find(&code, name, &[ValType::I32; 2], &[ValType::I32], "(i32, i32) -> i32")?;
        roots.push((function, pointers.to_vec()));
    }
    if code.exported(abi::EXPORT_INIT).is_some() {
        roots.push((find(&code, abi::EXPORT_INIT, &[], &[], "() -> ()")?, Vec::new()));
        names.push(abi::EXPORT_INIT);
    }
    let mut engine = Engine::new(module, code, options);
    match engine.run(&roots) {
        Ok(contexts) => Ok(report::complete(&engine, &names, &contexts)),
        Err(Stop::Incomplete(why)) => Ok(report::incomplete(&engine, &names, why)),
        Err(Stop::Error(error)) => Err(error),
    }
}

fn find(
    code: &Code<'_>,
    name: &str,
    parameters: &[ValType],
    results: &[ValType],
    expected: &'static str,
) -> Result<u32, AnalysisError> {
    let found = code.exported(name).filter(|&function| {
        function as usize >= code.imports.len()
            && code.signature(function).is_some_and(|it| it.params() == parameters && it.results() == results)
    });
    found.ok_or_else(|| AnalysisError::Entry { name: name.to_owned(), expected })
}
