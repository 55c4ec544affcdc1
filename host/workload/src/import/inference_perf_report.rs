//! What inference-perf reports of single requests (`per_request_lifecycle_metrics.json`): a list of
//! objects with start and end in seconds of any clock, token counts, and the body that was sent.
//!
//! Prompts that begin alike share tokens. Only texts are there, so a text is cut into tokens of
//! equal length, as many as the file counts on average.

use super::elements::Elements;
use super::fields::{self, object};
use super::held::{Turn, Turns};
use super::payload::{Prompt, max_tokens, prompt};
use super::row_errors::RowErrors;
use super::shared_tokens::SharedTokens;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;
use windtunnel_base::request::TokenSeq;

#[derive(Deserialize)]
struct Entry {
    start_time: Option<f64>,
    end_time: Option<f64>,
    request: Option<String>,
    info: Option<Info>,
    error: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    /// When what arrived of the answer arrived, on the clock of `start_time`.
    output_token_times: Vec<f64>,
    request_metrics: Option<RequestMetrics>,
    response_metrics: Option<ResponseMetrics>,
    lora_adapter: Option<String>,
}

#[derive(Deserialize)]
struct RequestMetrics {
    text: Option<TextMetrics>,
}

#[derive(Deserialize)]
struct TextMetrics {
    input_tokens: Option<f64>,
}

#[derive(Deserialize)]
struct ResponseMetrics {
    output_tokens: Option<f64>,
    #[serde(default)]
    output_token_times: Vec<f64>,
    server_usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
}

impl Info {
    /// What the report itself counts; what the server said, where it has no count.
    fn lengths(&self) -> (Option<f64>, Option<f64>) {
        let text = self.request_metrics.as_ref().and_then(|m| m.text.as_ref());
        let response = self.response_metrics.as_ref();
        let usage = response.and_then(|r| r.server_usage.as_ref());
        let prompt = self.input_tokens.or(text.and_then(|t| t.input_tokens));
        let output = self
            .output_tokens
            .or(response.and_then(|r| r.output_tokens));
        (
            prompt.or(usage.and_then(|u| u.prompt_tokens)),
            output.or(usage.and_then(|u| u.completion_tokens)),
        )
    }
}

/// Reads the requests that were answered.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(super) fn read(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    measured(path, errors, notes).map(|(turns, _)| turns)
}

/// The same, and what was measured of each. Where a server was told to go on to a given length,
/// that is the answer's: the report counts the tokens of the text again.
///
/// # Errors
/// As [`read`].
pub(crate) fn measured(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<(Turns, Vec<MeasuredRequest>), InputError> {
    let mut turns = Turns::default();
    let mut measured = Vec::new();
    let mut prompts: Vec<Option<Prompt>> = Vec::new();
    let mut elements = Elements::open(path, b"[")?;
    while let Some(text) = elements.next()? {
        let row = object(text, "an object with start_time, request and info")
            .and_then(|entry| read_entry(entry, &mut turns));
        if let Some(row) = errors.take(row.map_err(|what| elements.error(what)))? {
            prompts.push(row.1);
            turns.list.push(row.0);
            measured.push(row.2);
        }
    }
    share(&mut turns, &prompts, notes);
    Ok((turns, measured))
}

fn read_entry(
    entry: Entry,
    turns: &mut Turns,
) -> Result<(Turn, Option<Prompt>, MeasuredRequest), String> {
    if entry.error.is_some() {
        return Err("the request failed".into());
    }
    let mut info = entry.info.unwrap_or_default();
    let (input, output) = info.lengths();
    let body = entry
        .request
        .and_then(|text| serde_json::from_str(&text).ok());
    let body: serde_json::Value = body.unwrap_or_default();
    let told = body.get("ignore_eos").and_then(|v| v.as_bool()) == Some(true);
    let told = max_tokens(&body).filter(|_| told);
    let since = |time: f64| entry.start_time.map(|start| (time - start) * 1e6);
    let mut times = info.output_token_times;
    if let (true, Some(response)) = (times.is_empty(), &mut info.response_metrics) {
        times = std::mem::take(&mut response.output_token_times);
    }
    let measured = MeasuredRequest {
        arrival_us: entry.start_time.map(|s| s * 1e6),
        ttft_us: times.first().and_then(|first| since(*first)),
        e2e_us: entry.end_time.and_then(since),
        gaps_us: times.windows(2).map(|w| (w[1] - w[0]) * 1e6).collect(),
        prompt_tokens: fields::tokens("info.input_tokens", input).ok(),
        output_tokens: fields::tokens("info.output_tokens", told.or(output)).ok(),
        ..MeasuredRequest::default()
    };
    let turn = Turn {
        sent_ns: Some(fields::time_ns("start_time", entry.start_time, 1e9)?),
        new: fields::tokens("info.input_tokens", input)?,
        output: fields::tokens("info.output_tokens", output)?,
        streaming: body.get("stream").and_then(|v| v.as_bool()) == Some(true),
        adapter: turns.symbols.intern(&info.lora_adapter.unwrap_or_default()),
        ..Turn::default()
    };
    Ok((turn, prompt(&body).map(|(prompt, _)| prompt), measured))
}

/// Finds out which tokens prompts share.
fn share(turns: &mut Turns, prompts: &[Option<Prompt>], notes: &mut Vec<String>) {
    let (mut bytes, mut tokens) = (0.0, 0.0);
    for (turn, prompt) in turns.list.iter().zip(prompts) {
        if let Some(Prompt::Text(text)) = prompt {
            bytes += text.len() as f64;
            tokens += f64::from(turn.new);
        }
    }
    let mut shared = SharedTokens::new(bytes / f64::max(tokens, 1.0));
    let mut list = std::mem::take(&mut turns.list);
    for (turn, prompt) in list.iter_mut().zip(prompts) {
        let mut ids = match prompt {
            Some(Prompt::Text(text)) => shared.of_text(text),
            Some(Prompt::Ids(ids)) => ids.clone(),
            None => continue,
        };
        if ids.len() > turn.new as usize {
            // A prompt that was cut short would look like the beginning of another.
            ids.truncate(turn.new.saturating_sub(1) as usize);
        }
        let seq: TokenSeq = shared.insert(&ids, turns);
        turn.new -= seq.len();
        turn.shared = seq;
    }
    turns.list = list;
    if bytes > 0.0 {
        notes.push(format!(
            "which tokens prompts share is told by their texts, {:.1} bytes per token",
            bytes / f64::max(tokens, 1.0)
        ));
    }
}
