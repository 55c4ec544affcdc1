//! Telling the trace formats apart by their content.

use super::azure;
use super::five_column;
use super::table::{open_file, shown};
use super::trace_v2;
use crate::input::InputError;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// A trace format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Azure LLM inference traces: [`azure`].
    AzureLlm,
    /// Real token ids in five columns: [`five_column`](mod@five_column).
    FiveColumn,
    /// TraceV2: [`trace_v2`](mod@trace_v2).
    TraceV2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AzureLlm => "Azure LLM inference trace",
            Self::FiveColumn => "five-column trace",
            Self::TraceV2 => "TraceV2 data",
        })
    }
}

const UNDERSTOOD: &str = "understood are: TraceV2 data (CSV whose header row has request_id, input_tokens, \
    arrival_time_us, ...); Azure LLM inference traces (CSV with TIMESTAMP,ContextTokens,GeneratedTokens); five-column \
    traces (CSV with a header row; arrival in seconds, two ignored columns, prompt and output token ids as JSON arrays)";

/// Enough of a file to see its first two rows; prompts as arrays of ids can be long.
const HEAD_BYTES: u64 = 1 << 20;

/// Names the format of a file after looking at its first rows.
///
/// # Errors
/// When it cannot be read or is none of them.
pub fn detect(path: &Path) -> Result<Format, InputError> {
    let mut head = Vec::new();
    open_file(path)?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|e| InputError::in_file(path.display(), format!("cannot read: {e}")))?;
    detect_in(&head).map_err(|what| InputError::in_file(path.display(), what))
}

fn detect_in(head: &[u8]) -> Result<Format, String> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if head.iter().all(u8::is_ascii_whitespace) {
        return Err(format!("the file is empty; {UNDERSTOOD}"));
    }
    let start = String::from_utf8_lossy(&head[..head.len().min(4096)]);
    let first = start.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    let not = |what: &str| format!("the file {what}: {}; {UNDERSTOOD}", shown(first));
    if head[..head.len().min(512)].contains(&0) || head.starts_with(&[0x1f, 0x8b]) {
        return Err(format!("the file is binary, not text; {UNDERSTOOD}"));
    }
    if first.trim_start().starts_with('{') || first.trim_start().starts_with("[{") {
        return Err(not("begins like JSON"));
    }
    if first
        .split_once(':')
        .is_some_and(|(key, _)| key == "trace_version" || key == "time_unit" || key == "mode")
    {
        return Err(not(
            "looks like the YAML header of a TraceV2 trace; its data are in a CSV file beside it",
        ));
    }
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(head);
    let mut row = csv::StringRecord::new();
    if !rows.read_record(&mut row).unwrap_or(false) {
        return Err(not("is no CSV"));
    }
    let has = |name: &str| row.iter().any(|f| f.trim() == name);
    // A few of the names are enough: what is wrong with the others is for the reader to say.
    let share = |names: &[&str]| names.iter().filter(|n| has(n)).count() * 2 > names.len();
    if share(&trace_v2::COLUMNS) {
        return Ok(Format::TraceV2);
    }
    if share(&azure::COLUMNS) {
        return Ok(Format::AzureLlm);
    }
    let columns = row.len();
    if columns >= 5 && rows.read_record(&mut row).unwrap_or(false) {
        let array = |at: usize| row.get(at).is_some_and(|f| f.trim_start().starts_with('['));
        let time = row.get(0).and_then(five_column::seconds);
        if (array(3) && (array(4) || time.is_some())) || (time.is_some() && array(4)) {
            return Ok(Format::FiveColumn);
        }
    }
    Err(not("begins with a row of unknown columns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_content() {
        let v2 = trace_v2::COLUMNS.join(",");
        for (text, format) in [
            (v2.as_str(), Format::TraceV2),
            (
                "\u{feff}TIMESTAMP,ContextTokens,GeneratedTokens\r\n",
                Format::AzureLlm,
            ),
            (
                "TIMESTAMP,ContextTokens,GeneratedTokes\r\n",
                Format::AzureLlm,
            ),
            ("a,b,c,d,e\n1.5,,,\"[1,2]\",[]\n", Format::FiveColumn),
            ("a,b,c,d,e\n-1,,,\"[1,2]\",[]\n", Format::FiveColumn),
        ] {
            assert_eq!(detect_in(text.as_bytes()), Ok(format), "{text}");
        }
    }

    #[test]
    fn strangers_are_told_what_is_understood() {
        for (bytes, what) in [
            (&b" \n"[..], "the file is empty"),
            (b"\x1f\x8b\x08", "binary"),
            (
                b"{\"timestamp\": 0}\n",
                "begins like JSON: \"{\\\"timestamp\\\": 0}\"",
            ),
            (b"trace_version: 3\n", "YAML header of a TraceV2 trace"),
            (b"a,b,c\n1,2,3\n", "unknown columns: \"a,b,c\""),
            (b"a,b,c,d,e\n1,2,3,4,5\n", "unknown columns"),
            (b"hello", "unknown columns: \"hello\""),
        ] {
            let error = detect_in(bytes).unwrap_err();
            assert!(
                error.contains(what) && error.contains(UNDERSTOOD),
                "{error}"
            );
        }
    }
}
