//! Which runs a question takes.

use super::ask::Ask;
use super::protocol::Flying;
use super::suite::{ScenarioKeys, Split};
use crate::input::InputError;

/// Scenarios of the stage quick.
pub const QUICK_SCENARIOS: usize = 4;
/// Requests of each of them.
pub const QUICK_REQUESTS: u64 = 1000;

/// The scenarios that are asked for.
///
/// # Errors
/// When there are none, or one is unknown.
pub fn chosen(ask: &Ask) -> Result<Vec<&ScenarioKeys>, InputError> {
    let all: Vec<&ScenarioKeys> = ask.suite.scenarios(ask.split).collect();
    if all.is_empty() {
        let message = format!("the split {} has no scenarios", ask.split);
        return Err(InputError::in_file(ask.suite.label(), message));
    }
    let Some(wanted) = &ask.scenarios else {
        return Ok(all);
    };
    if ask.split == Split::Holdout {
        return Err(InputError::new(
            "the split holdout is scored as a whole: only its total is told",
        ));
    }
    let ids: Vec<&str> = all.iter().map(|s| s.id.as_str()).collect();
    wanted
        .iter()
        .map(|id| {
            let found = all.iter().find(|s| s.id == *id).copied();
            found.ok_or_else(|| {
                InputError::new(crate::input::unknown(
                    &format!("scenario of {} {}", ask.suite.label(), ask.split),
                    id,
                    &ids,
                ))
            })
        })
        .collect()
}

/// The scenarios of the stage quick, spread evenly over all.
#[must_use]
pub fn pick<'a>(scenarios: &[&'a ScenarioKeys]) -> Vec<&'a ScenarioKeys> {
    let n = QUICK_SCENARIOS.min(scenarios.len());
    (0..n).map(|k| scenarios[k * scenarios.len() / n]).collect()
}

/// The runs of the stage quick.
#[must_use]
pub fn quick_flyings(ask: &Ask, scenarios: &[&ScenarioKeys]) -> Vec<Flying> {
    let flying = |s: &&ScenarioKeys| Flying {
        scenario: s.id.clone(),
        seed: s.seed,
        requests: QUICK_REQUESTS.min(ask.suite.file.requests),
        exact: false,
    };
    scenarios.iter().map(flying).collect()
}

/// The runs of the stage full, with these seeds.
#[must_use]
pub fn full_flyings(
    ask: &Ask,
    scenarios: &[&ScenarioKeys],
    seeds: std::ops::Range<u32>,
) -> Vec<Flying> {
    let flying = |s: &&ScenarioKeys| {
        let (scenario, first) = (s.id.clone(), s.seed);
        seeds.clone().map(move |k| Flying {
            scenario: scenario.clone(),
            seed: nth_seed(first, k),
            requests: ask.suite.file.requests,
            exact: false,
        })
    };
    scenarios.iter().flat_map(flying).collect()
}

/// The seeds of a scenario. Scenarios whose first seeds are neighbours share none.
#[must_use]
pub fn nth_seed(first: u64, k: u32) -> u64 {
    first + 1_000_003 * u64::from(k)
}

/// All runs that a full scoring starts with.
///
/// # Errors
/// As [`chosen`].
pub fn all_flyings(ask: &Ask) -> Result<Vec<Flying>, InputError> {
    let scenarios = chosen(ask)?;
    let seeds = ask.seeds.first(&ask.suite.file, ask.split);
    let mut flyings = full_flyings(ask, &scenarios, 0..seeds);
    flyings.extend(quick_flyings(ask, &pick(&scenarios)));
    Ok(flyings)
}
