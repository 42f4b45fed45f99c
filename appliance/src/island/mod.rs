//! Station 5: the workers.

mod npu;

pub use npu::{Npu, Outcome, Task};
