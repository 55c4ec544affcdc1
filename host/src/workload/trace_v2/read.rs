//! The CSV half of a TraceV2 trace.

use crate::input::InputError;
use crate::request::{Sym, Symbols};
use crate::workload::MAX_TOKENS;
use crate::workload::table::Table;
use rustc_hash::FxHashMap;

/// The columns every trace has, in the order in which they are written. Reading goes by name.
pub(crate) const COLUMNS: [&str; 27] = [
    "request_id",
    "client_id",
    "tenant_id",
    "slo_class",
    "session_id",
    "round_index",
    "prefix_group",
    "prefix_length",
    "streaming",
    "input_tokens",
    "output_tokens",
    "text_tokens",
    "image_tokens",
    "audio_tokens",
    "video_tokens",
    "reason_ratio",
    "model",
    "deadline_us",
    "server_input_tokens",
    "arrival_time_us",
    "send_time_us",
    "first_chunk_time_us",
    "last_chunk_time_us",
    "num_chunks",
    "status",
    "error_message",
    "finish_reason",
];

/// The columns a trace has when it needs them.
pub(crate) const OPTIONAL: [&str; 5] = [
    "vllm_priority",
    "slo_target_us",
    "x_request_id",
    "adapter",
    "think_time_us",
];

/// One row, without what no simulation uses.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) line: u64,
    pub(super) id: u64,
    pub(super) arrival_us: i64,
    pub(super) send_us: i64,
    pub(super) deadline_us: i64,
    pub(super) slo_ttft_us: i64,
    pub(super) think_us: i64,
    pub(super) input_tokens: u32,
    /// What the server counted; 0 = not recorded.
    pub(super) server_input_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) prefix_length: u32,
    pub(super) round: u32,
    pub(super) client: Sym,
    pub(super) tenant: Sym,
    pub(super) slo_class: Sym,
    pub(super) model: Sym,
    pub(super) session: Sym,
    pub(super) prefix_group: Sym,
    pub(super) streaming: bool,
}

impl Record {
    /// Prompt tokens behind the group's prefix: what the server counted, unless that count contains a shared prefix.
    pub(super) fn effective_input(&self) -> u32 {
        if self.server_input_tokens > 0 && self.prefix_group.is_none() {
            self.server_input_tokens
        } else {
            self.input_tokens
        }
    }
}

/// Reads all rows in file order.
pub(super) fn read(mut table: Table, symbols: &mut Symbols) -> Result<Vec<Record>, InputError> {
    let at = table.columns(&COLUMNS, &OPTIONAL)?;
    let must = |name: &str| {
        let k = COLUMNS.iter().position(|c| *c == name);
        at[k.expect("a column of the list")].expect("mandatory columns are present")
    };
    let may = |name: &str| {
        let k = OPTIONAL.iter().position(|c| *c == name);
        at[COLUMNS.len() + k.expect("a column of the list")]
    };
    let request_id = must("request_id");
    let (client, tenant, slo_class) = (must("client_id"), must("tenant_id"), must("slo_class"));
    let (session, round) = (must("session_id"), must("round_index"));
    let (prefix_group, prefix_length) = (must("prefix_group"), must("prefix_length"));
    let (streaming, model) = (must("streaming"), must("model"));
    let (input, output) = (must("input_tokens"), must("output_tokens"));
    let server_input = must("server_input_tokens");
    let (deadline, arrival, send) = (
        must("deadline_us"),
        must("arrival_time_us"),
        must("send_time_us"),
    );
    let (slo_target, think) = (may("slo_target_us"), may("think_time_us"));
    // Nothing is simulated from these, but a broken file is broken.
    let also_counts = [
        "text_tokens",
        "image_tokens",
        "audio_tokens",
        "video_tokens",
        "num_chunks",
    ]
    .map(must);
    let also_times = ["first_chunk_time_us", "last_chunk_time_us"].map(must);
    let ratio = must("reason_ratio");

    let mut records = Vec::new();
    let mut lines = FxHashMap::default();
    while table.advance()? {
        let tokens = |at| {
            let n = table.count(at, MAX_TOKENS)?;
            Ok::<u32, InputError>(u32::try_from(n).expect("below 2^31"))
        };
        for at in also_counts {
            tokens(at)?;
        }
        for at in also_times {
            table.time(at)?;
        }
        if !table
            .field(ratio)
            .trim()
            .parse::<f64>()
            .is_ok_and(|r| (0.0..=1.0).contains(&r))
        {
            return Err(table.field_error(ratio, "a number from 0 to 1"));
        }
        let record = Record {
            line: table.line(),
            id: table.count(request_id, u64::MAX)?,
            arrival_us: table.time(arrival)?,
            send_us: table.time(send)?,
            deadline_us: table.time(deadline)?,
            slo_ttft_us: slo_target.map_or(Ok(0), |at| table.time(at))?,
            think_us: think.map_or(Ok(0), |at| table.time(at))?,
            input_tokens: tokens(input)?,
            server_input_tokens: tokens(server_input)?,
            output_tokens: tokens(output)?,
            prefix_length: tokens(prefix_length)?,
            round: tokens(round)?,
            client: symbols.intern(table.field(client)),
            tenant: symbols.intern(table.field(tenant)),
            slo_class: symbols.intern(table.field(slo_class)),
            model: symbols.intern(table.field(model)),
            session: symbols.intern(table.field(session)),
            prefix_group: symbols.intern(table.field(prefix_group)),
            streaming: flag(&table, streaming)?,
        };
        if record.deadline_us > 0 && record.deadline_us < record.arrival_us {
            return Err(table.field_error(
                deadline,
                &format!(
                    "a deadline that is not before arrival_time_us {}, or 0 for none",
                    record.arrival_us
                ),
            ));
        }
        if let Some(first) = lines.insert(record.id, record.line) {
            return Err(table.error(format!(
                "request_id {} appears twice, first in line {first}",
                record.id
            )));
        }
        records.push(record);
    }
    Ok(records)
}

fn flag(table: &Table, at: usize) -> Result<bool, InputError> {
    match table.field(at).trim() {
        "true" | "True" | "TRUE" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "0" => Ok(false),
        _ => Err(table.field_error(at, "true or false")),
    }
}
