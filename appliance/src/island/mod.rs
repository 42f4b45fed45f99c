//! Station 5: the workers, and which lambdas may run at all.

mod npu;
mod quarantine;

pub use npu::{Budget, CallTask, Context, Loaded, Npu, Outcome, Task};
pub use quarantine::{Quarantine, State};
