//! Traces of Vidur: CSV with arrival in seconds and lengths, in forks also with sessions.

use super::held::{Turn, Turns};
use super::row_errors::RowErrors;
use super::turn_sessions::{no_times, repeat_where_lengths_allow, sessions_of};
use crate::limits::MAX_TOKENS;
use crate::table::{Table, unread};
use std::path::Path;
use windtunnel_base::input::InputError;

/// The columns that every trace has.
pub(crate) const COLUMNS: [&str; 2] = ["num_prefill_tokens", "num_decode_tokens"];

/// Columns that follow from others, or only count the rows.
const REDUNDANT: [&str; 5] = [
    "",
    "Unnamed: 0",
    "request_id",
    "num_total_tokens",
    "pd_ratio",
];

/// Reads a trace.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(super) fn read(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut table = Table::open(path)?;
    let optional = ["arrived_at", "session_id", "session_turn_index"];
    let (at, others) = table.known_columns(&COLUMNS, &optional)?;
    let mut turns = Turns::default();
    let mut rows: Vec<(String, Turn)> = Vec::new();
    while let Some(good) = table.advance_or_row_error()? {
        let row = good.and_then(|()| {
            let tokens = |at: Option<usize>| {
                let at = at.expect("mandatory");
                table.whole(at, MAX_TOKENS / 2).map(|n| n as u32)
            };
            Ok(Turn {
                sent_ns: at[2].map(|at| table.seconds_ns(at)).transpose()?,
                new: tokens(at[0])?,
                output: tokens(at[1])?,
                ..Turn::default()
            })
        });
        if let Some(turn) = errors.take(row)? {
            let session = at[3].map_or("", |at| table.field(at).trim());
            rows.push((session.to_owned(), turn));
        }
    }
    rows.sort_by_key(|(_, turn)| turn.sent_ns);
    let (sessions, list): (Vec<String>, Vec<Turn>) = rows.into_iter().unzip();
    turns.list = list;
    if at[3].is_some() {
        sessions_of(&mut turns, &sessions);
        repeat_where_lengths_allow(&mut turns, notes);
    }
    if at[2].is_none() {
        notes.push(no_times("there is no column arrived_at"));
    }
    let mut others = others;
    others.retain(|name| !REDUNDANT.contains(&name.as_str()));
    notes.extend(unread(&others));
    Ok(turns)
}
