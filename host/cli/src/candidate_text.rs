//! Candidates given as text: one Lua file, or one for each of some hooks.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;
use std::collections::BTreeMap;
use windtunnel_base::input::unknown;
use windtunnel_policy::Hook;
use windtunnel_score::Candidate;

/// The text of a candidate, as it is given in JSON: Lua text, or an object with Lua texts by hook.
#[derive(Clone, Debug)]
pub enum CandidateText {
    /// One file, for the hooks that it fills.
    One(String),
    /// A file for each of some hooks.
    ByHook(BTreeMap<Hook, String>),
}

impl Default for CandidateText {
    fn default() -> Self {
        Self::One(String::new())
    }
}

impl CandidateText {
    /// A candidate named `name`.
    #[must_use]
    pub fn candidate(self, name: &str) -> Candidate {
        let mut candidate = match self {
            Self::One(text) => {
                let file = format!("{}.lua", name.strip_suffix(".lua").unwrap_or(name));
                Candidate::of_text(&file, text)
            }
            Self::ByHook(texts) => Candidate::of_hooks(name, texts),
        };
        name.clone_into(&mut candidate.name);
        candidate
    }
}

impl<'de> Deserialize<'de> for CandidateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected Lua text, or an object with Lua texts by hook";
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::One(text)),
            Value::Object(by_hook) => {
                let texts = by_hook.into_iter().map(|(name, text)| {
                    let hook = Hook::parse(&name).ok_or_else(|| {
                        D::Error::custom(unknown("hook", &name, &Hook::ALL.map(Hook::name)))
                    })?;
                    match text {
                        Value::String(text) => Ok((hook, text)),
                        _ => Err(D::Error::custom(format!("{name}: expected Lua text"))),
                    }
                });
                let texts: BTreeMap<Hook, String> = texts.collect::<Result<_, _>>()?;
                if texts.is_empty() {
                    return Err(D::Error::custom(expected));
                }
                Ok(Self::ByHook(texts))
            }
            _ => Err(D::Error::custom(expected)),
        }
    }
}
