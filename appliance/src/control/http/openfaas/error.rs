//! Errors as `faas-provider` tells them: a status, and one paragraph of plain text.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::super::caller::Forbidden;
use super::super::error::ApiError;
use crate::control::image::ImageError;
use crate::control::plane::PlaneError;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// The plane refused, or the caller may not, or the request makes no sense.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The namespace that the path names is not there.
    #[error("no namespace \"{0}\"")]
    NoNamespace(String),
    /// What the image names cannot be deployed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A query for logs that cannot be understood.
    #[error("could not parse the log request: {0}")]
    LogQuery(String),
}

impl From<PlaneError> for ProviderError {
    fn from(error: PlaneError) -> Self {
        Self::Api(error.into())
    }
}

impl From<Forbidden> for ProviderError {
    fn from(error: Forbidden) -> Self {
        Self::Api(error.into())
    }
}

impl ProviderError {
    /// The request makes no sense.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::Api(ApiError::BadRequest(text.into()))
    }

    /// An error about the namespace that the path names, and not one that a body names.
    pub(super) fn of_namespace(error: ApiError) -> Self {
        match error {
            ApiError::Plane(PlaneError::NoNamespace(name)) => Self::NoNamespace(name),
            error => error.into(),
        }
    }

    /// The status that says it. To a client 404 means that the function or the secret is not there, and it goes on to create it: nothing
    /// else that is missing may say so.
    const fn status(&self) -> StatusCode {
        match self {
            Self::Api(ApiError::Plane(
                PlaneError::Invalid(_) | PlaneError::NoModule(_) | PlaneError::NoNamespace(_),
            )) => StatusCode::BAD_REQUEST,
            Self::Api(error) => error.status(),
            Self::NoNamespace(_) => StatusCode::NOT_FOUND,
            Self::Image(ImageError::Unreadable { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Image(_) => StatusCode::BAD_REQUEST,
            Self::LogQuery(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

impl IntoResponse for ProviderError {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (self.status(), headers, format!("{self}\n")).into_response()
    }
}
