//! An appliance on simulated ports, and hand-made frames to send it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod capture;
pub mod frames;
pub mod lab;
