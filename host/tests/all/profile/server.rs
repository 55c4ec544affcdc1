//! A server with the API of OpenAI that knows only what a profile asks for.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a server does when it is asked for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Streams tokens, one after the other.
    Streams,
    /// Answers with all of them at once.
    AnswersWhole,
    /// Refuses.
    Refuses,
    /// Says nothing.
    Hangs,
}

/// A server on this machine; its threads end with the test.
pub(super) struct FakeServer {
    address: SocketAddr,
    prompts: Arc<Mutex<Vec<Vec<u64>>>>,
    asked: Receiver<()>,
}

impl FakeServer {
    pub(super) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let prompts: Arc<Mutex<Vec<Vec<u64>>>> = Arc::default();
        let kept = Arc::clone(&prompts);
        let (tell, asked) = channel();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (prompts, tell) = (Arc::clone(&kept), tell.clone());
                // A client that goes away is no failure.
                thread::spawn(move || serve(&connection, manner, &prompts, &tell));
            }
        });
        Self {
            address,
            prompts,
            asked,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The prompts that came so far.
    pub(super) fn prompts(&self) -> Vec<Vec<u64>> {
        self.prompts.lock().expect("no thread failed").clone()
    }

    /// Waits until a completion is asked for.
    pub(super) fn wait_for_completion(&self) {
        self.asked.recv().expect("the server lives");
    }
}

fn serve(
    connection: &TcpStream,
    manner: Manner,
    prompts: &Mutex<Vec<Vec<u64>>>,
    tell: &Sender<()>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
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
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut out = connection;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let whole = |status: &str, kind: &str, text: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )
    };
    let json_of = |value: Value| whole("200 OK", "application/json", &value.to_string());
    match path {
        "/v1/models" => {
            let models = json!({"data": [{"id": "fake", "max_model_len": 512}]});
            return out.write_all(json_of(models).as_bytes());
        }
        "/version" => return out.write_all(json_of(json!({"version": "9.8.7"})).as_bytes()),
        "/metrics" => {
            let text = "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"100\"} 1.0\n";
            return out.write_all(whole("200 OK", "text/plain", text).as_bytes());
        }
        _ => {}
    }
    let asked: Value = serde_json::from_slice(&body)?;
    let prompt = asked["prompt"].as_array().cloned().unwrap_or_default();
    let ids = prompt.iter().filter_map(Value::as_u64).collect();
    prompts.lock().expect("no thread failed").push(ids);
    let _ = tell.send(());
    match manner {
        Manner::AnswersWhole => out.write_all(json_of(json!({"choices": []})).as_bytes()),
        Manner::Refuses => {
            let text = r#"{"error": {"message": "all is full"}}"#;
            let answer = whole("503 Service Unavailable", "application/json", text);
            out.write_all(answer.as_bytes())
        }
        Manner::Hangs => {
            // Until the client goes.
            reader.read_exact(&mut [0])
        }
        Manner::Streams => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            out.write_all(head.as_bytes())?;
            for token in 1..=asked["max_tokens"].as_u64().unwrap_or(0) {
                thread::sleep(Duration::from_millis(1));
                let event = json!({
                    "choices": [{"text": "a"}],
                    "usage": {"prompt_tokens": prompt.len(), "completion_tokens": token},
                });
                out.write_all(format!("data: {event}\n\n").as_bytes())?;
            }
            out.write_all(b"data: [DONE]\n\n")
        }
    }
}
