//! Lambda ID to deployed lambda, for calls from one lambda to another: no frame, and no rules.

use crate::ids::{LambdaId, LambdaRef};

/// Deployed lambdas that can be called, by ID. Immutable, like the table.
#[derive(Clone, Debug, Default)]
pub struct Directory(Box<[(LambdaId, LambdaRef)]>);

impl Directory {
    /// From any order; of several with one ID the first counts.
    #[must_use]
    pub fn new(lambdas: impl IntoIterator<Item = (LambdaId, LambdaRef)>) -> Self {
        let mut lambdas: Vec<_> = lambdas.into_iter().collect();
        lambdas.sort_by_key(|(id, _)| *id);
        lambdas.dedup_by_key(|(id, _)| *id);
        Self(lambdas.into())
    }

    /// The lambda with this ID.
    #[must_use]
    pub fn find(&self, id: LambdaId) -> Option<LambdaRef> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.0[at].1)
    }
}
