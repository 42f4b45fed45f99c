//! λ-RPC statuses as HTTP ones.
//!
//! | λ-RPC | HTTP | who says so |
//! |---|---|---|
//! | OK | 200 | the lambda |
//! | INVALID_ARGUMENT, FAILED_PRECONDITION | 400 | the lambda |
//! | PERMISSION_DENIED, UNAUTHENTICATED | 403 | the lambda |
//! | NOT_FOUND | 404 | the lambda |
//! | UNIMPLEMENTED | 404, or 413 for a body of several frames | the appliance: the lambda is gone, or has no slots |
//! | ALREADY_EXISTS, ABORTED | 409 | the lambda |
//! | OUT_OF_RANGE | 413 | the appliance: the body is larger than the lambda's slots |
//! | BUSY | 429 with Retry-After | the appliance, until the request's time was over |
//! | UNAVAILABLE | 503 | the appliance: the lambda is quarantined |
//! | DEADLINE_EXCEEDED | 504 | the appliance: it waited for too long |
//! | INTERNAL, RESOURCE_EXHAUSTED, all others | 502 | the appliance: the lambda trapped, or used up its budget |
//!
//! Without a reply: no reply in time is 504, too many requests on their way 429 with Retry-After, a body that is too large 413, an
//! appliance that stops 503.

use axum::http::StatusCode;
use lnic_wire::rpc::Status;

use super::InvokeError;

impl InvokeError {
    /// The HTTP status that says it.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Status { status, .. } => of(Status::new(*status)),
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When to ask again, in whole seconds; `None` if that makes no difference.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Status { status, retry_us } if *status == Status::Busy.raw() => {
                Some(retry_us.div_ceil(1_000_000).max(1))
            }
            Self::Busy => Some(1),
            _ => None,
        }
    }
}

fn of(status: Status) -> StatusCode {
    match status {
        Status::Ok => StatusCode::OK,
        Status::InvalidArgument | Status::FailedPrecondition => StatusCode::BAD_REQUEST,
        Status::PermissionDenied | Status::Unauthenticated => StatusCode::FORBIDDEN,
        Status::NotFound | Status::Unimplemented => StatusCode::NOT_FOUND,
        Status::AlreadyExists | Status::Aborted => StatusCode::CONFLICT,
        Status::OutOfRange => StatusCode::PAYLOAD_TOO_LARGE,
        Status::Busy => StatusCode::TOO_MANY_REQUESTS,
        Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Status::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_and_none_but_ok_looks_like_success() {
        let raw = |error: InvokeError| error.http_status().as_u16();
        for status in 1..=u8::MAX {
            assert!(raw(InvokeError::Status { status, retry_us: 0 }) >= 400, "{status}");
        }
        for (status, expected) in [
            (Status::Internal, 502),
            (Status::ResourceExhausted, 502),
            (Status::Stale, 502),
            (Status::Unavailable, 503),
            (Status::DeadlineExceeded, 504),
            (Status::Busy, 429),
            (Status::Unimplemented, 404),
            (Status::OutOfRange, 413),
        ] {
            assert_eq!(
                raw(InvokeError::Status { status: status.raw(), retry_us: 0 }),
                expected,
                "{status:?}"
            );
        }
        assert_eq!(raw(InvokeError::TimedOut), 504);
        assert_eq!(raw(InvokeError::Busy), 429);
    }

    #[test]
    fn only_who_is_busy_says_when_to_ask_again() {
        let busy = |retry_us| InvokeError::Status { status: Status::Busy.raw(), retry_us };
        assert_eq!(busy(0).retry_after_s(), Some(1));
        assert_eq!(busy(1_000_001).retry_after_s(), Some(2));
        assert_eq!(InvokeError::Busy.retry_after_s(), Some(1));
        let quarantined = InvokeError::Status { status: Status::Unavailable.raw(), retry_us: 7 };
        assert_eq!([quarantined.retry_after_s(), InvokeError::TimedOut.retry_after_s()], [None, None]);
    }
}
