//! Adds feedback to a report: inspects runs of the worst scenarios and composes what they show.

use super::feedback::{Figure, Headline, ScenarioFindings, compose};
use super::objective::Objective;
use super::protocol::Task;
use super::references::References;
use super::regret::InspectionPlan;
use super::report::Report;
use super::report_builder::scenario_reports;
use super::runner::{ComparedRuns, Runner, WorkerSlots};
use super::score_request::ScoreRequest;
use super::suite::{ScenarioKeys, Split, Suite};
use windtunnel_policy::Hook;

/// What is inspected in the scenario with the lowest score. Each alternative costs a fork of the
/// process: together they take a fifth of the time of a scoring (performance.md).
const WORST_SCENARIO: InspectionPlan = InspectionPlan {
    sampled_decisions: 10,
    worst_requests: 3,
    alternatives: 1,
};
/// What is inspected in the second worst, if its score is below 0.
const SECOND_WORST_SCENARIO: InspectionPlan = InspectionPlan {
    sampled_decisions: 0,
    worst_requests: 0,
    alternatives: 0,
};

impl Runner {
    /// Adds feedback to the report on a candidate that works, if its split may have any: only train
    /// has.
    pub fn add_feedback(
        &self,
        report: &mut Report,
        request: &ScoreRequest,
        runs: ComparedRuns<'_>,
        hooks: &[Hook],
        slots: WorkerSlots,
    ) {
        if request.split != Split::Train {
            return;
        }
        let rows = scenario_reports(self, request, runs);
        let mut by_score: Vec<usize> = (0..rows.len()).collect();
        by_score.sort_by(|&a, &b| rows[a].score.total_cmp(&rows[b].score));
        let decides = hooks.contains(&Hook::Routing) || hooks.contains(&Hook::Disaggregation);
        let plan = |k: usize| match by_score.iter().position(|&at| at == k) {
            // An inspection is of decisions where requests go.
            _ if !decides => None,
            Some(0) => Some(WORST_SCENARIO),
            Some(1) if rows[k].score < 0.0 => Some(SECOND_WORST_SCENARIO),
            _ => None,
        };
        let inspect = |run: usize, plan: InspectionPlan| {
            // The worker that made this run has its traffic in memory.
            let lane = run % slots.count.min(runs.run_keys.len()).max(1);
            let slot = WorkerSlots {
                first: slots.first + lane,
                count: 1,
            };
            let task = Task::Inspect(runs.run_keys[run].clone(), plan);
            // The score does not depend on whether an inspection works.
            self.task(request, slot, task).ok()?.inspection
        };
        let findings = |k: usize| {
            let keys = runs.scenarios[k];
            let best = &runs.comparisons[k].best;
            let (first, run_key, ours) = runs.of_scenario(&keys.id).next()?;
            let mut theirs = self.references.get(&request.suite, run_key);
            Some(ScenarioFindings {
                report: &rows[k],
                figures: figures(&request.suite, runs, keys, best, &self.references),
                ours: &ours.facts,
                theirs: theirs.remove(best)?.facts,
                routes: hooks.contains(&Hook::Routing),
                inspection: plan(k).and_then(|plan| inspect(first, plan)),
            })
        };
        let scenarios: Vec<ScenarioFindings<'_>> = (0..rows.len()).filter_map(findings).collect();
        let stopped = report.stopped.as_ref();
        let estimate = stopped.and_then(|s| s.estimate);
        let units = report.features.get("units_per_call");
        let headline = Headline {
            score: estimate.unwrap_or(report.score),
            ci95: report.score_ci95,
            stopped: stopped.map(|s| (s.reason.clone(), report.score)),
            units_per_call: units.copied().unwrap_or(0.0),
            fuel: report.fuel,
        };
        (report.feedback, report.feedback_items) = compose(&headline, &scenarios, &report.warnings);
    }
}

/// The values of the objectives in a scenario: geometric means over its seeds.
fn figures(
    suite: &Suite,
    runs: ComparedRuns<'_>,
    keys: &ScenarioKeys,
    best: &str,
    references: &References,
) -> Vec<Figure> {
    let objectives = &suite.file.objectives;
    let weights: f64 = objectives.iter().map(|o| o.weight).sum();
    let mut sums = vec![(0.0, 0.0, 0u32); objectives.len()];
    for (_, run_key, ours) in runs.of_scenario(&keys.id) {
        let theirs = &references.get(suite, run_key)[best];
        for (sum, (a, b)) in sums.iter_mut().zip(ours.logs.iter().zip(&theirs.logs)) {
            *sum = (sum.0 + a, sum.1 + b, sum.2 + 1);
        }
    }
    let figure = |(o, (ours, theirs, n)): (&Objective, (f64, f64, u32))| {
        let (ours, theirs) = (ours / f64::from(n), theirs / f64::from(n));
        let figure = |log: f64| (log.exp() - o.metric.epsilon()).max(0.0);
        Figure {
            name: o.name(),
            unit: o.metric.unit(),
            ours: figure(ours),
            theirs: figure(theirs),
            points: 100.0 * o.weight / weights * (theirs - ours),
        }
    };
    objectives.iter().zip(sums).map(figure).collect()
}
