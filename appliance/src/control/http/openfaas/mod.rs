//! The OpenFaaS provider API, for `faas-cli` and OpenFaaS's SDKs.
//!
//! Bodies, statuses and errors in plain text are those of `faas-provider`. A function is a lambda; what a deployment says beyond that is
//! in [`manifest`], which names a module by its [image](crate::control::image).

mod error;
mod functions;
mod info;
mod logs;
mod manifest;
mod namespaces;
mod quantity;
mod request;
mod secrets;
mod status;
mod types;
mod usage;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Extension, Router};

use super::HttpState;

/// Largest body of a request: a secret's bytes in base64, and room around them.
const BODY_BYTES: usize = 256 << 10;

/// Its routes.
pub(super) fn routes() -> Router<HttpState> {
    let all =
        get(namespaces::show).post(namespaces::create).put(namespaces::update).delete(namespaces::remove);
    Router::new()
        .route(
            "/system/functions",
            get(functions::list).post(functions::deploy).put(functions::update).delete(functions::remove),
        )
        .route("/system/function/{name}", get(functions::show))
        .route("/system/scale-function/{name}", post(functions::scale))
        .route(
            "/system/secrets",
            get(secrets::list).post(secrets::create).put(secrets::update).delete(secrets::remove),
        )
        .route("/system/namespaces", get(namespaces::list))
        .route("/system/namespace/{name}", all.clone())
        // The SDK creates namespaces without a name in the path.
        .route("/system/namespace/", all.clone())
        .route("/system/namespace", all)
        .route("/system/logs", get(logs::read))
        .route("/system/info", get(info::show))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(Extension(Arc::new(usage::Meter::default())))
}
