//! What a run says of instances that fail, slow down and are replaced.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::str::FromStr;
use windtunnel_base::input::{InputError, number};

/// What happens to instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// They are gone at once, with all that they have.
    #[default]
    Fail,
    /// Their steps take longer for a time.
    Slow,
    /// Those of a pool are replaced one after the other.
    Roll,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Slow, Self::Roll];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Slow => "slow",
            Self::Roll => "roll",
        }
    }
}

/// Something that happens to instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// When, seconds after the start.
    pub at: f64,
    /// What.
    pub kind: EventKind,
    /// The pool; may be left out where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// Which instances of the pool fail or slow down, from 0; all that stand in one zone, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<u32>,
    /// Seconds until others take requests in the place of those that failed; none do if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<f64>,
    /// So many times as long steps take that slow down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// For so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// So many are replaced at once; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// Seconds until one that replaces another takes requests; 60 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<f64>,
}

/// What clients do whose request was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySpec {
    /// How often they send it again; never if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Seconds after which they do; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
}

impl FromStr for EventSpec {
    type Err = InputError;

    /// `AT:fail:[POOL/]K,...[:RESTART]`, `AT:slow:[POOL/]K,...:FACTOR:SECONDS`, or
    /// `AT:roll:[POOL/]N[:STARTUP]`.
    fn from_str(text: &str) -> Result<Self, InputError> {
        let parts: Vec<&str> = text.split(':').collect();
        let expected = "expected AT:fail:K[:RESTART], AT:slow:K:FACTOR:SECONDS or AT:roll:N[:STARTUP], \
                        as 30:fail:decode/1:60";
        let [at, kind, whom, rest @ ..] = &parts[..] else {
            return Err(InputError::new(expected));
        };
        let names = EventKind::ALL.map(EventKind::name);
        let found = EventKind::ALL.into_iter().find(|k| k.name() == *kind);
        let kind = found.ok_or_else(|| InputError::unknown("event", kind, &names))?;
        let (pool, numbers) = whom.rsplit_once('/').unwrap_or(("", whom));
        let numbers = numbers.split('+').map(number::<u32>);
        let numbers = numbers.collect::<Result<Vec<u32>, InputError>>()?;
        let mut event = Self {
            at: number(at)?,
            kind,
            pool: pool.to_owned(),
            ..Self::default()
        };
        match (kind, rest) {
            (EventKind::Fail, []) => event.instances = numbers,
            (EventKind::Fail, [restart]) => {
                event.instances = numbers;
                event.restart_after = Some(number(restart)?);
            }
            (EventKind::Slow, [factor, seconds]) => {
                event.instances = numbers;
                event.factor = Some(number(factor)?);
                event.duration = Some(number(seconds)?);
            }
            (EventKind::Roll, [] | [_]) if numbers.len() == 1 => {
                event.at_once = Some(numbers[0]);
                event.startup = rest.first().map(|text| number(text)).transpose()?;
            }
            _ => return Err(InputError::new(expected)),
        }
        Ok(event)
    }
}

/// Events as a program gives them: as the file has them, or as texts.
///
/// # Errors
/// When a text is none.
pub(crate) fn of_texts(value: Value) -> Result<Value, InputError> {
    let event = |value: Value| match value {
        Value::String(text) => {
            let event = text.parse::<EventSpec>();
            let event = event
                .map_err(|e| InputError::new(format!("`event` is \"{text}\": {}", e.message())))?;
            Ok(json!(event))
        }
        value => Ok(value),
    };
    match value {
        Value::Array(events) => events.into_iter().map(event).collect(),
        Value::String(_) => Ok(json!([event(value)?])),
        value => Ok(value),
    }
}
