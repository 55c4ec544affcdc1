//! Requests that become visible before the k-th forward pass, as ProfileSim
//! (plantbud/VllmSimulator) is given them.

use crate::limits::MAX_TOKENS;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text};
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};

/// The arguments of `simulate_requests`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    in_tokens: Vec<u32>,
    out_tokens: Vec<u32>,
    queries_per_iter: Vec<u64>,
    query_ids: Option<Vec<serde_json::Value>>,
}

/// Is the file such a list of requests? A file that is another one, or cannot be read, is not.
#[must_use]
pub fn is_pass_release(path: &Path) -> bool {
    let parsed = read_text(path).ok();
    let parsed = parsed.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    parsed.is_some_and(|value| {
        let call = value.get("input").unwrap_or(&value);
        call.get("in_tokens").is_some() && call.get("queries_per_iter").is_some()
    })
}

/// One request of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: RequestId,
    /// Prompt, tokens.
    pub prompt: u32,
    /// Output, tokens.
    pub output: u32,
}

/// The [`Source`] that releases requests by the number of passes that are over. An idle engine does
/// not wait for passes that it never makes: the next requests come at once.
#[derive(Clone, Debug)]
pub struct PassRelease {
    requests: Vec<Listed>,
    /// Requests that are released before each pass.
    per_pass: Vec<u64>,
    created: usize,
    /// Ends of steps so far, and the one that is being answered.
    pass: usize,
    asked_us: Option<i64>,
    due: u64,
    symbols: Symbols,
}

impl PassRelease {
    /// Reads a list: a JSON object with `in_tokens`, `out_tokens`, `queries_per_iter` and, if they
    /// have names, `query_ids`; or a file that has it under `input`.
    ///
    /// # Errors
    /// When the file cannot be read, or its lists do not belong together.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let wrong = |what: String| InputError::in_file(path.display(), what);
        let text = read_text(path)?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| {
            InputError::at(
                path.display(),
                e.line() as u64,
                e.column() as u64,
                e.to_string(),
            )
        })?;
        let call = value.get("input").cloned().unwrap_or(value);
        let call: Call = serde_json::from_value(call).map_err(|e| wrong(e.to_string()))?;
        let n = call.in_tokens.len();
        if n == 0 {
            return Err(wrong("in_tokens: expected a request, found none".into()));
        }
        if call.out_tokens.len() != n {
            return Err(wrong(format!(
                "out_tokens: expected {n} numbers, as in_tokens has, found {}",
                call.out_tokens.len()
            )));
        }
        if let Some(ids) = &call.query_ids
            && ids.len() != n
        {
            return Err(wrong(format!(
                "query_ids: expected {n} names, as in_tokens has numbers, found {}",
                ids.len()
            )));
        }
        let released = call
            .queries_per_iter
            .iter()
            .fold(0u64, |sum, k| sum.saturating_add(*k));
        if released != n as u64 {
            return Err(wrong(format!(
                "queries_per_iter: expected numbers that add up to the {n} requests, found {released}"
            )));
        }
        for (name, list) in [
            ("in_tokens", &call.in_tokens),
            ("out_tokens", &call.out_tokens),
        ] {
            let valid = |tokens: &u32| *tokens > 0 && u64::from(*tokens) <= MAX_TOKENS / 2;
            if let Some(k) = list.iter().position(|tokens| !valid(tokens)) {
                return Err(wrong(format!(
                    "{name}[{k}]: expected 1 to {} tokens, found {}",
                    MAX_TOKENS / 2,
                    list[k]
                )));
            }
        }
        let id = |k: usize| match call.query_ids.as_ref().map(|ids| &ids[k]) {
            None => RequestId::Number(k as u64),
            Some(serde_json::Value::String(name)) => RequestId::of_text(name),
            Some(other) => RequestId::of_text(&other.to_string()),
        };
        Ok(Self {
            requests: (0..n)
                .map(|k| Listed {
                    id: id(k),
                    prompt: call.in_tokens[k],
                    output: call.out_tokens[k],
                })
                .collect(),
            per_pass: call.queries_per_iter,
            created: 0,
            pass: 0,
            asked_us: None,
            due: 0,
            symbols: Symbols::default(),
        })
    }

    /// The requests in order.
    #[must_use]
    pub fn requests(&self) -> &[Listed] {
        &self.requests
    }

    /// Requests released before the next pass.
    fn next_pass(&mut self, in_system: u64) -> u64 {
        let mut due = 0;
        while let Some(released) = self.per_pass.get(self.pass) {
            self.pass += 1;
            due += released;
            if due > 0 || in_system > 0 {
                break;
            }
        }
        due
    }
}

impl Source for PassRelease {
    fn next_request(&mut self) -> Option<Request> {
        None
    }

    fn idle_step_us(&self) -> Option<i64> {
        (self.created < self.requests.len()).then_some(1)
    }

    fn on_step_end(&mut self, now_us: i64, in_system: u64) -> Option<Request> {
        if self.asked_us != Some(now_us) {
            self.asked_us = Some(now_us);
            self.due = self.next_pass(in_system);
        }
        if self.due == 0 {
            return None;
        }
        self.due -= 1;
        let listed = self.requests.get(self.created)?;
        let stream = self.created as u32;
        self.created += 1;
        let mut output = TokenSeq::default();
        output.push(Span {
            stream,
            start: listed.prompt,
            len: listed.output,
        });
        let prompt = TokenSeq::of(stream, listed.prompt);
        Some(Request {
            private_from: 0,
            ..Request::new(listed.id.clone(), now_us, prompt, output)
        })
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.requests.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}
