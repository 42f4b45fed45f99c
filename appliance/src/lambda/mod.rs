//! Station 5, the code half: from a WebAssembly module to a call that takes tens of nanoseconds.
//!
//! [`verify`] judges the bytes before anything is compiled, [`Artifact`] is the compiled code as bytes, [`Image`] the same
//! loaded, shared by all NPUs, and [`Instance`] is one NPU's copy of the lambda's globals, with a memory that comes from its
//! [`Seat`](crate::memory::Seat). [`extract`] writes the header fields that the lambda sees, [`HostSide`] is what it may call,
//! [`calibrate`] turns microseconds into fuel.

mod artifact;
pub mod calibrate;
mod code;
mod cost;
mod engine;
mod environment;
pub mod extract;
mod fiber;
mod host;
mod image;
mod instance;
mod linear;
mod seal;
mod verify;
mod writable;

#[cfg(test)]
mod hostile;

pub use artifact::Artifact;
pub use engine::{Engine, EngineError};
pub use environment::Environment;
pub use fiber::{Answer, PendingCall, Target};
pub use host::{HostSide, LogLine};
pub use image::{Image, LoadedCode, PrepareError, WeakCode, WeakImage};
pub use instance::{Failure, Instance, Io, Run};
pub use seal::{ArtifactKey, TAG_BYTES, Vouched};
pub use verify::{Limits, Shape, VerifyError, verify};
