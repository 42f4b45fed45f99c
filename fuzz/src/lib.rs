//! The stations between parser and deparser, compiled for fuzzing without DPDK and without the engine: the same files, so that
//! coverage counters are where hostile bytes go.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../appliance/src/frame.rs"]
pub mod frame;
#[path = "../../appliance/src/ids.rs"]
pub mod ids;
#[path = "../../appliance/src/observe/reason.rs"]
pub mod reason;
pub mod observe {
    pub use crate::reason::{self, DropReason};
}
#[path = "../../appliance/src/deparser/mod.rs"]
pub mod deparser;
#[path = "../../appliance/src/lambda/extract.rs"]
pub mod extract;
#[path = "../../appliance/src/local/mod.rs"]
pub mod local;
#[path = "../../appliance/src/matcher/mod.rs"]
pub mod matcher;
#[path = "../../appliance/src/message/gate.rs"]
pub mod message;
#[path = "../../appliance/src/outside/mod.rs"]
pub mod outside;
#[path = "../../appliance/src/parser/mod.rs"]
pub mod parser;
pub mod lambda {
    pub use crate::extract;
}

pub mod words;

use std::convert::Infallible;

use frame::{Checksum, ChecksumOffload, Frame};

/// A frame in memory, with room to grow.
pub struct Bytes {
    pub bytes: Vec<u8>,
    pub capacity: usize,
}

impl Frame for Bytes {
    type External = Infallible;

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn resize(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.capacity;
        if fits {
            self.bytes.resize(bytes, 0xA5);
        }
        fits
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn ip_checksum(&self) -> Checksum {
        Checksum::Unknown
    }

    fn l4_checksum(&self) -> Checksum {
        Checksum::Unknown
    }

    fn set_tx_offload(&mut self, _: Option<ChecksumOffload>) {}
}
