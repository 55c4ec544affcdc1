//! The way of a request: read, decided about, sent to a server, its answer passed on part by part.

use super::endpoints::{Endpoint, Endpoints};
use super::message::{Left, Message, Meta, Verdict};
use super::shared::Gateway;
use super::tally::Tally;
use crate::openai::ask;
use crate::openai::errors::ApiError;
use crate::prompts::text::hash;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Frame, Incoming};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, timeout};

/// Headers that concern one connection, or that are made anew.
const OF_A_CONNECTION: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
];

/// A request that the deciding thread knows of. When this goes, it has left, whatever happened.
struct Ticket {
    gateway: Arc<Gateway>,
    number: u64,
    left: Left,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.left);
        self.gateway.under_way.fetch_sub(1, Ordering::Relaxed);
        let _ = self.gateway.control.send(Message::Left(self.number, left));
    }
}

/// A request as it goes to servers.
struct Outgoing {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Why a server gave no answer that could be passed on.
enum Failure {
    /// It, or the way to it, is at fault: another one may do better.
    Retry(StatusCode, String),
    /// So it answered, and another one would.
    Answer(Box<Answered>),
}

/// The beginning of an answer.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    first: Option<Bytes>,
    rest: Incoming,
}

/// Is this a path whose requests policies decide about?
fn is_decided(path: &str) -> bool {
    let all = [
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
    ];
    all.contains(&path)
}

/// Answers a request.
pub async fn answer(gateway: Arc<Gateway>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let patience = Duration::from_secs_f64(gateway.config().timeouts.request);
    let limit = gateway.config().limits.body;
    let body = match timeout(patience, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is larger than {limit} bytes");
            return ApiError::of(StatusCode::PAYLOAD_TOO_LARGE, message).into_response();
        }
        Ok(Err(_)) => return ApiError::bad("the body cannot be read", None).into_response(),
        Err(_) => {
            let message = "the body did not come in time";
            return ApiError::of(StatusCode::REQUEST_TIMEOUT, message).into_response();
        }
    };
    let path = head.uri.path().to_owned();
    let outgoing = Outgoing {
        method: head.method,
        path: path_of(&head.uri),
        headers: forwarded(&gateway, &head.headers),
        body,
    };
    if outgoing.method == Method::POST && is_decided(&path) {
        return decided(gateway, &path, outgoing).await;
    }
    // What is no work for a model is answered by any server.
    let endpoints = gateway.endpoints.all();
    match endpoints.into_iter().find(|endpoint| endpoint.takes()) {
        Some(endpoint) => match send(&gateway, &endpoint, &outgoing).await {
            Ok(answered) => pass_on(answered),
            Err(Failure::Answer(answered)) => pass_on(*answered),
            Err(Failure::Retry(status, why)) => ApiError::of(status, why).into_response(),
        },
        None => refused(503, "no-endpoint", "no server takes requests"),
    }
}

fn path_of(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

/// The headers of a request as servers get them.
fn forwarded(gateway: &Gateway, from: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let named = from
        .get("connection")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let named = named.to_ascii_lowercase();
    let named: Vec<&str> = named.split(',').map(str::trim).collect();
    for (name, value) in from {
        let one = name.as_str();
        if !OF_A_CONNECTION.contains(&one) && !named.contains(&one) {
            headers.append(name.clone(), value.clone());
        }
    }
    let number = gateway.ids.fetch_add(1, Ordering::Relaxed);
    let random = |what: &str| hash((gateway.started, number, what));
    if !headers.contains_key("x-request-id") {
        insert(
            &mut headers,
            "x-request-id",
            &format!("{:016x}", random("id")),
        );
    }
    if !headers.contains_key("traceparent") {
        let (high, low, span) = (random("high"), random("low"), random("span"));
        insert(
            &mut headers,
            "traceparent",
            &format!("00-{high:016x}{low:016x}-{span:016x}-01"),
        );
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A refusal, with its reason in a header.
fn refused(status: u16, reason: &'static str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = ApiError::of(status, message).into_response();
    insert(response.headers_mut(), "x-gateway-reason", reason);
    response
}

/// What policies may know of a request.
fn meta(gateway: &Gateway, headers: &HeaderMap, body: &[u8]) -> Meta {
    let config = gateway.config();
    let text = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let parsed = ask::read(body).unwrap_or_default();
    let max_tokens = parsed.max_completion_tokens.or(parsed.max_tokens);
    let model = parsed.model.clone().unwrap_or_default();
    let user = parsed.user.clone().unwrap_or_default();
    let session = text(&config.headers.session);
    let ttft_ms: f64 = text(&config.headers.ttft_ms).parse().unwrap_or(0.0);
    Meta {
        id: text("x-request-id"),
        prompt: parsed.prompt_tokens(),
        // What is no adapter of a server is its model.
        model: match gateway.is_adapter(&model) {
            true => model,
            false => String::new(),
        },
        salt: parsed.cache_salt.clone().unwrap_or_default(),
        class: text(&config.headers.class),
        tenant: text(&config.headers.tenant),
        session: if session.is_empty() { user } else { session },
        slo_ttft_us: (ttft_ms.clamp(0.0, 1e9) * 1e3) as i64,
        max_tokens: max_tokens.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        priority: parsed.priority.unwrap_or(0),
        streaming: parsed.streams(),
    }
}

/// A request that policies decide about.
async fn decided(gateway: Arc<Gateway>, path: &str, outgoing: Outgoing) -> Response {
    let meta = meta(&gateway, &outgoing.headers, &outgoing.body);
    let number = gateway.numbers.fetch_add(1, Ordering::Relaxed);
    gateway.under_way.fetch_add(1, Ordering::Relaxed);
    gateway.budget.earn(gateway.config().retries.budget);
    let mut ticket = Ticket {
        gateway: Arc::clone(&gateway),
        number,
        left: Left {
            outcome: "aborted",
            status: 499,
            ..Left::default()
        },
    };
    let (to, mut verdict) = oneshot::channel();
    let _ = gateway
        .control
        .send(Message::Arrived(number, Box::new(meta), to));
    let mut tries = 0;
    loop {
        let chosen = match verdict.await {
            Ok(Verdict::To(chosen)) => chosen,
            Ok(Verdict::Refused {
                status,
                reason,
                message,
            }) => return refused(status, reason, &message),
            Err(_) => return refused(503, "shutting-down", "the gateway is shutting down"),
        };
        let Some(endpoint) = gateway.endpoints.get(chosen) else {
            return refused(503, "no-endpoint", "the server is gone");
        };
        endpoint.sent.fetch_add(1, Ordering::Relaxed);
        let (status, why) = match send(&gateway, &endpoint, &outgoing).await {
            Ok(answered) => {
                gateway.endpoints.succeeded(&endpoint);
                return stream(ticket, &endpoint, answered, tries, path);
            }
            Err(Failure::Answer(answered)) => {
                // It is well, and says no.
                gateway.endpoints.succeeded(&endpoint);
                return stream(ticket, &endpoint, *answered, tries, path);
            }
            Err(Failure::Retry(status, why)) => (status, why),
        };
        gateway.endpoints.failed(&endpoint);
        tracing::warn!(endpoint = endpoint.name, why, "a request failed");
        tries += 1;
        if tries > gateway.config().retries.attempts || !gateway.budget.spend() {
            ticket.left.outcome = "failed";
            ticket.left.status = status.as_u16();
            let mut response = refused(status.as_u16(), "endpoint-failed", &why);
            insert(response.headers_mut(), "x-gateway-endpoint", &endpoint.name);
            return response;
        }
        let (to, next) = oneshot::channel();
        let _ = gateway.control.send(Message::Again(number, to));
        verdict = next;
    }
}

/// Sends a request to a server and waits for the first part of its answer.
async fn send(
    gateway: &Gateway,
    endpoint: &Endpoint,
    outgoing: &Outgoing,
) -> Result<Answered, Failure> {
    let unreachable = |why: String| Failure::Retry(StatusCode::BAD_GATEWAY, why);
    let uri = format!("{}{}", endpoint.base, outgoing.path);
    let mut request = hyper::Request::builder()
        .method(outgoing.method.clone())
        .uri(uri);
    if let Some(headers) = request.headers_mut() {
        headers.extend(
            outgoing
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    let request = request
        .body(Full::new(outgoing.body.clone()))
        .map_err(|e| unreachable(e.to_string()))?;
    let patience = Duration::from_secs_f64(gateway.config().timeouts.first_byte);
    let first = async {
        let answer = gateway.client.request(request).await;
        let answer = answer.map_err(|e| unreachable(cause(&e)))?;
        let (head, mut rest) = answer.into_parts();
        let first = loop {
            match rest.frame().await {
                None => break None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => break Some(data),
                    _ => {}
                },
                Some(Err(e)) => return Err(unreachable(cause(&e))),
            }
        };
        Ok(Answered {
            status: head.status,
            headers: head.headers,
            first,
            rest,
        })
    };
    let late = || Failure::Retry(StatusCode::GATEWAY_TIMEOUT, "no answer in time".to_owned());
    let answered = timeout(patience, first).await.map_err(|_| late())??;
    match answered.status.as_u16() {
        // A full queue, a server that is about to end, one that has died.
        500 | 502 | 503 | 504 => {
            let why = format!("it answered {}", answered.status);
            Err(Failure::Retry(answered.status, why))
        }
        status if status >= 400 => Err(Failure::Answer(Box::new(answered))),
        _ => Ok(answered),
    }
}

/// What is at the bottom of an error.
fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(next) = error.source() {
        error = next;
    }
    error.to_string()
}

/// The head of an answer as clients get it.
fn head(answered: &Answered) -> hyper::http::response::Builder {
    let mut response = Response::builder().status(answered.status);
    if let Some(headers) = response.headers_mut() {
        for (name, value) in &answered.headers {
            if !OF_A_CONNECTION.contains(&name.as_str()) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    response
}

fn pass_on(answered: Answered) -> Response {
    let head = head(&answered);
    let parts = Parts {
        first: answered.first,
        rest: answered.rest,
        idle: None,
        meter: None,
        broken: None,
    };
    head.body(Body::new(parts))
        .unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

/// Passes an answer on, part by part.
fn stream(
    ticket: Ticket,
    endpoint: &Arc<Endpoint>,
    answered: Answered,
    tries: u32,
    path: &str,
) -> Response {
    let gateway = Arc::clone(&ticket.gateway);
    let mut head = head(&answered);
    if let Some(headers) = head.headers_mut() {
        insert(headers, "x-gateway-endpoint", &endpoint.name);
        if tries > 0 {
            insert(headers, "x-gateway-retries", &tries.to_string());
        }
    }
    let kind = answered.headers.get("content-type");
    let streamed = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let ok = answered.status.is_success();
    let _ = gateway.control.send(Message::FirstToken(ticket.number));
    let patience = Duration::from_secs_f64(gateway.config().timeouts.idle);
    let meter = Meter {
        tally: Tally::new(streamed, path),
        ticket,
        endpoint: Arc::clone(endpoint),
        endpoints: Arc::clone(&gateway.endpoints),
        status: answered.status.as_u16(),
        ok,
    };
    let parts = Parts {
        first: answered.first,
        rest: answered.rest,
        idle: Some((patience, Box::pin(tokio::time::sleep(patience)))),
        meter: Some(meter),
        broken: None,
    };
    head.body(Body::new(parts))
        .unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

/// What is counted of an answer while it passes.
struct Meter {
    tally: Tally,
    ticket: Ticket,
    endpoint: Arc<Endpoint>,
    endpoints: Arc<Endpoints>,
    status: u16,
    ok: bool,
}

impl Meter {
    /// Tells how it ended.
    fn end(mut self, whole: bool) {
        let left = &mut self.ticket.left;
        left.outcome = match (whole, self.ok) {
            (false, _) => "broken",
            (true, true) => "completed",
            (true, false) => "failed",
        };
        left.status = self.status;
        left.output_tokens = self.tally.output_tokens();
        left.cached_tokens = self.tally.cached_tokens();
        if !whole {
            self.endpoints.failed(&self.endpoint);
        }
    }
}

/// The body of an answer.
struct Parts {
    first: Option<Bytes>,
    rest: Incoming,
    /// How long a part may take, and when that is over.
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
    meter: Option<Meter>,
    /// Why the answer broke off, when what came before has been sent.
    broken: Option<io::Error>,
}

impl Parts {
    fn end(&mut self, whole: bool) {
        if let Some(meter) = self.meter.take() {
            meter.end(whole);
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Its client has gone away, maybe as it has everything; what it had is told, too.
        if self
            .meter
            .as_ref()
            .is_some_and(|meter| meter.tally.is_done())
        {
            self.end(true);
        } else if let Some(meter) = &mut self.meter {
            meter.ticket.left.output_tokens = meter.tally.output_tokens();
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
        let this = &mut *self;
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let part = match this.first.take() {
            Some(first) => Some(Ok(Frame::data(first))),
            None => match Pin::new(&mut this.rest).poll_frame(context) {
                Poll::Ready(part) => part,
                Poll::Pending => {
                    if let Some((_, sleep)) = &mut this.idle
                        && sleep.as_mut().poll(context).is_ready()
                    {
                        this.end(false);
                        let late = io::Error::other("the server sent nothing for too long");
                        return Poll::Ready(Some(Err(late)));
                    }
                    return Poll::Pending;
                }
            },
        };
        if let Some((patience, sleep)) = &mut this.idle {
            sleep.as_mut().reset(Instant::now() + *patience);
        }
        match part {
            None => {
                this.end(true);
                Poll::Ready(None)
            }
            Some(Err(e)) => {
                this.end(false);
                // What was handed over is sent before the connection breaks.
                this.broken = Some(io::Error::other(e));
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(frame)) => {
                if let (Some(meter), Some(data)) = (&mut this.meter, frame.data_ref()) {
                    meter.tally.add(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}
