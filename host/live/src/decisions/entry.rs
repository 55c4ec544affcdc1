//! Lines of the log.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use windtunnel_plugin_api::{Admit, PolicyError, Route};
use windtunnel_sim::PoolSpec;

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// Policies begin: at the start, and when others take over.
    Policies {
        /// Version of the log's layout.
        version: u32,
        /// What the configuration says of them.
        policies: Value,
        /// Fingerprints of the files that they are in, by path.
        files: BTreeMap<String, String>,
        /// Instances that there were.
        instances: u32,
        /// What they are, for who simulates them.
        deployment: Deployment,
        /// Names that were known, by number.
        names: Vec<String>,
        /// Why: `start`, `reload`, or what was wrong with those before.
        because: String,
    },
    /// A policy was asked, or told that time has passed.
    Asked {
        /// Which, and what.
        call: Call,
        /// When, microseconds since the start.
        at_us: i64,
        /// The request: its fields that are not 0.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        request: Map<String, Value>,
        /// Names in it that are new, by number.
        #[serde(default, with = "numbered", skip_serializing_if = "BTreeMap::is_empty")]
        names: BTreeMap<u32, String>,
        /// Numbers of the instances that were shown, where others were shown before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<Vec<u32>>,
        /// Fields of instances that changed since they were shown last, by the instance's number.
        #[serde(default, with = "numbered", skip_serializing_if = "BTreeMap::is_empty")]
        changes: BTreeMap<u32, Map<String, Value>>,
        /// What the policy asked the host, and what that said, in their order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        host: Vec<Value>,
        /// What it answered.
        answer: Answer,
    },
    /// The policies were told what happened to a request.
    Told {
        /// Which policy.
        call: Call,
        /// The fields of the event that are not 0.
        event: Map<String, Value>,
        /// Names in it that are new, by number.
        #[serde(default, with = "numbered", skip_serializing_if = "BTreeMap::is_empty")]
        names: BTreeMap<u32, String>,
        /// Whether it failed.
        answer: Answer,
    },
    /// What became of a decision: nothing that policies see.
    Done {
        /// Number of the request.
        serial: u64,
        /// The request's name.
        id: String,
        /// Server, by name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// How it ended.
        outcome: String,
        /// Status of the answer.
        status: u16,
        /// Arrival, microseconds since the start.
        arrival_us: i64,
        /// Time to first token, microseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttft_us: Option<i64>,
        /// Time of all of it, microseconds.
        e2e_us: i64,
        /// Prompt tokens, as far as the gateway can tell.
        prompt_tokens: u32,
        /// Output tokens, as far as the gateway can tell.
        output_tokens: u32,
        /// Prompt tokens that were cached, if the server says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cached_tokens: Option<u32>,
        /// Tries before this one.
        #[serde(default, skip_serializing_if = "is_zero")]
        retries: u32,
        /// What the prompt's blocks are known by, where that is logged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hash_ids: Vec<u64>,
    },
    /// What a shadow policy would have decided.
    Shadow {
        /// Its name.
        name: String,
        /// Number of the request.
        serial: u64,
        /// Its answer.
        answer: Answer,
        /// The server that it chose, by name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// Is that what was done?
        agrees: bool,
        /// Requests that the acting policy's choice had more than this one's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        regret_requests: Option<i64>,
        /// Prompt blocks that this one's choice is believed to have more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        regret_blocks: Option<i64>,
    },
}

/// What the servers are, as far as the configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Their model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Their pools, as in the file of a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolSpec>,
    /// Names and pools of the servers, by number.
    pub servers: Vec<(String, String)>,
    /// How old what they say of themselves may be, microseconds.
    pub scrape_us: u32,
    /// Tokens of the blocks in which prompts are compared.
    pub block_size: u32,
    /// Seed of the random numbers that policies draw.
    pub seed: u64,
}

/// Objects whose keys are numbers: in lines with a kind they are read as text.
mod numbered {
    use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
    use serde::{Serialize, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<T: Serialize, S: Serializer>(
        all: &BTreeMap<u32, T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(all)
    }

    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u32, T>, D::Error> {
        let all = BTreeMap::<String, T>::deserialize(deserializer)?;
        let number = |(key, value): (String, T)| {
            let wrong = |_| D::Error::custom(format!("\"{key}\" is no number"));
            Ok((key.parse().map_err(wrong)?, value))
        };
        all.into_iter().map(number).collect()
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Which policy was called, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Admission decides.
    Admit,
    /// The router decides.
    Route,
    /// Admission is told something.
    TellAdmission,
    /// The router is told something.
    TellRouter,
    /// Time passes for admission.
    TickAdmission,
    /// Time passes for the router.
    TickRouter,
}

/// What a policy answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nothing was asked.
    Nothing,
    /// Let it in.
    Admit,
    /// Turn it away, for this reason.
    Reject(String),
    /// Ask again after so many microseconds.
    Delay(i64),
    /// To the instance at this position of those shown.
    To(usize),
    /// Ask again after so many microseconds.
    Hold(i64),
    /// It failed.
    Failed(String),
}

impl Answer {
    /// What an admission policy answered.
    pub fn of_admission(answer: &Result<Admit, PolicyError>) -> Self {
        match answer {
            Ok(Admit::Admit) => Self::Admit,
            Ok(Admit::Reject(why)) => Self::Reject(why.clone()),
            Ok(Admit::Delay(us)) => Self::Delay(*us),
            Err(e) => Self::Failed(e.to_string()),
        }
    }

    /// What a router answered.
    pub fn of_router(answer: &Result<Route, PolicyError>) -> Self {
        match answer {
            Ok(Route::To(i)) => Self::To(*i),
            Ok(Route::Hold { retry_after_us }) => Self::Hold(*retry_after_us),
            Err(e) => Self::Failed(e.to_string()),
        }
    }

    /// What a policy made of something that it was told.
    pub fn of_told(answer: &Result<(), PolicyError>) -> Self {
        match answer {
            Ok(()) => Self::Nothing,
            Err(e) => Self::Failed(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_comes_back_as_it_was() {
        let line = json!({
            "kind": "asked", "call": "route", "at_us": 5, "request": {"serial": 1}, "names": {"7": "gold"},
            "shown": [0, 2], "changes": {"2": {"in_flight": 1}}, "host": [[["random"], 3]], "answer": {"to": 1},
        });
        let entry: Entry = serde_json::from_value(line.clone()).unwrap();
        assert_eq!(serde_json::to_value(&entry).unwrap(), line);
        let Entry::Asked { names, answer, .. } = entry else {
            panic!("another kind");
        };
        assert_eq!((names[&7].as_str(), answer), ("gold", Answer::To(1)));
    }
}
