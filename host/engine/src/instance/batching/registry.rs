//! The batching strategies by name.

use super::named::{Strategy, StrategyParam};
use super::strategy::BatchingStrategy;
use super::{
    chunked_context, continuous, greedy, in_flight, one_prefill, prefill_first, run_to_completion,
    static_batching, windowed,
};
use crate::instance::config::EngineConfig;
use std::fmt;
use windtunnel_base::input::{InputError, unknown};

/// All strategies; the first is that of an engine for which none is chosen.
pub static STRATEGIES: [Strategy; 9] = [
    continuous::STRATEGY,
    static_batching::STRATEGY,
    in_flight::STRATEGY,
    one_prefill::STRATEGY,
    chunked_context::STRATEGY,
    prefill_first::STRATEGY,
    run_to_completion::STRATEGY,
    greedy::STRATEGY,
    windowed::STRATEGY,
];

/// A strategy with the values of its parameters, from which each instance's own is made.
#[derive(Clone, Debug)]
pub struct Batching {
    strategy: &'static Strategy,
    values: Vec<i64>,
}

impl Default for Batching {
    fn default() -> Self {
        Self::with_defaults(&STRATEGIES[0])
    }
}

impl PartialEq for Batching {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.values == other.values
    }
}

impl Batching {
    fn with_defaults(strategy: &'static Strategy) -> Self {
        Self {
            strategy,
            values: strategy.params.iter().map(|param| param.default).collect(),
        }
    }

    /// Reads `NAME[:param=value,...]`; `time_us` reads the value of a parameter that is a time.
    ///
    /// # Errors
    /// An unknown name, with the nearest one, or a wrong value.
    pub fn parse(
        text: &str,
        time_us: impl Fn(&str) -> Result<i64, InputError>,
    ) -> Result<Self, InputError> {
        let (name, params) = match text.split_once(':') {
            Some((name, params)) => (name.trim(), Some(params)),
            None => (text.trim(), None),
        };
        let Some(strategy) = STRATEGIES.iter().find(|s| s.name == name) else {
            let names = STRATEGIES.each_ref().map(|s| s.name);
            return Err(InputError::new(unknown("batching strategy", name, &names)));
        };
        let mut chosen = Self::with_defaults(strategy);
        let mut seen = Vec::new();
        for part in params.into_iter().flat_map(|params| params.split(',')) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(InputError::new(format!(
                    "batching strategy {name}: found \"{part}\"; expected param=value"
                )));
            };
            let (key, value) = (key.trim(), value.trim());
            let Some(at) = strategy.params.iter().position(|p| p.name == key) else {
                let valid: Vec<&str> = strategy.params.iter().map(|p| p.name).collect();
                return Err(InputError::new(if valid.is_empty() {
                    format!("batching strategy {name} has no parameters, found \"{key}\"")
                } else {
                    unknown(&format!("parameter of {name}"), key, &valid)
                }));
            };
            if seen.contains(&at) {
                return Err(InputError::new(format!(
                    "batching strategy {name}: {key} is given twice"
                )));
            }
            seen.push(at);
            let wrong = |what: &str| {
                InputError::new(format!(
                    "batching strategy {name}: {key} is \"{value}\"; expected {what}"
                ))
            };
            chosen.values[at] = if strategy.params[at].is_time {
                time_us(value).map_err(|e| wrong(e.message()))?
            } else {
                let count = value.parse::<u32>().ok().filter(|n| *n > 0);
                i64::from(count.ok_or_else(|| wrong("a whole number, 1 or more"))?)
            };
        }
        Ok(chosen)
    }

    /// The name of the strategy.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.strategy.name
    }

    /// Is it vLLM's own?
    #[must_use]
    pub fn is_continuous(&self) -> bool {
        *self == Self::default()
    }

    /// Names and values of its parameters; times are microseconds.
    pub fn params(&self) -> impl Iterator<Item = (&'static StrategyParam, i64)> + '_ {
        self.strategy.params.iter().zip(self.values.iter().copied())
    }

    /// The strategy of an engine with this configuration.
    #[must_use]
    pub fn make(&self, config: &EngineConfig) -> Box<dyn BatchingStrategy> {
        (self.strategy.make)(config, &self.values)
    }
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
