//! Reports: what is told of a candidate, and what is not.

use super::aggregate::{Compared, Total, is_regression};
use super::ask::Ask;
use super::fleet::{Fleet, Flown};
use super::flight::{Flight, Metrics};
use super::objective::Objective;
use super::protocol::{Answer, Flying};
use super::report::{
    FAILED, Key, LEAST, Problem, ProblemKind, Report, SCHEMA, ScenarioReport, Stage, Stopped,
    Versus, Worst,
};
use super::suite::{ScenarioKeys, Split};
use std::collections::BTreeMap;

/// Most problems in a report.
const MOST_PROBLEMS: usize = 5;

/// The scenarios as they are told.
#[must_use]
pub fn rows(fleet: &Fleet, ask: &Ask, flown: Flown<'_>) -> Vec<ScenarioReport> {
    let row = |(keys, compared): (&&ScenarioKeys, &Compared)| {
        let runs: Vec<(usize, &Flying, &Flight)> = flown.of_scenario(&keys.id).collect();
        let ours: Vec<&Metrics> = runs.iter().map(|(.., f)| &f.metrics).collect();
        let theirs: Vec<Flight> = runs
            .iter()
            .map(|(_, f, _)| fleet.references.get(&ask.suite, f)[&compared.best].clone())
            .collect();
        let theirs: Vec<&Metrics> = theirs.iter().map(|f| &f.metrics).collect();
        let objectives = ask.suite.file.objectives.iter().map(Objective::name);
        ScenarioReport {
            id: keys.id.clone(),
            family: Some(keys.family.clone()),
            score: compared.score(),
            ci95: compared.ci95(),
            best_builtin: Some(compared.best.clone()),
            objectives: objectives.zip(compared.objectives.clone()).collect(),
            metrics: Some(Metrics::of_seeds(&ours)),
            reference_metrics: Some(Metrics::of_seeds(&theirs)),
            instances: runs
                .first()
                .map_or(Vec::new(), |(.., f)| f.instances.clone()),
        }
    };
    flown
        .scenarios
        .iter()
        .zip(flown.compared)
        .map(row)
        .collect()
}

/// The report on a candidate that went all the way.
#[must_use]
pub fn told(fleet: &Fleet, ask: &Ask, flown: Flown<'_>, total: Total, check: Answer) -> Report {
    let told = rows(fleet, ask, flown);
    let mut hasher = blake3::Hasher::new();
    for keys in flown.scenarios {
        for (.., flight) in flown.of_scenario(&keys.id) {
            hasher.update(flight.digest.as_bytes());
        }
    }
    let worst = told.iter().min_by(|a, b| a.score.total_cmp(&b.score));
    Report {
        ok: true,
        score: total.score,
        score_ci95: total.ci95().map(|ends| ends.map(|end| end.max(LEAST))),
        stage: Stage::Full,
        objectives: by_objective(&ask.suite.file.objectives, flown.compared),
        worst: worst.map(|s| Worst {
            scenario: s.id.clone(),
            score: s.score,
        }),
        regressions: told
            .iter()
            .filter(|s| is_regression(s.score))
            .map(|s| s.id.clone())
            .collect(),
        vs: Versus {
            reference: "best_builtin".into(),
            per_scenario_best: told
                .iter()
                .filter_map(|s| Some((s.id.clone(), s.best_builtin.clone()?)))
                .collect(),
        },
        scenarios: told,
        features: check.features,
        warnings: check.warnings,
        key: Key {
            runs: hasher.finalize().to_hex()[..16].to_owned(),
            behaviour: check.behaviour,
            ..Key::default()
        },
        ..blank(ask)
    }
}

/// Weighted means over scenarios, by objective.
#[must_use]
pub fn by_objective(objectives: &[Objective], compared: &[Compared]) -> BTreeMap<String, f64> {
    let weights: f64 = compared.iter().map(|c| c.weight).sum();
    let part = |o: usize| compared.iter().map(move |c| c.weight * c.objectives[o]);
    let named = objectives.iter().enumerate();
    named
        .map(|(o, objective)| (objective.name(), part(o).sum::<f64>() / weights))
        .collect()
}

/// A report in which nothing is said yet.
fn blank(ask: &Ask) -> Report {
    Report {
        schema: SCHEMA.into(),
        ok: false,
        score: FAILED,
        score_ci95: None,
        stage: Stage::Lint,
        stopped: None,
        suite: ask.suite.label(),
        split: ask.split,
        candidate: ask.candidate.name.clone(),
        objectives: BTreeMap::new(),
        worst: None,
        regressions: Vec::new(),
        vs: Versus {
            reference: "best_builtin".into(),
            ..Versus::default()
        },
        scenarios: Vec::new(),
        features: BTreeMap::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        invariants: super::report::Invariants::default(),
        feedback: String::new(),
        feedback_items: Vec::new(),
        key: Key::default(),
        wall_ms: 0,
    }
}

/// The first few problems that differ.
fn without_repetition(problems: Vec<Problem>) -> Vec<Problem> {
    let mut errors: Vec<Problem> = Vec::new();
    for problem in problems {
        let same =
            |e: &Problem| (e.kind, e.line, &e.hook) == (problem.kind, problem.line, &problem.hook);
        if !errors.iter().any(same) {
            errors.push(problem);
        }
    }
    errors.truncate(MOST_PROBLEMS);
    errors
}

/// A candidate that does not work; it did in `worked` of so many runs.
pub fn failed(
    ask: &Ask,
    stage: Stage,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    worked: Option<(usize, usize)>,
) -> Report {
    let errors = without_repetition(problems);
    let broken = errors.iter().filter(|e| e.kind == ProblemKind::Invariant);
    let violations = broken.map(|e| e.message.clone()).collect();
    let (feedback, feedback_items) = super::feedback::failed(stage, &errors, worked);
    Report {
        feedback,
        feedback_items,
        stage,
        errors,
        warnings,
        invariants: super::report::Invariants { violations },
        ..blank(ask)
    }
}

/// The score of a candidate that was stopped: more for one that looked better, and less than
/// anything that was flown in full.
fn below_all(estimate: f64) -> f64 {
    // From [LEAST, 100] to [LEAST - 1, LEAST).
    LEAST - 1.0 + (estimate.clamp(LEAST, 100.0) - LEAST) / (101.0 - LEAST)
}

/// A candidate that works but is not taken further.
pub fn stopped(
    ask: &Ask,
    stage: Stage,
    reason: &str,
    estimate: Option<f64>,
    check: &Answer,
) -> Report {
    Report {
        ok: true,
        score: estimate.map_or(LEAST - 1.0, below_all),
        stage,
        stopped: Some(Stopped {
            reason: reason.to_owned(),
            estimate,
        }),
        features: check.features.clone(),
        warnings: check.warnings.clone(),
        key: Key {
            behaviour: check.behaviour.clone(),
            ..Key::default()
        },
        ..blank(ask)
    }
}

/// What may be told of problems in the runs of a split: outside `train` only that there was one,
/// and of which kind. Not even its file and line: a candidate can choose where it fails by what it
/// sees.
#[must_use]
pub fn guarded(problems: &[Problem], split: Split) -> Vec<Problem> {
    let mut problems = without_repetition(problems.to_vec());
    if split != Split::Train {
        problems.truncate(1);
        for problem in &mut problems {
            let message = format!("it fails in the split {split}, of which no details are told");
            *problem = Problem::new(problem.kind, "", message);
        }
    }
    problems
}

/// Of `val` only scores are told, of `holdout` only the total: a candidate must not learn them by
/// its feedback, nor by what it writes into its own errors.
pub fn tell_no_more_than(report: &mut Report, split: Split) {
    if split == Split::Train {
        return;
    }
    report.objectives.clear();
    report.worst = None;
    report.regressions.clear();
    report.vs.per_scenario_best.clear();
    report.feedback.clear();
    report.feedback_items.clear();
    // Up to the first flight it has seen nothing of the split.
    if report.stage >= Stage::Quick {
        report.errors = guarded(&report.errors, split);
    }
    report.invariants.violations.clear();
    // Whether two candidates fare the same would tell what occurs in the split: fingerprints of
    // different ones do not compare.
    if !report.key.runs.is_empty() {
        let runs = format!("{} {}", report.key.candidate, report.key.runs);
        report.key.runs = blake3::hash(runs.as_bytes()).to_hex()[..16].to_owned();
    }
    if split == Split::Holdout {
        report.scenarios.clear();
        // The total of a part: with that of all, it would tell the others'.
        if let Some(stopped) = &mut report.stopped {
            stopped.estimate = None;
        }
        return;
    }
    for scenario in &mut report.scenarios {
        *scenario = ScenarioReport {
            id: std::mem::take(&mut scenario.id),
            family: None,
            score: scenario.score,
            ci95: None,
            best_builtin: None,
            objectives: BTreeMap::new(),
            metrics: None,
            reference_metrics: None,
            instances: Vec::new(),
        };
    }
}
