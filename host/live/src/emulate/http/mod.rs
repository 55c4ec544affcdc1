//! The servers: the HTTP of vLLM's API server, as far as a client or a gateway can tell.

mod answer;
mod listen;
mod others;
mod server;

pub use listen::serve;
pub use server::{Facts, Server};

use crate::openai::errors::{ApiError, json_response};
use answer::answer;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use std::sync::Arc;

/// Largest body of a request, bytes: a prompt of millions of tokens.
const LARGEST_BODY: usize = 64 << 20;

/// All paths of a server.
fn paths(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(others::models))
        .route("/v1/load_lora_adapter", post(others::load_adapter))
        .route("/v1/unload_lora_adapter", post(others::unload_adapter))
        .route("/tokenize", post(others::tokenize))
        .route("/detokenize", post(others::detokenize))
        .route("/health", get(|| async {}))
        .route("/health/ready", get(|| async {}))
        .route("/ping", get(|| async {}).post(|| async {}))
        .route("/version", get(others::version))
        .route("/load", get(others::server_load))
        .route("/get_load", get(others::get_load))
        .route("/get_loads", get(others::loads))
        .route("/v1/loads", get(others::loads))
        .route("/metrics", get(others::metrics))
        .route(
            "/admin/config",
            get(others::config).post(others::set_config),
        )
        .fallback(|| async {
            json_response(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"}))
        })
        .method_not_allowed_fallback(|| async {
            let detail = json!({"detail": "Method Not Allowed"});
            json_response(StatusCode::METHOD_NOT_ALLOWED, &detail)
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn_with_state(Arc::clone(&server), check_key))
        .with_state(server)
}

/// Lets through what shows the key; only the paths of the API of OpenAI ask for it.
async fn check_key(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    if let Some(key) = &server.facts.api_key
        && request.uri().path().starts_with("/v1")
    {
        let shown = request.headers().get("authorization");
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if shown != Some(key.as_str()) {
            let error = json!({"error": "Unauthorized"});
            return json_response(StatusCode::UNAUTHORIZED, &error);
        }
    }
    next.run(request).await
}

async fn completions(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    answer(server, &headers, &body, false).await
}

async fn chat(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    answer(server, &headers, &body, true).await
}
