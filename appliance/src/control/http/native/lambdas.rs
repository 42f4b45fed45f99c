//! Lambdas: deployed, upgraded, rolled back, scaled, released, removed.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use lnic_registry::Digest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::http::extract::{Label, UrlPath, UrlQuery, read_json, read_optional_json};
use crate::control::http::{ApiError, Caller, ErrorBody, HttpState, Right, quoted};
use crate::control::inspect::Inspection;
use crate::control::plane::{Deployment, Lambda, LambdaKey, Manifest, PlaneError};

/// Longest name of an image.
const IMAGE_CHARACTERS: usize = 1024;

/// Which lambda.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct LambdaPath {
    /// Whose it is.
    #[param(inline)]
    namespace: Label,
    /// Its name there.
    #[param(inline)]
    name: Label,
}

/// Which lambdas.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Those of one namespace; of all that the caller may read if left out.
    #[param(inline, nullable = false)]
    namespace: Option<Label>,
}

/// What has to be there before.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployQuery {
    /// `true`: the lambda must be there already. `false`: it must not.
    #[param(nullable = false)]
    existing: Option<bool>,
}

/// A deployment to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRequest {
    /// What its author says; the name is that of the path.
    pub manifest: Manifest,
    /// Digest of a module that was uploaded: `sha256:` and 64 hexadecimal digits.
    #[schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$")]
    pub module: Digest,
    /// How the deployer names the code, for people; at most 1024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub image: String,
}

/// Where to go back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Number of a generation; the one deployed before the current if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// How many NPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// NPUs that run it at most; with 0 it sleeps until a request comes.
    pub replicas: u32,
}

/// What came of asking for a lambda's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Released {
    /// It was quarantined, and runs again.
    pub released: bool,
}

impl LambdaPath {
    /// The lambda, if the caller has the right in its namespace.
    fn permitted(self, caller: &Caller, right: Right) -> Result<LambdaKey, ApiError> {
        caller.may(right, &self.namespace)?;
        Ok(LambdaKey { namespace: self.namespace.into_inner(), name: self.name.into_inner() })
    }
}

/// Lambdas, by namespace and name
///
/// Those of namespaces that the caller may read.
#[utoipa::path(
    get, path = "/v1/lambdas", tag = "lambdas", params(ListQuery),
    operation_id = "list_lambdas",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("somewhere"))),
    responses(
        (status = 200, description = "Lambdas", body = Vec<Lambda>),
        (status = 404, description = "No such namespace", body = ErrorBody),
    )
)]
pub(super) async fn list(
    State(state): State<HttpState>,
    caller: Caller,
    UrlQuery(query): UrlQuery<ListQuery>,
) -> Result<Json<Vec<Lambda>>, ApiError> {
    match query.namespace.as_deref() {
        Some(namespace) => caller.may(Right::Read, namespace)?,
        None => caller.may_somewhere(Right::Read)?,
    }
    let mut lambdas = state.plane.lambdas(query.namespace.as_deref()).await?;
    lambdas.retain(|lambda| caller.may(Right::Read, &lambda.key.namespace).is_ok());
    Ok(Json(lambdas))
}

/// A lambda
#[utoipa::path(
    get, path = "/v1/namespaces/{namespace}/lambdas/{name}", tag = "lambdas", params(LambdaPath),
    operation_id = "show_lambda",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 200, description = "The lambda", body = Lambda),
        (status = 404, description = "No such lambda", body = ErrorBody),
    )
)]
pub(super) async fn show(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
) -> Result<Json<Lambda>, ApiError> {
    let key = path.permitted(&caller, Right::Read)?;
    Ok(Json(state.plane.lambda(&key).await?))
}

/// Deploys a lambda, or a new generation of it
///
/// Answers once every lcore runs it. No frame is lost.
#[utoipa::path(
    put, path = "/v1/namespaces/{namespace}/lambdas/{name}", tag = "lambdas", params(LambdaPath, DeployQuery),
    operation_id = "deploy_lambda",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    request_body = DeploymentRequest,
    responses(
        (status = 200, description = "A new generation of it runs", body = Lambda),
        (status = 201, description = "It is new, and runs", body = Lambda),
        (status = 404, description = "No such namespace, module, or lambda if it must be there", body = ErrorBody),
        (status = 409, description = "It is there and must not be, or is the configuration file's, or its ID is taken", body = ErrorBody),
        (status = 422, description = "The manifest or the module is wrong: one line each", body = ErrorBody),
        (status = 507, description = "There is no room for it", body = ErrorBody),
    )
)]
pub(super) async fn deploy(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
    UrlQuery(query): UrlQuery<DeployQuery>,
    request: Request,
) -> Result<(StatusCode, Json<Lambda>), ApiError> {
    let key = path.permitted(&caller, Right::Deploy)?;
    let DeploymentRequest { manifest, module, image } = read_json(request).await?;
    if manifest.name != key.name {
        let text = format!(
            "manifest.name: \"{}\" is not the path's \"{}\"",
            quoted(&manifest.name).escape_debug(),
            key.name
        );
        return Err(PlaneError::Invalid(vec![text]).into());
    }
    let characters = image.chars().count();
    if characters > IMAGE_CHARACTERS {
        let text = format!("image: has {characters} characters, over {IMAGE_CHARACTERS}");
        return Err(ApiError::BadRequest(text));
    }
    let existed = state.plane.lambda(&key).await.is_ok();
    let what = format!("lambda \"{key}\" deployed");
    let deployment =
        Deployment { namespace: key.namespace, manifest, module, image, existing: query.existing };
    let lambda =
        state.changes.make(caller, what, async move { state.plane.deploy(deployment).await }).await?;
    Ok((if existed { StatusCode::OK } else { StatusCode::CREATED }, Json(lambda)))
}

/// Removes a lambda
///
/// Answers once nothing new reaches it; what is under way ends.
#[utoipa::path(
    delete, path = "/v1/namespaces/{namespace}/lambdas/{name}", tag = "lambdas", params(LambdaPath),
    operation_id = "remove_lambda",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such lambda", body = ErrorBody),
        (status = 409, description = "It is the configuration file's", body = ErrorBody),
    )
)]
pub(super) async fn remove(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
) -> Result<StatusCode, ApiError> {
    let key = path.permitted(&caller, Right::Deploy)?;
    let what = format!("lambda \"{key}\" removed");
    state.changes.make(caller, what, async move { state.plane.remove(&key).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes an earlier generation the current one
#[utoipa::path(
    post, path = "/v1/namespaces/{namespace}/lambdas/{name}/rollback", tag = "lambdas", params(LambdaPath),
    operation_id = "roll_back_lambda",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    request_body = Option<RollbackRequest>,
    responses(
        (status = 200, description = "It runs", body = Lambda),
        (status = 404, description = "No such lambda or generation", body = ErrorBody),
        (status = 409, description = "It is the configuration file's", body = ErrorBody),
        (status = 422, description = "That generation can no longer be deployed", body = ErrorBody),
        (status = 507, description = "There is no room for it", body = ErrorBody),
    )
)]
pub(super) async fn rollback(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
    request: Request,
) -> Result<Json<Lambda>, ApiError> {
    let key = path.permitted(&caller, Right::Deploy)?;
    let RollbackRequest { generation } = read_optional_json(request).await?;
    let what = match generation {
        Some(generation) => format!("lambda \"{key}\" rolled back to generation {generation}"),
        None => format!("lambda \"{key}\" rolled back"),
    };
    let lambda =
        state.changes.make(caller, what, async move { state.plane.rollback(&key, generation).await }).await?;
    Ok(Json(lambda))
}

/// Runs a lambda on more or fewer NPUs
#[utoipa::path(
    post, path = "/v1/namespaces/{namespace}/lambdas/{name}/scale", tag = "lambdas", params(LambdaPath),
    operation_id = "scale_lambda",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    request_body = ScaleRequest,
    responses(
        (status = 200, description = "So it runs", body = Lambda),
        (status = 404, description = "No such lambda", body = ErrorBody),
        (status = 409, description = "It is the configuration file's", body = ErrorBody),
        (status = 422, description = "It cannot run on so many", body = ErrorBody),
        (status = 507, description = "There is no room for more", body = ErrorBody),
    )
)]
pub(super) async fn scale(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
    request: Request,
) -> Result<Json<Lambda>, ApiError> {
    let key = path.permitted(&caller, Right::Deploy)?;
    let ScaleRequest { replicas } = read_json(request).await?;
    let what = format!("lambda \"{key}\" scaled to {replicas}");
    let lambda =
        state.changes.make(caller, what, async move { state.plane.scale(&key, replicas).await }).await?;
    Ok(Json(lambda))
}

/// Lets a quarantined lambda run again
#[utoipa::path(
    post, path = "/v1/namespaces/{namespace}/lambdas/{name}/release", tag = "lambdas", params(LambdaPath),
    operation_id = "release_lambda",
    extensions(("x-right" = json!("deploy")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 200, description = "Whether it was quarantined", body = Released),
        (status = 404, description = "No such lambda", body = ErrorBody),
    )
)]
pub(super) async fn release(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
) -> Result<Json<Released>, ApiError> {
    let key = path.permitted(&caller, Right::Deploy)?;
    let what = format!("lambda \"{key}\" released");
    let released = state.changes.make(caller, what, async move { state.plane.release(&key).await }).await?;
    Ok(Json(Released { released }))
}

/// What the compiler found out about a lambda and decided for it
#[utoipa::path(
    get, path = "/v1/namespaces/{namespace}/lambdas/{name}/inspection", tag = "lambdas", params(LambdaPath),
    operation_id = "inspect_lambda",
    extensions(("x-right" = json!("read")), ("x-scope" = json!("namespace"))),
    responses(
        (status = 200, description = "The inspection", body = Inspection),
        (status = 404, description = "No such lambda", body = ErrorBody),
    )
)]
pub(super) async fn inspection(
    State(state): State<HttpState>,
    caller: Caller,
    UrlPath(path): UrlPath<LambdaPath>,
) -> Result<Json<Inspection>, ApiError> {
    let key = path.permitted(&caller, Right::Read)?;
    Ok(Json(state.plane.inspection(&key).await?))
}
