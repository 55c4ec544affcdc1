//! What goes wrong on a server, on purpose.

use crate::prompts::text::hash;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Kinds of errors with which requests are answered, by the names of llm-d-inference-sim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureType {
    /// 429
    RateLimit,
    /// 401
    InvalidApiKey,
    /// 400: the prompt is too long
    ContextLength,
    /// 503
    ServerError,
    /// 400
    InvalidRequest,
    /// 404
    ModelNotFound,
}

impl FailureType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RateLimit,
        Self::InvalidApiKey,
        Self::ContextLength,
        Self::ServerError,
        Self::InvalidRequest,
        Self::ModelNotFound,
    ];

    /// The status that is answered.
    pub fn status(self) -> u16 {
        match self {
            Self::RateLimit => 429,
            Self::InvalidApiKey => 401,
            Self::ContextLength | Self::InvalidRequest => 400,
            Self::ServerError => 503,
            Self::ModelNotFound => 404,
        }
    }
}

/// What goes wrong by chance. Chances are those of a seed: the same request of the same server
/// meets the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct FaultRates {
    /// Requests that are answered with an error, percent.
    pub failure_injection_rate: f64,
    /// With which; none = any.
    pub failure_types: Vec<FailureType>,
    /// Streams that break off somewhere, percent.
    pub cut_rate: f64,
    /// Requests that are never answered, percent.
    pub hang_rate: f64,
    /// Metrics are as old as this at most, milliseconds: read again when they are older.
    pub metrics_age_ms: u64,
    /// Steps take so many times as long.
    pub slow: f64,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self {
            failure_injection_rate: 0.0,
            failure_types: Vec::new(),
            cut_rate: 0.0,
            hang_rate: 0.0,
            metrics_age_ms: 0,
            slow: 1.0,
        }
    }
}

/// What happens to a request by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Chance {
    /// It is served.
    None,
    /// It is answered with an error.
    Fails(FailureType),
    /// It is never answered.
    Hangs,
    /// Its stream breaks off after this share of its tokens.
    Cut(f64),
}

impl FaultRates {
    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is none that can be.
    pub fn check(&self) -> Result<(), String> {
        for (name, rate) in [
            ("failure-injection-rate", self.failure_injection_rate),
            ("cut-rate", self.cut_rate),
            ("hang-rate", self.hang_rate),
        ] {
            if !(0.0..=100.0).contains(&rate) {
                return Err(format!("{name} is {rate}; expected percent, 0 to 100"));
            }
        }
        if !(1e-3..=1e6).contains(&self.slow) {
            let slow = self.slow;
            return Err(format!(
                "slow is {slow}; expected a factor, 0.001 to 1000000"
            ));
        }
        Ok(())
    }

    /// What happens to request `number`.
    pub fn of(&self, seed: u64, number: u64) -> Chance {
        let draw = |what: &str| hash((seed, number, what)) as f64 / u64::MAX as f64;
        let hits = |what: &str, percent: f64| percent > 0.0 && draw(what) * 100.0 < percent;
        if hits("fails", self.failure_injection_rate) {
            let types = match self.failure_types.is_empty() {
                true => &FailureType::ALL[..],
                false => &self.failure_types[..],
            };
            let which = hash((seed, number, "which")) % types.len() as u64;
            return Chance::Fails(types[which as usize]);
        }
        if hits("hangs", self.hang_rate) {
            return Chance::Hangs;
        }
        match hits("cut", self.cut_rate) {
            true => Chance::Cut(draw("where")),
            false => Chance::None,
        }
    }
}

/// Something that happens to a server at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Happening {
    /// When, since the start.
    pub at: Duration,
    /// To which server.
    pub server: usize,
    /// What.
    pub what: Mishap,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mishap {
    /// It is gone, and comes again after this time, if it does.
    Crash(Option<Duration>),
    /// Its steps take so many times as long.
    Slow(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kept_and_chances_are_those_of_the_seed() {
        let rates = FaultRates {
            failure_injection_rate: 20.0,
            cut_rate: 10.0,
            ..FaultRates::default()
        };
        let all: Vec<Chance> = (0..10_000).map(|k| rates.of(1, k)).collect();
        let again: Vec<Chance> = (0..10_000).map(|k| rates.of(1, k)).collect();
        assert_eq!(all, again);
        let count = |f: fn(&Chance) -> bool| all.iter().filter(|c| f(c)).count();
        // Six standard deviations of 10,000 draws.
        let fails = count(|c| matches!(c, Chance::Fails(_)));
        assert!((1_760..2_240).contains(&fails), "{fails}");
        let cut = count(|c| matches!(c, Chance::Cut(_)));
        assert!((637..963).contains(&cut), "{cut}");
        assert_eq!(count(|c| *c == Chance::Hangs), 0);
    }
}
