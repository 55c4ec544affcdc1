//! Writing a run as a TraceV2 trace, so that it can be replayed.

use super::trace_v2::COLUMNS;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_base::record::{Outcome, RequestRecord, State};
use windtunnel_base::request::{Detail, RequestId, Symbols};

/// Writes the requests of a run, in order of arrival, as a TraceV2 header and its data: both files
/// or none, when `files` are put in their places.
///
/// # Errors
/// When a file cannot be written.
pub fn write(
    files: &mut Staging,
    header: &Path,
    data: &Path,
    requests: &[RequestRecord],
    symbols: &Symbols,
    head: Head,
) -> Result<(), InputError> {
    if header == data {
        return Err(InputError::in_file(
            data.display(),
            "cannot write: header and data of a trace need two files",
        ));
    }
    files.write(data, |out| write_data(out, requests, symbols))?;
    files.write(header, |out| out.write_all(head.text().as_bytes()))
}

/// What the header of an exported trace says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// Seed of the workload.
    pub workload_seed: Option<u64>,
    /// Prompts of later rounds are new tokens only: a closed loop repeats the session before them.
    pub accumulate: bool,
}

impl Head {
    fn text(self) -> String {
        let mut text = String::from(
            "trace_version: 3\ntime_unit: microseconds\nmode: generated\nwarm_up_requests: 0\n",
        );
        if let Some(seed) = self.workload_seed {
            let _ = writeln!(text, "workload_seed: {seed}");
        }
        if self.accumulate {
            text.push_str("session_context_growth: accumulate\n");
        }
        text
    }
}

fn write_data(
    out: &mut dyn Write,
    requests: &[RequestRecord],
    symbols: &Symbols,
) -> io::Result<()> {
    let targets = requests.iter().any(|r| r.slo_ttft_us > 0);
    let says = |f: fn(&Detail) -> bool| requests.iter().any(|r| r.detail.as_deref().is_some_and(f));
    let adapters = requests.iter().any(|r| !r.adapter.is_none());
    let priorities = requests.iter().any(|r| r.client_priority != 0);
    let think_times = says(|d| d.think_us > 0);
    let accepted = !requests.is_empty() && requests.iter().all(|r| r.accepted.is_some());
    let mut numbers = unused_numbers(requests);
    let nothing = Detail::default();
    let mut csv = csv::Writer::from_writer(out);
    let mut row = csv::StringRecord::new();
    for name in COLUMNS {
        row.push_field(name);
        if name == "deadline_us" && targets {
            row.push_field("slo_target_us");
        }
    }
    let optional = [
        ("accepted", accepted),
        ("adapter", adapters),
        ("think_time_us", think_times),
        ("vllm_priority", priorities),
    ];
    for (name, wanted) in optional {
        if wanted {
            row.push_field(name);
        }
    }
    csv.write_record(&row)?;
    for r in requests {
        // A prefix longer than the prompt cannot be a part of it.
        let prefix = if r.prefix_tokens <= r.prompt_tokens {
            r.prefix_tokens
        } else {
            0
        };
        let first_chunk = r.ttft_us.map_or(0, |ttft| r.arrival_us + ttft);
        let last_chunk = r.ttft_us.map_or(0, |_| first_chunk + r.itl_sum_us);
        let status = match r.state {
            State::Completed if r.outcome == Outcome::Evicted => "incomplete",
            State::Completed => "ok",
            State::TimedOut => "timeout",
            State::Queued | State::Running => "incomplete",
        };
        row.clear();
        let mut text = |text: &str| row.push_field(text);
        let number = match &r.id {
            _ if !is_named(r) => numbers.next(),
            RequestId::Number(n) => Some(*n),
            RequestId::Named(_) => None,
        };
        match number {
            Some(n) => text(&n.to_string()),
            None => text(&r.id.to_string()),
        }
        for name in [r.client, r.tenant, r.slo_class, r.session] {
            text(symbols.name(name));
        }
        text(&r.round.to_string());
        text(symbols.name(r.prefix_group));
        text(&prefix.to_string());
        text(if r.streaming { "true" } else { "false" });
        text(&(r.prompt_tokens - prefix).to_string());
        text(&r.output_tokens.to_string());
        let d = r.detail.as_deref().unwrap_or(&nothing);
        for tokens in [
            d.text_tokens,
            d.image_tokens,
            d.audio_tokens,
            d.video_tokens,
        ] {
            text(&tokens.to_string());
        }
        text(&d.reason_ratio.to_string());
        text(symbols.name(r.model));
        text(&r.deadline_us.to_string());
        if targets {
            text(&r.slo_ttft_us.to_string());
        }
        text("0"); // server_input_tokens: no server counted them
        for time in [r.arrival_us, r.arrival_us, first_chunk, last_chunk] {
            text(&time.to_string());
        }
        text("0"); // num_chunks
        for last in [status, "", ""] {
            text(last);
        }
        if let (true, Some(lengths)) = (accepted, &r.accepted) {
            text(&format!("{lengths:?}"));
        }
        if adapters {
            text(symbols.name(r.adapter));
        }
        if think_times {
            text(&d.think_us.to_string());
        }
        if priorities {
            text(&r.client_priority.to_string());
        }
        csv.write_record(&row)?;
    }
    csv.flush()
}

/// Does its trace give the request its name?
fn is_named(r: &RequestRecord) -> bool {
    r.detail.as_deref().is_some_and(|d| d.named)
}

/// Numbers for the requests without a name of their own, behind those that are names.
fn unused_numbers(requests: &[RequestRecord]) -> impl Iterator<Item = u64> {
    let named = requests.iter().filter(|r| is_named(r));
    let numbers = named.filter_map(|r| match r.id {
        RequestId::Number(n) => Some(n.saturating_add(1)),
        RequestId::Named(_) => None,
    });
    numbers.max().unwrap_or(0)..
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "a test says what it skips")]
mod tests {
    use super::*;
    use crate::synthetic::{Distribution, Length, Parameters};
    use crate::{OpenOptions, open};
    use windtunnel_base::request::{Request, Source, Sym};

    fn record(serial: u64, r: &Request) -> RequestRecord {
        RequestRecord {
            serial,
            id: r.id.clone(),
            arrival_us: r.arrival_us,
            prompt_tokens: r.prompt.len(),
            cached_tokens: None,
            output_tokens: r.output.len(),
            generated_tokens: 0,
            state: State::Queued,
            outcome: Outcome::Queued,
            rank: None,
            pool: Sym::NONE,
            instance: None,
            scheduling_delay_us: None,
            ttft_us: None,
            e2e_us: None,
            itl_sum_us: 0,
            mean_itl_us: None,
            preemptions: 0,
            retries: 0,
            deadline_us: r.deadline_us,
            slo_ttft_us: r.slo_ttft_us,
            slo_class: r.slo_class,
            tenant: r.tenant,
            client: r.client,
            model: r.model,
            adapter: r.adapter,
            client_priority: r.client_priority,
            session: r.session,
            round: r.round,
            prefix_group: r.prefix_group,
            prefix_tokens: r.prefix_tokens,
            streaming: r.streaming,
            accepted: r.accepted.clone(),
            detail: r.detail.clone(),
            split: None,
            gateway: None,
        }
    }

    fn all(source: &mut dyn Source) -> Vec<Request> {
        std::iter::from_fn(|| source.next_request()).collect()
    }

    #[test]
    fn an_exported_run_reads_as_the_same_requests() {
        let length = Length {
            mean: 100.0,
            stdev: 50.0,
            min: 1,
            max: 300,
        };
        let mut source = Distribution::new(Parameters {
            rate: 20.0,
            num_requests: 50,
            prefix_tokens: 48,
            prompt: length,
            output: length,
            horizon_us: i64::MAX,
            seed: 1,
            timeout_us: Some(1_000_000),
            from_zero: false,
            at_once: false,
            burstiness: None,
        })
        .unwrap();
        let mut symbols = source.symbols().clone();
        let (tenant, class) = (symbols.intern("a \"b\", c"), symbols.intern("batch"));
        let adapter = symbols.intern("sql");
        for slo_ttft_us in [0, 5000] {
            let mut requests = all(&mut source.clone());
            for r in &mut requests {
                (r.tenant, r.slo_class, r.slo_ttft_us) = (tenant, class, slo_ttft_us);
                r.streaming = r.arrival_us % 2 == 0;
                if slo_ttft_us > 0 {
                    (r.adapter, r.client_priority) = (adapter, -3);
                }
            }
            let records: Vec<RequestRecord> =
                (0..).zip(&requests).map(|(k, r)| record(k, r)).collect();
            let folder = tempfile::tempdir().unwrap();
            let (header, data) = (folder.path().join("t.yaml"), folder.path().join("t.csv"));
            let mut files = Staging::default();
            write(
                &mut files,
                &header,
                &data,
                &records,
                &symbols,
                Head {
                    workload_seed: Some(u64::MAX),
                    accumulate: false,
                },
            )
            .unwrap();
            files.commit().unwrap();
            let mut trace = open(&data, Some(&header), &OpenOptions::default()).unwrap();
            let again = all(&mut trace);
            assert_eq!(again.len(), requests.len());
            for (a, b) in requests.iter().zip(&again) {
                // Symbols are numbered anew, so compare the names behind them.
                let plain = |r: &Request, names: &Symbols| {
                    let texts = [
                        r.client,
                        r.tenant,
                        r.slo_class,
                        r.model,
                        r.adapter,
                        r.session,
                        r.prefix_group,
                    ]
                    .map(|s| names.name(s).to_owned());
                    let bare = Request {
                        client: Default::default(),
                        tenant: Default::default(),
                        slo_class: Default::default(),
                        model: Default::default(),
                        adapter: Default::default(),
                        session: Default::default(),
                        prefix_group: Default::default(),
                        ..r.clone()
                    };
                    format!("{texts:?} {bare:?}")
                };
                assert_eq!(plain(a, &symbols), plain(b, trace.symbols()));
            }
        }
        assert_eq!(all(&mut source).len(), 50);
    }

    #[test]
    fn exports_of_the_reference_repeat_byte_by_byte() {
        for case in ["export-chatbot", "export-prefix", "export-multiturn"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../../shared/oracle/blis")
                .join(case);
            if !folder.exists() {
                println!("skipped: no reference cases at {}", folder.display());
                continue;
            }
            let trace = folder.join("trace.csv");
            let mut source = open(
                &trace,
                Some(&folder.join("trace.yaml")),
                &OpenOptions::default(),
            )
            .unwrap();
            let requests = all(&mut source);
            // What the run measured stands in the trace itself.
            let mut measured = csv::Reader::from_path(&trace).unwrap();
            let records: Vec<RequestRecord> = (0..)
                .zip(requests.iter().zip(measured.records()))
                .map(|(k, (r, row))| {
                    let row = row.unwrap();
                    let time = |at: usize| row[at].parse::<i64>().unwrap();
                    RequestRecord {
                        state: State::Completed,
                        outcome: Outcome::Completed,
                        ttft_us: Some(time(21) - r.arrival_us),
                        itl_sum_us: time(22) - time(21),
                        ..record(k, r)
                    }
                })
                .collect();
            let mut bytes = Vec::new();
            write_data(&mut bytes, &records, source.symbols()).unwrap();
            assert!(bytes == std::fs::read(&trace).unwrap(), "{case}");
            let header = std::fs::read_to_string(folder.join("trace.yaml")).unwrap();
            let head = Head {
                workload_seed: Some(42),
                accumulate: false,
            };
            assert_eq!(head.text(), header);
        }
    }

    #[test]
    fn both_files_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        let symbols = Symbols::default();
        let refuse = |header: &Path, data: &Path| {
            let mut files = Staging::default();
            let written = write(&mut files, header, data, &[], &symbols, Head::default());
            written.unwrap_err().to_string()
        };
        refuse(&here("none/t.yaml"), &here("t.csv"));
        refuse(&here("t.yaml"), &here("none/t.csv"));
        refuse(folder.path(), &here("t.csv"));
        refuse(&here("t.csv"), &here("t.csv"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
