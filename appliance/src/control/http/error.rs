//! Errors as the API tells them: a status, and a body `{"error": "…"}`.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Forbidden;
use crate::control::plane::PlaneError;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The plane refused.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// The caller may not do that.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// A page of somewhere else, or of a lambda, made a browser send it.
    #[error("a page of another origin cannot change anything here")]
    Foreign,
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Nobody said who asks, or it is not true.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// There is no such route.
    #[error("no route {0}")]
    NoRoute(String),
    /// The route does not know this method.
    #[error("{method} is no method of {route}")]
    NoMethod {
        /// What was tried.
        method: String,
        /// Where.
        route: String,
    },
    /// The body is too long.
    #[error("the request's body is too long: at most {limit} bytes are taken")]
    TooLarge {
        /// How long it may be.
        limit: usize,
    },
    /// The body came too slowly.
    #[error("the request's body did not arrive in time")]
    TooSlow,
    /// The body is no JSON, by what its sender says.
    #[error("Content-Type: expected application/json")]
    NotJson,
    /// The work took too long.
    #[error("no answer in time: what was asked may still be done")]
    TimedOut,
    /// Too many requests, or too many wrong credentials.
    #[error("{reason}: try again in {retry_s} s")]
    TooMany {
        /// Too many of what.
        reason: &'static str,
        /// Seconds until it may work.
        retry_s: u64,
    },
}

/// What an error looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong; several lines if several things are.
    pub error: String,
}

impl ApiError {
    /// The status that says it.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::Foreign => StatusCode::FORBIDDEN,
            Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::NoMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Plane(error) => match error {
                PlaneError::NoLambda(_)
                | PlaneError::NoGeneration { .. }
                | PlaneError::NoModule(_)
                | PlaneError::NoNamespace(_)
                | PlaneError::NoSecret { .. } => StatusCode::NOT_FOUND,
                PlaneError::Conflict(_) => StatusCode::CONFLICT,
                PlaneError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
                PlaneError::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
                PlaneError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                PlaneError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(ErrorBody { error: self.to_string() })).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Restricted\""));
            }
            Self::TooMany { retry_s, .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_s));
            }
            Self::Plane(PlaneError::Unavailable(_)) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(1));
            }
            _ => {}
        }
        response
    }
}
