//! Measured runs of real servers: what load generators wrote of each request, in any of their
//! formats.

mod observed;
mod rows;
mod vllm_bench;

use crate::detect::{Format, detect};
use crate::import::held::{Held, HeldReplay, Turn, Turns};
use crate::import::{RowErrors, Selection, aiperf, guidellm, inference_perf_report};
use crate::table::open_file;
use rows::UNDERSTOOD;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text_up_to};
use windtunnel_base::measured::MeasuredRequest;
use windtunnel_base::request::{Source, Span, TokenSeq};

/// Largest text, bytes.
const LARGEST: u64 = 1 << 30;

/// Enough of a file to see what it is.
const HEAD_BYTES: u64 = 1 << 16;

/// One run of a load generator.
#[derive(Debug)]
pub struct MeasuredRun {
    /// The file, with the number of the run behind `#` where it has several.
    pub name: String,
    /// Its requests, in the order of the file.
    pub requests: Vec<MeasuredRequest>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// Which tokens prompts share, where the file tells: turn by turn as `requests`.
    shared: Option<Turns>,
}

/// Reads what a file has, run by run.
///
/// # Errors
/// When it cannot be read, or has nothing of the kind.
pub fn read(path: &Path) -> Result<Vec<MeasuredRun>, InputError> {
    let name = path.display().to_string();
    let wrong = |what: &str| InputError::in_file(&name, what);
    let mut head = Vec::new();
    open_file(path)?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|e| wrong(&format!("cannot read: {e}")))?;
    let head = String::from_utf8_lossy(&head);
    let head = head.trim_start_matches('\u{feff}').trim_start();
    let has = |key: &str| head.contains(&format!("\"{key}\""));
    let alone = |requests| vec![MeasuredRun::of(name.clone(), requests)];
    if !head.starts_with(['[', '{']) && detect(path).is_ok_and(|f| f == Format::TraceV2) {
        let (turns, requests) = observed::read(path)?;
        return some(&name, vec![MeasuredRun::sharing(&name, turns, requests)]);
    }
    if !head.starts_with(['[', '{']) {
        let text = read_text_up_to(path, LARGEST)?;
        return some(&name, alone(rows::of_csv(&name, &text)?));
    }
    if head.starts_with('[') && (has("ttft_us") || has("e2e_us")) {
        let text = read_text_up_to(path, LARGEST)?;
        return some(&name, alone(rows::of_json(&name, &text)?));
    }
    let format = match detect(path) {
        _ if has("ttfts") => Format::VllmBench,
        Ok(format) => format,
        Err(_) => return Err(wrong(UNDERSTOOD)),
    };
    let mut errors = RowErrors::new(false);
    let mut notes = Vec::new();
    let runs = match format {
        Format::VllmBench => numbered(&name, vllm_bench::read(path)?),
        Format::GuideLlm => numbered(&name, guidellm::measured(path)?),
        Format::AiPerf => {
            let (turns, requests) = aiperf::measured(path, &mut errors, &mut notes)?;
            vec![MeasuredRun::sharing(&name, turns, requests)]
        }
        Format::InferencePerf => {
            let (turns, requests) = inference_perf_report::measured(path, &mut errors, &mut notes)?;
            vec![MeasuredRun::sharing(&name, turns, requests)]
        }
        other => {
            let what = format!("this is {}: {UNDERSTOOD}", other.with_article());
            return Err(wrong(&what));
        }
    };
    let mut runs = runs;
    notes.extend(errors.note()?);
    if let Some(first) = runs.first_mut() {
        first.notes.extend(notes);
    }
    some(&name, runs)
}

fn some(name: &str, mut runs: Vec<MeasuredRun>) -> Result<Vec<MeasuredRun>, InputError> {
    if runs.iter().all(|run| run.requests.is_empty()) {
        return Err(InputError::in_file(name, "there is no request in it"));
    }
    for run in &mut runs {
        run.check_gaps();
    }
    Ok(runs)
}

/// The runs of a file by number, if there are several.
fn numbered(name: &str, runs: Vec<Vec<MeasuredRequest>>) -> Vec<MeasuredRun> {
    let several = runs.len() > 1;
    let name = |k: usize| match several {
        true => format!("{name}#{}", k + 1),
        false => name.to_owned(),
    };
    let runs = runs.into_iter().enumerate();
    runs.map(|(k, requests)| MeasuredRun::of(name(k), requests))
        .collect()
}

impl MeasuredRun {
    fn of(name: String, requests: Vec<MeasuredRequest>) -> Self {
        Self {
            name,
            requests,
            notes: Vec::new(),
            shared: None,
        }
    }

    fn sharing(name: &str, turns: Turns, requests: Vec<MeasuredRequest>) -> Self {
        Self {
            shared: Some(turns),
            ..Self::of(name.to_owned(), requests)
        }
    }

    /// Forgets gaps that are not those of single tokens, and says why.
    fn check_gaps(&mut self) {
        let (mut whole, mut parts, mut several) = (0u64, 0u64, 0u64);
        for request in &mut self.requests {
            let Some(tokens) = request.output_tokens.filter(|n| *n > 1) else {
                continue;
            };
            let (gaps, expected) = (request.gaps_us.len() as f64, f64::from(tokens - 1));
            if gaps == 0.0 || (gaps - expected).abs() <= 1.0 {
                whole += u64::from(gaps > 0.0);
                continue;
            }
            if gaps > 1.5 * expected {
                parts += 1;
            } else {
                several += 1;
            }
            request.gaps_us.clear();
            request.itl_us = None;
        }
        if parts > whole {
            self.notes.push(format!(
                "{}: a token came in several events, so that gaps between events are a part of the time per token; \
                 that is taken from end to end and the number of tokens",
                self.name
            ));
        } else if parts + several > 0 {
            self.notes.push(format!(
                "{}: {} answers have other numbers of gaps than of tokens; their gaps are not used",
                self.name,
                parts + several
            ));
        }
    }

    /// The requests that were answered, to be sent again as they were.
    ///
    /// # Errors
    /// When the file does not say when a request was sent or how long it was, or how long it took.
    pub fn replay(self) -> Result<Replay, InputError> {
        let Self {
            name,
            requests,
            mut notes,
            shared,
        } = self;
        let told = shared.is_some();
        let turns = shared.unwrap_or_else(|| Turns {
            list: vec![Turn::default(); requests.len()],
            ..Turns::default()
        });
        let all = requests.len();
        let mut answered = Vec::new();
        for (k, (request, turn)) in requests.into_iter().zip(turns.list).enumerate() {
            if request.failed || request.output_tokens == Some(0) {
                continue;
            }
            let missing = |what: &str| {
                let what = format!("request {}: {what} is missing", k + 1);
                InputError::in_file(&name, what)
            };
            let arrival = request
                .arrival_us
                .ok_or_else(|| missing("when it was sent"))?;
            let prompt = request.prompt_tokens;
            let prompt = prompt.ok_or_else(|| missing("the number of its prompt tokens"))?;
            let output = request.output_tokens;
            let output = output.ok_or_else(|| missing("the number of its output tokens"))?;
            let ttft = request
                .ttft_us
                .ok_or_else(|| missing("the time to its first token"))?;
            let e2e = request
                .e2e_us
                .ok_or_else(|| missing("its time from end to end"))?;
            if !(ttft > 0.0 && ttft <= e2e && e2e < 1e12) {
                let what = format!(
                    "request {}: its first token came after {:.3} ms, its last after {:.3} ms; expected 0 < first <= last",
                    k + 1,
                    ttft / 1e3,
                    e2e / 1e3
                );
                return Err(InputError::in_file(&name, what));
            }
            let new = match told {
                true => turn.new,
                false => prompt.max(1),
            };
            let turn = Turn {
                sent_ns: Some((arrival * 1e3).round() as i64),
                new,
                output,
                ..turn
            };
            answered.push((turn, request));
        }
        if answered.is_empty() {
            let what = "no request in it was answered";
            return Err(InputError::in_file(&name, what));
        }
        answered.sort_by_key(|(turn, _)| turn.sent_ns);
        let (list, requests): (Vec<Turn>, Vec<MeasuredRequest>) = answered.into_iter().unzip();
        if requests.len() < all {
            notes.push(format!(
                "{name}: {} of {all} requests failed; what they cost the others is not simulated",
                all - requests.len()
            ));
        }
        let mut turns = Turns {
            list,
            symbols: turns.symbols,
            shared: turns.shared,
        };
        if !told {
            notes.extend(repeat(&name, &mut turns));
        }
        let replay = HeldReplay {
            closed_loop: false,
            think_time: None,
            seed: 0,
            horizon_us: i64::MAX,
            selection: Selection::default(),
        };
        Ok(Replay {
            held: Held::new(&name, turns, replay)?,
            name,
            requests,
            notes,
        })
    }
}

/// A measured run, ready to be sent again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The file, with the number of the run where it has several.
    pub name: String,
    /// What was measured, in order of arrival.
    pub requests: Vec<MeasuredRequest>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    held: Held,
}

impl Replay {
    /// The requests at their times, in the order of [`requests`](Self::requests).
    #[must_use]
    pub fn source(&self) -> Box<dyn Source> {
        Box::new(self.held.clone())
    }
}

/// Longest cycle of prompts that is looked for.
const LONGEST_CYCLE: usize = 2000;

/// Makes prompts that were sent again and again the same tokens, where their lengths come again in
/// a cycle, so that the prefix cache decides what is found; what to say about it.
fn repeat(name: &str, turns: &mut Turns) -> Option<String> {
    let lengths: Vec<u32> = turns.list.iter().map(|turn| turn.new).collect();
    let cycle = cycle(&lengths)?;
    // The length that each prompt has most often: clients count some of them differently.
    let mut seen: Vec<BTreeMap<u32, u32>> = vec![BTreeMap::new(); cycle];
    for (k, length) in lengths.iter().enumerate() {
        *seen[k % cycle].entry(*length).or_default() += 1;
    }
    let usual = |counts: &BTreeMap<u32, u32>| {
        let most = counts.iter().max_by_key(|(_, count)| **count);
        most.map_or(1, |(length, _)| *length)
    };
    let usual: Vec<u32> = seen.iter().map(usual).collect();
    for (k, turn) in turns.list.iter_mut().enumerate() {
        let mut prompt = TokenSeq::default();
        prompt.push(Span {
            stream: (k % cycle) as u32,
            start: 0,
            len: usual[k % cycle],
        });
        turn.shared = prompt;
        turn.new = 0;
    }
    turns.shared = cycle as u32;
    Some(format!(
        "{name}: lengths of prompts come again after {cycle} requests, so they are taken to be {cycle} prompts that were sent \
         again and again, which the prefix cache finds"
    ))
}

/// After how many requests the lengths of prompts come again, if they do and that is no chance.
fn cycle(lengths: &[u32]) -> Option<usize> {
    let n = lengths.len();
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    for length in lengths {
        *counts.entry(*length).or_default() += 1.0;
    }
    let by_chance: f64 = counts.values().map(|c| (c / n as f64).powi(2)).sum();
    if by_chance > 0.5 {
        return None;
    }
    (2..=LONGEST_CYCLE.min(n / 3)).find(|cycle| {
        let pairs = lengths.iter().zip(&lengths[*cycle..]);
        let same = pairs.filter(|(a, b)| a == b).count() as f64 / (n - cycle) as f64;
        let distinct: BTreeSet<&u32> = lengths[..*cycle].iter().collect();
        same >= 0.9 && distinct.len() >= 2 && (n - cycle) >= 20
    })
}

#[cfg(test)]
mod tests;
