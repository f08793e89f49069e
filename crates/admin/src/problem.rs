//! Answers that are not what was asked for, in the same shape as those that are.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// There is no broker yet.
    Starting,
    /// It may be among what is still being read.
    Loading {
        /// What was asked for.
        what: String,
    },
    /// There is no such thing.
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The request cannot be understood.
    BadRequest {
        /// Why.
        what: String,
    },
    /// It is understood and not done.
    Refused {
        /// Why.
        why: String,
    },
    /// This path is not asked so.
    MethodNotAllowed,
    /// The answer took too long.
    TimedOut,
    /// A metric could not be written down.
    Metrics,
}

impl Problem {
    fn parts(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Starting => (
                StatusCode::SERVICE_UNAVAILABLE,
                "starting",
                "the node is starting; see /readyz".to_owned(),
            ),
            Self::Loading { what } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "loading",
                format!("{what} is not known yet: the coordinators are reading their logs"),
            ),
            Self::NotFound { what } => (
                StatusCode::NOT_FOUND,
                "not_found",
                format!("there is no {what}"),
            ),
            Self::BadRequest { what } => (StatusCode::BAD_REQUEST, "bad_request", what.clone()),
            Self::Refused { why } => (StatusCode::CONFLICT, "refused", why.clone()),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this is read with GET, or an order given with POST".to_owned(),
            ),
            Self::TimedOut => (
                StatusCode::SERVICE_UNAVAILABLE,
                "timed_out",
                "the answer took too long".to_owned(),
            ),
            Self::Metrics => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics",
                "a metric could not be written down".to_owned(),
            ),
        }
    }
}

#[derive(Serialize)]
struct Body {
    schema: u32,
    error: ErrorBody,
}

#[derive(Serialize)]
struct ErrorBody {
    code: &'static str,
    message: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        let error = ErrorBody { code, message };
        (status, Json(Body { schema: 1, error })).into_response()
    }
}
