//! Why the plane does not do what it was asked.

use lnic_registry::LambdaKey;

/// Why the plane does not do what it was asked. Nothing has changed then, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// There is no such lambda.
    #[error("no lambda \"{name}\" in namespace \"{namespace}\"", name = .0.name, namespace = .0.namespace)]
    NoLambda(LambdaKey),
    /// It has no such generation.
    #[error("lambda \"{key}\": no generation {generation}: it has {known}")]
    NoGeneration {
        /// The lambda.
        key: LambdaKey,
        /// Which was asked for.
        generation: u64,
        /// Those that are kept, for people.
        known: String,
    },
    /// There is no such module.
    #[error("no module {0}: upload it first")]
    NoModule(String),
    /// There is no such namespace.
    #[error("no namespace \"{0}\"")]
    NoNamespace(String),
    /// There is no such secret.
    #[error("no secret \"{name}\" in namespace \"{namespace}\"")]
    NoSecret {
        /// Where.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// It is there already, or in use, or somebody else changed it at the same time.
    #[error("{0}")]
    Conflict(String),
    /// The manifest, the module or a name is wrong: one line each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// There is no room for it: memory, quota, capacity.
    #[error("{0}")]
    NoRoom(String),
    /// It cannot be done now; the same may work later.
    #[error("{0}")]
    Unavailable(String),
    /// Something on this side failed.
    #[error("{0}")]
    Failed(String),
}
