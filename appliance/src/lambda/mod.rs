//! Station 5, the code half: from a WebAssembly module to a call that takes tens of nanoseconds.
//!
//! [`verify`] judges the bytes before anything is compiled, [`Image`] is the compiled code, shared by all NPUs, and
//! [`Instance`] is one NPU's copy of the lambda's memory and globals. [`extract`] writes the header fields that the lambda sees.

mod engine;
pub mod extract;
mod image;
mod instance;
mod verify;

#[cfg(test)]
mod hostile;

pub use engine::{Engine, EngineError};
pub use image::{Image, PrepareError};
pub use instance::{Failure, Instance};
pub use verify::{Limits, Shape, VerifyError, verify};
