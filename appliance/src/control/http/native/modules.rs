//! WebAssembly modules.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;

use crate::control::http::extract::read_body;
use crate::control::http::{ApiError, Caller, ErrorBody, HttpState, Right};
use crate::control::plane::Module;

/// Largest module.
const MODULE_BYTES: usize = 16 << 20;

/// Modules that are kept
///
/// Who may not read everything sees those of lambdas that they may read.
#[utoipa::path(
    get, path = "/v1/modules", tag = "modules",
    operation_id = "list_modules",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("somewhere"))),
    responses((status = 200, description = "Modules", body = Vec<Module>))
)]
pub(super) async fn list(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<Json<Vec<Module>>, ApiError> {
    caller.may_somewhere(Right::Read)?;
    let mut modules = state.plane.modules().await?;
    if caller.may_everywhere(Right::Read).is_err() {
        let lambdas = state.plane.lambdas(None).await?;
        let own = lambdas.iter().filter(|lambda| caller.may(Right::Read, &lambda.key.namespace).is_ok());
        let used: BTreeSet<&str> = own
            .flat_map(|lambda| lambda.generations.iter().map(|generation| generation.module.as_str()))
            .collect();
        modules.retain(|module| used.contains(module.digest.as_str()));
    }
    Ok(Json(modules))
}

/// Keeps a module
///
/// At most 16 MiB. The same again changes nothing. It is judged when it is deployed.
#[utoipa::path(
    post, path = "/v1/modules", tag = "modules",
    operation_id = "upload_module",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("somewhere"))),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The module"),
    responses(
        (status = 201, description = "It is kept", body = Module),
        (status = 413, description = "Longer than 16 MiB", body = ErrorBody),
        (status = 422, description = "It is no module", body = ErrorBody),
        (status = 507, description = "There is no room for it", body = ErrorBody),
    )
)]
pub(super) async fn upload(
    State(state): State<HttpState>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Module>), ApiError> {
    caller.may_somewhere(Right::Deploy)?;
    let wasm = read_body(body, MODULE_BYTES).await?;
    let what = format!("module of {} bytes uploaded", wasm.len());
    let module = state.changes.make(caller, what, async move { state.plane.upload(wasm).await }).await?;
    Ok((StatusCode::CREATED, Json(module)))
}
