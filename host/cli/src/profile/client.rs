//! A client of an HTTP server with the API of OpenAI.

use super::stream::{Events, Exchange, message_of};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use windtunnel_base::input::{InputError, plain};

/// Longest answer that is no stream, bytes.
const LONGEST_ANSWER: usize = 16 << 20;
/// How long a server may take to accept a connection, and to answer a question that is no
/// completion.
const PATIENCE: Duration = Duration::from_secs(10);

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
        Ok(Self {
            url: format!("http://{authority}{base}"),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            base: base.to_owned(),
            key,
            started: Instant::now(),
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

    async fn connect(&self, path: &str) -> Result<SendRequest<Full<Bytes>>, InputError> {
        let address = (self.host.as_str(), self.port);
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        let connection = connected.map_err(|_| self.failed(path, "no connection within 10 s"))?;
        let stream = connection.map_err(|e| {
            self.failed(
                path,
                format!("cannot connect: {}; is the server up?", plain(&e)),
            )
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
        body: Option<&Value>,
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
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        request
            .body(Full::new(body))
            .map_err(|e| self.failed(path, e))
    }

    /// Asks for `path`.
    ///
    /// # Errors
    /// When there is no answer; every status is one.
    pub async fn get(&self, path: &str) -> Result<Answer, InputError> {
        let asked = async {
            let mut sender = self.connect(path).await?;
            let request = self.request(path, None)?;
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|e| self.failed(path, e))?;
            let status = answer.status();
            let text = self.text_of(path, answer).await?;
            Ok(Answer { status, text })
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        answered.map_err(|_| self.failed(path, "no answer within 10 s"))?
    }

    async fn text_of(&self, path: &str, from: Response<Incoming>) -> Result<String, InputError> {
        let body = Limited::new(from.into_body(), LONGEST_ANSWER)
            .collect()
            .await;
        let body = body.map_err(|e| self.failed(path, e))?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
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
        let mut sender = self.connect(path).await?;
        let request = self.request(path, Some(body))?;
        let mut exchange = Exchange {
            sent_ms: self.now_ms(),
            prompt_tokens,
            arrivals: Vec::new(),
        };
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|e| self.failed(path, e))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let text = self.text_of(path, answer).await?;
            return Err(self.failed(path, refusal(status, &text)));
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or("nothing");
        if !kind.starts_with("text/event-stream") {
            let what = format!(
                "the server does not stream: it answers with {kind}, expected text/event-stream"
            );
            return Err(self.failed(path, what));
        }
        let (mut events, mut body) = (Events::default(), answer.into_body());
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|e| self.failed(path, format!("the stream broke off: {e}")))?;
            let now = self.now_ms();
            for data in frame
                .data_ref()
                .map(|bytes| events.add(bytes))
                .unwrap_or_default()
            {
                let ended = exchange.take(&data, now);
                if ended.map_err(|what| self.failed(path, what))? {
                    return Ok(exchange);
                }
                if let Some(told) = &told {
                    let _ = told.send(());
                }
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
