//! Commands as functions, for programs that have the simulator in their own process (the Python
//! module).

use super::output;
use windtunnel_base::input::Staging;
use windtunnel_base::record::RunRecord;
use windtunnel_engine::cluster::Progress;
use windtunnel_results::metrics::ticks::TickInputs;
use windtunnel_results::report::rows::{self, Column};
use windtunnel_results::report::ticks;
use windtunnel_sim::RunSpec;

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
    /// Every request's record; none with `summary_only`.
    pub record: RunRecord,
    /// Of a run in abstract time.
    ticks: Option<TickInputs>,
}

impl Simulated {
    /// The rows of the requests as columns, by name; their times are in ticks where time is
    /// abstract.
    #[must_use]
    pub fn columns(&self) -> Vec<(&'static str, Column)> {
        match &self.ticks {
            Some(inputs) => ticks::columns(&self.record, inputs),
            None => rows::columns(&self.record),
        }
    }
}

/// Carries out a run and writes its files, as the command does. `progress` is called now and then,
/// also before the first event.
///
/// # Errors
/// As the command: [`InputError`](windtunnel_base::input::InputError) for what the user can change.
pub fn simulate(
    run: &RunSpec,
    files: &Files,
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<Simulated> {
    files.check(run)?;
    let simulation = files.asked_of(run).resolve()?;
    let mut notes: Vec<String> = simulation.notes().cloned().collect();
    progress(Progress::default());
    let mut staging = Staging::default();
    let result = output::complete(simulation, files, &mut staging, progress)?;
    notes.extend(result.notes.iter().cloned());
    let results = result.results();
    output::write_files(&result, &results, files, staging)?;
    Ok(Simulated {
        report: result.json_of(&results),
        notes,
        ticks: result.inputs.ticks,
        record: result.record,
    })
}
