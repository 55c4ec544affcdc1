//! What is asked of a scorer, and what it says meanwhile.

use super::candidate::Candidate;
use super::suite::{Split, Suite, SuiteFile};
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// How far a candidate is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Until {
    /// As far as it is worth it.
    #[default]
    Auto,
    /// Its first flight.
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
    /// So many.
    Fixed(u32),
    /// More and more, until the score is certain to half a point.
    Auto,
}

impl Seeds {
    /// Seeds per scenario to begin with.
    #[must_use]
    pub fn first(self, suite: &SuiteFile, split: Split) -> u32 {
        match self {
            Self::Suite | Self::Auto => suite.seeds_of(split),
            Self::Fixed(n) => n.max(1),
        }
    }

    /// Most seeds per scenario.
    #[must_use]
    pub fn most(self, suite: &SuiteFile, split: Split) -> u32 {
        match self {
            Self::Auto => suite.max_seeds,
            other => other.first(suite, split),
        }
    }
}

/// What is to be scored, and how.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What.
    pub candidate: Candidate,
    /// On which suite.
    pub suite: Arc<Suite>,
    /// On which scenarios.
    pub split: Split,
    /// How far.
    pub until: Until,
    /// Seeds per scenario.
    pub seeds: Seeds,
    /// Only these scenarios of the split.
    pub scenarios: Option<Vec<String>>,
    /// The score to beat: a candidate that surely does not is stopped.
    pub incumbent: Option<f64>,
}

impl Ask {
    /// A candidate on the train split of a suite, the usual way.
    #[must_use]
    pub fn new(candidate: Candidate, suite: Arc<Suite>) -> Self {
        Self {
            candidate,
            suite,
            split: Split::Train,
            until: Until::Auto,
            seeds: Seeds::Suite,
            scenarios: None,
            incumbent: None,
        }
    }
}

/// How far a scoring has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being flown.
    pub what: &'static str,
    /// Runs made.
    pub done: u64,
    /// Runs to make.
    pub of: u64,
}

/// Why no report could be made: never the candidate's fault.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The suite or the question is wrong.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A process could not be started.
    #[error("cannot start a process for candidates: {0}")]
    Start(std::io::Error),
    /// Somebody cancelled it.
    #[error("the scoring was cancelled")]
    Cancelled,
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::Interrupted => Self::Cancelled,
            _ => Self::Start(error),
        }
    }
}
