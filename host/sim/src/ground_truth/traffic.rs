//! The requests of a measured run: recorded ones where there are, else as many at random times.

use super::cases::Experiment;
use rand::RngExt;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text};
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};
use windtunnel_base::rng;

/// A request to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    arrival_us: i64,
    prompt: u32,
    output: u32,
    /// The load of the run that it belongs to.
    pub(super) stage: usize,
}

/// Tokens that clients add to a prompt around its text, and the spread of lengths, where only the
/// text's length is known.
const ADDED_TOKENS: f64 = 25.0;
const SPREAD_TOKENS: f64 = 7.0;

/// The requests in order of arrival.
pub(super) fn rows(experiment: &Experiment, seed: u64) -> Result<Vec<Row>, InputError> {
    let case = experiment.whole();
    let loads = experiment.loads()?;
    let rows = match &case.per_request_file {
        Some(file) => recorded(&experiment.root.join(file), experiment)?,
        None => drawn(experiment, &loads, seed)?,
    };
    let mut stage = 0;
    let mut left = loads.first().map_or(0, |load| load.0);
    Ok(rows
        .into_iter()
        .map(|(arrival_us, prompt, output)| {
            while left == 0 && stage + 1 < loads.len() {
                stage += 1;
                left = loads[stage].0;
            }
            left = left.saturating_sub(1);
            Row {
                arrival_us,
                prompt: prompt.max(1),
                output: output.max(1),
                stage,
            }
        })
        .collect())
}

type Sent = (i64, u32, u32);

/// As many requests as each load has, at uniformly random times: a Poisson process of which the
/// number is known.
fn drawn(
    experiment: &Experiment,
    loads: &[(u64, f64)],
    seed: u64,
) -> Result<Vec<Sent>, InputError> {
    let case = experiment.whole();
    let mut random = rng::stream(seed, experiment.name(), 0, 0);
    let mut arrivals = Vec::new();
    let mut start_s = 0.0;
    for (requests, seconds) in loads {
        let mut times: Vec<f64> = (0..*requests)
            .map(|_| start_s + random.random::<f64>() * seconds)
            .collect();
        times.sort_by(f64::total_cmp);
        arrivals.extend(times);
        start_s += seconds;
    }
    let missing =
        |what: &str| InputError::new(format!("{}: workload.{what} is missing", case.case_id));
    let (input, output) = (&case.workload.input, &case.workload.output);
    let mean = output.mean.map(|mean| mean.round() as u32);
    let answer = case.fixed_output().or(mean).or(output.tokens);
    let answer = answer.ok_or_else(|| missing("output.tokens"))?;
    let lengths: Vec<u32> = match case.repeated_prompts() {
        Some(prompts) => {
            let text = input
                .nominal_tokens
                .ok_or_else(|| missing("input.nominal_tokens"))?;
            let added = input.system_prompt_tokens.map_or(0.0, |_| ADDED_TOKENS);
            let mut length = || {
                // The sum of twelve uniform numbers is as good as normal.
                let normal = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
                (text + added + SPREAD_TOKENS * normal).round().max(2.0) as u32
            };
            (0..prompts.max(1)).map(|_| length()).collect()
        }
        None => {
            let mean = input.mean.or(input.nominal_tokens);
            let mean = mean.ok_or_else(|| missing("input.mean"))?;
            vec![mean.round().max(2.0) as u32]
        }
    };
    let sent = arrivals.into_iter().enumerate().map(|(i, at)| {
        let us = (at * 1e6).round() as i64;
        (us, lengths[i % lengths.len()], answer)
    });
    Ok(sent.collect())
}

#[derive(Deserialize)]
struct Line {
    arrival_time: f64,
    input_toks: u32,
    output_toks: u32,
}

/// What a file of requests says, in one of three forms: lines of JSON, a trace of what was sent,
/// or the log of inference-perf, in which requests that failed have no length.
fn recorded(path: &Path, experiment: &Experiment) -> Result<Vec<Sent>, InputError> {
    let case = experiment.whole();
    let name = path.display().to_string();
    let refuse = |line: usize, message: String| {
        InputError::in_file(&name, format!("line {line}: {message}"))
    };
    let fixed = case.fixed_output();
    if path.extension().is_some_and(|ext| ext == "jsonl") {
        let text = read_text(path)?;
        let mut lines = Vec::new();
        for (i, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let read: Line =
                serde_json::from_str(line).map_err(|e| refuse(i + 1, e.to_string()))?;
            lines.push(read);
        }
        let first = lines
            .iter()
            .map(|l| l.arrival_time)
            .fold(f64::MAX, f64::min);
        let mut sent: Vec<Sent> = lines
            .iter()
            .map(|l| {
                let us = ((l.arrival_time - first) * 1e6).round() as i64;
                (us, l.input_toks, l.output_toks)
            })
            .collect();
        sent.sort_unstable();
        return Ok(sent);
    }
    let text = read_text(path)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|e| refuse(1, e.to_string()))?
        .clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let mut records = Vec::new();
    for record in reader.records() {
        records.push(record.map_err(|e| InputError::in_file(&name, e.to_string()))?);
    }
    let number = |line: usize, name: &str| -> Result<i64, InputError> {
        let at = column(name).ok_or_else(|| refuse(1, format!("there is no column {name}")))?;
        let text = records[line].get(at).unwrap_or("");
        text.parse().map_err(|_| {
            refuse(
                line + 2,
                format!("{name}: expected a whole number, found \"{text}\""),
            )
        })
    };
    let tokens = |n: i64| u32::try_from(n).unwrap_or(0);
    if column("send_rel_us").is_some() {
        let status = column("status");
        let mut sent = Vec::new();
        for (i, record) in records.iter().enumerate() {
            if status
                .and_then(|at| record.get(at))
                .is_some_and(|s| s != "ok")
            {
                continue;
            }
            let prompt = number(i, "server_input_tokens").or_else(|_| number(i, "input_tokens"))?;
            let output = match fixed {
                Some(tokens) => tokens,
                None => tokens(number(i, "output_tokens")?),
            };
            sent.push((number(i, "send_rel_us")?, tokens(prompt), output));
        }
        sent.sort_unstable();
        return Ok(sent);
    }
    let period = case.repeated_prompts().unwrap_or(1).max(1) as usize;
    let mut lengths: Vec<BTreeMap<i64, u32>> = vec![BTreeMap::new(); period];
    for i in 0..records.len() {
        let prompt = number(i, "input_tokens_client")?;
        if prompt > 0 {
            *lengths[i % period].entry(prompt).or_default() += 1;
        }
    }
    let usual = |counts: &BTreeMap<i64, u32>| {
        let most = counts.iter().max_by_key(|(_, count)| **count);
        most.map_or(1, |(prompt, _)| tokens(*prompt))
    };
    let lengths: Vec<u32> = lengths.iter().map(usual).collect();
    let sent = (0..records.len()).map(|i| {
        let output = match fixed {
            Some(tokens) => tokens,
            None => tokens(number(i, "output_tokens_client")?),
        };
        Ok((number(i, "arrival_us")?, lengths[i % period], output))
    });
    sent.collect()
}

/// The [`Source`] of a measured run. Prompts that were sent again and again are the same tokens
/// each time, behind the system prompt of their group, so that the prefix cache of the engine
/// decides what is found.
#[derive(Debug)]
pub(super) struct Traffic {
    rows: std::vec::IntoIter<Row>,
    given: u32,
    /// Prompts that repeat, their groups, and the tokens of a group's system prompt.
    repeated: Option<(u32, u32, u32)>,
    symbols: Symbols,
}

/// Streams below this are system prompts and prompts that repeat.
const OWN: u32 = 1 << 20;

impl Traffic {
    pub(super) fn new(experiment: &Experiment, rows: Vec<Row>) -> Self {
        let case = experiment.whole();
        let repeated = case.repeated_prompts().map(|prompts| {
            let prompts = u32::try_from(prompts).unwrap_or(OWN).clamp(1, OWN / 2);
            let groups = case.workload.prefix.num_groups.unwrap_or(10).max(1);
            let system = case.workload.input.system_prompt_tokens.unwrap_or(0);
            (prompts, groups, system)
        });
        Self {
            rows: rows.into_iter(),
            given: 0,
            repeated,
            symbols: Symbols::default(),
        }
    }
}

impl Source for Traffic {
    fn next_request(&mut self) -> Option<Request> {
        let row = self.rows.next()?;
        let serial = self.given;
        self.given += 1;
        let own = OWN + serial;
        let mut prompt = TokenSeq::default();
        let private_from = match self.repeated {
            Some((prompts, groups, system)) => {
                let which = serial % prompts;
                let shared = system.min(row.prompt);
                prompt.push(Span {
                    stream: which % groups,
                    start: 0,
                    len: shared,
                });
                prompt.push(Span {
                    stream: OWN / 2 + which,
                    start: shared,
                    len: row.prompt - shared,
                });
                row.prompt
            }
            None => {
                prompt.push(Span {
                    stream: own,
                    start: 0,
                    len: row.prompt,
                });
                0
            }
        };
        let mut answer = TokenSeq::default();
        answer.push(Span {
            stream: own,
            start: row.prompt,
            len: row.output,
        });
        let id = RequestId::Number(serial.into());
        Some(Request {
            private_from,
            ..Request::new(id, row.arrival_us, prompt, answer)
        })
    }

    fn size_hint(&self) -> Option<u64> {
        Some(u64::from(self.given) + self.rows.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}
