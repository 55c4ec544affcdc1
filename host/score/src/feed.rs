//! From runs and reports to feedback: which scenarios are looked at closely, and what is handed to
//! [`feedback`].

use super::ask::Ask;
use super::feedback::{Figure, Head, Told, compose};
use super::fleet::{Fleet, Flown, Share};
use super::objective::Metric;
use super::protocol::Task;
use super::references::References;
use super::regret::Look;
use super::report::Report;
use super::suite::{ScenarioKeys, Split, Suite};
use super::tell::rows;
use windtunnel_policy::Hook;

/// What to look at in the scenario with the lowest score. Every alternative is a copy of the
/// process: these cost a fifth of the scoring (performance.md).
const CLOSE: Look = Look {
    spread: 10,
    worst: 3,
    others: 1,
};
/// What to look at in the next one, if it is lost.
const GLANCE: Look = Look {
    spread: 0,
    worst: 0,
    others: 0,
};

impl Fleet {
    /// Writes the feedback of a report on a candidate that works. Only those who may know
    /// everything get any.
    pub fn feed(
        &self,
        report: &mut Report,
        ask: &Ask,
        flown: Flown<'_>,
        hooks: &[Hook],
        share: Share,
    ) {
        if ask.split != Split::Train {
            return;
        }
        let rows = rows(self, ask, flown);
        let mut by_score: Vec<usize> = (0..rows.len()).collect();
        by_score.sort_by(|&a, &b| rows[a].score.total_cmp(&rows[b].score));
        let look_at = |k: usize| match by_score.iter().position(|&at| at == k) {
            // What is seen is about routing.
            _ if !hooks.contains(&Hook::Routing) => None,
            Some(0) => Some(CLOSE),
            Some(1) if rows[k].score < 0.0 => Some(GLANCE),
            _ => None,
        };
        let watch = |run: usize, look: Look| {
            // The place at which that run was made has its traffic.
            let lane = run % share.places.min(flown.flyings.len()).max(1);
            let share = Share {
                first: share.first + lane,
                places: 1,
            };
            let task = Task::Watch(flown.flyings[run].clone(), look);
            // Whatever happens here is no part of the score.
            self.task(ask, share, task).ok()?.watched
        };
        let told = |k: usize| {
            let keys = flown.scenarios[k];
            let best = &flown.compared[k].best;
            let (first, flying, ours) = flown.of_scenario(&keys.id).next()?;
            let mut theirs = self.references.get(&ask.suite, flying);
            Some(Told {
                report: &rows[k],
                figures: figures(&ask.suite, flown, keys, best, &self.references),
                ours: &ours.facts,
                theirs: theirs.remove(best)?.facts,
                watched: look_at(k).and_then(|look| watch(first, look)),
            })
        };
        let scenarios: Vec<Told<'_>> = (0..rows.len()).filter_map(told).collect();
        let stopped = report.stopped.as_ref();
        let estimate = stopped.and_then(|s| s.estimate);
        let units = report.features.get("units_per_call");
        let head = Head {
            score: estimate.unwrap_or(report.score),
            ci95: report.score_ci95,
            stopped: stopped.map(|s| s.reason.clone()),
            units_per_call: units.copied().unwrap_or(0.0),
        };
        (report.feedback, report.feedback_items) = compose(&head, &scenarios, &report.warnings);
    }
}

/// The figures that count in a scenario: the mean over seeds of their logarithms, undone.
fn figures(
    suite: &Suite,
    flown: Flown<'_>,
    keys: &ScenarioKeys,
    best: &str,
    references: &References,
) -> Vec<Figure> {
    let objectives = &suite.file.objectives;
    let weights: f64 = objectives.iter().map(|o| o.weight).sum();
    let mut sums = vec![(0.0, 0.0, 0u32); objectives.len()];
    for (_, flying, ours) in flown.of_scenario(&keys.id) {
        let theirs = &references.get(suite, flying)[best];
        for (sum, (a, b)) in sums.iter_mut().zip(ours.logs.iter().zip(&theirs.logs)) {
            *sum = (sum.0 + a, sum.1 + b, sum.2 + 1);
        }
    }
    let figure = |(o, (ours, theirs, n)): (&super::objective::Objective, (f64, f64, u32))| {
        let (ours, theirs) = (ours / f64::from(n), theirs / f64::from(n));
        let figure = |log: f64| (log.exp() - o.metric.epsilon()).max(0.0);
        Figure {
            name: o.name(),
            share: matches!(o.metric, Metric::MissRate | Metric::Unfairness),
            ours: figure(ours),
            theirs: figure(theirs),
            points: 100.0 * o.weight / weights * (theirs - ours),
        }
    };
    objectives.iter().zip(sums).map(figure).collect()
}
