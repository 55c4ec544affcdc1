//! TraceV2 traces of live servers.

use crate::import::held::{Turn, Turns};
use crate::trace_v2::observed::{ObservedRow, read_rows};
use rustc_hash::FxHashMap;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::measured::MeasuredRequest;
use windtunnel_base::request::TokenSeq;

/// The requests of a trace that were sent, and which tokens their prompts share.
pub(super) fn read(path: &Path) -> Result<(Turns, Vec<MeasuredRequest>), InputError> {
    let mut rows = read_rows(path)?;
    rows.retain(|row| row.send_us > 0 || row.first_chunk_us > 0);
    rows.sort_by_key(|row| row.send_us);
    let mut turns = Turns::default();
    let mut groups: FxHashMap<&str, (u32, u32)> = FxHashMap::default();
    let mut said: FxHashMap<&str, (u32, u32)> = FxHashMap::default();
    for row in &rows {
        let turn = turn(row, &mut turns, &mut groups, &mut said);
        turns.list.push(turn);
    }
    turns.shared = u32::try_from(groups.len()).expect("fewer groups than requests");
    let measured = rows.iter().map(ObservedRow::measured).collect();
    Ok((turns, measured))
}

/// `groups` has stream and length of each prefix, `said` the last round of each session and the
/// tokens of its prompt and answer.
fn turn<'a>(
    row: &'a ObservedRow,
    turns: &mut Turns,
    groups: &mut FxHashMap<&'a str, (u32, u32)>,
    said: &mut FxHashMap<&'a str, (u32, u32)>,
) -> Turn {
    let prompt = row.prompt_tokens().max(1);
    let mut turn = Turn {
        new: prompt,
        output: row.output_tokens,
        streaming: row.streaming,
        adapter: turns.symbols.intern(&row.adapter),
        ..Turn::default()
    };
    if !row.session.is_empty() {
        let before = said.insert(
            &row.session,
            (row.round, prompt.saturating_add(row.output_tokens)),
        );
        turn.session = turns.symbols.intern(&row.session);
        if let Some((round, tokens)) = before
            && row.repeated_tokens > 0
            && round + 1 == row.round
            && tokens < prompt
        {
            turn.repeats = true;
            turn.new = prompt - tokens;
            return turn;
        }
    }
    if !row.prefix_group.is_empty() && row.prefix_tokens > 0 {
        let next = u32::try_from(groups.len()).expect("fewer groups than requests");
        let group = groups.entry(&row.prefix_group);
        let (stream, tokens) = *group.or_insert((next, row.prefix_tokens));
        let shared = tokens.min(prompt);
        turn.shared = TokenSeq::of(stream, shared);
        turn.new = prompt - shared;
    }
    turn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured;
    use crate::trace_v2::observed::write_rows;

    #[test]
    fn a_trace_of_a_live_server_is_measured_requests_that_share_tokens() {
        let row = |id: &str, round: u32, send_us: i64| ObservedRow {
            id: id.into(),
            prefix_group: "g".into(),
            prefix_tokens: 32,
            session: "s".into(),
            round,
            streaming: true,
            input_tokens: 50 + 80 * round,
            output_tokens: 10,
            repeated_tokens: 59 * round,
            send_us: 1_700_000_000_000_000 + send_us,
            first_chunk_us: 1_700_000_000_000_500 + send_us,
            last_chunk_us: 1_700_000_000_002_300 + send_us,
            ..ObservedRow::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let mut bytes = Vec::new();
        write_rows(&mut bytes, &[row("0", 0, 0), row("1", 1, 9000)]).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let runs = measured::read(&path).unwrap();
        let replay = runs.into_iter().next().unwrap().replay().unwrap();
        let times = replay.requests.iter().map(|r| (r.ttft_us, r.e2e_us));
        let expected = (Some(500.0), Some(2300.0));
        assert_eq!(times.collect::<Vec<_>>(), [expected, expected]);
        let mut source = replay.source();
        let first = source.next_request().unwrap();
        let second = source.next_request().unwrap();
        assert_eq!((first.prompt.len(), second.prompt.len()), (50, 130));
        assert_eq!(first.prompt.token_key(49), second.prompt.token_key(49));
    }
}
