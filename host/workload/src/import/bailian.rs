//! Traces of Alibaba's Bailian: a JSON object per line with time in seconds, lengths, identities of
//! the prompt's blocks of 16 tokens, and the chat that a request continues.
//!
//! The lengths of a later turn contain the chat so far. The kind of request becomes the client.

use super::fields::{self, Others, Unread};
use super::held::{Turn, Turns};
use super::row_errors::RowErrors;
use super::shared_tokens::BlockTree;
use super::turn_sessions::sessions_of;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::path::Path;
use windtunnel_base::input::InputError;

/// Tokens of a block.
const BLOCK: u32 = 16;

#[derive(Deserialize)]
struct Line {
    chat_id: i64,
    /// -1 for the first turn of a chat.
    parent_chat_id: Option<i64>,
    timestamp: Option<f64>,
    input_length: Option<f64>,
    output_length: Option<f64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The order of the lines says it, too.
    #[serde(rename = "turn")]
    _turn: Option<f64>,
    #[serde(default)]
    hash_ids: Option<Vec<u64>>,
    #[serde(flatten)]
    others: Others,
}

const EXPECTED: &str =
    "an object with chat_id, parent_chat_id, timestamp, input_length, output_length, hash_ids";

/// Reads a trace.
///
/// # Errors
/// When the file cannot be read, or a row is in error and `errors` is strict.
pub(super) fn read(
    path: &Path,
    errors: &mut RowErrors,
    notes: &mut Vec<String>,
) -> Result<Turns, InputError> {
    let mut turns = Turns::default();
    let mut tree = BlockTree::new(BLOCK);
    let mut unread = Unread::default();
    // First chat of each chat, and how often it was continued.
    let mut roots: FxHashMap<i64, (i64, u32)> = FxHashMap::default();
    let mut chats: Vec<i64> = Vec::new();
    let mut forks = 0;
    fields::each_line(path, EXPECTED, errors, |line: Line| {
        let sent = fields::time_ns("timestamp", line.timestamp, 1e9)?;
        let prompt = fields::tokens("input_length", line.input_length)?;
        let output = fields::tokens("output_length", line.output_length)?;
        let shared = match &line.hash_ids {
            Some(ids) => tree.prompt(0, ids, prompt, &mut turns)?,
            None => Default::default(),
        };
        unread.add(&line.others);
        let parent = line.parent_chat_id.filter(|id| *id >= 0);
        let root = match parent.and_then(|p| roots.get_mut(&p)) {
            Some((root, continued)) => {
                *continued += 1;
                forks += u32::from(*continued > 1);
                *root
            }
            None => line.chat_id,
        };
        roots.insert(line.chat_id, (root, 0));
        chats.push(root);
        let client = turns.symbols.intern(line.kind.as_deref().unwrap_or(""));
        turns.list.push(Turn {
            sent_ns: Some(sent),
            new: prompt - shared.len(),
            shared,
            output,
            client,
            ..Turn::default()
        });
        Ok(())
    })?;
    sessions_of(&mut turns, &chats);
    notes.extend(unread.note());
    if forks > 0 {
        notes.push(format!(
            "requests that continue a chat which another one continues, too: {forks}; they are rounds of the same session, in order of time"
        ));
    }
    Ok(turns)
}
