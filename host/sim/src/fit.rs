//! Fits the step-time model `kernel-tables` to measured runs of one deployment.
//!
//! The same requests at the same times are simulated again and again with other figures: what is
//! compared is what a user would compare, so that queueing, batching and the prefix cache are
//! in it. `cells` says what the comparison is, `search` how the figures are changed.

mod cells;
mod errors;
mod matrix;
mod search;
mod simulate;

pub use cells::Load;
pub use errors::{LoadErrors, MetricErrors};

use crate::RunSpec;
use cells::errors_of_means;
use search::{Found, Problem};
use simulate::{Deployed, simulate};
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;
use windtunnel_config::{
    Calibration, CalibrationSource, Estimate, Holdout, HoldoutErrors, KernelFit, PARAMETERS,
};
use windtunnel_workload::measured::Replay;

/// What is fitted to what.
#[derive(Clone, Debug)]
pub struct FitRequest {
    /// The deployment that was measured: one pool.
    pub spec: RunSpec,
    /// The measured runs, each with the hash of its file.
    pub runs: Vec<(Replay, String)>,
    /// Threads.
    pub jobs: usize,
    /// What made the calibration, with its version.
    pub made_by: String,
}

/// The result of a fit.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// What is written.
    pub calibration: Calibration,
    /// Errors of each load on the requests that were held out: with the shipped figures, with the
    /// calibration.
    pub loads: Vec<(Load, [LoadErrors; 2])>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// Simulations that it took.
    pub simulations: usize,
}

/// Fits; `progress` is told of every simulation, with the number that there may be.
///
/// # Errors
/// When the deployment cannot be simulated with `kernel-tables`, a run is too short, or the
/// simulation is behind its load whatever the figures.
pub fn fit(
    request: &FitRequest,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Fitted, InputError> {
    let FitRequest { spec, jobs, .. } = request;
    let deployed = Deployed::of(spec)?;
    let mut notes = deployed.notes.clone();
    let mut loads = Vec::new();
    for (replay, _) in &request.runs {
        notes.extend(replay.notes.iter().cloned());
        let load = Load::new(replay)?;
        notes.extend(load.note());
        loads.push(load);
    }
    let runs: Vec<(&Load, &Replay)> = loads
        .iter()
        .zip(request.runs.iter().map(|r| &r.0))
        .collect();
    let mut problem = Problem::new(spec, &runs, *jobs, deployed.shipped, progress);
    let found = search::search(&mut problem)?;
    let simulations = problem.simulations();
    let fitted_to = found.fit(&deployed.shipped);
    let errors = holdout(spec, &runs, *jobs, [deployed.shipped, fitted_to])?;
    let holdout = Holdout {
        improved: score(&errors, 1) < score(&errors, 0),
        before: mean_errors(&errors, 0),
        after: mean_errors(&errors, 1),
    };
    notes.extend(what_is_not_known(&found, &loads));
    let calibration = Calibration {
        version: Calibration::VERSION,
        model: deployed.model,
        gpu: deployed.gpu,
        tp: deployed.tp,
        engine: deployed.engine,
        made_by: request.made_by.clone(),
        parameters: parameters(&found, &deployed.shipped),
        sources: sources(&loads, &request.runs),
        holdout,
        file: String::new(),
    };
    drop(runs);
    Ok(Fitted {
        calibration,
        loads: loads.into_iter().zip(errors).collect(),
        notes,
        simulations: simulations + 2 * request.runs.len(),
    })
}

fn sources(loads: &[Load], runs: &[(Replay, String)]) -> Vec<CalibrationSource> {
    let source = |(load, (replay, hash)): (&Load, &(Replay, String))| CalibrationSource {
        file: replay.name.clone(),
        blake3: hash.clone(),
        requests: load.requests() as u64,
        held_out: load.held_out().len() as u64,
        rate_rps: rounded(load.rate_rps()),
    };
    loads.iter().zip(runs).map(source).collect()
}

/// Six digits: more says nothing, and is harder to read.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

fn parameters(found: &Found, shipped: &KernelFit) -> BTreeMap<String, Estimate> {
    let estimate = |(k, parameter): (usize, &windtunnel_config::Parameter)| {
        let [low, value, high] = found.interval(k, shipped);
        let estimate = Estimate {
            value: rounded(value),
            low: rounded(low.min(value)),
            high: rounded(high.max(value)),
            shipped: parameter.of(shipped),
            identified: found.is_identified(k),
        };
        (parameter.name.to_owned(), estimate)
    };
    PARAMETERS.iter().enumerate().map(estimate).collect()
}

/// Loads that differ less than this are one.
const SAME_LOAD: f64 = 1.3;

/// What the runs do not tell, and why.
fn what_is_not_known(found: &Found, loads: &[Load]) -> Vec<String> {
    let mut notes = Vec::new();
    let unknown: Vec<&str> = (0..PARAMETERS.len())
        .filter(|k| !found.is_identified(*k))
        .map(|k| PARAMETERS[k].name)
        .collect();
    if !unknown.is_empty() {
        notes.push(format!(
            "these runs do not tell {}: near the shipped values by what is known of other servers",
            unknown.join(", ")
        ));
    }
    let running = loads.iter().map(Load::mean_running);
    let least = running.clone().fold(f64::INFINITY, f64::min);
    let most = running.fold(0.0, f64::max);
    if most < SAME_LOAD * least {
        notes.push(
            "there is one load: what grows with load cannot be told from what does not; a run at another rate would"
                .to_owned(),
        );
    }
    let hidden = |name: &str| {
        let place = PARAMETERS.iter().position(|p| p.name == name);
        unknown.contains(&name) && place.is_some_and(|k| found.is_flat(k))
    };
    if hidden("host_us") && hidden("host_request_us") {
        notes.push(
            "the engine's own code (host_us, host_request_us) is not seen, as the GPU takes longer in all steps"
                .to_owned(),
        );
    }
    for (a, b) in found.entangled() {
        notes.push(format!(
            "{} and {} are known together better than each alone: one more and the other less fits as well",
            PARAMETERS[a].name, PARAMETERS[b].name
        ));
    }
    notes
}

/// Errors on the held-out requests, by load, with each of two sets of figures.
fn holdout(
    spec: &RunSpec,
    runs: &[(&Load, &Replay)],
    jobs: usize,
    fits: [KernelFit; 2],
) -> Result<Vec<[LoadErrors; 2]>, InputError> {
    let tasks: Vec<_> = runs
        .iter()
        .flat_map(|run| fits.map(|fit| (*run, fit)))
        .collect();
    let results = parallel::map(
        &tasks,
        jobs,
        |((load, replay), fit)| {
            let simulated = simulate(spec, replay, load.requests(), fit)?;
            Ok(errors_of_means(load, &simulated))
        },
        |_, _| (),
    );
    let errors: Vec<LoadErrors> = results.into_iter().collect::<Result<_, InputError>>()?;
    let by_run = errors.chunks(2).map(|both| [both[0], both[1]]);
    Ok(by_run.collect())
}

/// Mean over the loads of the absolute errors of means.
fn mean_errors(errors: &[[LoadErrors; 2]], which: usize) -> HoldoutErrors {
    let mean = |of: &dyn Fn(&LoadErrors) -> Option<f64>| {
        let all: Vec<f64> = errors.iter().filter_map(|e| of(&e[which])).collect();
        let sum: f64 = all.iter().map(|e| e.abs()).sum();
        (!all.is_empty()).then(|| (1e4 * sum / all.len() as f64).round() / 1e4)
    };
    HoldoutErrors {
        ttft_percent: mean(&|e| Some(e.ttft.of_mean)).unwrap_or_default(),
        tpot_percent: mean(&|e| e.tpot.map(|t| t.of_mean)),
        e2e_percent: mean(&|e| Some(e.e2e.of_mean)).unwrap_or_default(),
    }
}

/// By what two sets of figures are compared: the errors of means of TTFT, TPOT and E2E alike.
fn score(errors: &[[LoadErrors; 2]], which: usize) -> f64 {
    let mean = mean_errors(errors, which);
    mean.ttft_percent + mean.tpot_percent.unwrap_or_default() + mean.e2e_percent
}
