//! Station 3b: messages. A λ-RPC datagram to this appliance is judged here before a lambda may see it.

pub mod copy;
mod gate;
pub mod slots;

pub use gate::{Gate, SlotRef, Terms, judge};
