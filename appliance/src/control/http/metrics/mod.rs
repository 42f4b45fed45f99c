//! `/metrics`, in Prometheus' text format: the plane's counters as they are when somebody scrapes.

mod appliance;
mod exposition;
mod functions;
mod lambdas;

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lnic_registry::LambdaKey;
use tower::limit::GlobalConcurrencyLimitLayer;

pub use functions::FunctionMetrics;

use self::exposition::Exposition;
use super::HttpState;
use super::caller::{Caller, Right};
use super::error::ApiError;
use crate::control::plane::{Lambda, PlaneError, Readiness};
use crate::control::stats::Snapshot;

/// Scrapes at a time; more of them wait.
const SCRAPES: usize = 1;
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Its routes.
pub(super) fn routes() -> Router<HttpState> {
    Router::new().route("/metrics", get(scrape).layer(GlobalConcurrencyLimitLayer::new(SCRAPES)))
}

/// Everything that a scrape tells.
struct Scrape<'a> {
    snapshot: &'a Snapshot,
    readiness: &'a Readiness,
    /// Lambdas; `None` if the registry does not answer.
    lambdas: Option<&'a [Lambda]>,
    functions: &'a FunctionMetrics,
}

async fn scrape(State(state): State<HttpState>, caller: Caller) -> Result<Response, ApiError> {
    caller.may_everywhere(Right::Read)?;
    // Asked before the plane is: a function that is deployed and called meanwhile is not forgotten.
    let counted = state.functions.functions();
    // The lcores' counters matter most when the registry is away.
    let lambdas = state.plane.lambdas(None).await.ok();
    let task = tokio::task::spawn_blocking(move || {
        if let Some(lambdas) = &lambdas {
            let deployed: BTreeSet<&LambdaKey> = lambdas.iter().map(|lambda| &lambda.key).collect();
            state.functions.forget(counted.iter().filter(|key| !deployed.contains(key)));
        }
        let (snapshot, readiness) = (state.plane.snapshot(), state.plane.readiness());
        let scrape = Scrape {
            snapshot: &snapshot,
            readiness: &readiness,
            lambdas: lambdas.as_deref(),
            functions: &state.functions,
        };
        scrape.text()
    });
    let text = task.await.map_err(|error| PlaneError::Failed(format!("metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

impl Scrape<'_> {
    fn text(&self) -> String {
        let mut text = Exposition::default();
        self.appliance(&mut text);
        self.lambdas(&mut text);
        text.finish()
    }
}

/// Nanoseconds in Prometheus' base unit.
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests;
