//! What policies are worth, found out by letting them work. Gives results; prints nothing and knows
//! no flags.
//!
//! A [`Scorer`] takes [`Candidate`]s through the scenarios of a [`Suite`] in processes of their own
//! ([`pool`], [`worker`], [`walls`]) and compares what their runs cost with what those of the
//! suite's tuned reference policies cost ([`aggregate`]).

pub mod aggregate;
pub mod ask;
pub mod candidate;
pub mod certify;
pub mod compare;
pub mod explain;
pub mod features;
mod feed;
pub mod feedback;
pub mod fleet;
pub mod flight;
mod fork;
pub mod leaderboard;
mod library;
pub mod objective;
pub mod plan;
pub mod pool;
pub mod protocol;
pub mod references;
pub mod regret;
pub mod render;
pub mod report;
pub mod scenario;
pub mod scorer;
pub mod smoke;
mod stages;
mod store;
pub mod suite;
mod tell;
pub mod tune;
pub mod walls;
pub mod watch;
pub mod worker;

pub use ask::{Ask, Progress, Seeds, Trouble, Until};
pub use candidate::{Body, Candidate};
pub use fleet::Settings;
pub use library::suite_names;
pub use report::{Problem, ProblemKind, Report, Stage};
pub use scorer::Scorer;
pub use suite::{Split, Suite};

/// Version of what runs come to: raised by hand with every change that moves a figure of any run,
/// so that stored results of before are not taken for results of now. The golden results of
/// `host/tests/all/golden.rs` fail where it was forgotten.
pub const RESULTS_VERSION: u32 = 1;

/// Version of the program and of its results.
#[must_use]
pub fn engine() -> String {
    format!(
        "windtunnel {} results {RESULTS_VERSION}",
        env!("CARGO_PKG_VERSION")
    )
}
