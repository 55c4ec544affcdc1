//! What a scorer is asked for, its progress, and its errors.

use super::candidate::Candidate;
use super::suite::{Split, Suite, SuiteFile};
use serde::Serialize;
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// The last stage that a candidate is taken to.
// The lines below are help texts of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LastStage {
    /// As far as it is worth it.
    #[default]
    Auto,
    /// The smoke scenarios.
    Smoke,
    /// A few scenarios.
    Quick,
    /// Everything, however bad it looks.
    Full,
}

/// Random seeds per scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seeds {
    /// As many as the suite says.
    #[default]
    Suite,
    /// A fixed number.
    Fixed(u32),
    /// Seeds are added until the score is certain to half a point.
    Auto,
}

impl Seeds {
    /// Seeds per scenario to begin with.
    #[must_use]
    pub fn initial(self, suite: &SuiteFile, split: Split) -> u32 {
        match self {
            Self::Suite | Self::Auto => suite.seeds_of(split),
            Self::Fixed(n) => n.max(1),
        }
    }

    /// Most seeds per scenario.
    #[must_use]
    pub fn max(self, suite: &SuiteFile, split: Split) -> u32 {
        match self {
            Self::Auto => suite.max_seeds,
            other => other.initial(suite, split),
        }
    }
}

/// A candidate to score, on what, and how far.
#[derive(Clone, Debug)]
pub struct ScoreRequest {
    /// The candidate.
    pub candidate: Candidate,
    /// The suite.
    pub suite: Arc<Suite>,
    /// The split of the suite's scenarios.
    pub split: Split,
    /// The last stage to run.
    pub last_stage: LastStage,
    /// Seeds per scenario.
    pub seeds: Seeds,
    /// Only these scenarios of the split; `None` = all.
    pub scenarios: Option<Vec<String>>,
    /// The score to beat: a candidate that surely does not is stopped early.
    pub incumbent: Option<f64>,
    /// Seeds that nobody knows, per scenario, on which a score on train is compared with itself;
    /// 0 = it is not.
    pub fresh_seeds: u32,
}

impl ScoreRequest {
    /// A request with the defaults of `windtunnel score`: the whole train split.
    #[must_use]
    pub fn new(candidate: Candidate, suite: Arc<Suite>) -> Self {
        Self {
            candidate,
            suite,
            split: Split::Train,
            last_stage: LastStage::Auto,
            seeds: Seeds::Suite,
            scenarios: None,
            incumbent: None,
            fresh_seeds: 0,
        }
    }
}

/// What the seeds of a request are drawn from, as far as that may be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Salts {
    /// Hash of the salt of the holdout, if that or fresh seeds are scored.
    #[serde(rename = "holdout_salt", skip_serializing_if = "Option::is_none")]
    pub holdout: Option<String>,
    /// The salt of a search, if train or val is scored with one.
    #[serde(rename = "train_salt", skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
}

impl ScoreRequest {
    /// What its seeds are drawn from.
    ///
    /// # Errors
    /// When the salt of the holdout is missing.
    pub fn salts(&self) -> Result<Salts, InputError> {
        Ok(match self.split {
            Split::Holdout => Salts {
                holdout: Some(self.suite.holdout_salt()?.hash().to_owned()),
                train: None,
            },
            Split::Train | Split::Val => Salts {
                // Fresh seeds are drawn with it.
                holdout: match self.fresh_seeds {
                    0 => None,
                    _ => Some(self.suite.holdout_salt()?.hash().to_owned()),
                },
                train: self.suite.train_salt.clone(),
            },
        })
    }
}

/// Progress of a scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What the runs are for.
    pub what: &'static str,
    /// Runs made.
    pub done: u64,
    /// Runs to make.
    pub of: u64,
}

/// Why there is no report. A candidate that does not work has one.
#[derive(Debug, thiserror::Error)]
pub enum ScoringError {
    /// The suite or the request is wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A worker process could not be started, or met its end by no candidate's doing.
    #[error("{0}")]
    Start(std::io::Error),
    /// The scoring was cancelled.
    #[error("the scoring was cancelled")]
    Cancelled,
}

impl From<std::io::Error> for ScoringError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::Interrupted => Self::Cancelled,
            _ => Self::Start(error),
        }
    }
}
