//! Answers to completions and chats, at once or token by token.

use super::server::{Facts, Server};
use crate::clock::since_1970;
use crate::emulate::faults::Chance;
use crate::emulate::job::{Command, End, Job, News};
use crate::openai::ask::{Asked, StreamOptions, read};
use crate::openai::errors::{ApiError, json_response};
use crate::prompts::text::{self, hash};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use hyper::body::Frame;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Output tokens of a chat that names no limit and whose model does not stop by itself.
const LONGEST_UNASKED: u32 = 256;

/// A request that the engine has; when this goes, nobody waits for it any more.
struct Waiting {
    server: Arc<Server>,
    number: u64,
    news: UnboundedReceiver<News>,
    over: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.server.load.fetch_sub(1, Ordering::Relaxed);
        if !self.over {
            let _ = self.server.commands.send(Command::GiveUp(self.number));
        }
    }
}

/// How an answer is told.
struct Form {
    id: String,
    model: String,
    created: u64,
    is_chat: bool,
    prompt_tokens: u32,
    output: Vec<u32>,
    max_tokens: u32,
    tells_cached: bool,
}

/// Answers a request.
///
/// # Errors
/// When it makes no sense, cannot be served, or is to fail.
pub async fn answer(
    server: Arc<Server>,
    headers: &HeaderMap,
    body: &[u8],
    is_chat: bool,
) -> Result<Response, ApiError> {
    if let Some(status) = headers.get("x-return-error") {
        return Err(forced(status));
    }
    let number = server.next_number();
    let rates = server.faults();
    let seed = server.facts.seed;
    let chance = rates.of(seed ^ server.index as u64, number);
    match chance {
        Chance::Fails(kind) => return Err(ApiError::injected(kind.status())),
        Chance::Hangs => std::future::pending::<()>().await,
        Chance::None | Chance::Cut(_) => {}
    }
    let body = read(body)?;
    let (model, adapter) = server.find(body.model.as_deref())?;
    let asked = body.asked(is_chat, server.max_model_len)?;
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let name = body.request_id.as_deref().or(given);
    let name = name.map_or_else(|| format!("{:016x}", hash((seed, number))), str::to_owned);
    let (output, max_tokens) = output(&server.facts, &asked, number);
    let form = Form {
        id: format!("{}-{name}", if is_chat { "chatcmpl" } else { "cmpl" }),
        model,
        created: since_1970().as_secs(),
        is_chat,
        prompt_tokens: asked.prompt.len() as u32,
        output: output.clone(),
        max_tokens,
        tells_cached: server.facts.prompt_tokens_details,
    };
    let (sender, news) = unbounded_channel();
    server.load.fetch_add(1, Ordering::Relaxed);
    let mut waiting = Waiting {
        server: Arc::clone(&server),
        number,
        news,
        over: false,
    };
    let job = Job {
        number,
        server: server.index,
        id: form.id.clone(),
        prompt: asked.prompt,
        output,
        max_tokens,
        adapter,
        cache_salt: body.cache_salt.clone(),
        priority: body.priority.unwrap_or(0),
        streaming: body.streams(),
        news: sender,
    };
    let ended = || {
        ApiError::of(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down",
        )
    };
    server
        .commands
        .send(Command::Serve(Box::new(job)))
        .map_err(|_| ended())?;
    if waiting.news.recv().await != Some(News::Taken) {
        waiting.over = true;
        let message = "the server's queue is full; try again later";
        return Err(ApiError::of(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    let cut = match (chance, headers.get("x-cut-after")) {
        (_, Some(after)) => Some(whole_number(after, "X-Cut-After")?),
        (Chance::Cut(share), None) => Some((share * form.output.len() as f64) as u32),
        _ => None,
    };
    let mut response = if body.streams() {
        stream(waiting, form, body.stream_options.unwrap_or_default(), cut)
    } else {
        whole(waiting, &form, cut).await?
    };
    if server.facts.request_id_headers
        && let Some(id) = headers.get("x-request-id")
    {
        response.headers_mut().insert("x-request-id", id.clone());
    }
    Ok(response)
}

fn whole_number(value: &HeaderValue, name: &str) -> Result<u32, ApiError> {
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        ApiError::bad(
            format!("{name} must be a whole number, found {value:?}"),
            None,
        )
    })
}

/// The error that a client asks for.
fn forced(status: &HeaderValue) -> ApiError {
    match whole_number(status, "X-Return-Error") {
        Ok(status @ 400..=599) => ApiError::injected(status as u16),
        Ok(status) => {
            let message =
                format!("X-Return-Error must be a status from 400 to 599, found {status}");
            ApiError::bad(message, None)
        }
        Err(error) => error,
    }
}

/// Tokens of the answer, and the limit that it has.
fn output(facts: &Facts, asked: &Asked, number: u64) -> (Vec<u32>, u32) {
    let seed = hash((facts.seed, number, &asked.prompt));
    let most = asked.max_tokens.unwrap_or(match facts.output_tokens {
        Some(_) => asked.room,
        None => asked.room.min(LONGEST_UNASKED),
    });
    let len = match facts.output_tokens {
        _ if asked.ignore_eos => most,
        Some((mean, deviation)) => drawn(mean, deviation, seed),
        None => most,
    };
    let len = len.clamp(asked.min_tokens.clamp(1, most), most);
    if facts.echo {
        let mut said = asked.said.clone();
        said.truncate(most as usize);
        return (said, most);
    }
    (text::answer(seed, len), most)
}

fn drawn(mean: f64, deviation: f64, seed: u64) -> u32 {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let drawn = Normal::new(mean, deviation).map_or(mean, |normal| normal.sample(&mut random));
    drawn.round().clamp(1.0, f64::from(u32::MAX)) as u32
}

impl Form {
    fn text(&self, from: u32, to: u32) -> String {
        let tokens = &self.output[from as usize..(to as usize).min(self.output.len())];
        tokens.iter().map(|&token| text::text(token)).collect()
    }

    /// Why the answer ends with its token number `tokens`, if it does.
    fn finish(&self, tokens: u32) -> Option<&'static str> {
        let is_last = tokens as usize >= self.output.len();
        is_last.then_some(if tokens >= self.max_tokens {
            "length"
        } else {
            "stop"
        })
    }

    fn usage(&self, tokens: u32, cached: Option<u32>) -> Value {
        let details = cached
            .filter(|_| self.tells_cached)
            .map(|cached| json!({"cached_tokens": cached}));
        json!({
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + tokens,
            "completion_tokens": tokens,
            "prompt_tokens_details": details,
        })
    }

    fn object(&self, streamed: bool) -> &'static str {
        match (self.is_chat, streamed) {
            (true, true) => "chat.completion.chunk",
            (true, false) => "chat.completion",
            (false, _) => "text_completion",
        }
    }

    /// A part of a streamed answer.
    fn chunk(&self, choices: Value, usage: Option<Value>) -> Bytes {
        let mut chunk = json!({
            "id": self.id,
            "object": self.object(true),
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    }

    /// The tokens `from..to`.
    fn tokens(&self, from: u32, to: u32, usage: Option<Value>) -> Bytes {
        let text = self.text(from, to);
        let finish = self.finish(to);
        let choice = if self.is_chat {
            json!({"index": 0, "delta": {"content": text}, "logprobs": null, "finish_reason": finish})
        } else {
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish, "stop_reason": null})
        };
        self.chunk(json!([choice]), usage)
    }

    /// The whole answer.
    fn whole(&self, tokens: u32, cached: u32) -> Value {
        let text = self.text(0, tokens);
        let finish = self.finish(tokens).unwrap_or("length");
        let choice = if self.is_chat {
            let message = json!({"role": "assistant", "content": text, "refusal": null});
            json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish, "stop_reason": null})
        } else {
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish, "stop_reason": null})
        };
        json!({
            "id": self.id,
            "object": self.object(false),
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": self.usage(tokens, Some(cached)),
        })
    }
}

/// What a request that was not served came to.
fn unserved(end: End) -> ApiError {
    match end {
        End::Lost => ApiError::of(StatusCode::INTERNAL_SERVER_ERROR, "the engine has died"),
        _ => ApiError::bad(
            "the prompt does not fit into the KV cache",
            Some("input_tokens"),
        ),
    }
}

/// Waits for the whole answer.
async fn whole(mut waiting: Waiting, form: &Form, cut: Option<u32>) -> Result<Response, ApiError> {
    let mut tokens = 0;
    while let Some(news) = waiting.news.recv().await {
        match news {
            News::Tokens(n) => tokens = n,
            News::Ended { end, cached_tokens } => {
                waiting.over = true;
                return match end {
                    End::Complete | End::Length if cut.is_some() => Ok(broken(form)),
                    End::Complete | End::Length => Ok(json_response(
                        StatusCode::OK,
                        &form.whole(tokens, cached_tokens),
                    )),
                    _ => Err(unserved(end)),
                };
            }
            News::Taken | News::Refused => {}
        }
    }
    Err(unserved(End::Lost))
}

/// An answer that breaks off in its middle.
fn broken(form: &Form) -> Response {
    let text = form.whole(form.output.len() as u32, 0).to_string();
    let half = Bytes::from(text[..text.len() / 2].to_owned());
    let parts = Parts {
        parts: VecDeque::from([half]),
        then_breaks: true,
        unsent: false,
        source: None,
    };
    response(parts, "application/json")
}

/// Answers token by token.
fn stream(waiting: Waiting, form: Form, options: StreamOptions, cut: Option<u32>) -> Response {
    let parts = Parts {
        parts: VecDeque::new(),
        then_breaks: false,
        unsent: false,
        source: Some(Tokens {
            waiting,
            form,
            usage: options.include_usage.unwrap_or(false),
            running_usage: options.continuous_usage_stats.unwrap_or(false),
            cut,
            told: 0,
        }),
    };
    response(parts, "text/event-stream; charset=utf-8")
}

fn response(parts: Parts, kind: &'static str) -> Response {
    let mut response = Response::new(Body::new(parts));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert("content-type", kind);
    response
}

/// A body that comes in parts.
struct Parts {
    parts: VecDeque<Bytes>,
    /// After these parts the connection breaks.
    then_breaks: bool,
    /// Parts were handed over since this was polled first without one.
    unsent: bool,
    /// Where more come from.
    source: Option<Tokens>,
}

/// Tokens of an answer, as they come.
struct Tokens {
    waiting: Waiting,
    form: Form,
    usage: bool,
    running_usage: bool,
    /// After so many tokens the connection breaks.
    cut: Option<u32>,
    told: u32,
}

impl Parts {
    fn hear(&mut self, news: Option<News>) {
        let Some(source) = &mut self.source else {
            return;
        };
        let form = &source.form;
        match news {
            Some(News::Tokens(n)) => {
                if source.told == 0 && form.is_chat {
                    let delta = json!({"role": "assistant", "content": ""});
                    let choice = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
                    let usage = source.running_usage.then(|| form.usage(0, None));
                    self.parts.push_back(form.chunk(choice, usage));
                }
                if source.cut.is_some_and(|cut| n > cut) {
                    self.source = None;
                    self.then_breaks = true;
                    return;
                }
                let usage = source.running_usage.then(|| form.usage(n, None));
                self.parts.push_back(form.tokens(source.told, n, usage));
                source.told = n;
            }
            Some(News::Ended { end, cached_tokens }) => {
                source.waiting.over = true;
                match end {
                    End::Complete | End::Length => {
                        if source.usage {
                            let usage = form.usage(source.told, Some(cached_tokens));
                            self.parts.push_back(form.chunk(json!([]), Some(usage)));
                        }
                    }
                    // Its connection breaks.
                    End::Lost => {
                        self.source = None;
                        self.then_breaks = true;
                        return;
                    }
                    End::Impossible => {
                        let error = unserved(end).body();
                        self.parts
                            .push_back(Bytes::from(format!("data: {error}\n\n")));
                    }
                }
                self.parts
                    .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.source = None;
            }
            Some(News::Taken | News::Refused) => {}
            None => {
                self.source = None;
                self.then_breaks = true;
            }
        }
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                self.unsent = true;
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            if self.then_breaks {
                if std::mem::take(&mut self.unsent) {
                    // What was handed over is sent before the connection breaks.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.then_breaks = false;
                let broken = io::Error::other("the connection is to break here");
                return Poll::Ready(Some(Err(broken)));
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            match source.waiting.news.poll_recv(context) {
                Poll::Ready(news) => self.hear(news),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
