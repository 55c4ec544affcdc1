//! What reports leave out about the splits val and holdout.

use super::report::{Problem, Report, ScenarioReport, Stage, distinct_problems};
use super::suite::Split;
use std::collections::BTreeMap;

/// The problems of runs of a split that may be shown: outside train only that there is one, and its
/// kind. Not even its file and line: a candidate can choose where it fails by what it observes.
#[must_use]
pub fn redacted_problems(problems: &[Problem], split: Split) -> Vec<Problem> {
    let mut problems = distinct_problems(problems.to_vec());
    if split != Split::Train {
        problems.truncate(1);
        for problem in &mut problems {
            let message = format!(
                "it fails in the split {split} ({}), of which no more is told",
                problem.kind.name()
            );
            *problem = Problem::new(problem.kind, "", message);
        }
    }
    problems
}

/// Removes what the split does not show: of val only scores are left, of holdout only the total. A
/// candidate could otherwise learn the scenarios from feedback, or from what it writes into its own
/// errors.
pub fn redact(report: &mut Report, split: Split) {
    if split == Split::Train {
        return;
    }
    report.fresh = None;
    report.fuel = report.fuel.map(|fuel| fuel.told(split));
    report.objectives.clear();
    report.worst = None;
    report.regressions.clear();
    report.vs.per_scenario_best.clear();
    report.feedback.clear();
    report.feedback_items.clear();
    // The smoke scenarios are the same for all splits, so their problems reveal nothing.
    if report.stage >= Stage::Quick {
        report.errors = redacted_problems(&report.errors, split);
    }
    report.invariants.violations.clear();
    // Equal fingerprints of two candidates would show that what tells them apart does not occur in
    // the split, so fingerprints of different candidates are made incomparable.
    if !report.key.runs.is_empty() {
        let runs = format!("{} {}", report.key.candidate, report.key.runs);
        report.key.runs = blake3::hash(runs.as_bytes()).to_hex()[..16].to_owned();
    }
    if split == Split::Holdout {
        report.scenarios.clear();
        // The estimate is of some of the scenarios: with the total it would show the others.
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
