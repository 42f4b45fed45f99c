//! `/system/info`: who answers, for `faas-cli version`.

use axum::Json;
use axum::extract::State;

use super::super::HttpState;
use super::super::caller::{Caller, Right};
use super::error::ProviderError;
use super::types::{ProviderInfo, SystemInfo, VersionInfo};

const NAME: &str = "lnic";
/// The program is built from a release; there is no commit to tell.
const VERSION: VersionInfo = VersionInfo { sha: "", release: env!("CARGO_PKG_VERSION") };

/// GET, for everybody who may read anything.
pub(super) async fn show(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<Json<SystemInfo>, ProviderError> {
    if let Err(forbidden) = caller.may_everywhere(Right::Read) {
        let namespaces = state.plane.namespaces().await?;
        if !namespaces.iter().any(|namespace| caller.may(Right::Read, &namespace.name).is_ok()) {
            return Err(forbidden.into());
        }
    }
    Ok(Json(SystemInfo {
        arch: std::env::consts::ARCH,
        provider: ProviderInfo { provider: NAME, version: VERSION, orchestration: NAME },
        version: VERSION,
    }))
}
