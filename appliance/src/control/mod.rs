//! Beside the path: configuration, start-up, statistics. Runs on the main lcore's thread, never on a polling one.

pub mod appliance;
pub mod build;
pub mod config;
pub mod inspect;
pub mod server;
pub mod stats;
pub mod topology;
