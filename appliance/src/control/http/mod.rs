//! The control plane over HTTP: the native API, the OpenFaaS provider, the gateway, metrics and health.
//!
//! Every route asks its [`Caller`] for the right that it needs. Who the caller is was decided before, by the listener that the
//! connection came in on: whoever may write to the control socket is everybody's master, over the network the users file tells.
//!
//! ```text
//!  listen ─► serve: accepts ─► (tls) ─► connection: caller, limits ─► routes: native, openfaas, function, metrics ─► Plane, Gateway
//! ```

mod auth;
mod caller;
mod changes;
mod connection;
mod error;
mod extract;
mod failures;
mod function;
pub mod limits;
pub mod listen;
pub mod metrics;
mod native;
mod openapi;
mod openfaas;
mod serve;
mod tls;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};

pub use auth::AuthError;
pub use caller::{Caller, Forbidden, Right, Rights};
pub use changes::Changes;
pub use connection::Endless;
pub use error::{ApiError, ErrorBody};
pub use limits::Limits;
pub use listen::{ControlSocket, ListenError};
pub use native::{
    DeploymentRequest, Info, NamespaceChange, NamespaceRequest, Released, RollbackRequest, ScaleRequest,
};
pub use openapi::document as openapi_document;
pub use serve::{Listeners, Network, ServeError, ServerHandle, Settings, serve};
pub use tls::TlsError;
pub use users::Users;

use self::metrics::FunctionMetrics;
use super::gateway::Gateway;
use super::image::Images;
use super::plane::PlaneHandle;

/// What routes work with.
#[derive(Clone)]
pub struct HttpState {
    /// The control plane.
    pub plane: PlaneHandle,
    /// The way into the packet path, if there is one.
    pub gateway: Option<Arc<dyn Gateway>>,
    /// Modules on disk that OpenFaaS deployments name.
    pub images: Images,
    /// What the gateway's requests came to.
    pub functions: FunctionMetrics,
    /// Changes under way.
    pub changes: Changes,
}

impl HttpState {
    /// That of a plane, without a gateway and without images.
    #[must_use]
    pub fn new(plane: PlaneHandle) -> Self {
        Self {
            plane,
            gateway: None,
            images: Images::default(),
            functions: FunctionMetrics::default(),
            changes: Changes::default(),
        }
    }
}

/// All routes. The caller of each request has to be in its extensions.
pub fn routes(state: HttpState) -> Router {
    Router::new()
        .merge(native::routes())
        .merge(openfaas::routes())
        .merge(function::routes())
        .merge(metrics::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(state)
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::NoRoute(quoted(uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::NoMethod { method: quoted(method.as_str()), route: quoted(uri.path()) }
}

/// What a client wrote, for an answer: not longer than anybody reads.
fn quoted(text: &str) -> String {
    const CHARACTERS: usize = 80;
    match text.char_indices().nth(CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
