//! Mooncake traces: a JSON object per line with time, lengths, and identities of the prompt's
//! blocks.

use super::blocks::BLOCK;
use super::lines::Lines;
use super::row::{Row, RowReader};
use crate::limits::MAX_TOKENS;
use crate::table::shown;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    hash_ids: Vec<u64>,
}

/// The keys of a line.
pub(crate) const KEYS: [&str; 4] = ["timestamp", "input_length", "output_length", "hash_ids"];

/// Reads the lines of a Mooncake trace.
pub(crate) fn open(path: &Path) -> Result<Box<dyn RowReader>, InputError> {
    Ok(Box::new(Mooncake(Lines::open(path)?)))
}

struct Mooncake(Lines);

impl RowReader for Mooncake {
    fn next_row(&mut self) -> Result<Option<Result<Row, InputError>>, InputError> {
        let Some((_, text)) = self.0.next()? else {
            return Ok(None);
        };
        let row = read(text);
        Ok(Some(row.map_err(|what| self.0.error(what))))
    }
}

fn read(text: &[u8]) -> Result<Row, String> {
    let line: Line = serde_json::from_slice(text).map_err(|e| {
        // Its own place is within the line.
        let what = e.to_string();
        let what = what
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        format!(
            "{what}; expected an object with {}, found {}",
            KEYS.join(", "),
            shown(&String::from_utf8_lossy(text))
        )
    })?;
    let milliseconds = line.timestamp;
    if !(0.0..=1e14).contains(&milliseconds) {
        return Err(format!(
            "timestamp: expected milliseconds of 0 or more, found {milliseconds}"
        ));
    }
    let tokens = |n: u64, key: &str| {
        if n > MAX_TOKENS / 2 {
            return Err(format!(
                "{key}: expected 0 to {}, found {n}",
                MAX_TOKENS / 2
            ));
        }
        Ok(n as u32)
    };
    let prompt = tokens(line.input_length, "input_length")?;
    let blocks = prompt.div_ceil(BLOCK) as usize;
    if line.hash_ids.len() != blocks {
        return Err(format!(
            "hash_ids: expected an id for every block of {BLOCK} tokens, found {} for {prompt} tokens",
            line.hash_ids.len()
        ));
    }
    Ok(Row {
        ticks: (milliseconds * 1e4).round() as i64,
        prompt,
        output: tokens(line.output_length, "output_length")?,
        blocks: line.hash_ids,
        labels: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_is_wrong_with_them() {
        let good =
            br#"{"timestamp": 27, "input_length": 513, "output_length": 5, "hash_ids": [1, 2]}"#;
        let read_row = read(good).unwrap();
        assert_eq!(
            (read_row.ticks, read_row.prompt, read_row.output),
            (270_000, 513, 5)
        );
        for (text, message) in [
            (&br#"{"timestamp": 27}"#[..], "missing field `input_length`; expected an object with timestamp, "),
            (b"[1", "expected an object"),
            (br#"{"timestamp": -1, "input_length": 1, "output_length": 5, "hash_ids": [1]}"#, "timestamp: expected milliseconds of 0 or more, found -1"),
            (br#"{"timestamp": 1, "input_length": 9999999999, "output_length": 5, "hash_ids": [1]}"#, "input_length: expected 0 to "),
            (br#"{"timestamp": 1, "input_length": 513, "output_length": 5, "hash_ids": [1]}"#, "hash_ids: expected an id for every block of 512 tokens, found 1 for 513 tokens"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
