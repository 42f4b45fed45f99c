//! What happened: drop reasons and per-lcore counters. Plain data, summed by the control plane.

pub mod counters;
pub mod histogram;
pub mod reason;

pub use reason::DropReason;
