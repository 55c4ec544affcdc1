//! What a run says of instances that come and go.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::str::FromStr;
use windtunnel_base::input::InputError;

/// A pool has another number of instances from a moment on. Those that it gains start empty; those
/// that it loses, the youngest first, get no new requests and finish the ones they have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSpec {
    /// The moment, seconds after the start; ticks where time is abstract.
    pub at: f64,
    /// The pool; may be left out where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// Instances from then on.
    pub instances: u32,
}

impl FromStr for ScaleSpec {
    type Err = InputError;

    /// `AT:N`, or `AT:POOL:N`.
    fn from_str(text: &str) -> Result<Self, InputError> {
        let expected = "expected AT:N or AT:POOL:N, as 30:decode:4";
        let wrong = |what: &str| InputError::new(format!("\"{what}\" is no number; {expected}"));
        let parts: Vec<&str> = text.split(':').collect();
        let (at, pool, instances) = match parts[..] {
            [at, instances] => (at, "", instances),
            [at, pool, instances] => (at, pool, instances),
            _ => return Err(InputError::new(expected)),
        };
        Ok(Self {
            at: at.parse().map_err(|_| wrong(at))?,
            pool: pool.to_owned(),
            instances: instances.parse().map_err(|_| wrong(instances))?,
        })
    }
}

/// Changes as a program gives them: as the file has them, or as texts.
///
/// # Errors
/// When a text is none.
pub(crate) fn of_texts(value: Value) -> Result<Value, InputError> {
    let change = |value: Value| match value {
        Value::String(text) => {
            let change = text
                .parse::<ScaleSpec>()
                .map_err(|e| InputError::new(format!("`scale` is \"{text}\": {}", e.message())))?;
            Ok(json!(change))
        }
        value => Ok(value),
    };
    match value {
        Value::Array(changes) => changes.into_iter().map(change).collect(),
        Value::String(_) => Ok(json!([change(value)?])),
        value => Ok(value),
    }
}
