//! The control plane over HTTP, before a plane in memory: routes, rights, limits, TLS, and what hostile clients try.

#[path = "support/plane.rs"]
mod plane;

#[path = "http/harness.rs"]
mod harness;

#[path = "http/access.rs"]
mod access;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/rights.rs"]
mod rights;
#[path = "http/routes.rs"]
mod routes;
