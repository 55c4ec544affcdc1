//! The Azure LLM inference traces: wall-clock time, prompt tokens, generated tokens; since 2025
//! also images.
//!
//! They tell nothing about the tokens themselves, so every request's are unique and no prefix is
//! ever shared.

use super::row::{Row, RowReader};
use crate::limits::MAX_TOKENS;
use crate::table::{Table, unread};
use jiff::{Timestamp, civil, tz::TimeZone};
use std::path::Path;
use windtunnel_base::input::InputError;

/// The columns, in the order of the published files.
pub(crate) const COLUMNS: [&str; 3] = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"];
/// A column of the multimodal files.
pub(crate) const OPTIONAL: [&str; 1] = ["NumImages"];

/// Reads the rows of an Azure trace.
pub(crate) fn open(path: &Path) -> Result<Box<dyn RowReader>, InputError> {
    let table = Table::open(path)?;
    let (at, others) = table.known_columns(&COLUMNS, &OPTIONAL)?;
    let [time, prompt, output] = [0, 1, 2].map(|k: usize| at[k].expect("mandatory"));
    Ok(Box::new(Azure {
        table,
        time,
        prompt,
        output,
        images: at[3],
        unread: unread(&others),
    }))
}

struct Azure {
    table: Table,
    time: usize,
    prompt: usize,
    output: usize,
    images: Option<usize>,
    /// What a person should know of the other columns.
    unread: Option<String>,
}

impl RowReader for Azure {
    fn next_row(&mut self) -> Result<Option<Result<Row, InputError>>, InputError> {
        self.table
            .advance_or_row_error()
            .map(|next| next.map(|good| good.and_then(|()| self.read())))
    }

    fn notes(&self) -> Vec<String> {
        self.unread.iter().cloned().collect()
    }
}

impl Azure {
    fn read(&self) -> Result<Row, InputError> {
        let table = &self.table;
        let ticks = ticks(table.field(self.time)).ok_or_else(|| {
            table.field_error(self.time, "a time like 2023-11-16 18:17:03.9799600")
        })?;
        let tokens = |at| table.count(at, MAX_TOKENS / 2).map(|n| n as u32);
        if let Some(images) = self.images {
            table.count(images, MAX_TOKENS)?;
        }
        Ok(Row {
            ticks,
            prompt: tokens(self.prompt)?,
            output: tokens(self.output)?,
            ..Row::default()
        })
    }
}

/// A wall-clock time, with or without its distance from UTC, in units of 100 ns.
pub(super) fn ticks(text: &str) -> Option<i64> {
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
    use crate::import::{Rewind, RowErrors, Rows};
    use std::path::PathBuf;
    use windtunnel_base::request::{Request, Source};

    fn root(rest: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(rest)
    }

    fn all(mut source: Rows) -> Vec<Request> {
        std::iter::from_fn(|| source.next_request()).collect()
    }

    fn strictly(path: &Path) -> Result<Rows, InputError> {
        Rows::open(path, open, &mut RowErrors::new(true))
    }

    fn read(text: &str) -> Result<Vec<Request>, InputError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        strictly(&path).map(all)
    }

    #[test]
    fn times_are_exact_and_tokens_unique() {
        let source = strictly(&root("../tests/data/workload/azure.csv")).unwrap();
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
            let path = root("../../../shared/data/traces").join(file);
            if !path.exists() {
                println!("skipped: there is no {}", path.display());
                continue;
            }
            let source = strictly(&path).unwrap();
            assert_eq!(source.latest_arrival_us(), Some(span_us));
            assert_eq!(all(source).len(), count);
        }
    }

    #[test]
    fn zones_are_understood_and_rows_sorted() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
            2024-05-12 01:00:00.000003+01:00,1,1\n2024-05-12 00:00:00.000002Z,2,2\n2024-05-12 00:00:00.000001 UTC,3,3\n\
            2024-05-12T00:00:00,4,4\n2024-05-11 23:59:59,5,0\n";
        let requests = read(text).unwrap();
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
    fn wrong_rows_name_line_and_column() {
        let refuse = |row: &str| {
            let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\r\n{row}\r\n");
            read(&text).unwrap_err().to_string()
        };
        let message = refuse("yesterday,1,2");
        assert_eq!(
            message.split("/").last().unwrap(),
            "t.csv:2: column \"TIMESTAMP\": expected a time like 2023-11-16 18:17:03.9799600, found \"yesterday\""
        );
        assert!(refuse("2024-02-30 00:00:00,1,2").contains("\"TIMESTAMP\""));
        assert!(refuse("2024-05-12 00:00:00,-1,2").contains("t.csv:2: column \"ContextTokens\""));
        assert!(refuse("2024-05-12 00:00:00,1,2.5").contains("found \"2.5\""));
        assert!(refuse("2024-05-12 00:00:00,1").contains("the row has 2 fields"));
        let error = read("TIMESTAMP,ContextTokens\n").unwrap_err();
        assert!(error.to_string().contains("\"GeneratedTokens\" is missing"));
    }
}
