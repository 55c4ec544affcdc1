//! The runs that a request takes.

use super::protocol::RunKey;
use super::score_request::{LastStage, ScoreRequest};
use super::suite::{ScenarioKeys, Split};
use std::ops::Range;
use windtunnel_base::input::InputError;

/// Scenarios of the stage quick.
pub const QUICK_SCENARIOS: usize = 4;
/// Requests of each of them; all where a policy scales pools, as what it does shows over a day.
pub const QUICK_REQUESTS: u64 = 1000;

/// The scenarios of a request, each once.
///
/// # Errors
/// When there are none, or one is unknown or named twice.
pub fn selected_scenarios(request: &ScoreRequest) -> Result<Vec<&ScenarioKeys>, InputError> {
    let all: Vec<&ScenarioKeys> = request.suite.scenarios(request.split).collect();
    if all.is_empty() {
        let message = format!("the split {} has no scenarios", request.split);
        return Err(InputError::in_file(request.suite.label(), message));
    }
    let Some(wanted) = &request.scenarios else {
        return Ok(all);
    };
    if request.split == Split::Holdout {
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
                InputError::unknown(
                    &format!("scenario of {} {}", request.suite.label(), request.split),
                    id,
                    &ids,
                )
            })
        })
        .collect()
}

/// The scenarios of the stage quick, evenly spaced over all of the split.
#[must_use]
pub fn quick_scenarios<'a>(scenarios: &[&'a ScenarioKeys]) -> Vec<&'a ScenarioKeys> {
    let n = QUICK_SCENARIOS.min(scenarios.len());
    (0..n).map(|k| scenarios[k * scenarios.len() / n]).collect()
}

/// The runs of the stage quick.
///
/// # Errors
/// When the salt of the holdout is missing.
pub fn quick_runs(
    request: &ScoreRequest,
    scenarios: &[&ScenarioKeys],
) -> Result<Vec<RunKey>, InputError> {
    let file = &request.suite.file;
    let requests = match file.scales() {
        true => file.requests,
        false => QUICK_REQUESTS.min(file.requests),
    };
    runs(request, scenarios, 0..1, requests)
}

/// The runs of the stage full, with these seeds.
///
/// # Errors
/// When the salt of the holdout is missing.
pub fn full_runs(
    request: &ScoreRequest,
    scenarios: &[&ScenarioKeys],
    seeds: Range<u32>,
) -> Result<Vec<RunKey>, InputError> {
    runs(request, scenarios, seeds, request.suite.file.requests)
}

fn runs(
    request: &ScoreRequest,
    scenarios: &[&ScenarioKeys],
    seeds: Range<u32>,
    requests: u64,
) -> Result<Vec<RunKey>, InputError> {
    let mut all = Vec::new();
    for scenario in scenarios {
        for k in seeds.clone() {
            all.push(RunKey {
                scenario: scenario.id.clone(),
                seed: request.suite.seed(request.split, scenario, k)?,
                requests,
                exact: false,
            });
        }
    }
    Ok(all)
}

/// The runs on fresh seeds.
///
/// # Errors
/// When the salt that they are drawn with is missing.
pub fn fresh_runs(
    request: &ScoreRequest,
    scenarios: &[&ScenarioKeys],
) -> Result<Vec<RunKey>, InputError> {
    let mut all = full_runs(request, scenarios, 0..request.fresh_seeds)?;
    let places = scenarios
        .iter()
        .flat_map(|s| (0..request.fresh_seeds).map(move |k| (s, k)));
    for (key, (scenario, k)) in all.iter_mut().zip(places) {
        key.seed = request.suite.fresh_seed(scenario, k)?;
    }
    Ok(all)
}

/// Whether the stage quick comes before the stage full.
#[must_use]
pub fn starts_with_quick(request: &ScoreRequest, scenarios: usize) -> bool {
    request.split == Split::Train && request.last_stage == LastStage::Auto && scenarios > 1
}

/// All runs that are certain to be made for a request, unless it is stopped early.
///
/// # Errors
/// As [`selected_scenarios`].
pub fn initial_runs(request: &ScoreRequest) -> Result<Vec<RunKey>, InputError> {
    let scenarios = selected_scenarios(request)?;
    let mut run_keys = Vec::new();
    if request.last_stage == LastStage::Quick || starts_with_quick(request, scenarios.len()) {
        run_keys.extend(quick_runs(request, &quick_scenarios(&scenarios))?);
    }
    if matches!(request.last_stage, LastStage::Auto | LastStage::Full) {
        let seeds = request.seeds.initial(&request.suite.file, request.split);
        run_keys.extend(full_runs(request, &scenarios, 0..seeds)?);
    }
    Ok(run_keys)
}
