//! A batching strategy with its name and parameters.

use super::strategy::BatchingStrategy;
use crate::instance::config::EngineConfig;

/// A batching strategy that can be chosen by name.
#[derive(Debug)]
pub struct Strategy {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub sentence: &'static str,
    /// Its parameters.
    pub params: &'static [StrategyParam],
    /// Makes it for an engine, with a value for each parameter.
    pub(super) make: fn(&EngineConfig, &[i64]) -> Box<dyn BatchingStrategy>,
}

/// A parameter of a strategy: a whole number of 1 or more, or a time.
#[derive(Debug)]
pub struct StrategyParam {
    /// Its name.
    pub name: &'static str,
    /// Its value unless another is given; microseconds if it is a time.
    pub default: i64,
    /// Is it a time?
    pub is_time: bool,
    /// What it is.
    pub doc: &'static str,
}

impl StrategyParam {
    pub(super) const fn count(name: &'static str, default: i64, doc: &'static str) -> Self {
        Self {
            name,
            default,
            is_time: false,
            doc,
        }
    }

    pub(super) const fn time(name: &'static str, default: i64, doc: &'static str) -> Self {
        Self {
            is_time: true,
            ..Self::count(name, default, doc)
        }
    }
}
