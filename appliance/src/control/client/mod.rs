//! The client of the native API: what the command line speaks with a running appliance, over its control socket or over TLS.
//!
//! Each request has a connection of its own; nothing is kept between them, so that an appliance may restart in between. Every answer is
//! bounded in length and in time.

mod error;
mod logs;
mod target;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
pub use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::Error;
pub use logs::LogLines;
pub use target::{Credentials, Target};

use super::inspect::Inspection;
use super::plane::{
    Digest, Lambda, LambdaKey, LogQuery, Manifest, Module, Namespace, Readiness, Rule, SecretValue,
};
use super::stats::Snapshot;
use transport::{Answer, Question, Transport};

/// How long an answer may take that needs no work.
const READ_TIME: Duration = Duration::from_secs(10);
/// How long a change may take: what is under way on the lcores has to end.
const CHANGE_TIME: Duration = Duration::from_secs(60);
/// How long a deployment may take: compiling, and with it `[control] compile_s`, comes on top.
const DEPLOY_TIME: Duration = Duration::from_secs(660);
/// How long an upload may take.
const UPLOAD_TIME: Duration = Duration::from_secs(120);

const JSON: Option<&str> = Some("application/json");
const BYTES: Option<&str> = Some("application/octet-stream");
const WASM: Option<&str> = Some("application/wasm");

/// A client of one appliance.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
}

/// A deployment to ask for.
#[derive(Clone, Debug, Serialize)]
pub struct DeployRequest<'a> {
    /// What the author says.
    pub manifest: &'a Manifest,
    /// The code, which the appliance has.
    pub module: Digest,
    /// How the deployer names the code; for people.
    pub image: &'a str,
}

/// What a lambda answered through the gateway.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// 200, or what went wrong.
    pub status: StatusCode,
    /// The reply's payload, or the error's text.
    pub body: Bytes,
    /// The appliance's number for the call.
    pub call_id: Option<String>,
    /// From the start of the connection to the end of the answer.
    pub round_trip: Duration,
}

#[derive(Serialize)]
struct Rollback {
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

#[derive(Serialize)]
struct Scale {
    replicas: u32,
}

#[derive(serde::Deserialize)]
struct Released {
    released: bool,
}

impl Client {
    /// A client of `target`; it connects when it is asked something.
    ///
    /// # Errors
    /// Certificates or credentials cannot be used.
    pub fn new(target: Target, credentials: Option<&Credentials>) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(target, credentials)? })
    }

    /// `GET /v1/info`: what the appliance says of itself.
    pub async fn info(&self) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
        self.read("/v1/info").await
    }

    /// `GET /v1/stats`: all counters.
    pub async fn stats(&self) -> Result<Snapshot, Error> {
        self.read("/v1/stats").await
    }

    /// `GET /readyz`: may traffic be sent there?
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let answer = self.ask(Method::GET, "/readyz".into(), None, Bytes::new(), READ_TIME).await?;
        match answer.status {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => self.understand(&answer),
            status => Err(self.transport.refused(status, &answer.body)),
        }
    }

    /// `POST /v1/modules`: keeps a module.
    pub async fn upload(&self, wasm: Bytes) -> Result<Module, Error> {
        self.send(Method::POST, "/v1/modules".into(), WASM, wasm, UPLOAD_TIME).await
    }

    /// `GET /v1/modules`: those that are kept.
    pub async fn modules(&self) -> Result<Vec<Module>, Error> {
        self.read("/v1/modules").await
    }

    /// `PUT /v1/namespaces/NS/lambdas/NAME`: deploys; with `existing`, it must be there already, or must not.
    pub async fn deploy(
        &self,
        namespace: &str,
        request: &DeployRequest<'_>,
        existing: Option<bool>,
    ) -> Result<Lambda, Error> {
        let key = LambdaKey::new(namespace, &request.manifest.name);
        let path =
            format!("{}{}", lambda_path(&key, ""), query(&[("existing", existing.map(|it| it.to_string()))]));
        self.send(Method::PUT, path, JSON, self.json(request)?, DEPLOY_TIME).await
    }

    /// `GET /v1/lambdas`: those of a namespace, or of all that one may see.
    pub async fn lambdas(&self, namespace: Option<&str>) -> Result<Vec<Lambda>, Error> {
        self.read(&format!("/v1/lambdas{}", query(&[("namespace", namespace.map(str::to_owned))]))).await
    }

    /// `GET /v1/namespaces/NS/lambdas/NAME`: one of them.
    pub async fn lambda(&self, key: &LambdaKey) -> Result<Lambda, Error> {
        self.read(&lambda_path(key, "")).await
    }

    /// `DELETE /v1/namespaces/NS/lambdas/NAME`.
    pub async fn remove(&self, key: &LambdaKey) -> Result<(), Error> {
        self.done(Method::DELETE, lambda_path(key, "")).await
    }

    /// `POST …/rollback`: to a generation, or to the one deployed before.
    pub async fn rollback(&self, key: &LambdaKey, to: Option<u64>) -> Result<Lambda, Error> {
        let body = self.json(&Rollback { generation: to })?;
        self.send(Method::POST, lambda_path(key, "/rollback"), JSON, body, DEPLOY_TIME).await
    }

    /// `POST …/scale`: at most so many NPUs; 0 lets it sleep.
    pub async fn scale(&self, key: &LambdaKey, replicas: u32) -> Result<Lambda, Error> {
        let body = self.json(&Scale { replicas })?;
        self.send(Method::POST, lambda_path(key, "/scale"), JSON, body, CHANGE_TIME).await
    }

    /// `POST …/release`: ends a quarantine. Whether there was one.
    pub async fn release(&self, key: &LambdaKey) -> Result<bool, Error> {
        let path = lambda_path(key, "/release");
        let answer: Released = self.send(Method::POST, path, None, Bytes::new(), CHANGE_TIME).await?;
        Ok(answer.released)
    }

    /// `GET …/inspection`: what the compiler found out and decided.
    pub async fn inspection(&self, key: &LambdaKey) -> Result<Inspection, Error> {
        self.read(&lambda_path(key, "/inspection")).await
    }

    /// `GET /v1/rules`: match rules in order of precedence.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        self.read("/v1/rules").await
    }

    /// `GET /v1/namespaces`.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        self.read("/v1/namespaces").await
    }

    /// `POST /v1/namespaces`: makes one.
    pub async fn create_namespace(&self, namespace: &Namespace) -> Result<Namespace, Error> {
        let body = self.json(namespace)?;
        self.send(Method::POST, "/v1/namespaces".into(), JSON, body, CHANGE_TIME).await
    }

    /// `PUT /v1/namespaces/NS`: changes its labels and annotations.
    pub async fn update_namespace(&self, namespace: &Namespace) -> Result<Namespace, Error> {
        let body = self.json(namespace)?;
        self.send(Method::PUT, namespace_path(&namespace.name, ""), JSON, body, CHANGE_TIME).await
    }

    /// `DELETE /v1/namespaces/NS`.
    pub async fn remove_namespace(&self, name: &str) -> Result<(), Error> {
        self.done(Method::DELETE, namespace_path(name, "")).await
    }

    /// `GET /v1/namespaces/NS/secrets`: their names.
    pub async fn secrets(&self, namespace: &str) -> Result<Vec<String>, Error> {
        self.read(&namespace_path(namespace, "/secrets")).await
    }

    /// `PUT /v1/namespaces/NS/secrets/NAME`; with `existing`, it must be there already, or must not. True if it is new.
    pub async fn set_secret(
        &self,
        namespace: &str,
        name: &str,
        value: &SecretValue,
        existing: Option<bool>,
    ) -> Result<bool, Error> {
        let path = format!(
            "{}{}",
            namespace_path(namespace, &format!("/secrets/{}", encode(name))),
            query(&[("existing", existing.map(|it| it.to_string()))])
        );
        let body = Bytes::copy_from_slice(value.bytes());
        let answer = self.accepted(Method::PUT, path, BYTES, body, CHANGE_TIME).await?;
        Ok(answer.status == StatusCode::CREATED)
    }

    /// `DELETE /v1/namespaces/NS/secrets/NAME`.
    pub async fn remove_secret(&self, namespace: &str, name: &str) -> Result<(), Error> {
        self.done(Method::DELETE, namespace_path(namespace, &format!("/secrets/{}", encode(name)))).await
    }

    /// `GET /v1/logs`: lines as they come; without `follow`, those that are kept.
    pub async fn logs(&self, wanted: &LogQuery) -> Result<LogLines, Error> {
        let parameters = [
            ("namespace", wanted.namespace.clone()),
            ("name", wanted.name.clone()),
            ("tail", wanted.tail.map(|tail| tail.to_string())),
            ("since_ms", wanted.since_ms.map(|since| since.to_string())),
            ("follow", wanted.follow.then(|| "true".to_owned())),
        ];
        let path = format!("/v1/logs{}", query(&parameters));
        let question = Question { method: Method::GET, path, content_type: None, body: Bytes::new() };
        let opened = self.transport.stream(question, READ_TIME).await?;
        Ok(LogLines::new(self.transport.clone(), opened))
    }

    /// `POST /function/NAME`: calls a lambda through the gateway. An answer that is not OK is no error here.
    pub async fn invoke(&self, key: &LambdaKey, body: Bytes, time: Duration) -> Result<Invoked, Error> {
        let start = Instant::now();
        let path = format!("/function/{}", encode(&format!("{}.{}", key.name, key.namespace)));
        let answer = self.ask(Method::POST, path, BYTES, body, time).await?;
        let round_trip = start.elapsed();
        let call_id = answer.headers.get("x-call-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Invoked { status: answer.status, body: answer.body, call_id, round_trip })
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.send(Method::GET, path.to_owned(), None, Bytes::new(), READ_TIME).await
    }

    async fn done(&self, method: Method, path: String) -> Result<(), Error> {
        self.accepted(method, path, None, Bytes::new(), CHANGE_TIME).await.map(drop)
    }

    /// Asks, and understands the answer.
    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Bytes,
        time: Duration,
    ) -> Result<T, Error> {
        let answer = self.accepted(method, path, content_type, body, time).await?;
        self.understand(&answer)
    }

    /// Asks; a status that is no success is an error.
    async fn accepted(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Bytes,
        time: Duration,
    ) -> Result<Answer, Error> {
        let answer = self.ask(method, path, content_type, body, time).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(self.transport.refused(answer.status, &answer.body))
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Bytes,
        time: Duration,
    ) -> Result<Answer, Error> {
        self.transport.ask(Question { method, path, content_type, body }, time).await
    }

    fn understand<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Error> {
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.transport.answer(format!("the answer is not understood: {error}")))
    }

    fn json(&self, value: &impl Serialize) -> Result<Bytes, Error> {
        let json = serde_json::to_vec(value);
        json.map(Bytes::from).map_err(|error| self.transport.answer(format!("cannot ask that: {error}")))
    }
}

fn namespace_path(namespace: &str, rest: &str) -> String {
    format!("/v1/namespaces/{}{rest}", encode(namespace))
}

fn lambda_path(key: &LambdaKey, rest: &str) -> String {
    format!("/v1/namespaces/{}/lambdas/{}{rest}", encode(&key.namespace), encode(&key.name))
}

/// Those parameters that have a value, with the question mark.
fn query(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let pairs: Vec<String> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// A name as one segment of a path, whatever is in it: one of dots alone would be a way out.
fn encode(name: &str) -> String {
    use std::fmt::Write as _;
    let only_dots = name.bytes().all(|byte| byte == b'.');
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') || (byte == b'.' && !only_dots)
        {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
