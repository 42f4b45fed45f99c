//! An appliance on simulated ports, and hand-made frames to send it.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses its own part")]

pub mod arrangements;
pub mod caller;
pub mod capture;
pub mod deployed;
pub mod fleet;
pub mod frames;
pub mod functions;
pub mod lab;
pub mod messages;
pub mod outside;
pub mod plane;
