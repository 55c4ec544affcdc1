//! Which runs a question takes.

use super::ask::{Ask, Until};
use super::protocol::Flying;
use super::suite::{ScenarioKeys, Split};
use windtunnel_base::input::InputError;

/// Scenarios of the stage quick.
pub const QUICK_SCENARIOS: usize = 4;
/// Requests of each of them.
pub const QUICK_REQUESTS: u64 = 1000;

/// The scenarios that are asked for, each once.
///
/// # Errors
/// When there are none, or one is unknown or named twice.
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
    if wanted.is_empty() {
        return Err(InputError::new(
            "scenarios: the list is empty; leave it out for all of them",
        ));
    }
    if let Some(twice) = (1..wanted.len()).find(|k| wanted[..*k].contains(&wanted[*k])) {
        let message = format!("the scenario \"{}\" is named twice", wanted[twice]);
        return Err(InputError::new(message));
    }
    let ids: Vec<&str> = all.iter().map(|s| s.id.as_str()).collect();
    wanted
        .iter()
        .map(|id| {
            let found = all.iter().find(|s| s.id == *id).copied();
            found.ok_or_else(|| {
                InputError::new(windtunnel_base::input::unknown(
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

/// Whether the stage quick comes before the stage full.
#[must_use]
pub fn quick_first(ask: &Ask, scenarios: usize) -> bool {
    ask.split == Split::Train && ask.until == Until::Auto && scenarios > 1
}

/// All runs that a question starts with.
///
/// # Errors
/// As [`chosen`].
pub fn all_flyings(ask: &Ask) -> Result<Vec<Flying>, InputError> {
    let scenarios = chosen(ask)?;
    let mut flyings = Vec::new();
    if ask.until == Until::Quick || quick_first(ask, scenarios.len()) {
        flyings.extend(quick_flyings(ask, &pick(&scenarios)));
    }
    if matches!(ask.until, Until::Auto | Until::Full) {
        let seeds = ask.seeds.first(&ask.suite.file, ask.split);
        flyings.extend(full_flyings(ask, &scenarios, 0..seeds));
    }
    Ok(flyings)
}
