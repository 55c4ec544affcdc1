//! What AIPerf exports of single requests (`profile_export.jsonl`): an object per line with
//! metadata and metrics. Times are nanoseconds since 1970.

use super::fields;
use super::held::{Turn, Turns};
use super::row_errors::RowErrors;
use super::turn_sessions::{repeat_where_lengths_allow, sessions_of};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;

#[derive(Deserialize)]
struct Record {
    metadata: Metadata,
    metrics: Option<Metrics>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Metadata {
    /// The same for all requests of a user's session.
    x_correlation_id: Option<String>,
    conversation_id: Option<String>,
    turn_index: Option<u32>,
    request_start_ns: Option<i64>,
    request_ack_ns: Option<i64>,
    request_end_ns: Option<i64>,
    benchmark_phase: Option<String>,
    was_cancelled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    input_sequence_length: Option<Metric>,
    output_sequence_length: Option<Metric>,
    output_token_count: Option<Metric>,
    reasoning_token_count: Option<Metric>,
    time_to_first_token: Option<Time>,
    request_latency: Option<Time>,
    inter_token_latency: Option<Time>,
    inter_chunk_latency: Option<Time>,
}

/// A time with its unit, or several.
#[derive(Deserialize)]
struct Time {
    value: Option<Several>,
    unit: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Several {
    One(f64),
    Many(Vec<f64>),
}

impl Time {
    /// Microseconds of each.
    fn us(&self) -> Vec<f64> {
        let factor = match self.unit.as_deref() {
            Some("s" | "sec" | "seconds") => 1e6,
            Some("us" | "microseconds") => 1.0,
            Some("ns" | "nanoseconds") => 1e-3,
            _ => 1e3,
        };
        match &self.value {
            None => Vec::new(),
            Some(Several::One(value)) => vec![value * factor],
            Some(Several::Many(values)) => values.iter().map(|v| v * factor).collect(),
        }
    }
}

/// Microseconds of a single time.
fn us(time: Option<&Time>) -> Option<f64> {
    match time?.us()[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// A value with its unit, which is tokens for all that is read.
#[derive(Deserialize)]
#[serde(untagged)]
enum Metric {
    WithUnit { value: Option<f64> },
    Plain(f64),
}

fn value(metric: Option<&Metric>) -> Option<f64> {
    metric.and_then(|m| match m {
        Metric::WithUnit { value } => *value,
        Metric::Plain(value) => Some(*value),
    })
}

impl Metrics {
    fn output(&self) -> Option<f64> {
        let visible = value(self.output_token_count.as_ref());
        let reasoning = value(self.reasoning_token_count.as_ref()).unwrap_or(0.0);
        value(self.output_sequence_length.as_ref()).or(visible.map(|n| n + reasoning))
    }
}

/// A request before it is clear which one comes before it.
struct Sent {
    session: String,
    round: u32,
    end_ns: Option<i64>,
    turn: Turn,
    measured: MeasuredRequest,
}

const EXPECTED: &str = "an object with metadata and metrics";

/// Reads the records of the measured phase.
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

/// The same, and what was measured of each.
///
/// # Errors
/// As [`read`].
pub(crate) fn measured(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<(Turns, Vec<MeasuredRequest>), InputError> {
    let mut sent: Vec<Sent> = Vec::new();
    let mut warmup = 0u64;
    fields::each_line(path, EXPECTED, errors, |record: Record| {
        let m = record.metadata;
        if m.benchmark_phase
            .as_deref()
            .is_some_and(|p| p != "profiling")
        {
            warmup += 1;
            return Ok(());
        }
        if record.error.is_some() || m.was_cancelled == Some(true) {
            return Err("the request failed or was cancelled".into());
        }
        let metrics = record.metrics.unwrap_or_default();
        let prompt = value(metrics.input_sequence_length.as_ref());
        let start = m.request_start_ns.filter(|ns| *ns >= 0);
        let whole = start.zip(m.request_end_ns);
        let whole = whole.map(|(start, end)| end.saturating_sub(start) as f64 / 1e3);
        let gaps = metrics.inter_chunk_latency.as_ref();
        let measured = MeasuredRequest {
            arrival_us: start.map(|ns| ns as f64 / 1e3),
            ttft_us: us(metrics.time_to_first_token.as_ref()),
            itl_us: us(metrics.inter_token_latency.as_ref()),
            e2e_us: us(metrics.request_latency.as_ref()).or(whole),
            gaps_us: gaps.map(Time::us).unwrap_or_default(),
            ..MeasuredRequest::default()
        };
        sent.push(Sent {
            session: m.x_correlation_id.or(m.conversation_id).unwrap_or_default(),
            round: m.turn_index.unwrap_or(0),
            end_ns: m.request_end_ns,
            turn: Turn {
                sent_ns: Some(
                    start.ok_or(
                        "request_start_ns: expected nanoseconds of 0 or more, found nothing",
                    )?,
                ),
                new: fields::tokens("input_sequence_length", prompt)?,
                output: fields::tokens("output_sequence_length", metrics.output())?,
                streaming: m.request_ack_ns.is_some(),
                ..Turn::default()
            },
            measured,
        });
        Ok(())
    })?;
    // The file is in order of completion.
    sent.sort_by_key(|s| (s.turn.sent_ns, s.round));
    let mut turns = Turns::default();
    let (mut sessions, mut measured) = (Vec::new(), Vec::new());
    let mut ends = rustc_hash::FxHashMap::default();
    for mut s in sent {
        if let (Some(end), Some(start)) = (ends.get(&s.session).copied().flatten(), s.turn.sent_ns)
        {
            let pause: i64 = start - end;
            s.turn.think_us = Some(pause.max(0) / 1000);
        }
        ends.insert(s.session.clone(), s.end_ns);
        sessions.push(s.session);
        measured.push(MeasuredRequest {
            prompt_tokens: Some(s.turn.new),
            output_tokens: Some(s.turn.output),
            ..s.measured
        });
        turns.list.push(s.turn);
    }
    sessions_of(&mut turns, &sessions);
    repeat_where_lengths_allow(&mut turns, notes);
    if warmup > 0 {
        notes.push(format!(
            "records of other phases than profiling are left out: {warmup}"
        ));
    }
    Ok((turns, measured))
}
