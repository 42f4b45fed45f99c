//! Beside the path: configuration, start-up, statistics. Runs on the main lcore's thread, never on a polling one.

pub mod appliance;
pub mod build;
pub mod client;
pub mod compile;
pub mod config;
pub mod confine;
pub mod gateway;
pub mod heartbeat;
pub mod http;
pub mod image;
pub mod inspect;
pub mod manager;
pub mod manifest;
pub mod plane;
pub mod script;
pub mod stats;
pub mod topology;
