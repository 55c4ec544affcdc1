//! A line of a Mooncake trace.

use crate::import::row::Row;
use crate::import::units::Stamp;
use crate::limits::MAX_TOKENS;
use crate::table::shown;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use windtunnel_base::input;

/// The keys of a line of the published traces.
const KEYS: [&str; 4] = ["timestamp", "input_length", "output_length", "hash_ids"];

/// The same with their other names.
pub(crate) const NAMES: [&[&str]; 4] = [
    &["timestamp", "created_time"],
    &["input_length", "input_tokens"],
    &["output_length", "output_tokens"],
    &["hash_ids"],
];

/// The keys that are understood, with their other names.
const UNDERSTOOD: [&str; 11] = [
    "timestamp",
    "created_time",
    "input_length",
    "input_tokens",
    "output_length",
    "output_tokens",
    "hash_ids",
    "session_id",
    "delay",
    "delay_ms",
    "priority",
];

/// Keys with prompts as text, whose tokens nobody has counted.
const TEXTS: [&str; 4] = ["text_input", "messages", "payload", "prompt"];

/// Keys by which a request waits for others than the turn before it.
const WORKFLOWS: [&str; 2] = ["wait_for", "tool_wait_ms"];

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is no JSON, or a number makes no sense.
    Damaged(String),
    /// It is a whole object that says other things than are expected.
    Misfit(String),
    /// It says things that are known not to be understood.
    Refused(String),
}

impl Wrong {
    pub(super) fn into_message(self) -> String {
        match self {
            Self::Damaged(what) | Self::Misfit(what) | Self::Refused(what) => what,
        }
    }
}

#[derive(serde::Deserialize)]
struct Keys {
    #[serde(default, alias = "created_time")]
    timestamp: Option<serde_json::Number>,
    #[serde(default, alias = "delay_ms")]
    delay: Option<serde_json::Number>,
    #[serde(default, alias = "input_tokens")]
    input_length: Option<f64>,
    #[serde(default, alias = "output_tokens")]
    output_length: Option<f64>,
    #[serde(default)]
    hash_ids: Option<Vec<Id>>,
    #[serde(default)]
    session_id: Option<Name>,
    #[serde(default)]
    priority: Option<f64>,
    #[serde(flatten)]
    other: BTreeMap<String, IgnoredAny>,
}

/// A line that is a JSON object with values of the right types.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) timestamp: Option<Stamp>,
    pub(super) delay: Option<Stamp>,
    pub(super) session_id: Option<String>,
    input: Option<f64>,
    output: Option<f64>,
    blocks: Option<Vec<u64>>,
    priority: Option<f64>,
    /// Keys that are not understood.
    pub(super) other: Vec<String>,
}

impl Line {
    pub(super) fn read(text: &[u8]) -> Result<Self, Wrong> {
        let keys: Keys = serde_json::from_slice(text).map_err(|e| {
            // Its own place is within the line.
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let what = format!(
                "{what}; expected an object with {}, {}",
                expected(),
                found(text)
            );
            if e.is_data() {
                Wrong::Misfit(what)
            } else {
                Wrong::Damaged(what)
            }
        })?;
        let stamp = |key: &str, number: Option<serde_json::Number>| match number {
            Some(number) => Stamp::of_json(&number).map(Some).ok_or_else(|| {
                Wrong::Damaged(format!("{key}: expected a finite number, found {number}"))
            }),
            None => Ok(None),
        };
        Ok(Self {
            timestamp: stamp("timestamp", keys.timestamp)?,
            delay: stamp("delay", keys.delay)?,
            session_id: keys.session_id.map(|name| name.0),
            input: keys.input_length,
            output: keys.output_length,
            blocks: keys.hash_ids.map(|ids| ids.iter().map(|id| id.0).collect()),
            priority: keys.priority,
            other: keys.other.into_keys().collect(),
        })
    }

    /// Its lengths, blocks and priority.
    pub(super) fn row(&self, text: &[u8]) -> Result<Row, Wrong> {
        self.check_others(text)?;
        let tokens = |value: Option<f64>, key: &str| {
            let most = MAX_TOKENS / 2;
            match value {
                Some(n) if (0.0..=most as f64).contains(&n) && n.fract() == 0.0 => Ok(n as u32),
                Some(n) => Err(Wrong::Damaged(format!(
                    "{key}: expected 0 to {most}, found {n}"
                ))),
                None => Err(self.missing(key, text)),
            }
        };
        let priority = match self.priority {
            Some(p) if !((-100.0..=100.0).contains(&p) && p.fract() == 0.0) => {
                return Err(Wrong::Damaged(format!(
                    "priority: expected a whole number from -100 to 100, found {p}"
                )));
            }
            given => given.map(|p| p as i32),
        };
        Ok(Row {
            prompt: tokens(self.input, "input_length")?,
            output: tokens(self.output, "output_length")?,
            blocks: self.blocks.clone().unwrap_or_default(),
            priority,
            ..Row::default()
        })
    }

    /// What a key that is missing should be.
    pub(super) fn missing(&self, key: &str, text: &[u8]) -> Wrong {
        let others = self.other.iter().map(String::as_str);
        let meant = input::nearest(key, others)
            .map_or(String::new(), |other| format!(" (is \"{other}\" that?)"));
        Wrong::Misfit(format!(
            "missing field `{key}`{meant}; expected an object with {}, {}",
            expected(),
            found(text)
        ))
    }

    fn check_others(&self, text: &[u8]) -> Result<(), Wrong> {
        let of = |keys: &[&str]| {
            let known = self.other.iter().find(|key| keys.contains(&key.as_str()));
            known.cloned()
        };
        if let (None, Some(key)) = (self.input, of(&TEXTS)) {
            return Err(Wrong::Refused(format!(
                "{key}: a prompt as text has no length in tokens here; expected input_length in its place, {}",
                found(text)
            )));
        }
        if let Some(key) = of(&WORKFLOWS) {
            return Err(Wrong::Refused(format!(
                "{key}: requests that wait for several others are not understood; expected session_id and delay, {}",
                found(text)
            )));
        }
        // A slip in the name of an optional key would go unnoticed.
        for key in &self.other {
            let given = |name: &str| match name {
                "session_id" => self.session_id.is_some(),
                "delay" => self.delay.is_some(),
                "hash_ids" => self.blocks.is_some(),
                "priority" => self.priority.is_some(),
                "timestamp" => self.timestamp.is_some(),
                _ => true,
            };
            let slip = input::nearest(key, UNDERSTOOD).filter(|name| !given(name));
            if slip.is_some() && !NO_SLIPS.contains(&key.as_str()) {
                return Err(Wrong::Refused(format!(
                    "{}, {}",
                    input::unknown("key", key, &UNDERSTOOD),
                    found(text)
                )));
            }
        }
        Ok(())
    }

    /// How many blocks it names; `None` = it names none.
    pub(super) fn blocks(&self) -> Option<u32> {
        let blocks = self.blocks.as_ref().filter(|ids| !ids.is_empty())?;
        Some(u32::try_from(blocks.len()).unwrap_or(u32::MAX))
    }

    /// The blocks that it names.
    pub(super) fn ids(&self) -> &[u64] {
        self.blocks.as_deref().unwrap_or_default()
    }

    /// Do its blocks fit its prompt?
    pub(super) fn check_blocks(&self, prompt: u32, block: u32) -> Result<(), String> {
        match self.blocks() {
            Some(found) if !fits(found, prompt, block) => Err(format!(
                "hash_ids: expected an id for every block of {block} tokens, found {found} for {prompt} tokens"
            )),
            _ => Ok(()),
        }
    }
}

/// No time at all.
pub(super) const ZERO: Stamp = Stamp::Whole(0);

/// Known keys of other tools that are like one that is understood, and are not meant to be it.
const NO_SLIPS: [&str; 3] = ["strict_priority", "request_id", "type"];

/// Are so many ids one for every block of the prompt, or one for every whole block?
pub(super) fn fits(ids: u32, prompt: u32, block: u32) -> bool {
    ids == prompt.div_ceil(block) || ids == prompt / block
}

fn expected() -> String {
    KEYS.join(", ")
}

fn found(text: &[u8]) -> String {
    format!("found {}", shown(&String::from_utf8_lossy(text)))
}

/// A number as messages show it.
pub(super) fn number(stamp: Stamp) -> String {
    match stamp {
        Stamp::Whole(n) => n.to_string(),
        Stamp::Fraction(x) => x.to_string(),
    }
}

/// Identity of a block: any 64 bits.
struct Id(u64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IdVisitor).map(Self)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of 64 bits")
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<u64, E> {
        Ok(id)
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<u64, E> {
        Ok(id.cast_unsigned())
    }
}

/// A name, which may be written as a number.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor).map(Self)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a number")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        Ok(name.to_owned())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}
