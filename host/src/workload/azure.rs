//! The Azure LLM inference traces: wall-clock time, prompt tokens, generated tokens.
//!
//! They tell nothing about the tokens themselves, so every request's are unique and no prefix is ever shared.

use super::MAX_TOKENS;
use super::pace::Pace;
use super::table::Table;
use super::trace_v2::scaled;
use crate::input::InputError;
use crate::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};
use jiff::{Timestamp, civil, tz::TimeZone};
use std::io::Read;
use std::path::Path;

/// The columns, in the order of the published files.
pub(super) const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Units of 100 ns, the resolution of the published files, since the first request.
    ticks: i64,
    number: u32,
    prompt: u32,
    output: u32,
}

/// The [`Source`] of an Azure trace.
#[derive(Clone, Debug)]
pub struct Azure {
    pace: Pace,
    rows: Vec<Row>,
    next: usize,
    symbols: Symbols,
}

impl Azure {
    /// Reads a trace. Time 0 is its earliest request; rows may come in any order, equal times keep it.
    ///
    /// # Errors
    /// When the file cannot be read or a value in it makes no sense.
    pub fn open(path: &Path, pace: Pace) -> Result<Self, InputError> {
        Self::build(Table::open(path)?, pace)
    }

    /// Reads a trace from `from`; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Azure::open`].
    pub fn from_reader(
        name: &str,
        from: impl Read + 'static,
        pace: Pace,
    ) -> Result<Self, InputError> {
        Self::build(Table::new(name.into(), Box::new(from))?, pace)
    }

    fn build(mut table: Table, pace: Pace) -> Result<Self, InputError> {
        let at = table.columns(&COLUMNS, &[])?;
        let [time, prompt, output] = [0, 1, 2].map(|k| at[k].expect("mandatory"));
        let mut rows: Vec<Row> = Vec::new();
        while table.advance()? {
            let ticks = ticks(table.field(time)).ok_or_else(|| {
                table.field_error(time, "a time like 2023-11-16 18:17:03.9799600")
            })?;
            let tokens = |at| {
                let n = table.count(at, MAX_TOKENS / 2)?;
                Ok::<u32, InputError>(u32::try_from(n).expect("below 2^31"))
            };
            let number = u32::try_from(rows.len())
                .ok()
                .filter(|&n| u64::from(n) < MAX_TOKENS)
                .ok_or_else(|| table.error("more than 2^31 requests"))?;
            rows.push(Row {
                ticks,
                number,
                prompt: tokens(prompt)?,
                output: tokens(output)?,
            });
        }
        rows.sort_by_key(|r| r.ticks);
        rows.truncate(pace.take(rows.len()));
        if let Some(start) = rows.first().map(|r| r.ticks) {
            for row in &mut rows {
                row.ticks -= start;
            }
        }
        Ok(Self {
            pace,
            rows,
            next: 0,
            symbols: Symbols::default(),
        })
    }

    fn arrival_us(&self, row: &Row) -> i64 {
        // To the nearest microsecond, halves up.
        scaled((row.ticks + 5) / 10, self.pace.rate_scale)
    }

    /// The latest arrival, microseconds; `None` for an empty trace.
    #[must_use]
    pub fn latest_arrival_us(&self) -> Option<i64> {
        self.rows.last().map(|r| self.arrival_us(r))
    }
}

impl Source for Azure {
    fn next_request(&mut self) -> Option<Request> {
        let row = self.rows.get(self.next)?;
        self.next += 1;
        let arrival_us = self.arrival_us(row);
        let mut output = TokenSeq::default();
        output.push(Span {
            stream: row.number,
            start: row.prompt,
            len: row.output,
        });
        let prompt = TokenSeq::of(row.number, row.prompt);
        let id = RequestId::Number(u64::from(row.number));
        Some(Request {
            private_from: 0,
            deadline_us: self.pace.deadline_us(arrival_us),
            ..Request::new(id, arrival_us, prompt, output)
        })
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.rows.len() as u64)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

/// A wall-clock time, with or without its distance from UTC, in units of 100 ns.
fn ticks(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").map_or(text, str::trim_end);
    let time: Timestamp = text
        .parse()
        .or_else(|_| {
            let time: civil::DateTime = text.parse()?;
            TimeZone::UTC.to_timestamp(time)
        })
        .ok()?;
    i64::try_from(time.as_nanosecond().div_euclid(100)).ok()
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "a test says what it skips")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn root(rest: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(rest)
    }

    fn all(mut source: Azure) -> Vec<Request> {
        std::iter::from_fn(|| source.next_request()).collect()
    }

    fn read(text: &str, pace: Pace) -> Result<Vec<Request>, InputError> {
        let bytes = std::io::Cursor::new(text.to_owned().into_bytes());
        Azure::from_reader("t.csv", bytes, pace).map(all)
    }

    #[test]
    fn times_are_exact_and_tokens_unique() {
        let source = Azure::open(&root("tests/data/workload/azure.csv"), Pace::default()).unwrap();
        let requests = all(source);
        let seen: Vec<(String, i64, u32, u32)> = requests
            .iter()
            .map(|r| {
                (
                    r.id.to_string(),
                    r.arrival_us,
                    r.prompt.len(),
                    r.output.len(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("request_0".into(), 0, 4808, 10),
                ("request_1".into(), 52_001, 3180, 8),
                ("request_2".into(), 52_001, 110, 27),
            ]
        );
        assert_ne!(
            requests[0].prompt.token_key(0),
            requests[1].prompt.token_key(0)
        );
    }

    #[test]
    fn the_published_traces_are_read_whole() {
        for (file, count, span_us) in [
            ("AzureLLMInferenceTrace_code.csv", 8_819, 3_435_948_056),
            ("AzureLLMInferenceTrace_conv.csv", 19_366, 3_501_721_937),
        ] {
            let path = root("../../shared/data/traces").join(file);
            if !path.exists() {
                println!("skipped: there is no {}", path.display());
                continue;
            }
            let source = Azure::open(&path, Pace::default()).unwrap();
            assert_eq!(source.latest_arrival_us(), Some(span_us));
            assert_eq!(all(source).len(), count);
        }
    }

    #[test]
    fn zones_are_understood_and_rows_sorted() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
            2024-05-12 01:00:00.000003+01:00,1,1\n2024-05-12 00:00:00.000002Z,2,2\n2024-05-12 00:00:00.000001 UTC,3,3\n\
            2024-05-12T00:00:00,4,4\n2024-05-11 23:59:59,5,0\n";
        let requests = read(text, Pace::default()).unwrap();
        let seen: Vec<(i64, u32)> = requests
            .iter()
            .map(|r| (r.arrival_us, r.prompt.len()))
            .collect();
        assert_eq!(
            seen,
            [
                (0, 5),
                (1_000_000, 4),
                (1_000_001, 3),
                (1_000_002, 2),
                (1_000_003, 1)
            ]
        );
    }

    #[test]
    fn pace_scales_limits_and_times_out() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00,1,1\n2024-05-12 00:00:01,1,1\n\
            2024-05-12 00:00:02,1,1\n";
        let pace = Pace {
            rate_scale: 4.0,
            timeout_us: Some(7),
            max_requests: Some(2),
        };
        let requests = read(text, pace).unwrap();
        let seen: Vec<(i64, i64)> = requests
            .iter()
            .map(|r| (r.arrival_us, r.deadline_us))
            .collect();
        assert_eq!(seen, [(0, 7), (250_000, 250_007)]);
    }

    #[test]
    fn wrong_rows_name_line_and_column() {
        let refuse = |row: &str| {
            let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\r\n{row}\r\n");
            read(&text, Pace::default()).unwrap_err().to_string()
        };
        assert_eq!(
            refuse("yesterday,1,2"),
            "t.csv:2: column \"TIMESTAMP\": expected a time like 2023-11-16 18:17:03.9799600, found \"yesterday\""
        );
        assert!(refuse("2024-02-30 00:00:00,1,2").contains("\"TIMESTAMP\""));
        assert!(refuse("2024-05-12 00:00:00,-1,2").contains("t.csv:2: column \"ContextTokens\""));
        assert!(refuse("2024-05-12 00:00:00,1,2.5").contains("found \"2.5\""));
        assert!(refuse("2024-05-12 00:00:00,1").contains("the row has 2 fields"));
        let error = read("TIMESTAMP,ContextTokens\n", Pace::default()).unwrap_err();
        assert!(error.to_string().contains("\"GeneratedTokens\" is missing"));
    }
}
