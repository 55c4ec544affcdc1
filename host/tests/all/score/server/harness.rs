//! Starts score servers and sends them requests.

use crate::score::harness::{Scoring, data, timeless, zoo};
use crate::support::root;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

/// A running server, which is killed when it is dropped.
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) address: String,
    pub(super) ready: Value,
    pub(super) scoring: Scoring,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of an answer.
pub(super) type Answer = (u16, Value);

impl Server {
    pub(super) fn start(flags: &str) -> Self {
        let scoring = Scoring::new();
        let mut command = scoring.command(&format!(
            "score-server --suite {} --until-stdin-closes {flags}",
            scoring.suite()
        ));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("JSON");
        let url = ready["url"].as_str().expect("an address");
        let address = url.strip_prefix("http://").expect("http").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        Self {
            child,
            address,
            ready,
            scoring,
        }
    }

    /// Sends bytes, closes the writing side, and reads the answer to its end.
    pub(super) fn send_and_close(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends bytes and reads the answer to its end.
    pub(super) fn send(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        // A server that has read enough may close before all is written.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("UTF-8")
    }

    pub(super) fn request(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        self.exchange(&head, body)
    }

    /// Sends a whole request, and parses the answer.
    pub(super) fn exchange(&self, head: &str, body: &[u8]) -> Answer {
        let answer = self.send(&[head.as_bytes(), body].concat());
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).expect("a status").parse();
        let body = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
        assert!(
            head.to_lowercase()
                .contains("content-type: application/json"),
            "{head}"
        );
        (status.expect("a number"), body)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, body.to_string().as_bytes())
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, b"")
    }

    /// The report of `/score`.
    pub(super) fn report(&self, body: &Value) -> Value {
        let (status, report) = self.post("/score", body);
        assert_eq!(status, 200, "{report}");
        report
    }

    /// The report of the command on the same candidate.
    pub(super) fn by_command(&self, text: &str, flags: &str) -> Value {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("candidate.lua");
        std::fs::write(&file, text).expect("written");
        let suite = self.scoring.suite();
        let mut command = self.scoring.command(&format!(
            "score --suite {suite} --json --no-cache {flags} candidate.lua"
        ));
        command.current_dir(folder.path());
        let output = command.output().expect("the command starts");
        timeless(serde_json::from_slice(&output.stdout).expect("a report"))
    }
}

pub(super) fn text_of(name: &str) -> String {
    let path = root().join(zoo(name));
    std::fs::read_to_string(path).expect("a candidate")
}

pub(super) fn innocent() -> String {
    std::fs::read_to_string(data().join("innocent.lua")).expect("a candidate")
}
