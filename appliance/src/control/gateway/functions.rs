//! What the HTTP routes are given: requests that are waited for, requests that are done later, and who counts them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;

use super::later::{AsyncRequest, Requests, SubmitError};
use super::{Gateway, InvokeError, Limits};
use crate::control::plane::{LambdaKey, Target};

/// Told of each request that was answered: for which lambda, with which HTTP status, after how long.
pub type Observer = Arc<dyn Fn(&LambdaKey, u16, Duration) + Send + Sync>;

/// A gateway with everything beside it.
pub struct FunctionGateway {
    gateway: Arc<dyn Gateway>,
    requests: Option<Arc<Requests>>,
    observer: Option<Observer>,
}

impl FunctionGateway {
    /// Requests go through `gateway`; those that are done later wait in `requests`, if there is such a thing.
    #[must_use]
    pub fn new(
        gateway: Arc<dyn Gateway>,
        requests: Option<Arc<Requests>>,
        observer: Option<Observer>,
    ) -> Self {
        Self { gateway, requests, observer }
    }
}

#[async_trait]
impl Gateway for FunctionGateway {
    async fn invoke(&self, target: &Target, body: Bytes, timeout: Duration) -> Result<Bytes, InvokeError> {
        self.gateway.invoke(target, body, timeout).await
    }

    fn limits(&self) -> Limits {
        self.gateway.limits()
    }

    async fn submit(&self, request: AsyncRequest) -> Result<(), SubmitError> {
        match &self.requests {
            Some(requests) => requests.submit(request).await,
            None => Err(SubmitError::Disabled),
        }
    }

    fn observe(&self, key: &LambdaKey, status: u16, took: Duration) {
        if let Some(observer) = &self.observer {
            observer(key, status, took);
        }
    }
}
