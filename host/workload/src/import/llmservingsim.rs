//! Workloads of LLMServingSim: a JSON object per line, a request or a session of requests with the
//! time that tools take between them; before that, tables of lengths and times.

use super::fields::{self, Others, Unread};
use super::held::{Turn, Turns};
use super::row_errors::RowErrors;
use super::shared_tokens::{BYTES_PER_TOKEN, SharedTokens};
use crate::limits::MAX_TOKENS;
use crate::table::Table;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Sym;

/// The columns of a table.
pub(crate) const COLUMNS: [&str; 3] = ["input_toks", "output_toks", "arrival_time_ns"];

#[derive(Deserialize)]
struct Line {
    session_id: Option<String>,
    arrival_time_ns: Option<f64>,
    sub_requests: Option<Vec<Call>>,
    #[serde(flatten)]
    call: Call,
}

#[derive(Deserialize)]
struct Call {
    input_toks: Option<f64>,
    output_toks: Option<f64>,
    /// From the answer to the next call.
    tool_duration_ns: Option<f64>,
    input_tok_ids: Option<Vec<u32>>,
    output_tok_ids: Option<Vec<u32>>,
    #[serde(flatten)]
    others: Others,
}

const EXPECTED: &str = "an object with input_toks, output_toks, arrival_time_ns, or with session_id, arrival_time_ns, sub_requests";

/// Reads a workload.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(super) fn read(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut turns = Turns::default();
    let mut shared = SharedTokens::new(BYTES_PER_TOKEN);
    let mut unread = Unread::default();
    fields::each_line(path, EXPECTED, errors, |line: Line| {
        let sent = fields::time_ns("arrival_time_ns", line.arrival_time_ns, 1.0)?;
        let Some(calls) = line.sub_requests else {
            let session = line.session_id.unwrap_or_default();
            let turn = turn(&line.call, &mut shared, &mut turns)?;
            unread.add(&line.call.others);
            let session = turns.symbols.intern(&session);
            turns.list.push(Turn {
                sent_ns: Some(sent),
                session,
                ..turn
            });
            return Ok(());
        };
        unread.add(&line.call.others);
        let session = line
            .session_id
            .ok_or("session_id: expected a name, found nothing")?;
        if turns.symbols.get(&session).is_some_and(|s| !s.is_none()) {
            return Err(format!(
                "session_id: expected another name, found {session:?} again"
            ));
        }
        let mut rounds = Vec::new();
        let mut tool_us = 0;
        for (k, call) in calls.iter().enumerate() {
            let wrong = |what: String| format!("sub_requests[{k}].{what}");
            let turn = turn(call, &mut shared, &mut turns).map_err(wrong)?;
            unread.add(&call.others);
            rounds.push(Turn {
                sent_ns: (k == 0).then_some(sent),
                think_us: Some(tool_us),
                ..turn
            });
            let tool = call.tool_duration_ns.or(Some(0.0));
            tool_us = fields::time_ns("tool_duration_ns", tool, 1.0).map_err(wrong)? / 1000;
        }
        let session = turns.symbols.intern(&session);
        turns
            .list
            .extend(rounds.into_iter().map(|turn| Turn { session, ..turn }));
        Ok(())
    })?;
    notes.extend(unread.note());
    Ok(turns)
}

fn turn(call: &Call, shared: &mut SharedTokens, turns: &mut Turns) -> Result<Turn, String> {
    let prompt = fields::tokens("input_toks", call.input_toks)?;
    let output = fields::tokens("output_toks", call.output_toks)?;
    let mut turn = Turn {
        output,
        ..Turn::default()
    };
    let as_many = |key: &str, ids: &[u32], tokens: u32| {
        if ids.len() as u64 == u64::from(tokens) {
            return Ok(());
        }
        Err(format!("{key}: expected {tokens} ids, found {}", ids.len()))
    };
    match (&call.input_tok_ids, &call.output_tok_ids) {
        (None, _) => turn.new = prompt,
        (Some(ids), None) => {
            as_many("input_tok_ids", ids, prompt)?;
            turn.shared = shared.insert(ids, turns);
        }
        (Some(ids), Some(answer)) => {
            as_many("input_tok_ids", ids, prompt)?;
            as_many("output_tok_ids", answer, output)?;
            (turn.shared, turn.answer) = shared.insert_both(ids.clone(), answer, turns);
        }
    }
    Ok(turn)
}

/// Reads a table of the first releases, with tabs or commas.
///
/// # Errors
/// As [`read`].
pub(super) fn read_table(path: &Path, errors: &mut RowErrors) -> Result<Turns, InputError> {
    let mut table = Table::open_by_delimiter(path)?;
    let at = table.columns(&COLUMNS, &[])?;
    let must = |k: usize| at[k].expect("mandatory");
    let mut turns = Turns::default();
    while let Some(good) = table.advance_or_row_error()? {
        let row = good.and_then(|()| {
            let tokens = |k| table.count(must(k), MAX_TOKENS / 2).map(|n| n as u32);
            Ok(Turn {
                sent_ns: Some(table.count(must(2), i64::MAX as u64)? as i64),
                new: tokens(0)?,
                output: tokens(1)?,
                session: Sym::NONE,
                ..Turn::default()
            })
        });
        turns.list.extend(errors.take(row)?);
    }
    Ok(turns)
}
