//! Why a lambda is not deployed.

use lnic_registry::LambdaKey;

use crate::dispatcher::ShareError;
use crate::ids::LcoreId;
use crate::lambda::PrepareError;

/// Why a lambda is not deployed. Nothing of it is left behind then, and what was deployed before goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// There is no such lambda.
    #[error("no lambda \"{0}\"")]
    NoLambda(LambdaKey),
    /// It is twice among those to deploy.
    #[error("lambda \"{0}\": is to be deployed twice at once")]
    Twice(LambdaKey),
    /// Another lambda has its ID.
    #[error("lambda \"{key}\": id {id} is lambda \"{other}\"'s already")]
    IdTaken {
        /// The lambda.
        key: LambdaKey,
        /// Its ID.
        id: u32,
        /// Whose it is.
        other: LambdaKey,
    },
    /// All slots are taken, by deployed lambdas and those that are being replaced.
    #[error(
        "lambda \"{key}\": there is room for {limit} lambdas, those being replaced included ([control] lambdas)"
    )]
    Capacity {
        /// The lambda.
        key: LambdaKey,
        /// Slots in all.
        limit: usize,
    },
    /// There are as many namespaces as there may be.
    #[error("lambda \"{key}\": there are {limit} namespaces with lambdas already ([control] namespaces)")]
    Namespaces {
        /// The lambda.
        key: LambdaKey,
        /// Most namespaces.
        limit: usize,
    },
    /// Its services have more next hops than there is room for.
    #[error("lambda \"{key}\": there are {limit} next hops of services already")]
    Neighbours {
        /// The lambda.
        key: LambdaKey,
        /// Most next hops.
        limit: u16,
    },
    /// No NPU is left that may run it.
    #[error("lambda \"{0}\": none of the NPUs that may run it is alive")]
    NoNpu(LambdaKey),
    /// It asks for more message slots than its module was made for.
    #[error("lambda \"{key}\": {wanted} message slots, but its module was prepared for {have}")]
    MessageSlots {
        /// The lambda.
        key: LambdaKey,
        /// Slots, of all lcores that poll.
        wanted: u32,
        /// Slots in its memory.
        have: u32,
    },
    /// Its memory or its instances cannot be made: a quota, a region, the module.
    #[error("{}", named(key, source))]
    Prepare {
        /// The lambda.
        key: LambdaKey,
        /// What is wrong.
        source: Box<PrepareError>,
    },
    /// Its share of the NPUs.
    #[error("lambda \"{key}\": {source}")]
    Share {
        /// The lambda.
        key: LambdaKey,
        /// What is wrong with it.
        source: ShareError,
    },
    /// Its rules make no table.
    #[error("lambda \"{key}\": {source}")]
    Rules {
        /// The lambda.
        key: LambdaKey,
        /// What is wrong.
        source: Box<crate::matcher::Error>,
    },
    /// All lambdas' rules together make no table.
    #[error(transparent)]
    Table(Box<crate::matcher::Error>),
    /// An lcore has not taken it in in time, so that nothing leads to it.
    #[error("lambda \"{key}\": {lcore} does not answer")]
    Silent {
        /// The lambda.
        key: LambdaKey,
        /// Who does not answer.
        lcore: LcoreId,
    },
    /// The means to wait for lcores.
    #[error("waiting for lcores: {0}")]
    Wait(#[from] std::io::Error),
}

/// Says whose it is, unless it does so itself.
fn named(key: &LambdaKey, source: &PrepareError) -> String {
    let (name, text) = (format!("lambda \"{key}\": "), source.to_string());
    if text.starts_with(&name) { text } else { name + &text }
}
