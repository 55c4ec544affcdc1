//! Runs one after the other, with one source that goes on from run to run.

use crate::simulation::{RunResult, Simulation};
use windtunnel_base::input::InputError;

impl Simulation {
    /// Carries out runs that differ in how long they are: all have the source of the first, which
    /// begins each at time 0 and goes on with its random numbers.
    ///
    /// # Errors
    /// When a policy fails, or the source cannot begin again.
    pub fn run_in_a_row(runs: Vec<Self>) -> Result<Vec<RunResult>, InputError> {
        let mut runs = runs;
        let Some(first) = runs.first_mut() else {
            return Ok(Vec::new());
        };
        let mut source = first.take_source();
        let mut results = Vec::new();
        for run in runs {
            if !source.restart() {
                return Err(InputError::new(
                    "this workload cannot go on in another run; a `load_generator` in ticks can",
                ));
            }
            results.push(run.run_with(source.as_mut())?);
        }
        Ok(results)
    }
}
