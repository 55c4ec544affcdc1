//! The CSV half of a TraceV2 trace.

use crate::import::RowErrors;
use crate::limits::MAX_TOKENS;
use crate::number_lists::lengths;
use crate::request_names::{self, Taken};
use crate::table::Table;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Detail, RequestId, Sym, Symbols};

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
pub(crate) const OPTIONAL: [&str; 8] = [
    "accepted",
    "vllm_priority",
    "slo_target_us",
    "x_request_id",
    "adapter",
    "think_time_us",
    "cached_tokens",
    "repeated_tokens",
];

/// One row, without what no simulation uses.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) line: u64,
    /// Number of its name; of its row if the name is none.
    pub(super) number: u64,
    /// A name that is no number.
    pub(super) name: Option<Arc<str>>,
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
    /// Tokens at the start of the prompt that prompt and answer of the round before have.
    pub(super) repeated: u32,
    pub(super) client: Sym,
    pub(super) tenant: Sym,
    pub(super) slo_class: Sym,
    pub(super) model: Sym,
    pub(super) adapter: Sym,
    pub(super) client_priority: i32,
    pub(super) session: Sym,
    pub(super) prefix_group: Sym,
    pub(super) streaming: bool,
    pub(super) accepted: Option<Arc<[u32]>>,
    pub(super) detail: Option<Arc<Detail>>,
}

impl Record {
    /// Its name.
    pub(super) fn id(&self) -> RequestId {
        match &self.name {
            Some(name) => RequestId::Named(Arc::clone(name)),
            None => RequestId::Number(self.number),
        }
    }

    /// Prompt tokens behind the group's prefix: what the server counted, unless that count contains
    /// a shared prefix.
    pub(super) fn effective_input(&self) -> u32 {
        if self.server_input_tokens > 0 && self.prefix_group.is_none() {
            self.server_input_tokens
        } else {
            self.input_tokens
        }
    }
}

/// Reads all rows in file order.
pub(super) fn read(
    mut table: Table,
    symbols: &mut Symbols,
    errors: &mut RowErrors,
) -> Result<Vec<Record>, InputError> {
    let found = table.columns(&COLUMNS, &OPTIONAL)?;
    let must = |name: &str| {
        let k = COLUMNS.iter().position(|c| *c == name);
        found[k.expect("a column of the list")].expect("mandatory columns are present")
    };
    let may = |name: &str| {
        let k = OPTIONAL.iter().position(|c| *c == name);
        found[COLUMNS.len() + k.expect("a column of the list")]
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
    let at = Columns {
        request_id,
        client,
        tenant,
        slo_class,
        session,
        round,
        prefix_group,
        prefix_length,
        streaming,
        model,
        input,
        output,
        server_input,
        deadline,
        arrival,
        send,
        slo_target,
        think,
        adapter: may("adapter"),
        repeated: may("repeated_tokens"),
        accepted: may("accepted"),
        priority: may("vllm_priority"),
        modalities: [
            "text_tokens",
            "image_tokens",
            "audio_tokens",
            "video_tokens",
        ]
        .map(must),
        chunks: must("num_chunks"),
        also_times: ["first_chunk_time_us", "last_chunk_time_us"].map(must),
        ratio: must("reason_ratio"),
    };
    let mut records = Vec::new();
    let mut taken = Taken::default();
    let mut row = 0;
    while let Some(good) = table.advance_or_row_error()? {
        let record = good
            .and_then(|()| at.record(&table, row, symbols))
            .and_then(|record| taken.take(&record.id(), &table).map(|()| record));
        row += 1;
        records.extend(errors.take(record)?);
    }
    Ok(records)
}

/// Where the columns are.
struct Columns {
    request_id: usize,
    client: usize,
    tenant: usize,
    slo_class: usize,
    session: usize,
    round: usize,
    prefix_group: usize,
    prefix_length: usize,
    streaming: usize,
    model: usize,
    input: usize,
    output: usize,
    server_input: usize,
    deadline: usize,
    arrival: usize,
    send: usize,
    slo_target: Option<usize>,
    think: Option<usize>,
    adapter: Option<usize>,
    repeated: Option<usize>,
    accepted: Option<usize>,
    priority: Option<usize>,
    modalities: [usize; 4],
    chunks: usize,
    also_times: [usize; 2],
    ratio: usize,
}

impl Columns {
    fn record(&self, table: &Table, row: u64, symbols: &mut Symbols) -> Result<Record, InputError> {
        let tokens = |at| {
            let n = table.count(at, MAX_TOKENS)?;
            Ok::<u32, InputError>(u32::try_from(n).expect("below 2^31"))
        };
        // Nothing is simulated from these, but a broken file is broken.
        tokens(self.chunks)?;
        for at in self.also_times {
            table.time(at)?;
        }
        let ratio = table.field(self.ratio).trim().parse::<f64>();
        let reason_ratio = ratio
            .ok()
            .filter(|r| (0.0..=1.0).contains(r))
            .ok_or_else(|| table.field_error(self.ratio, "a number from 0 to 1"))?;
        let client_priority = self.priority.map_or(Ok(0), |at| table.priority(at))?;
        let accepted = self.accepted.map(|at| lengths(table, at)).transpose()?;
        let (number, own_name) = match request_names::read(table, self.request_id)? {
            Some(RequestId::Number(number)) => (number, None),
            Some(RequestId::Named(name)) => (row, Some(name)),
            None => return Err(table.field_error(self.request_id, "a name or a number")),
        };
        let mut name = |at: usize| symbols.intern(table.field(at));
        let think_us = self.think.map_or(Ok(0), |at| table.time(at))?;
        let [text, image, audio, video] = self.modalities;
        let detail = Detail {
            text_tokens: tokens(text)?,
            image_tokens: tokens(image)?,
            audio_tokens: tokens(audio)?,
            video_tokens: tokens(video)?,
            reason_ratio,
            think_us,
            named: own_name.is_some(),
        };
        let record = Record {
            line: table.line(),
            number,
            name: own_name,
            arrival_us: table.time(self.arrival)?,
            send_us: table.time(self.send)?,
            deadline_us: table.time(self.deadline)?,
            slo_ttft_us: self.slo_target.map_or(Ok(0), |at| table.time(at))?,
            think_us,
            input_tokens: tokens(self.input)?,
            server_input_tokens: tokens(self.server_input)?,
            output_tokens: tokens(self.output)?,
            prefix_length: tokens(self.prefix_length)?,
            round: tokens(self.round)?,
            repeated: self.repeated.map_or(Ok(0), tokens)?,
            client: name(self.client),
            tenant: name(self.tenant),
            slo_class: name(self.slo_class),
            model: name(self.model),
            adapter: self.adapter.map_or(Sym::NONE, &mut name),
            client_priority,
            session: name(self.session),
            prefix_group: name(self.prefix_group),
            streaming: flag(table, self.streaming)?,
            accepted,
            detail: detail.boxed(),
        };
        if record.deadline_us > 0 && record.deadline_us < record.arrival_us {
            return Err(table.field_error(
                self.deadline,
                &format!(
                    "a deadline that is not before arrival_time_us {}, or 0 for none",
                    record.arrival_us
                ),
            ));
        }
        Ok(record)
    }
}

fn flag(table: &Table, at: usize) -> Result<bool, InputError> {
    match table.field(at).trim() {
        "true" | "True" | "TRUE" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "0" => Ok(false),
        _ => Err(table.field_error(at, "true or false")),
    }
}
