//! `lnic` is a SmartNIC in software: packets are matched to small sandboxed functions, *lambdas*, and run within microseconds
//! of the wire. It is λ-NIC's Match+Lambda machine (Choi et al., ICDCS'20) without the card.
//!
//! # The packet's journey
//!
//! ```text
//!  port.rx ─► parser ─► local ─► message ─► matcher ─► dispatcher ─► NPU: lambda ─► deparser ─► port.tx
//!               │         │         │          │            │             │
//!               └─────────┴─ drop with a named reason, or ──┴─ host port ─┘
//!  control: beside the path; builds immutable tables, reads counters back
//! ```
//!
//! | station | module | what happens |
//! |---|---|---|
//! | 1 | [`port`] | a burst of [`frame`]s is polled from one queue: DPDK, simulation or capture file |
//! | 2 | [`parser`] | bytes become offsets and a key; lengths and checksums are verified |
//! | 2b | [`local`] | ARP, neighbour discovery and echo for the port's own addresses are answered |
//! | 3 | [`matcher`] | the key finds a rule: the only way to invoke a lambda |
//! | 3b | [`message`] | λ-RPC: is this a request that can run |
//! | 4 | [`dispatcher`] | requests wait in weighted fair order; an NPU is chosen for each |
//! | 4b | [`handoff`] | a request goes to another lcore as a job, and comes back done |
//! | 4c | [`outside`] | lambdas ask services on the network, and wait |
//! | 5 | [`island`], [`lambda`] | an NPU runs the lambda in its sandbox, to completion, within its budget |
//! | 5 | [`memory`] | the card's tiers, which lambdas' memories are made of |
//! | 6 | [`deparser`] | headers and payload become bytes again, with lengths and checksums |
//!
//! [`path`] joins the stations: read it first. [`breath`] drives it on each lcore, [`observe`] counts, [`control`] starts it
//! all and answers questions. ARCHITECTURE.md says who may import whom, and a test holds it.

pub mod breath;
pub mod cli;
pub mod control;
pub mod deparser;
pub mod dispatcher;
pub mod frame;
pub mod handoff;
pub mod ids;
pub mod island;
pub mod lambda;
pub mod local;
pub mod matcher;
pub mod memory;
pub mod message;
pub mod observe;
pub mod outside;
pub mod parser;
pub mod path;
pub mod port;
