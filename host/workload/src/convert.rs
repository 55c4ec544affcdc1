//! Workloads in other formats.

use super::export::{self, Head};
use super::import::blocks::BLOCK;
use super::spec::WorkloadSpec;
use super::spec::types::{
    Arrival, Client, Distribution, DistributionKind, Lifecycle, Process, Window,
};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use windtunnel_base::input::{InputError, Staging};
use windtunnel_base::record::{Outcome, RequestRecord, State};
use windtunnel_base::request::{Request, Sym, Symbols};

/// Windows of a fitted spec.
const MOST_WINDOWS: i64 = 60;
/// Bins of a fitted length distribution.
const MOST_BINS: usize = 200;

/// A spec as YAML.
///
/// # Errors
/// When it cannot be written so.
pub fn spec_text(spec: &WorkloadSpec) -> Result<String, InputError> {
    serde_yaml::to_string(spec)
        .map_err(|e| InputError::new(format!("cannot be written as YAML: {e}")))
}

/// Requests on their way into a TraceV2 trace.
#[derive(Debug, Default)]
pub struct Rounds {
    rows: Vec<RequestRecord>,
    /// Tokens of each session so far that a next round would repeat: prompt, answer without its
    /// last token, and the key of the last of the prompt.
    sessions: FxHashMap<Sym, (u32, u32, Option<u64>)>,
    repeats: bool,
    differs: bool,
    shares: bool,
    /// Prompt lengths of later rounds without what they repeat.
    new_tokens: FxHashMap<usize, u32>,
}

impl Rounds {
    /// Takes a request.
    pub fn add(&mut self, r: Request) {
        let mut row = RequestRecord::unserved(0, &r, State::Queued, Outcome::Queued);
        // A deadline moves with the request, as its distance.
        row.deadline_us = r.deadline_us;
        // Beyond its group's prefix a request must be alone, or repeat its own session.
        self.shares |=
            r.private_from > r.prefix_tokens && r.session.is_none() && r.private_from > 0;
        if !r.session.is_none() {
            let end = r
                .prompt
                .len()
                .checked_sub(1)
                .and_then(|at| r.prompt.token_key(at));
            let state = (r.prompt.len(), r.output.len().max(1) - 1, end);
            if let Some((prompt, answer, end)) = self.sessions.insert(r.session, state) {
                let same = prompt > 0 && r.prompt.token_key(prompt - 1) == end;
                if same && r.prompt.len() > prompt + answer {
                    self.repeats = true;
                    self.new_tokens
                        .insert(self.rows.len(), r.prompt.len() - prompt - answer);
                } else {
                    self.differs = true;
                }
            }
        }
        self.rows.push(row);
    }

    /// Do prompts share tokens that the trace cannot tell?
    #[must_use]
    pub fn loses_sharing(&self) -> bool {
        self.shares || (self.repeats && self.differs)
    }

    /// Writes header and data.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(
        mut self,
        files: &mut Staging,
        header: &Path,
        data: &Path,
        symbols: &Symbols,
    ) -> Result<(), InputError> {
        let accumulate = self.repeats && !self.differs;
        if accumulate {
            for (row, tokens) in &self.new_tokens {
                let row = &mut self.rows[*row];
                // The column holds what comes behind a prefix.
                row.prompt_tokens = *tokens;
                row.prefix_tokens = 0;
            }
        }
        let head = Head {
            workload_seed: None,
            accumulate,
        };
        export::write(files, header, data, &self.rows, symbols, head)
    }
}

/// Writes requests as Mooncake lines, blocks named by their last tokens.
///
/// # Errors
/// When nothing can be written.
pub fn mooncake(requests: impl Iterator<Item = Request>, out: &mut dyn Write) -> io::Result<()> {
    let mut ids: FxHashMap<u64, u64> = FxHashMap::default();
    for r in requests {
        let prompt = &r.prompt;
        let last = (prompt.len() % BLOCK > 0)
            .then(|| prompt.token_key(prompt.len() - 1))
            .flatten();
        let mut blocks = Vec::new();
        for key in prompt.block_keys(BLOCK).chain(last) {
            let next = ids.len() as u64;
            blocks.push(*ids.entry(key).or_insert(next));
        }
        writeln!(
            out,
            "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": {blocks:?}}}",
            r.arrival_us / 1000,
            prompt.len(),
            r.output.len()
        )?;
    }
    Ok(())
}

/// Writes requests as rows of an Azure trace that begins at midnight of a day without meaning.
///
/// # Errors
/// When nothing can be written.
pub fn azure(requests: impl Iterator<Item = Request>, out: &mut dyn Write) -> io::Result<()> {
    let begin = jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0);
    writeln!(out, "TIMESTAMP,ContextTokens,GeneratedTokens")?;
    for r in requests {
        let time = begin.saturating_add(jiff::SignedDuration::from_micros(r.arrival_us));
        writeln!(
            out,
            "{},{},{}",
            time.strftime("%Y-%m-%d %H:%M:%S.%6f0"),
            r.prompt.len(),
            r.output.len()
        )?;
    }
    Ok(())
}

/// A spec that sends like these requests: one client with their rate over time, their burstiness
/// within windows, and their lengths.
///
/// # Errors
/// When there are none.
pub fn fitted(requests: &[Request]) -> Result<WorkloadSpec, InputError> {
    let last = requests
        .last()
        .ok_or_else(|| InputError::new("there is no request to fit a spec to"))?;
    let window_us = (last.arrival_us / MOST_WINDOWS + 1).max(1_000_000);
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    let (mut gaps, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for (k, r) in requests.iter().enumerate() {
        *counts.entry(r.arrival_us / window_us).or_default() += 1;
        if let Some(next) = requests
            .get(k + 1)
            .filter(|n| n.arrival_us / window_us == r.arrival_us / window_us)
        {
            // In units of the window's own mean, so that a changing rate is no burstiness.
            let gap = (next.arrival_us - r.arrival_us) as f64;
            (gaps, sum, squares) = (gaps + 1.0, sum + gap, squares + gap * gap);
        }
    }
    let mean: f64 = sum / gaps;
    let cv = ((squares / gaps - mean * mean).max(0.0).sqrt() / mean * 1000.0).round() / 1000.0;
    let gamma = gaps > 1.0 && cv.is_finite() && (0.05..=20.0).contains(&cv);
    let window = |(k, n): (&i64, &u64)| Window {
        start_us: k * window_us,
        end_us: (k + 1) * window_us,
        trace_rate: Some(*n as f64 / (window_us as f64 / 1e6)),
        ..Window::default()
    };
    let lengths = |of: fn(&Request) -> u32| {
        let mut all: Vec<u32> = requests.iter().map(of).collect();
        all.sort_unstable();
        Some(Distribution {
            kind: DistributionKind::Empirical,
            params: bins(&all),
            file: None,
        })
    };
    Ok(WorkloadSpec {
        version: "2".into(),
        seed: 42,
        clients: vec![Client {
            id: "fitted".into(),
            arrival: Some(Arrival {
                process: if gamma {
                    Process::Gamma
                } else {
                    Process::Poisson
                },
                cv: gamma.then_some(cv),
                shape: None,
                scale: None,
            }),
            input_distribution: lengths(|r| r.prompt.len().max(1)),
            output_distribution: lengths(|r| r.output.len().max(1)),
            streaming: requests.iter().any(|r| r.streaming),
            lifecycle: Some(Lifecycle {
                windows: counts.iter().map(window).collect(),
            }),
            ..Client::default()
        }],
        ..WorkloadSpec::default()
    })
}

/// Lengths with weights; neighbours of the same quantile as one, at their mean.
fn bins(sorted: &[u32]) -> BTreeMap<String, f64> {
    let mut bins: BTreeMap<String, f64> = BTreeMap::new();
    let step = sorted.len().div_ceil(MOST_BINS).max(1);
    for part in sorted.chunks(step) {
        let mean = part.iter().map(|n| f64::from(*n)).sum::<f64>() / part.len() as f64;
        *bins.entry(format!("{}", mean.round())).or_default() += part.len() as f64;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, Trace, open};
    use std::sync::Arc;
    use windtunnel_base::request::Source;

    /// Name, accepted drafts, priority and adapter of each.
    type Kept = (String, Option<Arc<[u32]>>, i32, String);

    fn kept(trace: &mut Trace) -> (Vec<Request>, Vec<Kept>) {
        let requests: Vec<Request> = std::iter::from_fn(|| trace.next_request()).collect();
        let kept = requests.iter().map(|r| {
            let adapter = trace.symbols().name(r.adapter).to_owned();
            (
                r.id.to_string(),
                r.accepted.clone(),
                r.client_priority,
                adapter,
            )
        });
        let kept = kept.collect();
        (requests, kept)
    }

    #[test]
    fn a_trace_keeps_names_accepted_drafts_priorities_and_adapters() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let rows = "t,a,b,p,o,request_id,accepted,priority,adapter\n\
            0,,,\"[1,2]\",\"[4,5]\",zeta,\"[2,0]\",3,sql\n\
            1,,,\"[3]\",[4],\"a, \"\"b\"\"\",[],,\n\
            2,,,\"[6]\",[4],8,[1],-1,\n\
            3,,,\"[7]\",[4],,[1],,chat\n";
        std::fs::write(path("five.csv"), rows).expect("written");
        let mut five = open(&path("five.csv"), None, &OpenOptions::default()).expect("a trace");
        let (requests, before) = kept(&mut five);
        let ids: Vec<&str> = before.iter().map(|kept| kept.0.as_str()).collect();
        assert_eq!(ids, ["zeta", "a, \"b\"", "request_8", "request_3"]);
        let mut rounds = Rounds::default();
        requests.into_iter().for_each(|r| rounds.add(r));
        let mut files = Staging::default();
        let (header, data) = (path("two.yaml"), path("two.csv"));
        let symbols = five.symbols();
        rounds
            .write(&mut files, &header, &data, symbols)
            .expect("staged");
        files.commit().expect("written");
        let mut two = open(&data, Some(&header), &OpenOptions::default()).expect("a trace");
        assert!(two.says_accepted());
        let (_, mut after) = kept(&mut two);
        // A request without a name of its own gets a number that no other has.
        assert_eq!(after[3].0, "request_9");
        after[3].0.clone_from(&before[3].0);
        assert_eq!(after, before);
    }
}
