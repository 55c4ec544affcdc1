//! Everything a server is asked that is no completion.

use super::server::Server;
use crate::emulate::faults::FaultRates;
use crate::emulate::job::{Command, Load};
use crate::locks::lock;
use crate::openai::ask::read;
use crate::openai::errors::{ApiError, json_response};
use crate::prompts::text;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

type Shared = State<Arc<Server>>;

fn ok(value: &Value) -> Response {
    json_response(StatusCode::OK, value)
}

/// `/v1/models`
pub async fn models(State(server): Shared) -> Response {
    let facts = &server.facts;
    let model = |id: &str, root: &str, parent: Option<&str>| {
        json!({
            "id": id,
            "object": "model",
            "created": facts.created,
            "owned_by": "vllm",
            "root": root,
            "parent": parent,
            "max_model_len": (server.max_model_len > 0 && parent.is_none()).then_some(server.max_model_len),
        })
    };
    let adapters = lock(&server.adapters).clone();
    let served = facts
        .names
        .iter()
        .map(|name| model(name, &facts.model, None));
    let adapters = adapters
        .iter()
        .map(|(name, path)| model(name, path, Some(&facts.names[0])));
    ok(&json!({"object": "list", "data": served.chain(adapters).collect::<Vec<_>>()}))
}

/// `/version`
pub async fn version() -> Response {
    ok(&json!({"version": concat!("0.32.0+windtunnel.", env!("CARGO_PKG_VERSION"))}))
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad(format!("the body cannot be read: {e}"), None))
}

fn text_of(object: &Map<String, Value>, key: &str) -> Option<String> {
    object
        .get(key)?
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// `/v1/load_lora_adapter`
pub async fn load_adapter(State(server): Shared, body: Bytes) -> Result<Response, ApiError> {
    let body = object(&body)?;
    let (Some(name), Some(path)) = (text_of(&body, "lora_name"), text_of(&body, "lora_path"))
    else {
        return Err(ApiError::bad(
            "Both 'lora_name' and 'lora_path' must be provided.",
            None,
        ));
    };
    if server.facts.names.contains(&name) {
        return Err(ApiError::bad(
            format!("The name '{name}' is that of the model."),
            None,
        ));
    }
    let mut adapters = lock(&server.adapters);
    if adapters.contains_key(&name) {
        let message = format!("The lora adapter '{name}' has already been loaded.");
        return Err(ApiError::bad(message, None));
    }
    let message = format!("Success: LoRA adapter '{name}' added successfully.");
    adapters.insert(name, path);
    Ok(message.into_response())
}

/// `/v1/unload_lora_adapter`
pub async fn unload_adapter(State(server): Shared, body: Bytes) -> Result<Response, ApiError> {
    let body = object(&body)?;
    let Some(name) = text_of(&body, "lora_name") else {
        return Err(ApiError::bad(
            "'lora_name' needs to be provided to unload a LoRA adapter.",
            None,
        ));
    };
    if lock(&server.adapters).remove(&name).is_none() {
        let message = format!("The lora adapter '{name}' cannot be found.");
        return Err(ApiError::of(StatusCode::NOT_FOUND, message));
    }
    Ok(format!("Success: LoRA adapter '{name}' removed successfully.").into_response())
}

/// `/tokenize`
pub async fn tokenize(State(server): Shared, body: Bytes) -> Result<Response, ApiError> {
    let body = read(&body)?;
    server.find(body.model.as_deref())?;
    let asked = body.asked(body.messages.is_some(), 0)?;
    Ok(ok(&json!({
        "count": asked.prompt.len(),
        "max_model_len": server.max_model_len,
        "tokens": asked.prompt,
        "token_strs": null,
    })))
}

/// `/detokenize`
pub async fn detokenize(body: Bytes) -> Result<Response, ApiError> {
    let body = object(&body)?;
    let tokens = body.get("tokens").and_then(Value::as_array);
    let number = |token: &Value| token.as_u64().and_then(|n| u32::try_from(n).ok());
    let tokens: Option<Vec<u32>> = tokens.and_then(|all| all.iter().map(number).collect());
    let Some(tokens) = tokens else {
        let message = "tokens: expected the numbers of tokens";
        return Err(ApiError::bad(message, Some("tokens")));
    };
    let prompt: String = tokens.into_iter().map(text::text).collect();
    Ok(ok(&json!({"prompt": prompt})))
}

/// `/load`
pub async fn server_load(State(server): Shared) -> Response {
    ok(&json!({"server_load": server.load.load(Ordering::Relaxed)}))
}

async fn asked<T>(
    server: &Server,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, ApiError> {
    let (to, answer) = oneshot::channel();
    let _ = server.commands.send(command(to));
    answer.await.map_err(|_| {
        ApiError::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down",
        )
    })
}

async fn load(server: &Server) -> Result<Load, ApiError> {
    asked(server, |to| Command::Load(server.index, to)).await
}

/// `/get_load`, as SGLang had it first.
pub async fn get_load(State(server): Shared) -> Result<Response, ApiError> {
    let load = load(&server).await?;
    Ok(ok(&json!([{
        "dp_rank": 0,
        "num_reqs": load.running + load.waiting,
        "num_waiting_reqs": load.waiting,
        "num_tokens": load.tokens,
    }])))
}

/// `/get_loads` and `/v1/loads`, as SGLang has it.
pub async fn loads(State(server): Shared) -> Result<Response, ApiError> {
    let load = load(&server).await?;
    Ok(ok(&json!({
        "dp_rank_count": 1,
        "loads": [{
            "dp_rank": 0,
            "num_running_reqs": load.running,
            "num_waiting_reqs": load.waiting,
            "num_total_reqs": load.running + load.waiting,
            "num_used_tokens": load.tokens,
            "max_total_num_tokens": load.most_tokens,
            "token_usage": load.usage(),
            "max_running_requests": load.most_running,
        }],
    })))
}

/// `/metrics`
pub async fn metrics(State(server): Shared) -> Result<Response, ApiError> {
    let age = Duration::from_millis(lock(&server.faults).metrics_age_ms);
    let kept = lock(&server.metrics).clone();
    let kept = kept.filter(|(read, _)| !age.is_zero() && read.elapsed() < age);
    let text = match kept {
        Some((_, text)) => text,
        None => {
            let text = asked(&server, |to| Command::Metrics(server.index, to)).await?;
            if !age.is_zero() {
                *lock(&server.metrics) = Some((Instant::now(), text.clone()));
            }
            text
        }
    };
    let kind = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, text).into_response())
}

/// `/admin/config`: what goes wrong here.
pub async fn config(State(server): Shared) -> Response {
    ok(&json!(server.faults()))
}

/// The same, to change it: keys that are not there stay as they are.
pub async fn set_config(State(server): Shared, body: Bytes) -> Result<Response, ApiError> {
    let changes = object(&body)?;
    let mut faults = lock(&server.faults);
    let mut all = json!(*faults);
    if let Some(all) = all.as_object_mut() {
        all.extend(changes);
    }
    let changed: FaultRates =
        serde_json::from_value(all).map_err(|e| ApiError::bad(e.to_string(), None))?;
    changed.check().map_err(|what| ApiError::bad(what, None))?;
    if changed.slow != faults.slow {
        let _ = server
            .commands
            .send(Command::Slow(server.index, changed.slow));
    }
    *faults = changed;
    Ok(ok(&json!(*faults)))
}
