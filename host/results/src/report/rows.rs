//! Per-request results: one row per request that arrived, as CSV, JSON, lines of JSON or Parquet.

pub use super::columns::{Column, Format};

use super::columns;
use super::instance_name;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_base::record::{
    GatewayTimes, Outcome, Recorder, RequestRecord, RunRecord, SplitRecord, State,
};
use windtunnel_base::request::Symbols;

/// One row. Absent values are null in JSON and empty in CSV; a name or deadline not given is
/// absent.
#[derive(Serialize)]
struct Row<'a> {
    request_id: String,
    state: &'static str,
    outcome: &'static str,
    instance: Option<String>,
    /// `None` where the pools have no names: then there is no such column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<Option<&'a str>>,
    arrival_us: i64,
    scheduling_delay_us: Option<i64>,
    ttft_us: Option<i64>,
    e2e_us: Option<i64>,
    completion_us: Option<i64>,
    mean_itl_us: Option<f64>,
    prompt_tokens: u32,
    cached_tokens: Option<u32>,
    output_tokens: u32,
    generated_tokens: u32,
    preemptions: u32,
    slo_class: Option<&'a str>,
    tenant: Option<&'a str>,
    session: Option<&'a str>,
    round: u32,
    client: Option<&'a str>,
    model: Option<&'a str>,
    prefix_group: Option<&'a str>,
    prefix_tokens: u32,
    deadline_us: Option<i64>,
    adapter: Option<&'a str>,
    /// `None` where no requests are split: then there are no such columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill_instance: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill_end_us: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer_start_us: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer_end_us: Option<Option<i64>>,
    /// `None` without a gateway that holds requests: then there are no such columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_enqueue_us: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_dispatch_us: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_queue_delay_us: Option<Option<i64>>,
    /// `None` where no instance can fail: then there is no such column.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    /// `None` where every instance is one engine: then there is no such column.
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<Option<u32>>,
}

/// Which columns there are beyond those that are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// The pools have names.
    pub pools: bool,
    /// Some instances only prefill or only decode.
    pub splits: bool,
    /// A gateway holds requests.
    pub gateway: bool,
    /// Instances can fail.
    pub retries: bool,
    /// Some instances are several data-parallel ranks.
    pub ranks: bool,
}

impl Extra {
    /// Those of a run.
    #[must_use]
    pub fn of(record: &RunRecord) -> Self {
        Self {
            pools: record.names_pools(),
            splits: record.transfers.is_some(),
            gateway: record.gateway.is_some(),
            retries: record
                .scaling
                .as_ref()
                .is_some_and(|scaling| scaling.events),
            ranks: record.pools.iter().any(|pool| pool.ranks > 1),
        }
    }
}

/// Where a request stands, in the reference's four words.
#[must_use]
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Running => "running",
        State::Completed => "completed",
        State::TimedOut => "timed_out",
    }
}

/// What became of a request, in one word.
#[must_use]
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::LengthCapped => "length_capped",
        Outcome::TimedOut => "timed_out",
        Outcome::Dropped => "dropped",
        Outcome::Rejected => "rejected",
        Outcome::Unroutable => "unroutable",
        Outcome::RequestsQueued => "max_num_queued_reqs",
        Outcome::TokensQueued => "max_num_queued_tokens",
        Outcome::GatewayFull => "gateway_full",
        Outcome::Shed => "shed",
        Outcome::Expired => "expired",
        Outcome::Evicted => "evicted",
        Outcome::Held => "held",
        Outcome::Failed => "failed",
        Outcome::Running => "running",
        Outcome::Queued => "queued",
        Outcome::InTransit => "in_transit",
    }
}

impl<'a> Row<'a> {
    /// The row of a request.
    fn of(symbols: &'a Symbols, extra: Extra, r: &RequestRecord) -> Self {
        let split = r.split.as_deref();
        let time = |of: fn(&SplitRecord) -> Option<i64>| extra.splits.then(|| split.and_then(of));
        let gateway = r.gateway.as_deref();
        let at_gateway =
            |of: fn(&GatewayTimes) -> Option<i64>| extra.gateway.then(|| gateway.and_then(of));
        let name = |sym| Some(symbols.name(sym)).filter(|n| !n.is_empty());
        Self {
            request_id: r.id.to_string(),
            state: state_word(r.state),
            outcome: outcome_word(r.outcome),
            instance: r.instance.map(instance_name),
            pool: extra.pools.then(|| name(r.pool)),
            arrival_us: r.arrival_us,
            scheduling_delay_us: r.scheduling_delay_us,
            ttft_us: r.ttft_us,
            e2e_us: r.e2e_us,
            completion_us: r.completion_us(),
            mean_itl_us: r.mean_itl_us,
            prompt_tokens: r.prompt_tokens,
            cached_tokens: r.cached_tokens,
            output_tokens: r.output_tokens,
            generated_tokens: r.generated_tokens,
            preemptions: r.preemptions,
            slo_class: name(r.slo_class),
            tenant: name(r.tenant),
            session: name(r.session),
            round: r.round,
            client: name(r.client),
            model: name(r.model),
            prefix_group: name(r.prefix_group),
            prefix_tokens: r.prefix_tokens,
            deadline_us: (r.deadline_us != 0).then_some(r.deadline_us),
            adapter: name(r.adapter),
            prefill_instance: extra
                .splits
                .then(|| split.and_then(|s| s.prefill_instance.map(instance_name))),
            prefill_end_us: time(|s| s.prefill_end_us),
            transfer_start_us: time(|s| s.transfer_start_us),
            transfer_end_us: time(|s| s.transfer_end_us),
            gateway_enqueue_us: at_gateway(|g| Some(g.enqueued_us)),
            gateway_dispatch_us: at_gateway(|g| g.dispatched_us),
            gateway_queue_delay_us: at_gateway(GatewayTimes::delay_us),
            retries: extra.retries.then_some(r.retries),
            rank: extra.ranks.then_some(r.rank),
        }
    }
}

/// The rows by column, in order of arrival: [`COLUMNS`], with [`POOL`] if the pools have names and
/// [`SPLIT`] where some instances only prefill or only decode, [`GATEWAY`] where a gateway holds
/// requests, [`RETRIES`] where instances can fail, [`RANK`] where some are several data-parallel
/// ranks, and what is in them.
#[must_use]
pub fn columns(record: &RunRecord) -> Vec<(&'static str, Column)> {
    let extra = Extra::of(record);
    let rows: Vec<Row<'_>> = record
        .requests
        .iter()
        .map(|r| Row::of(&record.symbols, extra, r))
        .collect();
    let text = |of: fn(&Row<'_>) -> Option<String>| Column::Text(rows.iter().map(of).collect());
    let whole = |of: fn(&Row<'_>) -> Option<i64>| Column::Whole(rows.iter().map(of).collect());
    let columns = [
        text(|r| Some(r.request_id.clone())),
        text(|r| Some(r.state.into())),
        text(|r| Some(r.outcome.into())),
        text(|r| r.instance.clone()),
        whole(|r| Some(r.arrival_us)),
        whole(|r| r.scheduling_delay_us),
        whole(|r| r.ttft_us),
        whole(|r| r.e2e_us),
        whole(|r| r.completion_us),
        Column::Number(rows.iter().map(|r| r.mean_itl_us).collect()),
        whole(|r| Some(r.prompt_tokens.into())),
        whole(|r| r.cached_tokens.map(Into::into)),
        whole(|r| Some(r.output_tokens.into())),
        whole(|r| Some(r.generated_tokens.into())),
        whole(|r| Some(r.preemptions.into())),
        text(|r| r.slo_class.map(str::to_owned)),
        text(|r| r.tenant.map(str::to_owned)),
        text(|r| r.session.map(str::to_owned)),
        whole(|r| Some(r.round.into())),
        text(|r| r.client.map(str::to_owned)),
        text(|r| r.model.map(str::to_owned)),
        text(|r| r.prefix_group.map(str::to_owned)),
        whole(|r| Some(r.prefix_tokens.into())),
        whole(|r| r.deadline_us),
        text(|r| r.adapter.map(str::to_owned)),
    ];
    let mut all: Vec<_> = COLUMNS.into_iter().zip(columns).collect();
    if extra.splits {
        let ways = [
            text(|r| r.prefill_instance.clone().flatten()),
            whole(|r| r.prefill_end_us.flatten()),
            whole(|r| r.transfer_start_us.flatten()),
            whole(|r| r.transfer_end_us.flatten()),
        ];
        all.extend(SPLIT.into_iter().zip(ways));
    }
    if extra.gateway {
        let times = [
            whole(|r| r.gateway_enqueue_us.flatten()),
            whole(|r| r.gateway_dispatch_us.flatten()),
            whole(|r| r.gateway_queue_delay_us.flatten()),
        ];
        all.extend(GATEWAY.into_iter().zip(times));
    }
    if extra.retries {
        all.push((RETRIES, whole(|r| r.retries.map(Into::into))));
    }
    if extra.ranks {
        all.push((RANK, whole(|r| r.rank.flatten().map(Into::into))));
    }
    if extra.pools {
        let pools = text(|r| r.pool.flatten().map(str::to_owned));
        all.insert(POOL_AT, (POOL, pools));
    }
    all
}

/// Writes the rows in order of arrival.
///
/// # Errors
/// When `out` fails.
pub fn write(record: &RunRecord, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if format == Format::Parquet {
        return columns::write(&columns(record), format, out);
    }
    let mut stream = RowStream::new(format, Extra::of(record), out)?;
    record
        .requests
        .iter()
        .try_for_each(|r| stream.row(r, &record.symbols))?;
    stream.end()
}

/// Writes rows while a run goes on, in order of arrival: a row waits until all earlier requests
/// have theirs.
pub struct RowStream<'a> {
    sink: Sink<'a>,
    extra: Extra,
    next: u64,
    waiting: BTreeMap<u64, RequestRecord>,
    failed: Option<io::Error>,
}

enum Sink<'a> {
    Json { out: &'a mut dyn Write, empty: bool },
    JsonLines(&'a mut dyn Write),
    Csv(Box<csv::Writer<&'a mut dyn Write>>),
}

impl<'a> RowStream<'a> {
    /// Starts with what comes before the first row.
    ///
    /// # Errors
    /// When `out` fails, or for Parquet, which takes a column after the other.
    pub fn new(format: Format, extra: Extra, out: &'a mut dyn Write) -> io::Result<Self> {
        let sink = match format {
            Format::JsonLines => Sink::JsonLines(out),
            Format::Parquet => {
                return Err(io::Error::other("Parquet is not written row by row"));
            }
            Format::Json => {
                out.write_all(b"[")?;
                Sink::Json { out, empty: true }
            }
            Format::Csv => {
                let mut csv = csv::WriterBuilder::new()
                    .has_headers(false)
                    .from_writer(out);
                // Not left to the first row: a run without requests has columns, too.
                let mut columns = COLUMNS.to_vec();
                if extra.pools {
                    columns.insert(POOL_AT, POOL);
                }
                if extra.splits {
                    columns.extend(SPLIT);
                }
                if extra.gateway {
                    columns.extend(GATEWAY);
                }
                if extra.retries {
                    columns.push(RETRIES);
                }
                if extra.ranks {
                    columns.push(RANK);
                }
                csv.write_record(columns)?;
                Sink::Csv(Box::new(csv))
            }
        };
        Ok(Self {
            sink,
            extra,
            next: 0,
            waiting: BTreeMap::new(),
            failed: None,
        })
    }

    fn row(&mut self, r: &RequestRecord, symbols: &Symbols) -> io::Result<()> {
        match &mut self.sink {
            Sink::Json { out, empty } => {
                out.write_all(if *empty { b"\n" } else { b",\n" })?;
                *empty = false;
                serde_json::to_writer(out, &Row::of(symbols, self.extra, r))?;
            }
            Sink::JsonLines(out) => {
                serde_json::to_writer(&mut *out, &Row::of(symbols, self.extra, r))?;
                out.write_all(b"\n")?;
            }
            Sink::Csv(csv) => csv.serialize(Row::of(symbols, self.extra, r))?,
        }
        Ok(())
    }

    /// Writes the rows that still wait, and what comes after the last one.
    ///
    /// # Errors
    /// When anything could not be written, now or earlier.
    pub fn finish(mut self, symbols: &Symbols) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        for record in std::mem::take(&mut self.waiting).into_values() {
            self.row(&record, symbols)?;
        }
        self.end()
    }

    fn end(self) -> io::Result<()> {
        match self.sink {
            Sink::Json { out, .. } => out.write_all(b"\n]\n"),
            Sink::JsonLines(out) => out.flush(),
            Sink::Csv(mut csv) => csv.flush(),
        }
    }
}

impl Recorder for RowStream<'_> {
    fn record(&mut self, request: RequestRecord, symbols: &Symbols) {
        self.waiting.insert(request.serial, request);
        while let Some(record) = self.waiting.remove(&self.next) {
            self.next += 1;
            if self.failed.is_none() {
                self.failed = self.row(&record, symbols).err();
            }
        }
    }
}

/// Writes the rows to one of `files`; its ending tells the format.
///
/// # Errors
/// When the ending is unknown or the file cannot be written.
pub fn write_file(files: &mut Staging, record: &RunRecord, path: &Path) -> Result<(), InputError> {
    let format = Format::of(path)?;
    files.write(path, |out| write(record, format, out))
}

/// Writes rows of another kind to one of `files`; its ending tells the format.
///
/// # Errors
/// As [`write_file`].
pub(super) fn write_rows<R: Serialize>(
    files: &mut Staging,
    rows: impl Iterator<Item = R>,
    path: &Path,
) -> Result<(), InputError> {
    let format = Format::of(path)?;
    files.write(path, |out| match format {
        Format::Json => {
            let rows: Vec<R> = rows.collect();
            serde_json::to_writer_pretty(&mut *out, &rows)?;
            out.write_all(b"\n")
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            for row in rows {
                csv.serialize(row)?;
            }
            csv.flush()
        }
        Format::JsonLines | Format::Parquet => {
            let rows: Vec<R> = rows.collect();
            let objects: Vec<Map<String, Value>> =
                serde_json::from_value(serde_json::to_value(&rows)?)?;
            columns::write(&columns::of_objects(&objects), format, out)
        }
    })
}

/// Name of the column that is there if the pools have names, behind `instance`.
pub const POOL: &str = "pool";

/// Names of the columns that are there where some instances only prefill or only decode, behind the
/// others.
pub const SPLIT: [&str; 4] = [
    "prefill_instance",
    "prefill_end_us",
    "transfer_start_us",
    "transfer_end_us",
];

/// The column behind all others that is there where instances can fail.
pub const RETRIES: &str = "retries";

/// The column behind all others where some instances are several data-parallel ranks.
pub const RANK: &str = "rank";

/// Names of the columns that are there where a gateway holds requests, behind all others.
pub const GATEWAY: [&str; 3] = [
    "gateway_enqueue_us",
    "gateway_dispatch_us",
    "gateway_queue_delay_us",
];

/// Position of [`POOL`] among the columns.
const POOL_AT: usize = 4;

/// The columns, in order.
pub const COLUMNS: [&str; 25] = [
    "request_id",
    "state",
    "outcome",
    "instance",
    "arrival_us",
    "scheduling_delay_us",
    "ttft_us",
    "e2e_us",
    "completion_us",
    "mean_itl_us",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "generated_tokens",
    "preemptions",
    "slo_class",
    "tenant",
    "session",
    "round",
    "client",
    "model",
    "prefix_group",
    "prefix_tokens",
    "deadline_us",
    "adapter",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::{done, refused, run};

    fn sample() -> RunRecord {
        let mut record = run(vec![done(0, 5, 1000, 3001, 1), refused(1, 7)], 2);
        record.requests[0].slo_class = record.symbols.intern("a,\"b\"");
        record
    }

    fn text(record: &RunRecord, format: Format) -> String {
        let mut out = Vec::new();
        write(record, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_a_row_a_line_with_all_columns() {
        let json = text(&sample(), Format::Json);
        let rows: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&json).unwrap();
        assert_eq!(
            rows[0].keys().map(String::as_str).collect::<Vec<_>>(),
            COLUMNS
        );
        insta::assert_snapshot!(json, @r#"
        [
        {"request_id":"request_0","state":"completed","outcome":"completed","instance":"instance_1","arrival_us":5,"scheduling_delay_us":100,"ttft_us":1000,"e2e_us":3001,"completion_us":3006,"mean_itl_us":1000.5,"prompt_tokens":10,"cached_tokens":0,"output_tokens":3,"generated_tokens":3,"preemptions":0,"slo_class":"a,\"b\"","tenant":null,"session":null,"round":0,"client":null,"model":null,"prefix_group":null,"prefix_tokens":0,"deadline_us":null,"adapter":null},
        {"request_id":"request_1","state":"queued","outcome":"rejected","instance":null,"arrival_us":7,"scheduling_delay_us":null,"ttft_us":null,"e2e_us":null,"completion_us":null,"mean_itl_us":null,"prompt_tokens":10,"cached_tokens":null,"output_tokens":3,"generated_tokens":0,"preemptions":0,"slo_class":null,"tenant":null,"session":null,"round":0,"client":null,"model":null,"prefix_group":null,"prefix_tokens":0,"deadline_us":null,"adapter":null}
        ]
        "#);
        assert_eq!(text(&run(vec![], 1), Format::Json), "[\n]\n");
    }

    #[test]
    fn columns_hold_what_rows_hold() {
        let record = sample();
        let rows: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&text(&record, Format::Json)).unwrap();
        for (name, column) in columns(&record) {
            let values = match column {
                Column::Text(all) => serde_json::json!(all),
                Column::Whole(all) => serde_json::json!(all),
                Column::Number(all) => serde_json::json!(all),
            };
            let expected: Vec<_> = rows.iter().map(|row| row[name].clone()).collect();
            assert_eq!(values, serde_json::json!(expected), "{name}");
        }
    }

    #[test]
    fn csv_leaves_absent_values_empty() {
        insta::assert_snapshot!(text(&sample(), Format::Csv), @r#"
        request_id,state,outcome,instance,arrival_us,scheduling_delay_us,ttft_us,e2e_us,completion_us,mean_itl_us,prompt_tokens,cached_tokens,output_tokens,generated_tokens,preemptions,slo_class,tenant,session,round,client,model,prefix_group,prefix_tokens,deadline_us,adapter
        request_0,completed,completed,instance_1,5,100,1000,3001,3006,1000.5,10,0,3,3,0,"a,""b""",,,0,,,,0,,
        request_1,queued,rejected,,7,,,,,,10,,3,0,0,,,,0,,,,0,,
        "#);
        assert_eq!(text(&run(vec![], 1), Format::Csv).lines().count(), 1);
    }

    #[test]
    fn the_ending_tells_the_format() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Staging::default();
        write_file(&mut files, &sample(), &dir.path().join("r.CSV")).unwrap();
        let error = write_file(&mut files, &sample(), Path::new("r.txt")).unwrap_err();
        files.commit().unwrap();
        insta::assert_snapshot!(error, @"r.txt: the file's name must end in .csv, .json, .jsonl or .parquet");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
