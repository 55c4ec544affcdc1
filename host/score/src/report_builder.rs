//! Builds reports from the results of runs.

use super::aggregate::{ScenarioComparison, Total, by_objective, is_regression};
use super::feedback;
use super::fuel::Fuel;
use super::objective::Objective;
use super::protocol::{Answer, RunKey};
use super::report::{
    FAILED, Invariants, Key, LEAST, Problem, ProblemKind, Report, SCHEMA, ScenarioReport, Stage,
    Stopped, Versus, Worst, distinct_problems,
};
use super::run::{Metrics, RunSummary};
use super::runner::{ComparedRuns, Runner};
use super::score_request::ScoreRequest;
use super::suite::ScenarioKeys;
use std::collections::BTreeMap;

/// The part of a report about each scenario.
#[must_use]
pub fn scenario_reports(
    runner: &Runner,
    request: &ScoreRequest,
    runs: ComparedRuns<'_>,
) -> Vec<ScenarioReport> {
    let report = |(keys, comparison): (&&ScenarioKeys, &ScenarioComparison)| {
        let runs: Vec<(usize, &RunKey, &RunSummary)> = runs.of_scenario(&keys.id).collect();
        let ours: Vec<&Metrics> = runs.iter().map(|(.., run)| &run.metrics).collect();
        let theirs: Vec<RunSummary> = runs
            .iter()
            .map(|(_, key, _)| runner.references.get(&request.suite, key)[&comparison.best].clone())
            .collect();
        let theirs: Vec<&Metrics> = theirs.iter().map(|run| &run.metrics).collect();
        let objectives = request.suite.file.objectives.iter().map(Objective::name);
        ScenarioReport {
            id: keys.id.clone(),
            family: Some(keys.family.clone()),
            score: comparison.score(),
            ci95: comparison.ci95(),
            best_builtin: Some(comparison.best.clone()),
            objectives: objectives.zip(comparison.objectives.clone()).collect(),
            metrics: Some(Metrics::of_seeds(&ours)),
            reference_metrics: Some(Metrics::of_seeds(&theirs)),
            instances: runs
                .first()
                .map_or(Vec::new(), |(.., run)| run.instances.clone()),
        }
    };
    runs.scenarios
        .iter()
        .zip(runs.comparisons)
        .map(report)
        .collect()
}

/// The report on a candidate that completed the stage full.
#[must_use]
pub fn full_report(
    runner: &Runner,
    request: &ScoreRequest,
    runs: ComparedRuns<'_>,
    total: Total,
    check: Answer,
) -> Report {
    let scenarios = scenario_reports(runner, request, runs);
    let mut hasher = blake3::Hasher::new();
    for keys in runs.scenarios {
        for (.., run) in runs.of_scenario(&keys.id) {
            hasher.update(run.digest.as_bytes());
        }
    }
    let worst = scenarios.iter().min_by(|a, b| a.score.total_cmp(&b.score));
    Report {
        ok: true,
        score: total.score,
        score_ci95: total.ci95().map(|ends| ends.map(|end| end.max(LEAST))),
        stage: Stage::Full,
        objectives: by_objective(&request.suite.file.objectives, runs.comparisons),
        worst: worst.map(|s| Worst {
            scenario: s.id.clone(),
            score: s.score,
        }),
        regressions: scenarios
            .iter()
            .filter(|s| is_regression(s.score))
            .map(|s| s.id.clone())
            .collect(),
        vs: Versus {
            reference: "best_builtin".into(),
            per_scenario_best: scenarios
                .iter()
                .filter_map(|s| Some((s.id.clone(), s.best_builtin.clone()?)))
                .collect(),
        },
        scenarios,
        fuel: fuel_of(runs.summaries, check.fuel),
        features: check.features,
        warnings: check.warnings,
        key: Key {
            runs: hasher.finalize().to_hex()[..16].to_owned(),
            behaviour: check.behaviour,
            ..Key::default()
        },
        ..blank(request)
    }
}

/// The largest use of fuel in runs, and in those of the check.
pub fn fuel_of(summaries: &[Option<RunSummary>], check: Option<Fuel>) -> Option<Fuel> {
    let runs = summaries.iter().flatten().filter_map(|run| run.fuel);
    Fuel::largest(runs.chain(check))
}

/// A report without results.
fn blank(request: &ScoreRequest) -> Report {
    Report {
        schema: SCHEMA.into(),
        ok: false,
        score: FAILED,
        score_ci95: None,
        stage: Stage::Lint,
        stopped: None,
        suite: request.suite.label(),
        split: request.split,
        candidate: request.candidate.name.clone(),
        objectives: BTreeMap::new(),
        worst: None,
        regressions: Vec::new(),
        vs: Versus {
            reference: "best_builtin".into(),
            ..Versus::default()
        },
        scenarios: Vec::new(),
        features: BTreeMap::new(),
        fresh: None,
        fuel: None,
        errors: Vec::new(),
        warnings: Vec::new(),
        invariants: Invariants::default(),
        feedback: String::new(),
        feedback_items: Vec::new(),
        key: Key::default(),
        wall_ms: 0,
    }
}

/// The report on a candidate that does not work. `worked` is (successful runs, attempted runs), if
/// any were attempted; `fuel` what those that worked used.
pub fn failed_report(
    request: &ScoreRequest,
    stage: Stage,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    worked: Option<(usize, usize)>,
    fuel: Option<Fuel>,
) -> Report {
    let errors = distinct_problems(problems);
    let broken = errors.iter().filter(|e| e.kind == ProblemKind::Invariant);
    let violations = broken.map(|e| e.message.clone()).collect();
    let (feedback, feedback_items) = feedback::failed(stage, &errors, worked);
    Report {
        feedback,
        feedback_items,
        stage,
        fuel,
        errors,
        warnings,
        invariants: Invariants { violations },
        ..blank(request)
    }
}

/// The score of a candidate that was stopped: below every score of the stage full, in the order of
/// the estimates.
fn stopped_score(estimate: f64) -> f64 {
    // From [LEAST, 100] to [LEAST - 1, LEAST).
    LEAST - 1.0 + (estimate.clamp(LEAST, 100.0) - LEAST) / (101.0 - LEAST)
}

/// The report on a candidate that works and was stopped early.
pub fn stopped_report(
    request: &ScoreRequest,
    stage: Stage,
    reason: &str,
    estimate: Option<f64>,
    check: &Answer,
    summaries: &[Option<RunSummary>],
) -> Report {
    Report {
        ok: true,
        score: estimate.map_or(LEAST - 1.0, stopped_score),
        stage,
        stopped: Some(Stopped {
            reason: reason.to_owned(),
            estimate,
        }),
        features: check.features.clone(),
        fuel: fuel_of(summaries, check.fuel),
        warnings: check.warnings.clone(),
        key: Key {
            behaviour: check.behaviour.clone(),
            ..Key::default()
        },
        ..blank(request)
    }
}
