//! Mooncake traces: a JSON object per line with time, lengths, and identities of the prompt's
//! blocks of 512 tokens.
//!
//! Equal ids mean equal tokens and equal tokens before them. A tree of ids keeps that promise
//! whatever a file says: an id behind another predecessor is another block.

use super::lines::Lines;
use super::rows::{Row, RowReader};
use crate::MAX_TOKENS;
use crate::table::shown;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Span, TokenSeq};

/// Tokens of a block.
pub const BLOCK: u32 = 512;

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

/// Blocks that were seen, as a tree: behind which block which ids came, and where their tokens are.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// (node before it + 1, id) to node.
    next: FxHashMap<(u32, u64), u32>,
    /// Stream and first token of each node's block.
    places: Vec<(u32, u32)>,
    /// Has the node a continuation in its own stream?
    continued: Vec<bool>,
}

impl Blocks {
    /// Puts the tokens of a row's blocks into `prompt` and returns how many they are.
    pub(super) fn spans(&mut self, row: &Row, streams: &mut u32, prompt: &mut TokenSeq) -> u32 {
        let mut before = 0u32;
        let mut left = row.prompt;
        for id in &row.blocks {
            let node = match self.next.get(&(before, *id)) {
                Some(node) => *node,
                None => self.add(before, *id, streams),
            };
            let (stream, start) = self.places[node as usize];
            let len = left.min(BLOCK);
            prompt.push(Span { stream, start, len });
            left -= len;
            before = node + 1;
        }
        row.prompt - left
    }

    fn add(&mut self, before: u32, id: u64, streams: &mut u32) -> u32 {
        let node = u32::try_from(self.places.len()).expect("fewer than 2^32 blocks");
        // The first block behind another goes on in its stream, so that chains become one span.
        let place = match before.checked_sub(1) {
            Some(b) if !self.continued[b as usize] => {
                self.continued[b as usize] = true;
                let (stream, start) = self.places[b as usize];
                (stream, start + BLOCK)
            }
            _ => {
                *streams += 1;
                (*streams - 1, 0)
            }
        };
        self.places.push(place);
        self.continued.push(false);
        self.next.insert((before, id), node);
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt: u32, blocks: &[u64]) -> Row {
        Row {
            prompt,
            blocks: blocks.to_vec(),
            ..Row::default()
        }
    }

    #[test]
    fn equal_ids_behind_equal_ids_are_equal_tokens() {
        let (mut blocks, mut streams) = (Blocks::default(), 5);
        let mut of = |prompt, ids: &[u64]| {
            let mut seq = TokenSeq::default();
            assert_eq!(
                blocks.spans(&row(prompt, ids), &mut streams, &mut seq),
                prompt
            );
            seq
        };
        let a = of(1100, &[7, 8, 9]);
        assert_eq!((a.len(), a.spans().len()), (1100, 1));
        let b = of(1600, &[7, 8, 10, 11]);
        let same = |x: &TokenSeq, y: &TokenSeq, at| x.token_key(at) == y.token_key(at);
        assert!(same(&a, &b, 0) && same(&a, &b, 1023) && !same(&a, &b, 1024));
        assert_eq!(b.spans().len(), 2);
        // The same id somewhere else is another block.
        let c = of(512, &[8]);
        assert_eq!(c.token_key(0), Some(7 << 32));
        assert!(same(&of(512, &[8]), &c, 511));
    }

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
