//! Commands as functions, for programs that have the simulator in their own process (the Python
//! module).

pub mod catalog;
mod commands;
pub mod keywords;

use super::output;
use windtunnel_base::input::Staging;
use windtunnel_engine::cluster::Progress;
use windtunnel_results::report::rows::{self, Column};
use windtunnel_results::report::{run_page, ticks};
use windtunnel_sim::{Resolver, RunResult, RunSpec};

pub use self::commands::{Caller, Elsewhere, Parsed, Share, Swept};
pub use super::args::named;
pub use super::output::Files;
pub use super::policy::hook;
pub use super::score::{
    cache_folder, check_salts, holdout_salt_source, jobs, parse_seeds as seeds, time_limit,
    to_anyhow,
};
pub use super::spelling::spelled;
pub use super::suite::listed as suites;
pub use windtunnel_score::render::suite::json as suite;

/// What a simulation found out.
#[derive(Debug)]
pub struct Simulated {
    /// What the command prints with `--json`.
    pub report: serde_json::Value,
    /// What the command says on stderr, before it starts and after it is done; settings stand in
    /// backticks.
    pub notes: Vec<String>,
    /// The run itself.
    pub result: RunResult,
}

impl Simulated {
    /// The rows of the requests as columns, by name, none with `summary_only`; their times are in
    /// ticks where time is abstract.
    #[must_use]
    pub fn columns(&self) -> Vec<(&'static str, Column)> {
        match &self.result.inputs.ticks {
            Some(inputs) => ticks::columns(&self.result.record, inputs),
            None => rows::columns(&self.result.record),
        }
    }

    /// The run as a page; `call` makes it again.
    #[must_use]
    pub fn page(&self, call: &str) -> String {
        let results = self.result.results();
        match &self.result.inputs.ticks {
            Some(inputs) => ticks::html(&results, inputs),
            None => run_page::html(&results, call),
        }
    }
}

/// Carries out a run and writes its files, as the command does. `resolver` may bring policies of
/// the program along, pages say that `call` makes them again; `progress` is called now and then,
/// also before the first event.
///
/// # Errors
/// As the command: [`InputError`](windtunnel_base::input::InputError) for what the user can change.
pub fn simulate(
    run: &RunSpec,
    files: &Files,
    resolver: &Resolver<'_>,
    call: &str,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Simulated> {
    files.check(run)?;
    let simulation = resolver.resolve(&files.asked_of(run))?;
    let mut notes: Vec<String> = simulation.notes().cloned().collect();
    progress(Progress::default());
    let mut staging = Staging::default();
    let result = output::complete(simulation, files, &mut staging, progress)?;
    notes.extend(result.notes.iter().cloned());
    let results = result.results();
    output::write_files(&result, &results, files, staging, call)?;
    let report = result.json_of(&results);
    drop(results);
    Ok(Simulated {
        report,
        notes,
        result,
    })
}
