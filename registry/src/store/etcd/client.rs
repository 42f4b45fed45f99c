//! Asking etcd: each question has an end.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use tokio::time::timeout;

use super::EtcdSettings;
use crate::Error;

/// Longest time of one question.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A member that has been silent for so long is asked whether it lives, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Longest answer: a page of the largest values.
const ANSWER_BYTES: usize = 48 << 20;

/// etcd, as one asks it.
pub(super) struct Remote {
    client: Client,
    endpoints: String,
    /// What all keys begin with.
    prefix: String,
}

impl Remote {
    /// Prepares to ask; nobody is called yet.
    pub(super) async fn connect(settings: &EtcdSettings) -> Result<Self, Error> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        let endpoints = settings.endpoints.join(", ");
        let client = Client::connect(&settings.endpoints, Some(options)).await.map_err(|error| {
            Error::Unavailable { endpoints: endpoints.clone(), reason: error.to_string() }
        })?;
        Ok(Self { client, endpoints, prefix: settings.prefix.clone() })
    }

    /// Where a key of the store is.
    pub(super) fn key(&self, key: &str) -> String {
        self.place("registry", key)
    }

    /// Where a key of some kind is.
    pub(super) fn place(&self, kind: &str, key: &str) -> String {
        format!("{}/{kind}/{key}", self.prefix)
    }

    pub(super) fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(ANSWER_BYTES)
    }

    pub(super) fn watches(&self) -> WatchClient {
        self.client.watch_client().max_decoding_message_size(ANSWER_BYTES)
    }

    pub(super) fn leases(&self) -> LeaseClient {
        self.client.lease_client()
    }

    pub(super) fn endpoints(&self) -> &str {
        &self.endpoints
    }

    pub(super) fn unavailable(&self, reason: impl Into<String>) -> Error {
        Error::Unavailable { endpoints: self.endpoints.clone(), reason: reason.into() }
    }

    /// Asks something that changes nothing.
    pub(super) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Error> {
        match timeout(CALL_TIMEOUT, question).await {
            Ok(answer) => answer.map_err(|error| self.unavailable(describe(&error))),
            Err(_) => Err(self.unavailable("no answer in time")),
        }
    }

    /// Asks for a change: without an answer it may have been made, or not.
    pub(super) async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Error> {
        let uncertain = |reason| Error::Uncertain { endpoints: self.endpoints.clone(), reason };
        match timeout(CALL_TIMEOUT, change).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if was_refused(&error) => Err(self.unavailable(describe(&error))),
            Ok(Err(error)) => Err(uncertain(describe(&error))),
            Err(_) => Err(uncertain("no answer in time".to_owned())),
        }
    }
}

/// etcd itself said no, rather than a broken connection.
fn was_refused(error: &etcd_client::Error) -> bool {
    /// gRPC: cancelled, unknown, deadline exceeded, aborted, internal, unavailable.
    const OPEN: [i32; 6] = [1, 2, 4, 10, 13, 14];
    match error {
        etcd_client::Error::GRpcStatus(status) => !OPEN.contains(&(status.code() as i32)),
        etcd_client::Error::InvalidArgs(_) | etcd_client::Error::InvalidUri(_) => true,
        _ => false,
    }
}

/// For people: what gRPC says, without its frame.
pub(super) fn describe(error: &etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => status.message().to_owned(),
        other => other.to_string(),
    }
}
