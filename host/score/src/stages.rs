//! The stages of a scoring: lint, smoke, quick, full.
//!
//! A candidate that is stopped early gets a score below -99, whatever its estimate. The stage full
//! never gives less, so a framework cannot keep the score of an early stage for a candidate that
//! would have failed later.

use super::aggregate::{ScenarioComparison, Total, gain_between, half_width, total};
use super::plan::{
    fresh_runs, full_runs, quick_runs, quick_scenarios, selected_scenarios, starts_with_quick,
};
use super::protocol::{Answer, RunKey, Task};
use super::report::{Fresh, Problem, ProblemKind, Report, Stage};
use super::report_builder::{failed_report, fuel_of, full_report, stopped_report};
use super::run::RunSummary;
use super::runner::{ComparedRuns, RunResults, Runner, WorkerSlots, check_suite};
use super::score_request::{LastStage, Progress, ScoreRequest, ScoringError};
use super::suite::ScenarioKeys;

/// A candidate whose estimate after the stage quick is below this is stopped.
const HOPELESS: f64 = -50.0;
/// A candidate that is, at the upper end of its interval, this far below the incumbent is stopped.
const MARGIN: f64 = 1.0;
/// With automatic seeds: half the confidence interval that is enough.
pub const SURE: f64 = 0.5;

/// Results of the stage quick.
struct Quick<'a> {
    total: Total,
    scenarios: Vec<&'a ScenarioKeys>,
    run_keys: Vec<RunKey>,
    summaries: Vec<Option<RunSummary>>,
    comparisons: Vec<ScenarioComparison>,
}

impl Runner {
    /// Lints a candidate and runs it on the smoke scenarios.
    ///
    /// # Errors
    /// When the suite is wrong, a process cannot be started, or the scoring is cancelled.
    pub fn check(
        &self,
        request: &ScoreRequest,
        slots: WorkerSlots,
    ) -> Result<Answer, ScoringError> {
        if let Some(problem) = request.candidate.unfit() {
            return Ok(Answer {
                problems: vec![problem],
                ..Answer::default()
            });
        }
        if request.candidate.is_native() && !self.settings.allow_native {
            let message = "compiled plugins run only with --allow-native: machine code can be sandboxed, but not trusted with its own score";
            return Ok(Answer {
                problems: vec![Problem::new(ProblemKind::Native, "", message)],
                ..Answer::default()
            });
        }
        self.task(request, slots, Task::Check)
    }

    /// Runs a task of a candidate in the first of `slots`.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn task(
        &self,
        request: &ScoreRequest,
        slots: WorkerSlots,
        task: Task,
    ) -> Result<Answer, ScoringError> {
        let answer = self
            .workers
            .run(slots.first, &request.suite, &request.candidate, task)?;
        check_suite(&answer)?;
        Ok(answer)
    }

    /// Takes a candidate through the stages, up to the last one of the request.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn stages(
        &self,
        request: &ScoreRequest,
        slots: WorkerSlots,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, ScoringError> {
        let scenarios = selected_scenarios(request)?;
        let check = self.check(request, slots)?;
        if !check.problems.is_empty() {
            let before_any_run = |p: &Problem| p.scenario.is_none();
            let stage = if check.problems.iter().all(before_any_run) {
                Stage::Lint
            } else {
                Stage::Smoke
            };
            return Ok(failed_report(
                request,
                stage,
                check.problems,
                check.warnings,
                None,
                check.fuel,
            ));
        }
        if request.last_stage == LastStage::Smoke {
            let reason = "only the stage smoke was asked for";
            return Ok(stopped_report(
                request,
                Stage::Smoke,
                reason,
                None,
                &check,
                &[],
            ));
        }
        if starts_with_quick(request, scenarios.len()) || request.last_stage == LastStage::Quick {
            let quick = match self.quick(request, &scenarios, slots, progress)? {
                Ok(quick) => quick,
                Err(runs) => {
                    let worked = Some(runs.worked());
                    let fuel = fuel_of(&runs.summaries, check.fuel);
                    let (problems, warnings) = (runs.problems, check.warnings);
                    return Ok(failed_report(
                        request,
                        Stage::Quick,
                        problems,
                        warnings,
                        worked,
                        fuel,
                    ));
                }
            };
            let estimate = quick.total.score;
            let probably_below = request.incumbent.is_some_and(|best| {
                estimate + quick.total.half_width.unwrap_or(0.0) < best - MARGIN
            });
            let reason = if request.last_stage == LastStage::Quick {
                Some("only the stage quick was asked for".to_owned())
            } else if probably_below {
                Some("most probably below the score to beat".to_owned())
            } else if estimate < HOPELESS {
                Some(format!("far behind the references: below {HOPELESS}"))
            } else {
                None
            };
            if let Some(reason) = reason {
                let mut report = stopped_report(
                    request,
                    Stage::Quick,
                    &reason,
                    Some(estimate),
                    &check,
                    &quick.summaries,
                );
                let runs = ComparedRuns {
                    scenarios: &quick.scenarios,
                    run_keys: &quick.run_keys,
                    summaries: &quick.summaries,
                    comparisons: &quick.comparisons,
                };
                self.add_feedback(&mut report, request, runs, &check.hooks, slots);
                return Ok(report);
            }
        }
        self.full(request, &scenarios, slots, progress, check)
    }

    /// The stage quick: a few scenarios, one seed each, with fewer requests.
    fn quick<'a>(
        &self,
        request: &ScoreRequest,
        scenarios: &[&'a ScenarioKeys],
        slots: WorkerSlots,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Result<Quick<'a>, RunResults>, ScoringError> {
        let scenarios = quick_scenarios(scenarios);
        let run_keys = quick_runs(request, &scenarios)?;
        self.ensure_references(request, &run_keys, slots, progress)?;
        let runs = self.run(request, &run_keys, slots, &|done| {
            progress(Progress {
                what: "quick",
                done,
                of: run_keys.len() as u64,
            });
        })?;
        if !runs.problems.is_empty() {
            return Ok(Err(runs));
        }
        let comparisons = self.compare(request, &scenarios, &run_keys, &runs.summaries);
        let mut total = total(&comparisons, request.suite.file.regression_weight);
        // A single seed has no interval; the spread of the scenarios' scores stands in for it.
        let scores: Vec<f64> = comparisons.iter().map(ScenarioComparison::score).collect();
        total.half_width = Some(half_width(&scores).unwrap_or(MARGIN).max(MARGIN));
        Ok(Ok(Quick {
            total,
            scenarios,
            run_keys,
            summaries: runs.summaries,
            comparisons,
        }))
    }

    /// Compares a candidate with itself on fresh seeds; the runs if some fail.
    fn fresh(
        &self,
        request: &ScoreRequest,
        scenarios: &[&ScenarioKeys],
        slots: WorkerSlots,
        known: &[ScenarioComparison],
    ) -> Result<Result<Fresh, RunResults>, ScoringError> {
        let run_keys = fresh_runs(request, scenarios)?;
        self.ensure_references(request, &run_keys, slots, &|_| {})?;
        let runs = self.run(request, &run_keys, slots, &|_| {})?;
        if !runs.problems.is_empty() {
            return Ok(Err(runs));
        }
        let fresh = self.compare(request, scenarios, &run_keys, &runs.summaries);
        let gain = gain_between(known, &fresh);
        Ok(Ok(Fresh {
            seeds: request.fresh_seeds,
            score: total(&fresh, request.suite.file.regression_weight).score,
            gain: gain.score,
            gain_ci95: gain.ci95(),
            more_than_chance: gain.ci95().is_some_and(|[low, _]| low > 0.0),
        }))
    }

    /// The stage full: all scenarios; with automatic seeds until the score is certain.
    fn full(
        &self,
        request: &ScoreRequest,
        scenarios: &[&ScenarioKeys],
        slots: WorkerSlots,
        progress: &(dyn Fn(Progress) + Sync),
        check: Answer,
    ) -> Result<Report, ScoringError> {
        let file = &request.suite.file;
        let max_seeds = request.seeds.max(file, request.split);
        let mut seeds = request.seeds.initial(file, request.split).min(max_seeds);
        let mut run_keys = Vec::new();
        let mut summaries: Vec<Option<RunSummary>> = Vec::new();
        let mut from = 0;
        loop {
            let new = full_runs(request, scenarios, from..seeds)?;
            self.ensure_references(request, &new, slots, progress)?;
            let runs = self.run(request, &new, slots, &|done| {
                progress(Progress {
                    what: "full",
                    done,
                    of: new.len() as u64,
                });
            })?;
            if !runs.problems.is_empty() {
                let worked = Some(runs.worked());
                let fuel = fuel_of(&runs.summaries, check.fuel);
                let (problems, warnings) = (runs.problems, check.warnings);
                return Ok(failed_report(
                    request,
                    Stage::Full,
                    problems,
                    warnings,
                    worked,
                    fuel,
                ));
            }
            run_keys.extend(new);
            summaries.extend(runs.summaries);
            let comparisons = self.compare(request, scenarios, &run_keys, &summaries);
            let total = total(&comparisons, file.regression_weight);
            let sure = total.half_width.is_some_and(|w| w < SURE)
                || request
                    .incumbent
                    .zip(total.half_width)
                    .is_some_and(|(best, w)| total.score + w < best - MARGIN);
            if seeds >= max_seeds || sure {
                let runs = ComparedRuns {
                    scenarios,
                    run_keys: &run_keys,
                    summaries: &summaries,
                    comparisons: &comparisons,
                };
                let hooks = check.hooks.clone();
                let fresh = match request.fresh_seeds {
                    0 => None,
                    _ => match self.fresh(request, scenarios, slots, &comparisons)? {
                        Ok(fresh) => Some(fresh),
                        Err(failed) => {
                            let worked = Some(failed.worked());
                            let fuel = fuel_of(&failed.summaries, check.fuel);
                            let (problems, warnings) = (failed.problems, check.warnings);
                            let stage = Stage::Full;
                            return Ok(failed_report(
                                request, stage, problems, warnings, worked, fuel,
                            ));
                        }
                    },
                };
                let mut report = full_report(self, request, runs, total, check);
                report.fresh = fresh;
                self.add_feedback(&mut report, request, runs, &hooks, slots);
                return Ok(report);
            }
            from = seeds;
            seeds += 1;
        }
    }
}
