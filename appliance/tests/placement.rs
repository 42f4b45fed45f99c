//! C lambdas through the whole pipeline, from source to instances on two NPUs: what several share is one object, what one has is
//! its own, and counts are exact wherever they are promised to be.

mod support;

#[path = "placement/counters.rs"]
mod counters;
#[path = "placement/generations.rs"]
mod generations;
#[path = "placement/npus.rs"]
mod npus;
#[path = "placement/tables.rs"]
mod tables;
#[path = "placement/tree.rs"]
mod tree;
