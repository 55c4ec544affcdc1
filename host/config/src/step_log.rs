//! Logs of steps: what an engine computed in each of its steps, and how long that took. One JSON
//! object per line; docs/reference/profiles.md lists the keys.

use crate::json::parse_json_line;
use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use windtunnel_base::input::InputError;

/// Most tokens of one request.
const MOST_TOKENS: u64 = 1 << 31;

/// A step as a line of a log has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoggedStep {
    /// Its number, which nothing depends on: lines stand in the order of the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The engine that ran it, where the log is of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// When it began, nanoseconds of any clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ns: Option<f64>,
    /// The same in microseconds, instead of `start_ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_us: Option<f64>,
    /// How long it took, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dur_ns: Option<f64>,
    /// The same in microseconds, instead of `dur_ns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dur_us: Option<f64>,
    /// Requests that compute prompt tokens: new tokens, and tokens computed before.
    #[serde(default)]
    pub prefill: Vec<[u32; 2]>,
    /// Requests that decode.
    #[serde(default)]
    pub decode: Vec<LoggedDecode>,
    /// Did it replay a CUDA graph? Nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<bool>,
    /// Tokens that it computed, by request, in the order of the batch.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub requests: Map<String, Value>,
}

/// A request that decodes: a number in the log, or two of them where drafts are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoggedDecode {
    /// New tokens, 1 without drafts.
    pub new: u32,
    /// Tokens computed before.
    pub context: u32,
}

impl<'de> Deserialize<'de> for LoggedDecode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Context(u32),
            Both([u32; 2]),
        }
        match Either::deserialize(from) {
            Ok(Either::Context(context)) => Ok(Self { new: 1, context }),
            Ok(Either::Both([new, context])) => Ok(Self { new, context }),
            Err(_) => Err(D::Error::custom(
                "decode: expected tokens computed before, or [new tokens, tokens computed before]",
            )),
        }
    }
}

impl Serialize for LoggedDecode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.new {
            1 => self.context.serialize(to),
            new => [new, self.context].serialize(to),
        }
    }
}

impl LoggedStep {
    /// How long it took, milliseconds.
    #[must_use]
    pub fn ms(&self) -> f64 {
        let us = self.dur_us.unwrap_or_default();
        self.dur_ns.map_or(us / 1e3, |ns| ns / 1e6)
    }

    /// New tokens of a request in it; 0 = it takes no part.
    #[must_use]
    pub fn tokens_of(&self, request: &str) -> u64 {
        self.requests.get(request).map_or(0, tokens)
    }

    /// New tokens in all.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let prefills = self.prefill.iter().map(|p| u64::from(p[0]));
        prefills.sum::<u64>() + self.decode.iter().map(|d| u64::from(d.new)).sum::<u64>()
    }

    /// What is wrong with it, if anything is.
    fn check(&self) -> Result<(), String> {
        let one_of = |a: &str, b: &str| format!("expected one of {a} and {b}");
        match (self.dur_ns, self.dur_us) {
            (None, None) => return Err(format!("{}, found none", one_of("dur_ns", "dur_us"))),
            (Some(_), Some(_)) => {
                return Err(format!("{}, found both", one_of("dur_ns", "dur_us")));
            }
            _ => {}
        }
        if self.start_ns.is_some() && self.start_us.is_some() {
            return Err(format!("{}, found both", one_of("start_ns", "start_us")));
        }
        let ms = self.ms();
        if !(ms > 0.0 && ms <= 1e9) {
            return Err(format!("a step takes {ms} ms; expected more than 0"));
        }
        if self.prefill.iter().any(|p| p[0] == 0) || self.decode.iter().any(|d| d.new == 0) {
            return Err("a request takes part with 0 new tokens; expected 1 or more".to_owned());
        }
        if self.tokens() == 0 {
            return Err("a step without prefill and decode computes nothing".to_owned());
        }
        for (name, count) in &self.requests {
            if tokens(count) == 0 || tokens(count) > MOST_TOKENS {
                return Err(format!(
                    "requests: {name:?}: expected a number of tokens, found {count}"
                ));
            }
        }
        let named: u64 = self.requests.values().map(tokens).sum();
        if !self.requests.is_empty() && named != self.tokens() {
            return Err(format!(
                "requests have {named} tokens in all, prefill and decode {}",
                self.tokens()
            ));
        }
        Ok(())
    }
}

fn tokens(count: &Value) -> u64 {
    count.as_u64().unwrap_or_default()
}

/// Does a file of this beginning look like a log of steps?
#[must_use]
pub fn is_step_log(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty());
    let value: Option<Value> = first.and_then(|line| serde_json::from_str(line).ok());
    value.is_some_and(|v| v.get("dur_us").is_some() || v.get("dur_ns").is_some())
}

/// Reads a log of steps; `file` is where the text comes from, for messages.
///
/// # Errors
/// When a line is wrong, or there is none.
pub fn parse_step_log(file: &str, text: &str) -> Result<Vec<LoggedStep>, InputError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut steps = Vec::new();
    for (number, line) in (1u64..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let step: LoggedStep = parse_json_line(file, number, line)?;
        step.check()
            .map_err(|what| InputError::at(file, number, 1, what))?;
        steps.push(step);
    }
    if steps.is_empty() {
        return Err(InputError::in_file(
            file,
            "there is no step in it; expected a JSON object per line",
        ));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let line = r#"{"step":3,"start_us":10.0,"dur_us":5.5,"prefill":[[4,12]],"decode":[7,[2,9]],"requests":{"b":4,"a":1,"c":2}}"#;
        let steps = parse_step_log("s.jsonl", line).expect("a step");
        assert_eq!(steps[0].ms(), 0.0055);
        assert_eq!((steps[0].tokens(), steps[0].tokens_of("c")), (7, 2));
        assert_eq!(steps[0].decode[1], LoggedDecode { new: 2, context: 9 });
        assert_eq!(
            serde_json::to_string(&steps[0]).expect("text"),
            line.to_owned()
        );
        assert!(is_step_log(line) && !is_step_log("[{}]"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let refused = |line: &str| {
            let text = format!("{{\"dur_ns\": 1, \"decode\": [1]}}\n\n{line}\n");
            parse_step_log("s.jsonl", &text)
                .expect_err("refused")
                .to_string()
        };
        let cases = [
            (
                r#"{"decode": [1]}"#,
                "s.jsonl:3:1: expected one of dur_ns and dur_us, found none",
            ),
            (
                r#"{"dur_us": 0, "decode": [1]}"#,
                "s.jsonl:3:1: a step takes 0 ms; expected more than 0",
            ),
            (
                r#"{"dur_us": 1}"#,
                "s.jsonl:3:1: a step without prefill and decode computes nothing",
            ),
            (
                r#"{"dur_us": 1, "prefill": [[0, 4]]}"#,
                "s.jsonl:3:1: a request takes part with 0 new tokens; expected 1 or more",
            ),
            (
                r#"{"dur_us": 1, "decode": [4], "requests": {"a": 2}}"#,
                "s.jsonl:3:1: requests have 2 tokens in all, prefill and decode 1",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(refused(line), expected);
        }
        let typo = refused(r#"{"dur_us": 1, "decodes": [4]}"#);
        assert!(typo.contains("s.jsonl:3:"), "{typo}");
        assert!(typo.contains("did you mean \"decode\""), "{typo}");
        assert!(refused(r#"{"dur_us": 1, "decode": ["x"]}"#).contains("decode: expected tokens"));
    }
}
