//! A client: it sends what is written down, and reads the answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use lnic::control::http::{Caller, HttpState, Right, Rights, routes};
use lnic::control::image::Images;
use serde_json::Value;
use tower::ServiceExt;

use crate::plane::PlaneDouble;

/// A client of an appliance, one user.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    caller: Caller,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Client {
    /// Whoever may do everything.
    pub(crate) fn new(plane: &PlaneDouble) -> Self {
        Self::with_state(plane, None)
    }

    /// The same, with a state folder.
    pub(crate) fn with_state(plane: &PlaneDouble, state: Option<&Path>) -> Self {
        let state = HttpState { images: Images::new(state), ..HttpState::new(Arc::new(plane.clone())) };
        Self { router: routes(state), caller: Caller::local() }
    }

    /// Another user.
    pub(crate) fn who_may(&self, rights: &[(&str, Right)]) -> Self {
        let rights: BTreeMap<String, Right> =
            rights.iter().map(|(namespace, right)| ((*namespace).to_owned(), *right)).collect();
        Self { caller: Caller::new("somebody", Rights::new(rights)), ..self.clone() }
    }

    /// Sends a request as `faas-cli` does, and reads all of the answer.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.begin(method, path, body).await;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("an answer that ends well").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            content_type: parts
                .headers
                .get(header::CONTENT_TYPE)
                .map(|value| value.to_str().expect("text").to_owned())
                .unwrap_or_default(),
            body: String::from_utf8(body.to_vec()).expect("text"),
        }
    }

    /// The same; the answer's body is still to come.
    pub(crate) async fn begin(&self, method: &str, path: &str, body: &str) -> axum::response::Response {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(path)
            .header(header::USER_AGENT, "faas-cli/0.17.6");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Body::from(body.to_owned())).expect("a request");
        request.extensions_mut().insert(self.caller.clone());
        self.router.clone().oneshot(request).await.expect("routes are infallible")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body).await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, body).await
    }

    pub(crate) async fn delete(&self, path: &str, body: &str) -> Answer {
        self.send("DELETE", path, body).await
    }

    /// As `faas-cli deploy` does: PUT, and POST if that is told 404.
    pub(crate) async fn deploy(&self, body: &str) -> Answer {
        let answer = self.put("/system/functions", body).await;
        if answer.status != StatusCode::NOT_FOUND.as_u16() {
            return answer;
        }
        self.post("/system/functions", body).await
    }
}

impl Answer {
    /// The body, of a request that went well.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!((self.status, self.content_type.as_str()), (200, "application/json"), "{}", self.body);
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// It has this status and nothing to say.
    #[track_caller]
    pub(crate) fn is_done(&self, status: u16) {
        assert_eq!((self.status, self.body.as_str()), (status, ""));
    }

    /// It has this status, and says why in plain text.
    #[track_caller]
    pub(crate) fn is_refused(&self, status: u16, why: &str) {
        assert_eq!(
            (self.status, self.content_type.as_str()),
            (status, "text/plain; charset=utf-8"),
            "{}",
            self.body
        );
        assert!(self.body.contains(why) && self.body.ends_with('\n'), "{}", self.body);
    }
}
