//! Starts commands that serve, and asks them by HTTP.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command that serves, which is killed when it is dropped.
pub(super) struct Serving {
    child: Child,
    /// What it says when it is ready.
    pub(super) ready: Value,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer of a server.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    /// It did not break off.
    pub(super) whole: bool,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The objects of a stream, without its last line.
    pub(super) fn events(&self) -> Vec<Value> {
        let data = self
            .body
            .split("\n\n")
            .filter_map(|part| part.strip_prefix("data: "));
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}")))
            .collect()
    }
}

impl Serving {
    /// Servers of an 8B model on an H100 each.
    pub(super) fn emulated(flags: &str) -> Self {
        Self::start(&format!(
            "emulate --model llama-3.1-8b-instruct --hardware H100 --tp 1 --port 0 {flags}"
        ))
    }

    pub(super) fn start(command: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_windtunnel"))
            .args(command.split_whitespace())
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let Ok(ready) = serde_json::from_str(&line) else {
            let mut said = String::new();
            let errors = child.stderr.take();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut said));
            panic!("{command}: {line}{said}");
        };
        Self { child, ready }
    }

    /// Host and port of server `i`.
    pub(super) fn address(&self, i: usize) -> String {
        let url = self.ready["urls"][i].as_str().expect("an address");
        url.strip_prefix("http://").expect("http").to_owned()
    }

    pub(super) fn get(&self, i: usize, path: &str) -> Answer {
        ask(&self.address(i), "GET", path, "", "")
    }

    pub(super) fn post(&self, i: usize, path: &str, body: &Value) -> Answer {
        self.post_with(i, path, "", body)
    }

    /// The same with further lines of the head.
    pub(super) fn post_with(&self, i: usize, path: &str, head: &str, body: &Value) -> Answer {
        ask(&self.address(i), "POST", path, head, &body.to_string())
    }

    /// The value of a metric of server `i`, the sum of those with this in their labels.
    pub(super) fn metric(&self, i: usize, name: &str, label: &str) -> f64 {
        let text = self.get(i, "/metrics").body;
        let values = text.lines().filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (of, labels) = sample.split_once('{')?;
            (of == name && labels.contains(label)).then(|| value.parse::<f64>().expect("a number"))
        });
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "no {name} with {label}: {text}");
        values.iter().sum()
    }

    /// Tells it to end and waits until it has.
    pub(super) fn end(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("ended")
    }

    /// Lets it end without waiting.
    pub(super) fn tell_to_end(&mut self) {
        drop(self.child.stdin.take());
    }
}

/// Asks a server on a connection of its own.
pub(super) fn ask(address: &str, method: &str, path: &str, head: &str, body: &str) -> Answer {
    let mut stream = connect(address);
    send(&mut stream, address, method, path, head, body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

pub(super) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a time limit");
    stream
}

fn send(stream: &mut TcpStream, address: &str, method: &str, path: &str, head: &str, body: &str) {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n{head}\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes());
}

/// Asks a server for a completion on a connection of its own, and leaves the answer there.
pub(super) fn begin_completion(address: &str, body: &Value) -> TcpStream {
    let mut stream = connect(address);
    let body = body.to_string();
    send(&mut stream, address, "POST", "/v1/completions", "", &body);
    stream
}

/// A request for a completion.
pub(super) fn completion(prompt: &str, max_tokens: u32) -> Value {
    json!({ "prompt": prompt, "max_tokens": max_tokens })
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let Some((head, rest)) = text.split_once("\r\n\r\n") else {
        return Answer {
            status: 0,
            head: String::new(),
            body: text,
            whole: false,
        };
    };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let lower = head.to_lowercase();
    let (body, whole) = if lower.contains("transfer-encoding: chunked") {
        unchunk(rest)
    } else {
        let said = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let said = said.and_then(|n| n.trim().parse::<usize>().ok());
        (rest.to_owned(), said.is_none_or(|n| n == rest.len()))
    };
    Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body,
        whole,
    }
}

fn unchunk(mut text: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else {
            break;
        };
        if size == 0 {
            return (body, true);
        }
        if rest.len() < size + 2 {
            break;
        }
        body.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    (body, false)
}

/// Waits until something is so, for a minute at most.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
