//! What the lines of a Mooncake trace mean, found out from all of them.

use super::Reading;
use super::line::{Line, Wrong, fits};
use crate::import::blocks::BLOCK;
use crate::import::lines::Lines;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::InputError;

/// Powers of two that are tried as sizes of blocks.
const SIZES: usize = 21;
/// Rows that do not fit are damaged if they are at most one of so many; else the file is of another
/// dialect.
const ONE_OF: u64 = 4;

/// What the later turns of sessions say of the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// Their blocks name it.
    ById,
    /// Their length covers it.
    InLength,
    /// Nothing: they say what is new.
    LeftOut,
}

/// The dialect of a file.
pub(super) struct Dialect {
    /// Tokens of a block.
    pub(super) block: u32,
    /// Some session has more than one turn, or turns wait for answers.
    pub(super) has_turns: bool,
    /// What the later turns of sessions say of the earlier ones.
    pub(super) history: History,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// What was seen of a session.
#[derive(Default)]
struct Session {
    turns: u64,
    first_id: Option<u64>,
    /// Tokens of the last prompt and its answer.
    tokens: u64,
}

#[derive(Default)]
struct Seen {
    rows: u64,
    misfits: u64,
    first_misfit: Option<(u64, String)>,
    /// Rows with blocks, and how many of them fit each size: one id for every block, or one for
    /// every whole block.
    blocked: u64,
    every: [u64; SIZES],
    either: [u64; SIZES],
    wanted: u64,
    first_unwanted: Option<(u64, String)>,
    sessions: FxHashMap<String, Session>,
    later: u64,
    repeating: u64,
    growing: u64,
    waiting: u64,
    idle_delays: u64,
    without_effect: BTreeMap<String, u64>,
}

impl Dialect {
    /// Looks at all rows of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is of no dialect that is known.
    pub(super) fn of(path: &Path, reading: Reading) -> Result<Self, InputError> {
        let name = path.display();
        let wanted = reading.block.unwrap_or(BLOCK);
        let mut seen = Seen::default();
        let mut lines = Lines::open(path)?;
        while let Some((number, text)) = lines.next()? {
            seen.rows += 1;
            match seen.take(number, text, wanted) {
                Ok(()) | Err(Wrong::Damaged(_)) => {}
                Err(Wrong::Misfit(what)) => {
                    seen.misfits += 1;
                    seen.first_misfit.get_or_insert((number, what));
                }
                Err(Wrong::Refused(what)) => return Err(InputError::at(name, number, 0, what)),
            }
        }
        if let Some((line, what)) = &seen.first_misfit
            && seen.misfits * ONE_OF > seen.rows
        {
            return Err(InputError::at(name, *line, 0, what.clone()));
        }
        let mut notes = Vec::new();
        let block = seen
            .block(wanted, reading.block.is_some(), &mut notes)
            .map_err(|(line, what)| InputError::at(name, line, 0, what))?;
        let history = seen.history();
        seen.tell(history, &mut notes);
        Ok(Self {
            block,
            has_turns: seen.later > 0,
            history,
            notes,
        })
    }
}

impl Seen {
    fn take(&mut self, number: u64, text: &[u8], wanted: u32) -> Result<(), Wrong> {
        let line = Line::read(text)?;
        let row = line.row(text)?;
        if let Some(ids) = line.blocks() {
            self.blocked += 1;
            for k in 0..SIZES {
                let size = 1 << k;
                self.every[k] += u64::from(ids == row.prompt.div_ceil(size));
                self.either[k] += u64::from(fits(ids, row.prompt, size));
            }
            match line.check_blocks(row.prompt, wanted) {
                Ok(()) => self.wanted += 1,
                Err(what) => drop(self.first_unwanted.get_or_insert((number, what))),
            }
        }
        let name = line.session_id.clone().unwrap_or_default();
        let later = !name.is_empty() && self.sessions.get(&name).is_some_and(|s| s.turns > 0);
        if line.timestamp.is_none() && !later {
            return Err(line.missing("timestamp", text));
        }
        for key in &line.other {
            *self.without_effect.entry(key.clone()).or_default() += 1;
        }
        let has_delay = line.delay.is_some_and(|d| d != super::line::ZERO);
        self.idle_delays += u64::from(has_delay && line.timestamp.is_some());
        if name.is_empty() {
            return Ok(());
        }
        let session = self.sessions.entry(name).or_default();
        let first_id = line.ids().first().copied();
        if later {
            self.later += 1;
            self.waiting += u64::from(line.timestamp.is_none());
            self.repeating += u64::from(first_id.is_some() && first_id == session.first_id);
            self.growing +=
                u64::from(first_id.is_none() && u64::from(row.prompt) >= session.tokens);
        }
        session.turns += 1;
        session.first_id = first_id;
        session.tokens = u64::from(row.prompt) + u64::from(row.output);
        Ok(())
    }

    /// The size of the blocks: the wanted one where it fits, else one that fits.
    fn block(
        &self,
        wanted: u32,
        given: bool,
        notes: &mut Vec<String>,
    ) -> Result<u32, (u64, String)> {
        let Some((line, what)) = &self.first_unwanted else {
            return Ok(wanted);
        };
        let fits = |counts: &[u64; SIZES], rows: u64| {
            let found = counts.iter().position(|n| *n >= rows);
            found.map(|k| 1u32 << k)
        };
        let most = self.blocked - self.blocked / ONE_OF;
        let all = fits(&self.every, self.blocked).or_else(|| fits(&self.either, self.blocked));
        let other = all
            .or_else(|| fits(&self.every, most))
            .or_else(|| fits(&self.either, most));
        if all.is_none() && self.wanted >= most {
            // A few rows are damaged; the reader says which.
            return Ok(wanted);
        }
        match other {
            Some(size) if !given => {
                notes.push(format!(
                    "the hash_ids fit blocks of {size} tokens, not {wanted}, and are read so; `trace_block_size` says otherwise"
                ));
                Ok(size)
            }
            Some(size) => Err((
                *line,
                format!("{what}; the hash_ids fit `trace_block_size` {size}"),
            )),
            None => Err((*line, format!("{what}; no size of blocks fits all rows"))),
        }
    }

    fn history(&self) -> History {
        if self.repeating > 0 {
            History::ById
        } else if self.later > 0 && self.growing == self.later {
            History::InLength
        } else {
            History::LeftOut
        }
    }

    fn tell(&self, history: History, notes: &mut Vec<String>) {
        if self.later > 0 {
            let sessions = self.sessions.values().filter(|s| s.turns > 1).count();
            let prompts = match history {
                History::ById => "their hash_ids repeat those of the turn before",
                History::InLength => {
                    "their input_length covers the turns before, whose tokens they repeat"
                }
                History::LeftOut => {
                    "their input_length is what is new, behind the turns before and their answers"
                }
            };
            let when = match (self.waiting, self.later) {
                (0, _) => "they arrive at their timestamps".to_owned(),
                (n, all) if n == all => {
                    "each is sent its delay after the answer before it".to_owned()
                }
                (n, _) => format!(
                    "{n} without a timestamp are sent their delay after the answer before them"
                ),
            };
            notes.push(format!(
                "{sessions} sessions have {} later turns: {prompts}; {when}",
                self.later
            ));
        }
        if self.idle_delays > 0 {
            notes.push(format!(
                "delay has no effect beside a timestamp ({} rows)",
                self.idle_delays
            ));
        }
        if !self.without_effect.is_empty() {
            let keys = self.without_effect.iter();
            let keys: Vec<String> = keys.map(|(key, n)| format!("{key} ({n} rows)")).collect();
            notes.push(format!(
                "keys that are not understood and have no effect: {}",
                keys.join(", ")
            ));
        }
    }
}
