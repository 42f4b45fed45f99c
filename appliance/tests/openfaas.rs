//! The OpenFaaS provider API as its clients use it: requests are written byte by byte as `faas-cli` and the Go SDK send them.

#[path = "support/plane.rs"]
mod plane;

#[path = "openfaas/clients.rs"]
mod clients;
#[path = "openfaas/functions.rs"]
mod functions;
#[path = "openfaas/logs.rs"]
mod logs;
#[path = "openfaas/namespaces.rs"]
mod namespaces;
#[path = "openfaas/rights.rs"]
mod rights;
#[path = "openfaas/secrets.rs"]
mod secrets;
