//! A server with the API of OpenAI that does to each request what the test says.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a streamed completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// All its tokens come.
    Streams,
    /// It is refused.
    Refuses,
    /// The connection ends after two tokens.
    Cuts,
    /// An event is no JSON.
    Babbles,
    /// Nothing comes.
    Hangs,
    /// All its tokens come, a while apart.
    Dawdles,
}

/// A completion that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: String,
    pub(super) body: Value,
}

struct Shared {
    manner: fn(usize) -> Manner,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<usize>,
    /// Answers under way, now and at most.
    under_way: Mutex<[usize; 2]>,
    tell: Mutex<Sender<()>>,
}

/// A server on this machine; its threads end with the test.
pub(super) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    streamed: Receiver<()>,
}

impl Server {
    /// A server that treats the streamed completion with this number in its id so.
    pub(super) fn start(manner: fn(usize) -> Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, streamed) = channel();
        let shared = Arc::new(Shared {
            manner,
            asked: Mutex::default(),
            connections: Mutex::default(),
            under_way: Mutex::default(),
            tell: Mutex::new(tell),
        });
        let kept = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Every token on its way at once.
                connection.set_nodelay(true).expect("a socket");
                *kept.connections.lock().expect("no thread failed") += 1;
                let shared = Arc::clone(&kept);
                // A client that goes away is no failure.
                thread::spawn(move || while serve(&connection, &shared).is_ok() {});
            }
        });
        Self {
            address,
            shared,
            streamed,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The streamed completions that were asked for, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("no thread failed").clone()
    }

    pub(super) fn connections(&self) -> usize {
        *self.shared.connections.lock().expect("no thread failed")
    }

    /// The most answers that were under way at once.
    pub(super) fn most_at_once(&self) -> usize {
        self.shared.under_way.lock().expect("no thread failed")[1]
    }

    /// Waits until a streamed completion is asked for.
    pub(super) fn wait(&self) {
        self.streamed.recv().expect("the server lives");
    }
}

/// The number that a client gives a request in its id.
pub(super) fn number_in(headers: &str) -> usize {
    let mut lines = headers.lines();
    let id = lines.find_map(|line| line.strip_prefix("x-request-id: "));
    let number = id.and_then(|id| id.rsplit('-').next()?.parse().ok());
    number.expect("a request id with a number")
}

/// Takes a request and answers it; an error ends the connection.
fn serve(connection: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let (mut first, mut headers, mut length) = (String::new(), String::new(), 0);
    if reader.read_line(&mut first)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(n) = line.strip_prefix("content-length:") {
            length = n.trim().parse().unwrap_or(0);
        }
        headers += &(line + "\n");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut out = connection;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let whole = |status: &str, text: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )
    };
    let number = shared.asked.lock().expect("no thread failed").len();
    match path.as_str() {
        "/v1/models" => {
            let models = json!({"data": [{"id": "first"}, {"id": "second"}]});
            return out.write_all(whole("200 OK", &models.to_string()).as_bytes());
        }
        "/metrics" => {
            let (hits, all) = (16 * number, 64 * number);
            let text = format!(
                "vllm:prefix_cache_hits_total{{engine=\"0\"}} {hits}.0\nvllm:prefix_cache_queries_total{{engine=\"0\"}} {all}.0\n"
            );
            return out.write_all(whole("200 OK", &text).as_bytes());
        }
        _ => {}
    }
    let body: Value = serde_json::from_slice(&body)?;
    let words = |text: &Value| text.as_str().unwrap_or_default().split_whitespace().count();
    let prompt_tokens = match (&body["prompt"], &body["messages"]) {
        (Value::Array(ids), _) => ids.len(),
        (Value::Null, Value::Array(messages)) => {
            5 + messages.iter().map(|m| words(&m["content"])).sum::<usize>()
        }
        (prompt, _) => words(prompt),
    };
    let wanted = body["max_tokens"].as_u64().unwrap_or(0);
    if body["stream"] != true {
        let answer = json!({
            "choices": [{"text": "a", "message": {"content": "a"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 1},
        });
        return out.write_all(whole("200 OK", &answer.to_string()).as_bytes());
    }
    let chat = path.contains("chat");
    let manner = (shared.manner)(number_in(&headers));
    let mut asked = shared.asked.lock().expect("no thread failed");
    asked.push(Asked {
        path,
        headers,
        body,
    });
    drop(asked);
    let _ = shared.tell.lock().expect("no thread failed").send(());
    if manner == Manner::Refuses {
        let text = r#"{"error": {"message": "all is full"}}"#;
        return out.write_all(whole("503 Service Unavailable", text).as_bytes());
    }
    if manner == Manner::Hangs {
        // Until the client goes.
        return reader.read_exact(&mut [0]);
    }
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    out.write_all(head.as_bytes())?;
    {
        let mut under_way = shared.under_way.lock().expect("no thread failed");
        under_way[0] += 1;
        under_way[1] = under_way[1].max(under_way[0]);
    }
    let mut event = |data: String| {
        let event = format!("data: {data}\n\n");
        out.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
    };
    for token in 1..=wanted {
        if manner == Manner::Cuts && token == 3 {
            return Err(std::io::ErrorKind::Other.into());
        }
        if manner == Manner::Babbles && token == 2 {
            event("{oops".to_owned())?;
        }
        if manner == Manner::Dawdles {
            thread::sleep(Duration::from_millis(20));
        }
        let reason = (token == wanted).then_some("length");
        let text = format!(" t{token}");
        let choice = match chat {
            true => json!({"delta": {"content": text}, "finish_reason": reason}),
            false => json!({"text": text, "token_ids": [900 + token], "finish_reason": reason}),
        };
        let usage = json!({
            "prompt_tokens": prompt_tokens,
            "completion_tokens": token,
            "prompt_tokens_details": {"cached_tokens": 4},
        });
        event(json!({"choices": [choice], "usage": usage}).to_string())?;
    }
    // Before its client can know that it is over.
    shared.under_way.lock().expect("no thread failed")[0] -= 1;
    event("[DONE]".to_owned())?;
    out.write_all(b"0\r\n\r\n")
}
