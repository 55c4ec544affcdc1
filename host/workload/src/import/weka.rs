//! Agentic coding traces of Weka's kv-cache-tester: a session per file (or per line, or a folder of
//! files) with times in seconds, lengths and identities of the prompts' blocks. A sub-agent's
//! requests are nested and become a session of their own. The model becomes the client.

use super::fields::{self, Others, Unread};
use super::held::{Turn, Turns};
use super::row_errors::RowErrors;
use super::shared_tokens::BlockTree;
use crate::json::read_json_values;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, plain};
use windtunnel_base::request::Sym;

#[derive(Deserialize)]
struct Trace {
    id: Option<String>,
    /// Each request names its own.
    #[serde(rename = "models")]
    _models: Option<IgnoredAny>,
    block_size: Option<f64>,
    /// `local`: ids mean nothing in other traces; `global`: they do.
    hash_id_scope: Option<String>,
    /// These tokens are in the blocks.
    #[serde(rename = "tool_tokens")]
    _tool_tokens: Option<IgnoredAny>,
    #[serde(rename = "system_tokens")]
    _system_tokens: Option<IgnoredAny>,
    #[serde(rename = "totals")]
    _totals: Option<IgnoredAny>,
    requests: Vec<Entry>,
    #[serde(flatten)]
    others: Others,
}

#[derive(Deserialize)]
struct Entry {
    t: Option<f64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    model: Option<String>,
    #[serde(rename = "in")]
    input: Option<f64>,
    out: Option<f64>,
    #[serde(default)]
    hash_ids: Option<Vec<u64>>,
    think_time: Option<f64>,
    api_time: Option<f64>,
    agent_id: Option<String>,
    requests: Option<Vec<Entry>>,
}

/// The files of a folder of traces, in order of their names; none, if it is no such folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_json = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        (name.ends_with(".json") || name.ends_with(".jsonl")) && path.is_file()
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_json)
        .collect();
    files.sort();
    files
}

/// Reads a trace, or all of a folder.
///
/// # Errors
/// When a file cannot be read, or a request is in error and `errors` is strict.
pub(super) fn read(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut reader = Reader::default();
    if path.is_dir() {
        if let Err(e) = std::fs::read_dir(path) {
            let message = format!("cannot read: {}", plain(&e));
            return Err(InputError::in_file(path.display(), message));
        }
        for file in files(path) {
            reader.file(&file, errors)?;
        }
    } else {
        reader.file(path, errors)?;
    }
    Ok(reader.finish(notes))
}

#[derive(Default)]
struct Reader {
    turns: Turns,
    /// Of each block size.
    trees: FxHashMap<u32, BlockTree>,
    traces: u32,
    agents: u64,
    relative: u64,
    /// Sent more than a second (the clock's resolution) before the answer before it came.
    overlapping: u64,
    without_ids: u64,
    unread: Unread,
}

/// What the requests of a session have in common.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    trace: &'a str,
    scope: u32,
    block: u32,
    session: Sym,
}

impl Reader {
    fn file(&mut self, path: &Path, errors: &mut RowErrors) -> Result<(), InputError> {
        for trace in read_json_values::<Trace>(path, "agentic trace of kv-cache-tester")? {
            self.trace(path, &trace, errors)?;
        }
        Ok(())
    }

    fn trace(
        &mut self,
        path: &Path,
        trace: &Trace,
        errors: &mut RowErrors,
    ) -> Result<(), InputError> {
        self.traces += 1;
        self.unread.add(&trace.others);
        let name = trace.id.clone();
        let mut name = name.unwrap_or_else(|| format!("trace_{}", self.traces));
        if self.turns.symbols.get(&name).is_some() {
            name = format!("{name}~{}", self.traces);
        }
        let refuse =
            |what: String| InputError::in_file(path.display(), format!("trace {name:?}: {what}"));
        let block = match trace.block_size {
            Some(n) if n.fract() == 0.0 && (1.0..=1e6).contains(&n) => n as u32,
            Some(n) => {
                let what =
                    format!("block_size: expected a whole number from 1 to 1000000, found {n}");
                return Err(refuse(what));
            }
            None => 64,
        };
        let scope = match trace.hash_id_scope.as_deref() {
            None | Some("local") => self.traces,
            Some("global") => 0,
            Some(other) => {
                let what = format!("hash_id_scope: expected local or global, found {other:?}");
                return Err(refuse(what));
            }
        };
        let place = Place {
            path,
            trace: &name,
            scope,
            block,
            session: self.turns.symbols.intern(&name),
        };
        let relative = nested_times_are_relative(&trace.requests);
        self.relative += u64::from(relative);
        let mut agents = Vec::new();
        let mut main = Vec::new();
        for (k, entry) in trace.requests.iter().enumerate() {
            if entry.kind.as_deref() == Some("subagent") {
                agents.push((k, entry));
                continue;
            }
            let turn = self.request(place, &format!("request {k}"), entry, 0, errors)?;
            main.extend(turn.map(|turn| (turn, entry.api_time)));
        }
        self.session(main);
        for (k, entry) in agents {
            self.agents += 1;
            let id = entry.agent_id.clone().unwrap_or_else(|| k.to_string());
            let session = self.turns.symbols.intern(&format!("{name}/{id}@{k}"));
            let shift = fields::time_ns("t", entry.t.filter(|_| relative).or(Some(0.0)), 1e9);
            let mut rounds = Vec::new();
            for (n, inner) in entry.requests.iter().flatten().enumerate() {
                let what = format!("request {k}.{n}");
                let shift = shift
                    .clone()
                    .map_err(|what| refuse(format!("request {k}: {what}")))?;
                let place = Place { session, ..place };
                let turn = self.request(place, &what, inner, shift, errors)?;
                rounds.extend(turn.map(|turn| (turn, inner.api_time)));
            }
            self.session(rounds);
        }
        Ok(())
    }

    /// Takes the requests of a session with the seconds that their answers took. What is left of
    /// the gap between two is the pause, where the trace does not say it.
    fn session(&mut self, mut rounds: Vec<(Turn, Option<f64>)>) {
        rounds.sort_by_key(|(turn, _)| turn.sent_ns);
        let mut end = None;
        for (mut turn, took) in rounds {
            let sent = turn.sent_ns.unwrap_or(0);
            let pause: Option<i64> = end.map(|end| sent - end);
            self.overlapping += u64::from(pause.is_some_and(|ns| ns < -1_000_000_000));
            turn.think_us = turn.think_us.or(pause.map(|ns| ns.max(0) / 1000));
            end = took.map(|s| sent + (s.clamp(0.0, 1e8) * 1e9) as i64);
            self.turns.list.push(turn);
        }
    }

    fn request(
        &mut self,
        place: Place<'_>,
        what: &str,
        entry: &Entry,
        shift_ns: i64,
        errors: &mut RowErrors,
    ) -> Result<Option<Turn>, InputError> {
        let turn = self.turn(place, entry, shift_ns).map_err(|message| {
            let trace = place.trace;
            InputError::in_file(
                place.path.display(),
                format!("{message} in {what} of trace {trace:?}"),
            )
        });
        errors.take(turn)
    }

    fn turn(&mut self, place: Place<'_>, entry: &Entry, shift_ns: i64) -> Result<Turn, String> {
        let streaming = match entry.kind.as_deref() {
            Some("s") => true,
            Some("n") | None => false,
            Some(other) => {
                return Err(format!("type: expected s, n or subagent, found {other:?}"));
            }
        };
        let sent = fields::time_ns("t", entry.t, 1e9)?;
        let prompt = fields::tokens("in", entry.input)?;
        let output = fields::tokens("out", entry.out)?;
        let think = entry
            .think_time
            .map(|s| fields::time_ns("think_time", Some(s), 1e9));
        let think_us = think.transpose()?.map(|ns| ns / 1000);
        let ids = entry.hash_ids.as_deref().unwrap_or(&[]);
        let shared = if ids.is_empty() {
            self.without_ids += u64::from(prompt >= place.block);
            Default::default()
        } else {
            let tree = self.trees.entry(place.block);
            let tree = tree.or_insert_with(|| BlockTree::new(place.block));
            tree.prompt(place.scope, ids, prompt, &mut self.turns)?
        };
        let model = entry.model.as_deref().unwrap_or("");
        Ok(Turn {
            sent_ns: Some(sent.saturating_add(shift_ns)),
            think_us,
            new: prompt - shared.len(),
            shared,
            output,
            session: place.session,
            client: self.turns.symbols.intern(model),
            streaming,
            ..Turn::default()
        })
    }

    fn finish(self, notes: &mut Vec<String>) -> Turns {
        if self.traces > 1 {
            notes.push(format!(
                "{} traces: each counts its times from its own beginning, so all begin at time 0",
                self.traces
            ));
        }
        if self.agents > 0 {
            notes.push(format!(
                "sub-agents ({}) are sessions of their own that begin at their recorded times; in a closed loop nobody waits for them",
                self.agents
            ));
        }
        if self.relative > 0 {
            notes.push(format!(
                "times of sub-agents' requests lie before the sub-agent's own and are taken to count from it, in traces: {}",
                self.relative
            ));
        }
        if self.overlapping > 0 {
            notes.push(format!(
                "requests that were sent before the answer to the request before them: {}; a closed loop sends them after it",
                self.overlapping
            ));
        }
        if self.without_ids > 0 {
            notes.push(format!(
                "requests without hash_ids, which share no tokens: {}",
                self.without_ids
            ));
        }
        notes.extend(self.unread.note());
        self.turns
    }
}

/// Do the times of sub-agents' requests count from the sub-agent's beginning? Published traces have
/// both; a request before the agent that sends it gives it away.
fn nested_times_are_relative(requests: &[Entry]) -> bool {
    requests.iter().any(|agent| {
        let inner = agent.requests.iter().flatten();
        let first = inner.filter_map(|r| r.t).fold(f64::INFINITY, f64::min);
        agent.t.is_some_and(|t| first < t)
    })
}
