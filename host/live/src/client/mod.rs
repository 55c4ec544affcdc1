//! A client of an HTTP server with the API of OpenAI: HTTP/1.1 without TLS, over connections that
//! are used again.

mod models;
mod stream;

pub use models::{ServedModel, ServedModels};
pub use stream::{Arrival, Events, Exchange, message_of};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use windtunnel_base::input::{InputError, plain};

/// Longest answer that is no stream, bytes.
const LONGEST_ANSWER: usize = 16 << 20;
/// How long a server may take to accept a connection, and to answer a question that is no
/// completion.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to end an answer that is complete, before its connection is given up.
const TO_END: Duration = Duration::from_secs(2);

/// The sending half of a connection.
type Sender = SendRequest<Full<Bytes>>;

/// Connections that wait for their next request.
#[derive(Clone, Default)]
struct Idle(Arc<Mutex<Vec<Sender>>>);

impl Idle {
    /// One that can be used at once: the last that was, as the server is least likely to have
    /// closed it.
    fn take(&self) -> Option<Sender> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sender| !sender.is_closed());
        let last = all.iter().rposition(Sender::is_ready)?;
        Some(all.remove(last))
    }

    fn keep(&self, sender: Sender) {
        if !sender.is_closed() {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(sender);
        }
    }
}

/// The head of an answer, and its body as it comes. Who drops it before its end gives the request
/// up: the server sees the connection close.
pub struct Answering {
    /// Its status.
    pub status: StatusCode,
    /// Its content type, empty if it has none.
    pub kind: String,
    body: Incoming,
    sender: Sender,
    idle: Idle,
}

impl Answering {
    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = self.body.frame().await {
            // What is no data is a trailer.
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// When the connection breaks off, or the text is longer than any answer.
    pub async fn text(mut self) -> Result<String, String> {
        let body = Limited::new(&mut self.body, LONGEST_ANSWER);
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        self.idle.keep(self.sender);
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Nothing more of the answer matters: once the server has ended it, its connection is used
    /// again.
    pub fn done(mut self) {
        tokio::spawn(async move {
            let ended = async { while let Ok(Some(_)) = self.next().await {} };
            if tokio::time::timeout(TO_END, ended).await.is_ok() {
                self.idle.keep(self.sender);
            }
        });
    }
}

/// Where a server is, and how it is asked.
#[derive(Clone)]
pub struct Client {
    /// As it was given, without a slash and `/v1` at its end.
    url: String,
    /// Host and port.
    authority: String,
    host: String,
    port: u16,
    /// What stands before `/v1`.
    base: String,
    key: Option<String>,
    /// When its clock began.
    started: Instant,
    idle: Idle,
}

/// Host and port of a URL, and what stands before `/v1`.
fn server_of(url: &str) -> Result<(Authority, String), InputError> {
    let wrong = |what: &str| {
        let example = "expected a URL such as http://127.0.0.1:8000";
        InputError::new(format!("{url:?}: {what}; {example}"))
    };
    let parsed: Uri = url.parse().map_err(|_| wrong("this is no URL"))?;
    match parsed.scheme_str() {
        Some("http") => {}
        Some("https") => {
            let why = "https is not spoken here: name the server itself, or a tunnel to it";
            return Err(wrong(why));
        }
        _ => return Err(wrong("there is no http:// in front")),
    }
    let authority = parsed.authority().ok_or_else(|| wrong("no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("a name and a password are not sent to servers"));
    }
    if parsed.query().is_some() {
        return Err(wrong("there is something behind a question mark"));
    }
    let base = parsed.path().trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    Ok((authority.clone(), base.to_owned()))
}

/// The URL of a server without a slash and `/v1` at its end.
///
/// # Errors
/// When it is none that a client can use.
pub fn base_url(url: &str) -> Result<String, InputError> {
    let (authority, base) = server_of(url)?;
    Ok(format!("http://{authority}{base}"))
}

/// What a server answered to a question that is no completion.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its text.
    pub text: String,
}

impl Client {
    /// A client of the server at `url`, which shows `key`.
    ///
    /// # Errors
    /// When the URL is none that it can use.
    pub fn new(url: &str, key: Option<String>) -> Result<Self, InputError> {
        let (authority, base) = server_of(url)?;
        Ok(Self {
            url: format!("http://{authority}{base}"),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            base,
            key,
            started: Instant::now(),
            idle: Idle::default(),
        })
    }

    /// The server, for people.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn now_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    fn failed(&self, path: &str, what: impl std::fmt::Display) -> InputError {
        InputError::new(format!("{}{path}: {what}", self.url))
    }

    /// The moment from which [`Exchange`]s count their times.
    pub fn started(&self) -> Instant {
        self.started
    }

    async fn connect(&self, path: &str) -> Result<Sender, InputError> {
        let address = (self.host.as_str(), self.port);
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let connection = connected.map_err(|_| self.failed(path, "no connection within 10 s"))?;
        let stream = connection.map_err(|e| {
            let why = format!("cannot connect: {}; is the server up?", plain(&e));
            self.failed(path, why)
        })?;
        // Without it small requests may wait for the answer to what was sent before.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.failed(path, e))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(
        &self,
        path: &str,
        body: Option<Bytes>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Request<Full<Bytes>>, InputError> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.authority);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|e| self.failed(path, e))
    }

    /// Sends a request over a connection that waits, or a new one. A server may close a connection
    /// just when it is used again: what it then has not seen is sent once more.
    async fn send(
        &self,
        path: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answering, InputError> {
        loop {
            let waiting = self.idle.take();
            let is_new = waiting.is_none();
            let mut sender = match waiting {
                Some(sender) => sender,
                None => self.connect(path).await?,
            };
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    let kind = answer.headers().get(CONTENT_TYPE);
                    let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default();
                    return Ok(Answering {
                        status: answer.status(),
                        kind: kind.to_owned(),
                        body: answer.into_body(),
                        sender,
                        idle: self.idle.clone(),
                    });
                }
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(self.failed(path, failed.into_error())),
                },
            }
        }
    }

    /// Posts a body of JSON.
    ///
    /// # Errors
    /// When there is no answer; every status is one.
    pub async fn post(
        &self,
        path: &str,
        body: Bytes,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Answering, InputError> {
        let request = self.request(path, Some(body), headers)?;
        self.send(path, request).await
    }

    /// Asks for `path`.
    ///
    /// # Errors
    /// When there is no answer; every status is one.
    pub async fn get(&self, path: &str) -> Result<Answer, InputError> {
        let asked = async {
            let request = self.request(path, None, Vec::new())?;
            let answer = self.send(path, request).await?;
            let status = answer.status;
            let text = answer.text().await.map_err(|e| self.failed(path, e))?;
            Ok(Answer { status, text })
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        answered.map_err(|_| self.failed(path, "no answer within 10 s"))?
    }

    /// Asks for a completion and takes its tokens as they come; `told` is told of each arrival, and
    /// learns by its end that there are no more.
    ///
    /// # Errors
    /// When the server refuses, does not stream, or breaks off.
    pub async fn complete(
        &self,
        body: &Value,
        prompt_tokens: u64,
        told: Option<UnboundedSender<()>>,
    ) -> Result<Exchange, InputError> {
        let path = "/v1/completions";
        let mut exchange = Exchange {
            sent_ms: self.now_ms(),
            prompt_tokens,
            arrivals: Vec::new(),
        };
        let body = Bytes::from(body.to_string());
        let mut answer = self.post(path, body, Vec::new()).await?;
        let status = answer.status;
        if status != StatusCode::OK {
            let text = answer.text().await.map_err(|e| self.failed(path, e))?;
            return Err(self.failed(path, refusal(status, &text)));
        }
        if !answer.kind.starts_with("text/event-stream") {
            let kind = match answer.kind.as_str() {
                "" => "nothing",
                kind => kind,
            };
            let what = format!(
                "the server does not stream: it answers with {kind}, expected text/event-stream"
            );
            return Err(self.failed(path, what));
        }
        let mut events = Events::default();
        let broke = |e| self.failed(path, format!("the stream broke off: {e}"));
        while let Some(bytes) = answer.next().await.map_err(broke)? {
            let now = self.now_ms();
            for data in events.add(&bytes) {
                let ended = exchange.take(&data, now);
                if ended.map_err(|what| self.failed(path, what))? {
                    answer.done();
                    return Ok(exchange);
                }
                if let Some(told) = &told {
                    let _ = told.send(());
                }
            }
            if events.is_endless() {
                return Err(self.failed(path, "an event of the stream has no end"));
            }
        }
        Err(self.failed(path, "the stream ended without [DONE]"))
    }
}

/// What a status other than 200 says, for people.
pub fn refusal(status: StatusCode, text: &str) -> String {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let said = match &value {
        Some(value) => message_of(value.get("error").unwrap_or(value)),
        None => message_of(&Value::from(text.trim())),
    };
    match said.is_empty() {
        true => format!("status {status}"),
        false => format!("status {status}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_with_and_without_v1_and_what_cannot_be_used_is_refused() {
        let client = |url: &str| Client::new(url, None);
        let plain = client("http://localhost:81/proxy/v1/").expect("a client");
        assert_eq!(plain.url(), "http://localhost:81/proxy");
        assert_eq!((plain.host.as_str(), plain.port), ("localhost", 81));
        assert_eq!(client("http://[::1]").expect("a client").host, "::1");
        let refused = |url: &str| client(url).err().expect("refused").to_string();
        assert!(refused("https://a").contains("https is not spoken here"));
        assert!(refused("localhost:8000").contains("expected a URL such as"));
        assert!(refused("http://me:secret@a").contains("a name and a password"));
    }

    #[test]
    fn refusals_tell_what_the_server_said() {
        let said = refusal(
            StatusCode::NOT_FOUND,
            r#"{"error": {"message": "no such model"}}"#,
        );
        assert_eq!(said, "status 404 Not Found: no such model");
        assert_eq!(
            refusal(StatusCode::BAD_GATEWAY, ""),
            "status 502 Bad Gateway"
        );
    }
}
