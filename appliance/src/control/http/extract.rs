//! What routes take from a request: names, queries and bodies, each judged before a handler sees it.

use std::fmt;
use std::ops::Deref;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

use super::error::ApiError;
use super::limits::BodyTooSlow;

/// Largest body of JSON.
pub(super) const JSON_BYTES: usize = 1 << 20;

/// Name of a lambda or of a namespace: 1–63 lower-case letters, digits and, between them, "-", a letter first.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Label(String);

/// Name of a secret: 1–253 letters, digits, "-", "_" and ".", not the last first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretName(String);

impl Label {
    /// As a regular expression.
    const PATTERN: &'static str = "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$";

    /// The text, if it is one.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let well = (1..=63).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(inside);
        if well {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" is no name: 1–63 lower-case letters, digits and, between them, \"-\", a letter first",
            super::quoted(text).escape_debug()
        ))
    }

    /// The text.
    pub(super) fn into_inner(self) -> String {
        self.0
    }
}

impl SecretName {
    /// As a regular expression.
    const PATTERN: &'static str = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$";

    fn new(text: &str) -> Result<Self, String> {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=253).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(inside) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" is no name of a secret: 1–253 letters, digits, \"-\", \"_\" and \".\", not \".\" first",
            super::quoted(text).escape_debug()
        ))
    }
}

/// A schema of texts that a regular expression describes.
fn pattern(pattern: &str, longest: usize) -> RefOr<Schema> {
    let object = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    object.min_length(Some(1)).max_length(Some(longest)).into()
}

impl utoipa::PartialSchema for Label {
    fn schema() -> RefOr<Schema> {
        pattern(Self::PATTERN, 63)
    }
}

impl utoipa::ToSchema for Label {}

impl utoipa::PartialSchema for SecretName {
    fn schema() -> RefOr<Schema> {
        pattern(Self::PATTERN, 253)
    }
}

impl utoipa::ToSchema for SecretName {}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for SecretName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The variable parts of a path.
pub(super) struct UrlPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for UrlPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path))
            .map_err(|error| ApiError::BadRequest(format!("path: {}", error.body_text())))
    }
}

/// The query; keys that nobody knows are refused if `T` does so.
pub(super) struct UrlQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for UrlQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|error| ApiError::BadRequest(format!("query: {}", error.body_text())))
    }
}

/// Reads a body of JSON. A handler calls this once it knows that the caller may do what it asks.
pub(super) async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    if !is_json(&request) {
        return Err(ApiError::NotJson);
    }
    parse(&read_body(request.into_body(), JSON_BYTES).await?)
}

/// Reads a body of JSON that may be left out.
pub(super) async fn read_optional_json<T: DeserializeOwned + Default>(
    request: Request,
) -> Result<T, ApiError> {
    let json = is_json(&request);
    let bytes = read_body(request.into_body(), JSON_BYTES).await?;
    match (bytes.is_empty(), json) {
        (true, _) => Ok(T::default()),
        (false, true) => parse(&bytes),
        (false, false) => Err(ApiError::NotJson),
    }
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let parsed = axum::Json::<T>::from_bytes(bytes);
    parsed
        .map(|axum::Json(value)| value)
        .map_err(|error| ApiError::BadRequest(format!("body: {}", error.body_text())))
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    // Told by its length before it is sent: nobody has to send what will be refused.
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::TooLarge { limit });
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge { limit }),
        Err(error) if is_too_slow(&*error) => Err(ApiError::TooSlow),
        Err(error) => Err(ApiError::BadRequest(format!("body: {error}"))),
    }
}

fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<BodyTooSlow>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_tricks() {
        for name in ["a", "a-b", "echo2", &"a".repeat(63)] {
            assert!(Label::new(name).is_ok(), "{name}");
        }
        for name in ["", "*", "A", "2a", "a-", "-a", "a.b", "a/b", "..", "a\0", "ä", &"a".repeat(64)] {
            assert!(Label::new(name).is_err(), "{name}");
        }
        for name in ["a", "API_KEY", "tls.crt", "-", &"s".repeat(253)] {
            assert!(SecretName::new(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "ä", &"s".repeat(254)] {
            assert!(SecretName::new(name).is_err(), "{name}");
        }
    }

    #[test]
    fn mistakes_in_json_name_the_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[expect(dead_code, reason = "only parsed")]
            inner: Vec<u32>,
        }
        let error = |text: &str| parse::<Outer>(text.as_bytes()).expect_err("wrong").to_string();
        assert!(error(r#"{"inner":[1,"x"]}"#).contains("inner[1]"), "{}", error(r#"{"inner":[1,"x"]}"#));
        assert!(error(r#"{"inner":[],"outer":1}"#).contains("unknown field `outer`"));
        assert!(error(r#"{"inner":[]} x"#).contains("trailing characters"));
        assert!(error("").contains("EOF"));
        assert!(error(&"[".repeat(100_000)).starts_with("body: "));
    }

    #[tokio::test]
    async fn bodies_end_at_their_limit() {
        assert_eq!(read_body(Body::from("12345"), 5).await.unwrap(), "12345");
        assert!(matches!(read_body(Body::from("123456"), 5).await, Err(ApiError::TooLarge { limit: 5 })));
        // One whose length is not told before.
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::convert::Infallible>("1234"));
        let endless = Body::from_stream(chunks);
        assert!(matches!(read_body(endless, 1 << 20).await, Err(ApiError::TooLarge { .. })));
    }
}
