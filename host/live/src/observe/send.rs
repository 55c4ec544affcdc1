//! One request: what is sent, what comes back and when.

use super::answers::{Answer, KnownAnswers};
use super::clock::{First, first};
use super::prompt::{Prompts, wants_ids};
use super::{Answers, Api, Observed, Settings};
use crate::client::{Answering, Client, Events, message_of, refusal};
use crate::clock::since_1970;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use windtunnel_base::request::{Request, Symbols};
use windtunnel_workload::trace_v2::observed::{ObservedRow, Status};

/// Longest message that is kept, characters.
const LONGEST_ERROR: usize = 400;

/// Tokens that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// When, microseconds after the start.
    pub at_us: i64,
    /// How many.
    pub tokens: u32,
}

/// Both clocks of an observation at its start.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    started: Instant,
    epoch_us: i64,
}

impl Origin {
    /// An observation that starts then.
    pub fn at(started: Instant) -> Self {
        let now_us = since_1970().as_micros() as i64;
        let ahead = started
            .saturating_duration_since(Instant::now())
            .as_micros() as i64;
        Self {
            started,
            epoch_us: now_us + ahead,
        }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> i64 {
        self.started.elapsed().as_micros() as i64
    }

    /// The moment so many microseconds after the start.
    pub fn moment(&self, us: i64) -> Instant {
        self.started + Duration::from_micros(u64::try_from(us).unwrap_or(0))
    }

    /// A time after the start as one since 1970.
    fn epoch(&self, us: i64) -> i64 {
        self.epoch_us + us
    }
}

/// A request that is ready to be sent.
pub(super) struct Prepared {
    pub(super) request: Request,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    row: ObservedRow,
}

/// What makes requests of a workload ready.
pub(super) struct Preparer<'a> {
    pub(super) settings: &'a Settings,
    pub(super) prompts: &'a Prompts,
    /// Tells this observation's requests from others'.
    pub(super) nonce: u64,
}

impl Preparer<'_> {
    /// Makes a request ready, its prompt written out.
    pub(super) fn prepare(
        &self,
        request: Request,
        symbols: &Symbols,
        known: &KnownAnswers,
        repeated_tokens: u32,
    ) -> Prepared {
        let name = |sym| symbols.name(sym).to_owned();
        let row = ObservedRow {
            client: name(request.client),
            tenant: name(request.tenant),
            slo_class: name(request.slo_class),
            priority: request.client_priority,
            session: name(request.session),
            round: request.round,
            prefix_group: name(request.prefix_group),
            prefix_tokens: request.prefix_tokens,
            repeated_tokens,
            streaming: self.settings.streaming,
            input_tokens: request.prompt.len(),
            detail: request.detail.as_deref().copied().unwrap_or_default(),
            model: name(request.model),
            deadline_us: request.deadline_us,
            slo_ttft_us: request.slo_ttft_us,
            arrival_us: request.arrival_us,
            adapter: name(request.adapter),
            ..ObservedRow::default()
        };
        Prepared {
            body: Bytes::from(self.body(&request, &row, known).to_string()),
            headers: Vec::new(),
            row,
            request,
        }
    }

    fn body(&self, request: &Request, row: &ObservedRow, known: &KnownAnswers) -> Value {
        let set = self.settings;
        // vLLM serves an adapter under its own name.
        let model = match row.adapter.as_str() {
            "" => &set.model,
            adapter => adapter,
        };
        let mut body = Map::new();
        body.insert("model".into(), model.into());
        if let Value::Object(prompt) = self.prompts.body(set.api, &request.prompt, known) {
            body.extend(prompt);
        }
        let tokens = request.output.len().max(1);
        if set.constrained {
            body.insert("max_tokens".into(), tokens.into());
            body.insert("min_tokens".into(), tokens.into());
        } else if set.api == Api::Completions {
            // Its default is a few tokens.
            body.insert("max_tokens".into(), i32::MAX.into());
        }
        if set.ignore_eos {
            body.insert("ignore_eos".into(), true.into());
        }
        if set.streaming {
            body.insert("stream".into(), true.into());
            let options = json!({"include_usage": true, "continuous_usage_stats": true});
            body.insert("stream_options".into(), options);
        }
        if row.priority != 0 {
            body.insert("priority".into(), row.priority.into());
        }
        if !request.session.is_none() && wants_ids(set.answers, self.prompts.format) {
            body.insert("return_token_ids".into(), true.into());
        }
        body.extend(set.extra.clone());
        Value::Object(body)
    }

    /// Numbers a request when its turn has come, and tells the server who asks.
    pub(super) fn number(&self, prepared: &mut Prepared, number: u64) {
        let row = &mut prepared.row;
        row.id = number.to_string();
        row.x_request_id = format!("windtunnel-{:016x}-{number}", self.nonce);
        let target_ms = (row.slo_ttft_us + 999) / 1000;
        let headers = [
            ("x-request-id", row.x_request_id.clone()),
            ("x-gateway-inference-fairness-id", row.tenant.clone()),
            ("x-gateway-inference-objective", row.slo_class.clone()),
            (
                "x-slo-ttft-ms",
                match target_ms {
                    0 => String::new(),
                    ms => ms.to_string(),
                },
            ),
        ];
        for (name, value) in headers {
            // A name that no header can hold is not sent.
            if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_str(&value)) {
                let name = HeaderName::from_static(name);
                prepared.headers.push((name, value));
            }
        }
    }
}

/// What came of a request.
pub(super) struct Outcome {
    pub(super) observed: Observed,
    pub(super) answer: Answer,
    /// When nothing more came, microseconds after the start.
    pub(super) ended_us: i64,
}

/// How a request is sent.
pub(super) struct Sending {
    pub(super) client: Client,
    pub(super) api: Api,
    pub(super) origin: Origin,
    pub(super) timeout: Option<Duration>,
    pub(super) answers: Answers,
    /// Becomes true when nothing more is waited for.
    pub(super) given_up: watch::Receiver<bool>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    finish_reason: Option<String>,
    token_ids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u32>,
}

/// What has come so far.
#[derive(Default)]
struct Coming {
    chunks: Vec<Chunk>,
    tokens: u32,
    /// The server's own count.
    counted: Option<u32>,
    prompt_tokens: u32,
    cached: Option<u32>,
    finish_reason: String,
    answer: Answer,
}

impl Coming {
    /// Takes an event that came at `at_us`.
    fn take(&mut self, data: &str, at_us: i64, keep: bool) -> Result<(), String> {
        let event: Event = serde_json::from_str(data)
            .map_err(|_| format!("an event of the answer is no JSON of a completion: {data}"))?;
        if let Some(error) = event.error.filter(|e| !e.is_null()) {
            return Err(message_of(&error));
        }
        let counted = event
            .usage
            .as_ref()
            .and_then(|usage| usage.completion_tokens);
        if let Some(usage) = event.usage {
            self.prompt_tokens = usage.prompt_tokens.unwrap_or(self.prompt_tokens);
            let cached = usage.prompt_tokens_details.and_then(|d| d.cached_tokens);
            self.cached = cached.or(self.cached);
        }
        self.counted = counted.or(self.counted);
        let Some(choice) = event.choices.and_then(|all| all.into_iter().next()) else {
            return Ok(());
        };
        let (mut text, mut says) = (choice.text, false);
        if let Some(delta) = choice.delta {
            says = delta.reasoning_content.is_some_and(|t| !t.is_empty())
                || delta.tool_calls.is_some();
            text = delta.content.filter(|t| !t.is_empty());
        } else if choice.finish_reason.is_none() {
            // A token may have no text; an event of a chat without any only names its role.
            says = text.is_some();
        }
        let text = text.unwrap_or_default();
        let ids = choice.token_ids.unwrap_or_default();
        if let Some(reason) = choice.finish_reason {
            self.finish_reason = reason;
        }
        // Servers that count as they go say how many tokens an event has.
        let tokens = match counted {
            Some(now) => now.saturating_sub(self.tokens),
            None if !ids.is_empty() => u32::try_from(ids.len()).unwrap_or(u32::MAX),
            None => u32::from(says || !text.is_empty()),
        };
        if tokens > 0 {
            self.tokens += tokens;
            self.chunks.push(Chunk { at_us, tokens });
        }
        if keep {
            self.answer.pieces.push((tokens, text));
            self.answer.ids.extend(ids);
        }
        Ok(())
    }
}

impl Sending {
    /// Sends a request, and takes in its answer. Whatever happens is an outcome.
    pub(super) async fn send(self, prepared: Prepared, held_us: i64, warm_up: bool) -> Outcome {
        let Prepared {
            request,
            body,
            headers,
            mut row,
        } = prepared;
        let sent_us = self.origin.now_us();
        let mut coming = Coming::default();
        let keep = self.answers == Answers::Real && !request.session.is_none();
        let limit = match request.deadline_us {
            0 => self
                .timeout
                .map(|after| self.origin.moment(sent_us) + after),
            deadline => Some(self.origin.moment(deadline.max(0))),
        };
        let mut given_up = self.given_up.clone();
        let exchange = self.exchange(body, headers, &mut coming, keep);
        let limited = async {
            match limit {
                Some(at) => tokio::time::timeout_at(at.into(), exchange).await.ok(),
                None => Some(exchange.await),
            }
        };
        // An error means that nobody can give up any more.
        let stopped = async {
            if given_up.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let (status, error) = match first(limited, stopped).await {
            First::A(Some(Ok(()))) => (Status::Ok, String::new()),
            First::A(Some(Err(what))) => (Status::Error, what),
            First::A(None) => (Status::Timeout, "given up by its client".into()),
            First::B(()) => (Status::Incomplete, "the observation was ended".into()),
        };
        row.status = status;
        row.error = error.chars().take(LONGEST_ERROR).collect();
        row.output_tokens = coming.counted.unwrap_or(coming.tokens);
        row.server_input_tokens = coming.prompt_tokens;
        row.cached_tokens = coming.cached;
        row.num_chunks = u32::try_from(coming.chunks.len()).unwrap_or(u32::MAX);
        row.finish_reason = coming.finish_reason;
        let epoch = |at: Option<&Chunk>| at.map_or(0, |chunk| self.origin.epoch(chunk.at_us));
        row.send_us = self.origin.epoch(sent_us);
        row.first_chunk_us = epoch(coming.chunks.first());
        row.last_chunk_us = epoch(coming.chunks.last());
        Outcome {
            ended_us: match (status, coming.chunks.last()) {
                (Status::Ok, Some(last)) => last.at_us,
                _ => self.origin.now_us(),
            },
            observed: Observed {
                request,
                row,
                sent_us,
                held_us,
                chunks: coming.chunks,
                warm_up,
            },
            answer: coming.answer,
        }
    }

    async fn exchange(
        &self,
        body: Bytes,
        headers: Vec<(HeaderName, HeaderValue)>,
        coming: &mut Coming,
        keep: bool,
    ) -> Result<(), String> {
        let answer = self.client.post(self.api.path(), body, headers).await;
        let answer = answer.map_err(|e| e.to_string())?;
        if answer.status != StatusCode::OK {
            let status = answer.status;
            return Err(refusal(status, &answer.text().await?));
        }
        if answer.kind.starts_with("text/event-stream") {
            return self.stream(answer, coming, keep).await;
        }
        let text = answer.text().await?;
        coming.take(&text, self.origin.now_us(), keep)?;
        match coming.counted.unwrap_or(coming.tokens) {
            0 => Err("the answer has no token".into()),
            tokens => {
                let at_us = self.origin.now_us();
                coming.chunks = vec![Chunk { at_us, tokens }];
                Ok(())
            }
        }
    }

    async fn stream(
        &self,
        mut answer: Answering,
        coming: &mut Coming,
        keep: bool,
    ) -> Result<(), String> {
        let mut events = Events::default();
        let broke = |e: hyper::Error| format!("the stream broke off: {e}");
        while let Some(bytes) = answer.next().await.map_err(broke)? {
            let now_us = self.origin.now_us();
            for data in events.add(&bytes) {
                if data == "[DONE]" {
                    answer.done();
                    return match coming.tokens {
                        0 => Err("the answer has no token".into()),
                        _ => Ok(()),
                    };
                }
                coming.take(&data, now_us, keep)?;
            }
            if events.is_endless() {
                return Err("an event of the stream has no end".into());
            }
        }
        Err("the stream ended without [DONE]".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(events: &[&str]) -> Coming {
        let mut coming = Coming::default();
        for (k, event) in events.iter().enumerate() {
            coming.take(event, k as i64, true).expect("an event");
        }
        coming
    }

    #[test]
    fn tokens_are_those_that_the_server_counts_or_events_that_say_something() {
        let counted = take(&[
            r#"{"choices":[{"text":"","token_ids":[7,8]}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
            r#"{"choices":[{"text":"a","finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        ]);
        let chunks: Vec<(i64, u32)> = counted.chunks.iter().map(|c| (c.at_us, c.tokens)).collect();
        assert_eq!(chunks, [(0, 2), (1, 1)]);
        assert_eq!((counted.prompt_tokens, counted.cached), (9, Some(4)));
        assert_eq!(counted.answer.ids, [7, 8]);
        assert_eq!(counted.answer.text(0, 3), "a");
        let chat = take(&[
            r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"content":"yes"}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}]}"#,
        ]);
        let at: Vec<i64> = chat.chunks.iter().map(|c| c.at_us).collect();
        assert_eq!((at, chat.finish_reason.as_str()), (vec![1, 2], "stop"));
        // A token without text.
        assert_eq!(take(&[r#"{"choices":[{"text":""}]}"#]).tokens, 1);
    }

    #[test]
    fn errors_in_a_stream_are_told() {
        let told = |data: &str| Coming::default().take(data, 0, false).unwrap_err();
        assert_eq!(told(r#"{"error":{"message":"too long"}}"#), "too long");
        assert!(told("{").contains("no JSON of a completion: {"));
    }
}
