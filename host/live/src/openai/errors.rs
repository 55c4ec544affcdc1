//! Errors as vLLM's server answers them.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
}

impl ApiError {
    /// A request that makes no sense, because of the field `param`.
    pub fn bad(message: impl Into<String>, param: Option<&'static str>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param,
        }
    }

    /// Another error.
    pub fn of(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
        }
    }

    /// There is no model of this name.
    pub fn no_model(name: &str, known: &[String]) -> Self {
        let known = known.join(", ");
        Self {
            status: StatusCode::NOT_FOUND,
            message: format!("The model `{name}` does not exist. Valid aliases: {known}."),
            param: Some("model"),
        }
    }

    /// An error by its status alone, as faults are.
    pub fn injected(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::of(status, format!("injected failure: {status}"))
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            400 => "BadRequestError",
            401 => "AuthenticationError",
            404 => "NotFoundError",
            429 => "RateLimitError",
            503 => "ServiceUnavailableError",
            _ => "InternalServerError",
        }
    }

    /// The object in which it is told.
    pub fn body(&self) -> serde_json::Value {
        json!({
            "error": {
                "message": self.message,
                "type": self.kind(),
                "param": self.param,
                "code": self.status.as_u16(),
            }
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body());
        if matches!(self.status.as_u16(), 429 | 503) {
            let soon = axum::http::HeaderValue::from_static("1");
            response.headers_mut().insert("retry-after", soon);
        }
        response
    }
}

/// An answer in JSON.
pub fn json_response(status: StatusCode, value: &serde_json::Value) -> Response {
    let kind = [("content-type", "application/json")];
    (status, kind, value.to_string()).into_response()
}
