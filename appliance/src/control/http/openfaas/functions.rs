//! `/system/functions`, `/system/function/NAME`, `/system/scale-function/NAME`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::super::HttpState;
use super::super::caller::{Caller, Right};
use super::error::ProviderError;
use super::manifest::manifest;
use super::request::{self, Pairs};
use super::status::status;
use super::types::{DeleteFunctionRequest, FunctionDeployment, FunctionStatus, ScaleServiceRequest};
use super::usage::Meter;
use crate::control::image::Named;
use crate::control::plane::{Deployment, Digest, LambdaKey, PlaneError, PlaneHandle};

/// GET `/system/functions`.
pub(super) async fn list(
    State(state): State<HttpState>,
    Extension(meter): Extension<Arc<Meter>>,
    caller: Caller,
    query: Pairs,
) -> Result<Json<Vec<FunctionStatus>>, ProviderError> {
    let namespace = request::namespace(&query, "")?;
    caller.may(Right::Read, &namespace)?;
    let lambdas = state.plane.lambdas(Some(&namespace)).await?;
    let snapshot = request::flag(&query, "usage").then(|| state.plane.snapshot());
    let shown = lambdas
        .iter()
        .map(|lambda| status(lambda, snapshot.as_ref().map(|snapshot| meter.usage(lambda, snapshot))));
    Ok(Json(shown.collect()))
}

/// GET `/system/function/NAME`.
pub(super) async fn show(
    State(state): State<HttpState>,
    Extension(meter): Extension<Arc<Meter>>,
    caller: Caller,
    Path(name): Path<String>,
    query: Pairs,
) -> Result<Json<FunctionStatus>, ProviderError> {
    let key = request::function(&name, &query, "")?;
    caller.may(Right::Read, &key.namespace)?;
    let lambda = state.plane.lambda(&key).await?;
    let usage = request::flag(&query, "usage").then(|| meter.usage(&lambda, &state.plane.snapshot()));
    Ok(Json(status(&lambda, usage)))
}

/// POST `/system/functions`: 202, which `faas-cli` takes for a function that is new.
pub(super) async fn deploy(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    make(state, caller, &query, &body, false).await?;
    Ok(StatusCode::ACCEPTED)
}

/// PUT `/system/functions`: 200 if the function was there. 404 makes `faas-cli` POST.
pub(super) async fn update(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    make(state, caller, &query, &body, true).await?;
    Ok(StatusCode::OK)
}

async fn make(
    state: HttpState,
    caller: Caller,
    query: &Pairs,
    body: &Bytes,
    existing: bool,
) -> Result<(), ProviderError> {
    let asked: FunctionDeployment = request::body(body)?;
    let namespace = request::namespace(query, &asked.namespace)?;
    caller.may(Right::Deploy, &namespace)?;
    if existing {
        // Before anything else can be wrong with it: the client has to learn that it is not there.
        state.plane.lambda(&LambdaKey::new(&namespace, &asked.service)).await?;
    }
    let manifest = manifest(&asked).map_err(PlaneError::Invalid)?;
    let named = state.images.resolve(&asked.image).await?;
    let what = format!("lambda \"{}\" deployed", LambdaKey::new(&namespace, &asked.service));
    let plane = state.plane;
    let deploy = async move {
        let module = match named {
            Named::Uploaded(digest) => digest,
            Named::Wasm(wasm) => uploaded(&plane, wasm).await?,
        };
        let image = asked.image;
        plane.deploy(Deployment { namespace, manifest, module, image, existing: Some(existing) }).await
    };
    state.changes.make(caller, what, deploy).await?;
    Ok(())
}

/// The module of an image on disk.
async fn uploaded(plane: &PlaneHandle, wasm: Bytes) -> Result<Digest, PlaneError> {
    let module = plane.upload(wasm).await?;
    let digest = module.digest.parse();
    digest.map_err(|error: lnic_registry::DigestError| PlaneError::Failed(error.to_string()))
}

/// DELETE `/system/functions`.
pub(super) async fn remove(
    State(state): State<HttpState>,
    caller: Caller,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    let asked: DeleteFunctionRequest = request::body(&body)?;
    let key = request::function(&asked.function_name, &query, &asked.namespace)?;
    caller.may(Right::Deploy, &key.namespace)?;
    let what = format!("lambda \"{key}\" removed");
    state.changes.make(caller, what, async move { state.plane.remove(&key).await }).await?;
    Ok(StatusCode::ACCEPTED)
}

/// POST `/system/scale-function/NAME`.
pub(super) async fn scale(
    State(state): State<HttpState>,
    caller: Caller,
    Path(name): Path<String>,
    query: Pairs,
    body: Bytes,
) -> Result<StatusCode, ProviderError> {
    let asked: ScaleServiceRequest = request::body(&body)?;
    let key = request::function(&name, &query, &asked.namespace)?;
    if !asked.service_name.is_empty() {
        let named = request::function(&asked.service_name, &query, &asked.namespace)?;
        request::agreed("serviceName", &named.name, &key.name)?;
    }
    caller.may(Right::Deploy, &key.namespace)?;
    let replicas = u32::try_from(asked.replicas)
        .map_err(|_| ProviderError::bad_request(format!("replicas: {} are too many", asked.replicas)))?;
    let what = format!("lambda \"{key}\" scaled to {replicas}");
    state.changes.make(caller, what, async move { state.plane.scale(&key, replicas).await }).await?;
    Ok(StatusCode::ACCEPTED)
}
