//! Scores of policies: simulated runs of a candidate on the scenarios of a suite, compared with
//! runs of tuned reference policies.
//!
//! A [`Scorer`] runs [`Candidate`]s on the scenarios of a [`Suite`] in sandboxed processes
//! ([`workers`], [`worker`], [`sandbox`]) and compares their costs with those of the suite's
//! reference policies ([`aggregate`]). This crate prints nothing and knows no flags.

mod add_feedback;
pub mod aggregate;
pub mod candidate;
pub mod certify;
mod channels;
pub mod compare;
pub mod explain;
pub mod features;
pub mod feedback;
mod fork;
pub mod fuel;
pub mod inspect;
pub mod leaderboard;
pub mod objective;
pub mod plan;
pub mod protocol;
mod redact;
pub mod references;
pub mod regret;
pub mod render;
mod repeat;
pub mod report;
mod report_builder;
mod report_cache;
pub mod run;
pub mod runner;
pub mod salt;
pub mod sandbox;
pub mod scenario;
pub mod score_request;
pub mod scorer;
mod shipped;
pub mod smoke;
mod stages;
pub mod suite;
pub mod targets;
pub mod tune;
mod version;
pub mod worker;
pub mod workers;

pub use candidate::{Body, Candidate};
pub use report::{Problem, ProblemKind, Report, Stage};
pub use runner::Settings;
pub use score_request::{LastStage, Progress, ScoreRequest, ScoringError, Seeds};
pub use scorer::Scorer;
pub use shipped::{reference as shipped_reference, suite_names};
pub use suite::{Split, Suite};
pub use version::{RESULTS_VERSION, engine};
