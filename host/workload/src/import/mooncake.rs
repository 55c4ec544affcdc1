//! Mooncake traces: a JSON object per line with time, lengths, and identities of the prompt's
//! blocks. Later tools add sessions, delays and priorities, leave out what they do not need, and
//! use other units and blocks; what a file means is found out before its first row is replayed.
//!
//! Where a file does not fit, its rows are not damaged: the file is refused with the first of them.

mod dialect;
mod line;

pub(crate) use dialect::Reading;
pub(crate) use line::NAMES;

use super::held::{Turn, Turns};
use super::lines::Lines;
use super::row::{Labels, Row, RowReader};
use super::row_errors::RowErrors;
use super::rows::Rows;
use super::shared_tokens::{BYTES_PER_TOKEN, BlockTree, SharedTokens};
use super::units::{Clock, TimeUnit};
use dialect::{Dialect, History};
use line::{Line, Wrong};
use rustc_hash::FxHashMap;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Sym, TokenSeq};

/// An opened trace.
pub(crate) enum Mooncake {
    /// Every request comes by itself.
    Rows(Box<Rows>),
    /// There are conversations.
    Turns(Turns),
}

/// Opens a trace.
///
/// # Errors
/// When it cannot be read, is of no dialect that is known, or a row makes no sense and `errors` is
/// strict.
pub(crate) fn open(
    path: &Path,
    reading: Reading,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Mooncake, InputError> {
    let dialect = Dialect::of(path, reading)?;
    notes.extend(dialect.notes.iter().cloned());
    if dialect.has_turns {
        return turns(path, reading, &dialect, errors, notes).map(Mooncake::Turns);
    }
    let block = dialect.block;
    let reader = move |path: &Path| {
        let lines = Lines::open(path)?;
        let clock = Clock::new(reading.unit, TimeUnit::Milliseconds);
        Ok(Box::new(Reader {
            lines,
            clock,
            block,
        }) as Box<dyn RowReader>)
    };
    let rows = Rows::open(path, reader, errors)?;
    Ok(Mooncake::Rows(Box::new(rows.with_blocks_of(block))))
}

/// The requests of a trace with conversations.
fn turns(
    path: &Path,
    reading: Reading,
    dialect: &Dialect,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut lines = Lines::open(path)?;
    let mut clock = Clock::new(reading.unit, TimeUnit::Milliseconds);
    let mut tree = BlockTree::new(dialect.block);
    let mut texts = SharedTokens::new(BYTES_PER_TOKEN);
    let mut turns = Turns::default();
    // Tokens of the last prompt of each session and the answer to it.
    let mut said: FxHashMap<Sym, u32> = FxHashMap::default();
    while let Some((_, text)) = lines.next()? {
        let mut take = || {
            let sent = sent(text, &mut clock, dialect.block)?;
            let row = sent.row;
            let name = row.labels.as_ref().map_or("", |l| l.session.as_str());
            let session = turns.symbols.intern(name);
            let before = said.get(&session).copied().filter(|_| !session.is_none());
            if before.is_none() && sent.ticks.is_none() {
                return Err(untimed(text));
            }
            let repeats = before.filter(|_| dialect.history != History::ById);
            let (shared, new) = match (repeats, dialect.history) {
                (Some(before), History::InLength) => {
                    (TokenSeq::default(), row.prompt.saturating_sub(before))
                }
                (Some(_), _) => (TokenSeq::default(), row.prompt),
                (None, _) if sent.text.is_some() => {
                    let tokens = texts.of_text(sent.text.as_deref().unwrap_or_default());
                    (texts.insert(&tokens, &mut turns), 0)
                }
                (None, _) if row.blocks.is_empty() => (TokenSeq::default(), row.prompt),
                (None, _) => {
                    let shared = tree.prompt(0, &row.blocks, row.prompt, &mut turns)?;
                    let new = row.prompt - shared.len();
                    (shared, new)
                }
            };
            said.insert(session, row.prompt.saturating_add(row.output));
            Ok(Turn {
                sent_ns: sent.ticks.map(|ticks| ticks.saturating_mul(100)),
                think_us: sent.delay_us,
                shared,
                repeats: repeats.is_some(),
                new,
                output: row.output,
                session,
                priority: row.priority,
                ..Turn::default()
            })
        };
        let turn = take();
        let turn = turn.map_err(|what| lines.error(what));
        turns.list.extend(errors.take(turn)?);
    }
    notes.extend(clock.note());
    Ok(turns)
}

struct Reader {
    lines: Lines,
    clock: Clock,
    block: u32,
}

impl RowReader for Reader {
    fn next_row(&mut self) -> Result<Option<Result<Row, InputError>>, InputError> {
        let Some((_, text)) = self.lines.next()? else {
            return Ok(None);
        };
        let row = sent(text, &mut self.clock, self.block).and_then(|sent| match sent.ticks {
            Some(ticks) => Ok(Row { ticks, ..sent.row }),
            None => Err(untimed(text)),
        });
        Ok(Some(row.map_err(|what| self.lines.error(what))))
    }

    fn notes(&self) -> Vec<String> {
        self.clock.note().into_iter().collect()
    }
}

/// A line of a file whose dialect is known.
struct Sent {
    /// When it was sent, if it says so.
    ticks: Option<i64>,
    /// How long after the answer before it.
    delay_us: Option<i64>,
    /// The prompt as text, where it has no length.
    text: Option<String>,
    row: Row,
}

/// What is wrong with a row that has no time and comes first.
fn untimed(text: &[u8]) -> String {
    match Line::read(text) {
        Ok(line) => line.missing("timestamp", text).into_message(),
        Err(wrong) => wrong.into_message(),
    }
}

fn sent(text: &[u8], clock: &mut Clock, block: u32) -> Result<Sent, String> {
    let line = Line::read(text).map_err(Wrong::into_message)?;
    let row = line.row(text).map_err(Wrong::into_message)?;
    line.check_blocks(row.prompt, block)?;
    let refuse = |key: &str, unit: TimeUnit, stamp| {
        let found = line::number(stamp);
        format!("{key}: expected {unit} of 0 or more, found {found}")
    };
    let ticks = line.timestamp.map(|stamp| {
        let ticks = clock.ticks(stamp);
        ticks.ok_or_else(|| refuse("timestamp", clock.unit(), stamp))
    });
    let ticks = ticks.transpose()?;
    let unit = clock.unit();
    let delay = line.delay.map(|stamp| {
        unit.ticks(stamp)
            .ok_or_else(|| refuse("delay", unit, stamp))
    });
    let session = line.session_id.unwrap_or_default();
    let labels = Labels {
        session,
        ..Labels::default()
    };
    Ok(Sent {
        ticks,
        delay_us: delay.transpose()?.map(|ticks| ticks / 10),
        text: line.text,
        row: Row {
            labels: (!labels.session.is_empty()).then(|| Box::new(labels)),
            ..row
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, SessionMode, Trace};
    use tempfile::TempDir;
    use windtunnel_base::request::{FinishReason, Finished, Request, Source};

    /// A trace, and the folder that it is read from.
    struct Opened(Trace, TempDir);

    fn opened(text: &str, options: &OpenOptions) -> Result<Opened, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        std::fs::write(&path, text).unwrap();
        match crate::open(&path, None, options) {
            Ok(trace) => Ok(Opened(trace, folder)),
            Err(e) => {
                let message = e.to_string();
                let behind = message.split_once("t.jsonl:");
                Err(behind.map_or(message.clone(), |m| m.1.to_owned()))
            }
        }
    }

    fn refused(text: &str) -> String {
        opened(text, &OpenOptions::default()).err().unwrap()
    }

    fn notes(text: &str) -> String {
        let trace = opened(text, &OpenOptions::default()).unwrap();
        trace.0.notes().join("\n")
    }

    /// Arrival, prompt tokens and shared tokens of all requests; each is answered after 1 ms.
    fn played(text: &str, options: &OpenOptions) -> Vec<(i64, u32, u32)> {
        let Opened(mut trace, _folder) = opened(text, options).unwrap();
        let (mut all, mut answered) = (Vec::new(), Vec::new());
        while let Some(request) = trace.next_request() {
            answered.push(request);
        }
        while !answered.is_empty() {
            let request: Request = answered.remove(0);
            all.push((
                request.arrival_us,
                request.prompt.len(),
                request.private_from,
            ));
            answered.extend(trace.on_finished(&Finished {
                request: &request,
                reason: FinishReason::Completed,
                at_us: request.arrival_us + 1000,
                generated_tokens: request.output.len() - 1,
            }));
        }
        all.sort_unstable();
        all
    }

    const BARE: &str = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 20}\n";

    #[test]
    fn lines_say_what_is_wrong_with_them() {
        for (text, message) in [
            (
                r#"{"timestamp": 27, "output_length": 1}"#,
                "1: missing field `input_length`; expected an object with timestamp, ",
            ),
            (
                r#"{"timestamp": 27, "output_length": 1, "input_lenght": 5}"#,
                "1: missing field `input_length` (is \"input_lenght\" that?); ",
            ),
            (
                r#"{"timestamp": "0", "input_length": 1, "output_length": 5}"#,
                "1: invalid type: string \"0\", expected a JSON number; ",
            ),
            (
                r#"{"timestamp": -1, "input_length": 1, "output_length": 5}"#,
                "1: timestamp: expected milliseconds of 0 or more, found -1",
            ),
            (
                r#"{"timestamp": 1, "input_length": 9999999999, "output_length": 5}"#,
                "1: input_length: expected 0 to ",
            ),
            (
                r#"{"timestamp": 1, "input_length": 1.5, "output_length": 5}"#,
                "1: input_length: expected 0 to ",
            ),
            (
                r#"{"input_length": 1, "output_length": 5}"#,
                "1: missing field `timestamp`; expected an object with timestamp, ",
            ),
            (
                r#"{"timestamp": 1, "messages": [], "output_length": 5}"#,
                "1: messages: prompts as messages are not read; expected input_length or text_input ",
            ),
            (
                r#"{"timestamp": 1, "text_input": "a", "hash_ids": [1], "output_length": 5}"#,
                "1: text_input: a text has no hash_ids; expected input_length ",
            ),
            (
                r#"{"timestamp": 1, "input_length": 1, "output_length": 5, "wait_for": ["a"]}"#,
                "1: wait_for: requests that wait for several others are not understood",
            ),
            (
                r#"{"timestamp": 1, "input_length": 1, "output_length": 5, "sesion_id": "a"}"#,
                "1: unknown key \"sesion_id\"; did you mean \"session_id\"? ",
            ),
            (
                r#"{"timestamp": 1, "input_length": 1, "output_length": 5, "priority": 900}"#,
                "1: priority: expected a whole number from -100 to 100, found 900",
            ),
        ] {
            let error = refused(text);
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn a_dialect_is_no_damage_and_a_damaged_row_no_dialect() {
        let text = format!("{BARE}{{\"timestamp\": 1}}\n{BARE}{{\"timestamp\": 2}}\n");
        assert!(refused(&text).starts_with("2: missing field `input_length`"));
        let text = format!("{0}{{\"timestamp\": 1}}\n{0}nonsense\n", BARE.repeat(3));
        assert!(
            notes(&text).starts_with("skipped 2 of 8 rows (1 x expected ident; "),
            "{}",
            notes(&text)
        );
        let text = format!(
            "{BARE}{{\"timestamp\": 900, \"input_length\": 1, \"output_length\": 1, \"extra\": {{}}, \"request_id\": \"x\"}}\n"
        );
        assert_eq!(
            notes(&text),
            "keys that are not understood and have no effect: extra (1 rows), request_id (1 rows)"
        );
        // Other names, null, decimals, ids below 0 and names as numbers are fine.
        let text = "{\"created_time\": 3.0, \"input_tokens\": 600.0, \"output_tokens\": 5, \"hash_ids\": [-1, 18446744073709551615], \
            \"session_id\": 7, \"delay_ms\": null, \"priority\": 2}\n";
        let Opened(mut trace, _folder) = opened(text, &OpenOptions::default()).unwrap();
        let request = trace.next_request().unwrap();
        assert_eq!((request.arrival_us, request.prompt.len()), (0, 600));
        assert_eq!((request.priority, request.private_from), (Some(2), 600));
        assert_eq!(trace.symbols().name(request.session), "7");
    }

    fn blocks(rows: &[(u32, u32)]) -> String {
        let row = |(k, (input, ids)): (usize, &(u32, u32))| {
            let ids: Vec<u32> = (0..*ids).collect();
            let time = 1000 * k;
            format!(
                "{{\"timestamp\": {time}, \"input_length\": {input}, \"output_length\": 5, \"hash_ids\": {ids:?}}}\n"
            )
        };
        rows.iter().enumerate().map(row).collect()
    }

    #[test]
    fn blocks_of_another_size_are_recognised_and_told() {
        let default = OpenOptions::default();
        for (rows, size) in [
            (&[(160, 10), (170, 11), (5, 1)][..], 16),
            (&[(20, 2), (20, 2)], 16),
            (&[(2000, 2), (1024, 1)], 1024),
            // Ids of whole blocks alone.
            (&[(130, 2), (200, 3), (64, 1)], 64),
        ] {
            let told = notes(&blocks(rows));
            let expected = format!(
                "the hash_ids fit blocks of {size} tokens, not 512, and are read so; `trace_block_size` says otherwise"
            );
            assert_eq!(told, expected, "{rows:?}");
        }
        let shared = played(&blocks(&[(160, 10), (176, 11)]), &default);
        assert_eq!(shared, [(0, 160, 160), (1_000_000, 176, 176)]);
        assert_eq!(notes(&blocks(&[(600, 2), (600, 1), (100, 0)])), "");
        assert_eq!(
            refused(&blocks(&[(600, 2), (600, 9), (600, 5)])),
            "2: hash_ids: expected an id for every block of 512 tokens, found 9 for 600 tokens; no size of blocks fits all rows"
        );
        let sized = |size| OpenOptions {
            block_size: Some(size),
            ..OpenOptions::default()
        };
        let found = opened(&blocks(&[(160, 10), (160, 10)]), &sized(32));
        let found = found.err().unwrap();
        assert_eq!(
            found,
            "1: hash_ids: expected an id for every block of 32 tokens, found 10 for 160 tokens; the hash_ids fit `trace_block_size` 16"
        );
        let trace = opened(&blocks(&[(160, 10)]), &sized(17)).unwrap();
        assert!(trace.0.notes().is_empty());
        assert!(opened(&blocks(&[(1, 1)]), &sized(0)).is_err());
    }

    #[test]
    fn time_stamps_are_read_in_the_unit_that_is_said() {
        let text = BARE.to_owned() + &BARE.replace("\"timestamp\": 0", "\"timestamp\": 61.9");
        let told = notes(&text);
        assert!(
            told.starts_with("read in milliseconds, 2 requests arrive within 61.9 ms"),
            "{told}"
        );
        let options = OpenOptions {
            time_unit: Some(TimeUnit::Seconds),
            ..OpenOptions::default()
        };
        assert_eq!(played(&text, &options)[1].0, 61_900_000);
        assert!(opened(&text, &options).unwrap().0.notes().is_empty());
    }

    #[test]
    fn texts_are_taken_to_have_a_token_per_four_bytes() {
        let text = "{\"timestamp\": 0, \"text_input\": \"tell me a story about ships\", \"output_length\": 20}\n\
            {\"timestamp\": 5, \"text_input\": \"tell me a story about trains and ships\", \"output_length\": 20}\n";
        assert!(notes(text).starts_with(
            "the file has texts, no token counts: prompts are taken to have a token per 4 bytes"
        ));
        let Opened(mut trace, _folder) = opened(text, &OpenOptions::default()).unwrap();
        let (a, b) = (trace.next_request().unwrap(), trace.next_request().unwrap());
        assert_eq!(
            (a.prompt.len(), b.prompt.len(), b.arrival_us),
            (7, 10, 5000)
        );
        // 22 bytes are the same: five whole tokens.
        let same = |at| a.prompt.token_key(at) == b.prompt.token_key(at);
        assert!(same(4) && !same(5));
    }

    const TURNS: &str = r#"{"session_id": "a", "timestamp": 0, "input_length": 600, "output_length": 40, "hash_ids": [1, 2]}
{"session_id": "a", "delay": 1000, "input_length": 100, "output_length": 30}
{"session_id": "b", "timestamp": 400, "input_length": 600, "output_length": 40, "hash_ids": [1, 2]}
{"session_id": "a", "delay": 500, "input_length": 10, "output_length": 40}
{"timestamp": 500, "input_length": 7, "output_length": 40}
"#;

    #[test]
    fn a_later_turn_waits_for_the_answer_and_repeats_the_conversation() {
        let told = notes(TURNS);
        assert!(
            told.contains("1 sessions have 2 later turns: their input_length is what is new"),
            "{told}"
        );
        assert!(
            told.contains("each is sent its delay after the answer before it"),
            "{told}"
        );
        let default = OpenOptions::default();
        let all = [
            (0, 600, u32::MAX),
            (400_000, 600, 600),
            (500_000, 7, 0),
            (1_001_000, 740, u32::MAX),
            (1_502_000, 780, u32::MAX),
        ];
        assert_eq!(played(TURNS, &default), all);
        // The last token of an answer is part of the conversation; a cut one is as long as it is.
        let Opened(mut trace, _folder) = opened(TURNS, &default).unwrap();
        let request = trace.next_request().unwrap();
        let mut finished = Finished {
            request: &request,
            reason: FinishReason::Completed,
            at_us: 0,
            generated_tokens: 9,
        };
        assert_eq!(trace.on_finished(&finished).unwrap().prompt.len(), 709);
        finished.reason = FinishReason::TimedOut;
        assert!(trace.on_finished(&finished).is_none() && trace.has_follow_ups());
        // Caps, passes and time limits hold for later turns, too.
        let mut options = default;
        options.selection.max_requests = Some(4);
        // A session takes its turns from the cap when it starts.
        assert_eq!(played(TURNS, &options), [all[0], all[1], all[3], all[4]]);
        options.selection.max_requests = None;
        options.selection.loops = 2;
        options.selection.timeout_us = Some(5);
        assert_eq!(played(TURNS, &options).len(), 10);
    }

    #[test]
    fn turns_with_times_arrive_then_or_wait_in_a_closed_loop() {
        let row = |at: u32, input: u32, ids: &str| {
            format!(
                "{{\"session_id\": \"a\", \"timestamp\": {at}, \"input_length\": {input}, \"output_length\": 40{ids}}}\n"
            )
        };
        let whole =
            row(0, 600, ", \"hash_ids\": [1, 2]") + &row(5000, 1100, ", \"hash_ids\": [1, 3, 4]");
        let told = notes(&whole);
        assert!(
            told.contains(
                "their hash_ids repeat those of the turn before; they arrive at their timestamps"
            ),
            "{told}"
        );
        let default = OpenOptions::default();
        assert_eq!(
            played(&whole, &default),
            [(0, 600, 600), (5_000_000, 1100, 1100)]
        );
        let growing = row(0, 600, "") + &row(5000, 700, "");
        assert!(notes(&growing).contains("covers the turns before"));
        assert_eq!(
            played(&growing, &default),
            [(0, 600, u32::MAX), (5_000_000, 700, u32::MAX)]
        );
        let closed = OpenOptions {
            session_mode: SessionMode::ClosedLoop,
            ..default
        };
        assert_eq!(played(&whole, &closed)[1].0, 5_001_000);
        let thinking = OpenOptions {
            think_time: Some(crate::ThinkTime::Constant(77)),
            ..closed.clone()
        };
        assert_eq!(played(&whole, &thinking)[1].0, 1077);
        assert!(
            opened(BARE, &closed)
                .err()
                .unwrap()
                .contains("it has no sessions")
        );
    }
}
