//! The native API under `/v1`, and health.

mod lambdas;
mod logs;
mod modules;
mod namespaces;
mod secrets;
mod status;

use axum::Router;
use axum::routing::{delete, get, post, put};
use utoipa::OpenApi;

pub use lambdas::{DeploymentRequest, Released, RollbackRequest, ScaleRequest};
pub use namespaces::{NamespaceChange, NamespaceRequest};
pub use status::Info;

use super::HttpState;
use super::error::ErrorBody;
use crate::control::plane::LogLine;

/// Routes and their documentation, from one list: none can be in one and not in the other.
macro_rules! native {
    ($($method:ident $path:literal $module:ident::$handler:ident,)*) => {
        /// Method and path of each route.
        #[cfg(test)]
        pub(super) const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        /// Its routes.
        pub(super) fn routes() -> Router<HttpState> {
            Router::new()$(.route($path, $method($module::$handler)))*
        }

        /// Its part of the OpenAPI document.
        #[derive(OpenApi)]
        #[openapi(paths($($module::$handler),*), components(schemas(ErrorBody, LogLine)))]
        pub(super) struct Document;
    };
}

native! {
    get "/healthz" status::healthz,
    get "/readyz" status::readyz,
    get "/v1/openapi.json" status::openapi,
    get "/v1/info" status::info,
    get "/v1/stats" status::stats,
    get "/v1/rules" status::rules,
    get "/v1/logs" logs::logs,
    get "/v1/modules" modules::list,
    post "/v1/modules" modules::upload,
    get "/v1/lambdas" lambdas::list,
    get "/v1/namespaces" namespaces::list,
    post "/v1/namespaces" namespaces::create,
    put "/v1/namespaces/{namespace}" namespaces::update,
    delete "/v1/namespaces/{namespace}" namespaces::remove,
    get "/v1/namespaces/{namespace}/lambdas/{name}" lambdas::show,
    put "/v1/namespaces/{namespace}/lambdas/{name}" lambdas::deploy,
    delete "/v1/namespaces/{namespace}/lambdas/{name}" lambdas::remove,
    post "/v1/namespaces/{namespace}/lambdas/{name}/rollback" lambdas::rollback,
    post "/v1/namespaces/{namespace}/lambdas/{name}/scale" lambdas::scale,
    post "/v1/namespaces/{namespace}/lambdas/{name}/release" lambdas::release,
    get "/v1/namespaces/{namespace}/lambdas/{name}/inspection" lambdas::inspection,
    get "/v1/namespaces/{namespace}/secrets" secrets::list,
    put "/v1/namespaces/{namespace}/secrets/{name}" secrets::set,
    delete "/v1/namespaces/{namespace}/secrets/{name}" secrets::remove,
}
