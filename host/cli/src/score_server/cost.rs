//! What requests may cost: simulated requests, which is scenarios times seeds times the requests of
//! a run.

use windtunnel_base::input::InputError;
use windtunnel_score::plan::selected_scenarios;
use windtunnel_score::{ScoreRequest, Seeds, Split, Suite};

/// The limits of one HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct CostLimits {
    /// Most seeds per scenario.
    pub seeds: u32,
    /// Most simulated requests of the candidate.
    pub requests: u64,
}

impl CostLimits {
    /// The limits that are given, or what the suite's own settings can amount to.
    pub fn new(suite: &Suite, seeds: Option<u32>, requests: Option<u64>) -> Self {
        let seeds = seeds.unwrap_or(suite.file.max_seeds);
        let scenarios: usize = Split::ALL
            .map(|split| suite.scenarios(split).count())
            .iter()
            .sum();
        let whole = (scenarios as u64)
            .saturating_mul(seeds.max(suite.file.max_seeds).into())
            .saturating_mul(suite.file.requests);
        Self {
            seeds,
            requests: requests.unwrap_or(whole),
        }
    }

    /// Refuses what could not be scored or would cost too much, before anything runs.
    ///
    /// # Errors
    /// Unknown scenarios, too many seeds, too many simulated requests.
    pub fn check(&self, requests: &[ScoreRequest]) -> Result<(), InputError> {
        let mut cost = 0u64;
        for request in requests {
            let scenarios = selected_scenarios(request)?.len() as u64;
            let file = &request.suite.file;
            if let Seeds::Fixed(n) = request.seeds
                && n > self.seeds
            {
                return Err(InputError::new(format!(
                    "seeds is {n}; this server takes at most {} (--max-seeds)",
                    self.seeds
                )));
            }
            let seeds = request.seeds.max(file, request.split).into();
            let one = scenarios
                .saturating_mul(seeds)
                .saturating_mul(file.requests);
            cost = cost.saturating_add(one);
        }
        if cost > self.requests {
            return Err(InputError::new(format!(
                "this costs {cost} simulated requests, scenarios x seeds x {}; this server allows {} (--max-requests)",
                requests[0].suite.file.requests, self.requests
            )));
        }
        Ok(())
    }
}
