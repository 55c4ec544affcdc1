//! TraceV2 traces with what was measured: of a live server, or of a run that wrote its requests.

use super::header::{Header, Mode, SloTargets};
use super::read::{COLUMNS, OPTIONAL};
use crate::limits::MAX_TOKENS;
use crate::table::Table;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;
use windtunnel_base::request::Detail;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// With its whole answer.
    #[default]
    Ok,
    /// Its client gave up.
    Timeout,
    /// It was refused, or its answer broke off.
    Error,
    /// It was under way when the run ended.
    Incomplete,
}

impl Status {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Ok, "ok"),
        (Self::Timeout, "timeout"),
        (Self::Error, "error"),
        (Self::Incomplete, "incomplete"),
    ];

    /// Its word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(status, _)| *status == self);
        found.map_or("", |(_, word)| word)
    }
}

/// A row of such a trace. Times are microseconds; those of a live server since 1970, but for the
/// arrival and the deadline, which count from the start of the observation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedRow {
    /// Its name; of a live server the number in which it was to be sent.
    pub id: String,
    /// Client of the workload.
    pub client: String,
    /// Tenant.
    pub tenant: String,
    /// SLO class.
    pub slo_class: String,
    /// The priority that was sent to the engine; 0 = none.
    pub priority: i32,
    /// Session; empty for none.
    pub session: String,
    /// Round of the session, from 0.
    pub round: u32,
    /// Shared-prefix group.
    pub prefix_group: String,
    /// Tokens of the prompt that belong to it.
    pub prefix_tokens: u32,
    /// Tokens at the start of the prompt that prompt and answer of the session's round before have.
    pub repeated_tokens: u32,
    /// Was the answer streamed?
    pub streaming: bool,
    /// Prompt tokens in all, as the workload says.
    pub input_tokens: u32,
    /// Output tokens: what the server counted, or what came.
    pub output_tokens: u32,
    /// Modalities and share of reasoning.
    pub detail: Detail,
    /// The model that the workload names.
    pub model: String,
    /// When the client gives up; 0 = never.
    pub deadline_us: i64,
    /// Target of the time to first token; 0 = none.
    pub slo_ttft_us: i64,
    /// Prompt tokens that the server counted; 0 = it did not say.
    pub server_input_tokens: u32,
    /// When it was to be sent.
    pub arrival_us: i64,
    /// When it was sent; 0 = never.
    pub send_us: i64,
    /// When the first tokens came; 0 = none did.
    pub first_chunk_us: i64,
    /// When the last tokens came; 0 = none did.
    pub last_chunk_us: i64,
    /// Events with tokens.
    pub num_chunks: u32,
    /// How it ended.
    pub status: Status,
    /// What went wrong.
    pub error: String,
    /// Why the server ended the answer.
    pub finish_reason: String,
    /// The identity that was sent with it.
    pub x_request_id: String,
    /// LoRA adapter.
    pub adapter: String,
    /// Prompt tokens that the server found in its prefix cache; `None` = it did not say.
    pub cached_tokens: Option<u32>,
}

/// Counters of the prefix cache of an observed server, over the observation.
#[derive(Clone, Debug, PartialEq)]
pub struct KvCounters {
    /// Which ones they are.
    pub source: &'static str,
    /// What was found: tokens or blocks, as the server counts.
    pub hits: f64,
    /// What was asked for.
    pub queries: f64,
}

impl KvCounters {
    /// Share that was found.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        self.hits / self.queries
    }
}

/// What the header of an observed trace says.
#[derive(Clone, Debug, Default)]
pub struct ObservedHead {
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Requests at its start that a calibration leaves out.
    pub warm_up_requests: u64,
    /// Seed of the workload.
    pub workload_seed: Option<u64>,
    /// What the workload is, in words.
    pub workload: String,
    /// The model that the server serves.
    pub model: String,
    /// Latency targets by class.
    pub targets: Vec<(String, SloTargets)>,
    /// Counters of the prefix cache.
    pub kv: Option<KvCounters>,
    /// Why the trace is not what was asked for; written as comments.
    pub marks: Vec<String>,
}

/// A text as a YAML scalar.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl ObservedHead {
    /// The header as YAML.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for mark in &self.marks {
            let _ = writeln!(text, "# {}", mark.replace(['\n', '\r'], " "));
        }
        let _ = write!(
            text,
            "trace_version: 3\ntime_unit: us\ncreated_at: {}\nmode: real\nwarm_up_requests: {}\n",
            quoted(&self.created_at),
            self.warm_up_requests
        );
        if let Some(seed) = self.workload_seed {
            let _ = writeln!(text, "workload_seed: {seed}");
        }
        let _ = writeln!(text, "workload_spec: {}", quoted(&self.workload));
        let model = quoted(&self.model);
        let _ = write!(text, "server:\n  type: vllm\n  model: {model}\n");
        if !self.targets.is_empty() {
            text.push_str("goodput_slo_targets:\n");
        }
        for (class, goals) in &self.targets {
            let _ = writeln!(text, "  {}:", quoted(class));
            for (key, ms) in [
                ("ttft_ms", goals.ttft_ms),
                ("itl_ms", goals.itl_ms),
                ("e2e_ms", goals.e2e_ms),
            ] {
                if ms > 0.0 {
                    let _ = writeln!(text, "    {key}: {ms}");
                }
            }
        }
        if let Some(kv) = &self.kv {
            let _ = write!(
                text,
                "observed_kv_metrics:\n  source: {}\n  hit_rate: {}\n  block_hits: {}\n  block_queries: {}\n",
                kv.source,
                kv.hit_rate(),
                kv.hits,
                kv.queries
            );
        }
        text
    }
}

/// Writes the rows, in the columns of TraceV2; those that only some traces need stand where the
/// reference expects them.
///
/// # Errors
/// When `out` fails.
pub fn write_rows(out: &mut dyn Write, rows: &[ObservedRow]) -> io::Result<()> {
    let any = |of: fn(&ObservedRow) -> bool| rows.iter().any(of);
    let (priorities, targets) = (any(|r| r.priority != 0), any(|r| r.slo_ttft_us > 0));
    let behind = [
        ("x_request_id", any(|r| !r.x_request_id.is_empty())),
        ("adapter", any(|r| !r.adapter.is_empty())),
        ("think_time_us", any(|r| r.detail.think_us != 0)),
        ("cached_tokens", any(|r| r.cached_tokens.is_some())),
        ("repeated_tokens", any(|r| r.repeated_tokens > 0)),
    ];
    let mut csv = csv::Writer::from_writer(out);
    let mut names = Vec::new();
    for name in COLUMNS {
        names.push(name);
        if name == "slo_class" && priorities {
            names.push("vllm_priority");
        }
        if name == "deadline_us" && targets {
            names.push("slo_target_us");
        }
    }
    let wanted = behind.iter().filter(|(_, wanted)| *wanted);
    names.extend(wanted.map(|(name, _)| *name));
    csv.write_record(&names)?;
    for row in rows {
        csv.write_record(names.iter().map(|name| row.cell(name)))?;
    }
    csv.flush()
}

impl ObservedRow {
    /// What stands in the column of this name.
    fn cell(&self, column: &str) -> String {
        // A prefix longer than the prompt cannot be a part of it; of a prompt that repeats a
        // session, the group's prefix is a part of what is repeated.
        let repeats = self.repeated_tokens > 0;
        let prefix = match repeats || self.prefix_tokens > self.input_tokens {
            true => 0,
            false => self.prefix_tokens,
        };
        let d = &self.detail;
        match column {
            "request_id" => self.id.clone(),
            "client_id" => self.client.clone(),
            "tenant_id" => self.tenant.clone(),
            "slo_class" => self.slo_class.clone(),
            "vllm_priority" => self.priority.to_string(),
            "session_id" => self.session.clone(),
            "round_index" => self.round.to_string(),
            "prefix_group" if repeats => String::new(),
            "prefix_group" => self.prefix_group.clone(),
            "prefix_length" => prefix.to_string(),
            "streaming" => self.streaming.to_string(),
            "input_tokens" => (self.input_tokens - prefix).to_string(),
            "output_tokens" => self.output_tokens.to_string(),
            "text_tokens" => d.text_tokens.to_string(),
            "image_tokens" => d.image_tokens.to_string(),
            "audio_tokens" => d.audio_tokens.to_string(),
            "video_tokens" => d.video_tokens.to_string(),
            "reason_ratio" => d.reason_ratio.to_string(),
            "model" => self.model.clone(),
            "deadline_us" => self.deadline_us.to_string(),
            "slo_target_us" => self.slo_ttft_us.to_string(),
            "server_input_tokens" => self.server_input_tokens.to_string(),
            "arrival_time_us" => self.arrival_us.to_string(),
            "send_time_us" => self.send_us.to_string(),
            "first_chunk_time_us" => self.first_chunk_us.to_string(),
            "last_chunk_time_us" => self.last_chunk_us.to_string(),
            "num_chunks" => self.num_chunks.to_string(),
            "status" => self.status.word().to_owned(),
            "error_message" => self.error.replace(['\n', '\r'], " "),
            "finish_reason" => self.finish_reason.clone(),
            "x_request_id" => self.x_request_id.clone(),
            "adapter" => self.adapter.clone(),
            "think_time_us" => d.think_us.to_string(),
            "cached_tokens" => self.cached_tokens.map_or(String::new(), |n| n.to_string()),
            "repeated_tokens" => self.repeated_tokens.to_string(),
            _ => String::new(),
        }
    }

    /// From sending to the first tokens, microseconds.
    #[must_use]
    pub fn ttft_us(&self) -> Option<i64> {
        (self.first_chunk_us > 0 && self.send_us >= 0)
            .then(|| self.first_chunk_us - self.send_us)
            .filter(|us| *us >= 0)
    }

    /// From sending to the last tokens, microseconds.
    #[must_use]
    pub fn e2e_us(&self) -> Option<i64> {
        (self.last_chunk_us > 0 && self.send_us >= 0)
            .then(|| self.last_chunk_us - self.send_us)
            .filter(|us| *us >= 0)
    }

    /// Prompt tokens: what the server counted, else what the workload says.
    #[must_use]
    pub fn prompt_tokens(&self) -> u32 {
        match self.server_input_tokens {
            0 => self.input_tokens,
            counted => counted,
        }
    }

    /// What a load generator would have measured of it.
    #[must_use]
    pub fn measured(&self) -> MeasuredRequest {
        MeasuredRequest {
            id: Some(self.id.clone()),
            arrival_us: Some(self.send_us as f64),
            ttft_us: self.ttft_us().map(|us| us as f64),
            e2e_us: self.e2e_us().map(|us| us as f64),
            prompt_tokens: Some(self.prompt_tokens()),
            output_tokens: Some(self.output_tokens),
            failed: self.status != Status::Ok || self.ttft_us().is_none(),
            ..MeasuredRequest::default()
        }
    }
}

/// Reads the rows of a trace, with what was measured.
///
/// # Errors
/// When the file cannot be read, a column is missing, or a value makes no sense.
pub fn read_rows(data: &Path) -> Result<Vec<ObservedRow>, InputError> {
    let mut table = Table::open(data)?;
    let found = table.columns(&COLUMNS, &OPTIONAL)?;
    let at = |name: &str| {
        let all = COLUMNS.iter().chain(&OPTIONAL);
        let k = all.into_iter().position(|c| *c == name)?;
        found[k]
    };
    let mut rows = Vec::new();
    while let Some(good) = table.advance_or_row_error()? {
        good?;
        rows.push(row(&table, &at)?);
    }
    Ok(rows)
}

fn row(table: &Table, at: &dyn Fn(&str) -> Option<usize>) -> Result<ObservedRow, InputError> {
    let text = |name: &str| at(name).map_or(String::new(), |k| table.field(k).trim().to_owned());
    let tokens = |name: &str| match at(name) {
        Some(k) => table
            .count(k, MAX_TOKENS)
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        None => Ok(0),
    };
    let time = |name: &str| at(name).map_or(Ok(0), |k| table.time(k));
    let prefix_tokens = tokens("prefix_length")?;
    let status = text("status");
    let known = Status::ALL.iter().find(|(_, word)| *word == status);
    let status = match (known, at("status")) {
        (Some((status, _)), _) => *status,
        // Traces that were only planned say nothing.
        (None, _) if status.is_empty() => Status::Incomplete,
        (None, Some(k)) => {
            return Err(table.field_error(k, "ok, timeout, error or incomplete"));
        }
        (None, None) => Status::Incomplete,
    };
    let cached = text("cached_tokens");
    Ok(ObservedRow {
        id: text("request_id"),
        client: text("client_id"),
        tenant: text("tenant_id"),
        slo_class: text("slo_class"),
        priority: at("vllm_priority").map_or(Ok(0), |k| table.priority(k))?,
        session: text("session_id"),
        round: tokens("round_index")?,
        prefix_group: text("prefix_group"),
        prefix_tokens,
        repeated_tokens: tokens("repeated_tokens")?,
        streaming: text("streaming").eq_ignore_ascii_case("true"),
        input_tokens: prefix_tokens.saturating_add(tokens("input_tokens")?),
        output_tokens: tokens("output_tokens")?,
        detail: Detail {
            think_us: time("think_time_us")?,
            ..Detail::default()
        },
        model: text("model"),
        deadline_us: time("deadline_us")?,
        slo_ttft_us: time("slo_target_us")?,
        server_input_tokens: tokens("server_input_tokens")?,
        arrival_us: time("arrival_time_us")?,
        send_us: time("send_time_us")?,
        first_chunk_us: time("first_chunk_time_us")?,
        last_chunk_us: time("last_chunk_time_us")?,
        num_chunks: tokens("num_chunks")?,
        status,
        error: text("error_message"),
        finish_reason: text("finish_reason"),
        x_request_id: text("x_request_id"),
        adapter: text("adapter"),
        cached_tokens: match cached.is_empty() {
            true => None,
            false => Some(tokens("cached_tokens")?),
        },
    })
}

/// Is this the header of a trace of a live server?
#[must_use]
pub fn is_real(header: &Header) -> bool {
    header.mode == Mode::Real
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, RealTime, open};
    use windtunnel_base::request::Source;

    fn rows() -> Vec<ObservedRow> {
        let row = |id: &str, round: u32| ObservedRow {
            id: id.into(),
            session: "s".into(),
            round,
            streaming: true,
            input_tokens: 40 + 60 * round,
            output_tokens: 20,
            server_input_tokens: 40 + 60 * round,
            repeated_tokens: 59 * round,
            arrival_us: 1000 * i64::from(round),
            send_us: 1_700_000_000_000_000 + 1000 * i64::from(round),
            first_chunk_us: 1_700_000_000_000_400,
            last_chunk_us: 1_700_000_000_000_900,
            num_chunks: 20,
            cached_tokens: Some(16 * round),
            ..ObservedRow::default()
        };
        let failed = ObservedRow {
            id: "2".into(),
            slo_class: "batch".into(),
            input_tokens: 7,
            status: Status::Error,
            error: "status 503, \"full\"".into(),
            send_us: 1_700_000_000_002_000,
            ..ObservedRow::default()
        };
        vec![row("0", 0), row("1", 1), failed]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let [header, data] = ["t.yaml", "t.csv"].map(|name| folder.path().join(name));
        let mut bytes = Vec::new();
        write_rows(&mut bytes, &rows()).unwrap();
        std::fs::write(&data, bytes).unwrap();
        assert_eq!(read_rows(&data).unwrap(), rows());
        let head = ObservedHead {
            warm_up_requests: 1,
            workload: "a \"b\": c".into(),
            targets: vec![(
                "batch".into(),
                SloTargets {
                    ttft_ms: 5.0,
                    ..SloTargets::default()
                },
            )],
            kv: Some(KvCounters {
                source: "tiered",
                hits: 1.0,
                queries: 4.0,
            }),
            marks: vec!["late".into()],
            ..ObservedHead::default()
        };
        let text = head.text();
        assert!(text.starts_with("# late\ntrace_version: 3\n"), "{text}");
        let read = Header::parse("h", &text).unwrap();
        assert!(is_real(&read));
        assert_eq!(
            (read.warm_up_requests, read.workload_spec),
            (1, head.workload)
        );
        assert_eq!(read.goodput_slo_targets["batch"].ttft_ms, 5.0);
        assert_eq!(read.observed_kv_metrics.unwrap().hit_rate, 0.25);
        std::fs::write(&header, text).unwrap();

        // Replayed, the second round repeats prompt and answer of the first.
        let options = OpenOptions {
            real_time: RealTime::Rebased,
            ..OpenOptions::default()
        };
        let mut trace = open(&data, Some(&header), &options).unwrap();
        let first = trace.next_request().unwrap();
        let second = trace.next_request().unwrap();
        assert_eq!((first.arrival_us, second.arrival_us), (0, 1000));
        assert_eq!((first.prompt.len(), second.prompt.len()), (40, 100));
        let common = |k: u32| {
            let of_first = first.prompt.token_key(k);
            of_first.or_else(|| first.output.token_key(k - 40)) == second.prompt.token_key(k)
        };
        assert!((0..59).all(common));
        assert!(!common(59));
    }

    #[test]
    fn a_word_that_is_no_status_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("t.csv");
        let mut bytes = Vec::new();
        write_rows(&mut bytes, &rows()).unwrap();
        let text = String::from_utf8(bytes)
            .unwrap()
            .replace(",error,", ",errar,");
        std::fs::write(&data, text).unwrap();
        let refused = read_rows(&data).unwrap_err().to_string();
        assert!(refused.contains("t.csv:4:"), "{refused}");
        assert!(
            refused.contains("expected ok, timeout, error or incomplete"),
            "{refused}"
        );
    }
}
