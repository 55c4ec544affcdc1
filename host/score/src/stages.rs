//! The stages that a candidate is taken through: lint, smoke, quick, full.
//!
//! A candidate that is stopped early gets less than -99, whatever it seemed to be worth: full could
//! not give less, so no framework can keep a stage's score for a candidate that would have failed
//! later.

use super::aggregate::{Compared, Total, half_width, total};
use super::ask::{Ask, Progress, Trouble, Until};
use super::fleet::{Fleet, Flown, Runs, Share, suite_trouble};
use super::flight::Flight;
use super::plan::{chosen, full_flyings, pick, quick_first, quick_flyings};
use super::protocol::{Answer, Flying, Task};
use super::report::{Problem, ProblemKind, Report, Stage};
use super::suite::ScenarioKeys;
use super::tell::{failed, stopped, told};

/// A candidate that looks worse than this after the stage quick is not taken further.
const HOPELESS: f64 = -50.0;
/// A candidate that is most probably so much below the incumbent after the stage quick is not taken
/// further.
const MARGIN: f64 = 1.0;
/// With automatic seeds: half the confidence interval that is enough.
pub const SURE: f64 = 0.5;

/// What the stage quick brought.
struct Quick<'a> {
    total: Total,
    picked: Vec<&'a ScenarioKeys>,
    flyings: Vec<Flying>,
    flights: Vec<Option<Flight>>,
    compared: Vec<Compared>,
}

impl Fleet {
    /// Looks at a candidate's text and lets it fly small clusters.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn check(&self, ask: &Ask, share: Share) -> Result<Answer, Trouble> {
        if let Some(problem) = ask.candidate.unfit() {
            return Ok(Answer {
                problems: vec![problem],
                ..Answer::default()
            });
        }
        if ask.candidate.is_native() && !self.settings.allow_native {
            let message = "compiled plugins run only with --allow-native: machine code can be walled in, but not trusted with its own score";
            return Ok(Answer {
                problems: vec![Problem::new(ProblemKind::Native, "", message)],
                ..Answer::default()
            });
        }
        self.task(ask, share, Task::Check)
    }

    /// Has one process do something with a candidate.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn task(&self, ask: &Ask, share: Share, task: Task) -> Result<Answer, Trouble> {
        let answer = self
            .pool
            .run(share.first, &ask.suite, &ask.candidate, task)?;
        suite_trouble(&answer)?;
        Ok(answer)
    }

    /// Takes a candidate as far as the question says.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn stages(
        &self,
        ask: &Ask,
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, Trouble> {
        let scenarios = chosen(ask)?;
        let check = self.check(ask, share)?;
        if !check.problems.is_empty() {
            let early = |p: &Problem| p.scenario.is_none();
            let stage = if check.problems.iter().all(early) {
                Stage::Lint
            } else {
                Stage::Smoke
            };
            return Ok(failed(ask, stage, check.problems, check.warnings, None));
        }
        if ask.until == Until::Smoke {
            let reason = "only the stage smoke was asked for";
            return Ok(stopped(ask, Stage::Smoke, reason, None, &check));
        }
        if quick_first(ask, scenarios.len()) || ask.until == Until::Quick {
            let quick = self.quick(ask, &scenarios, share, progress)?;
            let quick = match quick {
                Ok(quick) => quick,
                Err(runs) => {
                    let worked = Some(runs.worked());
                    let (problems, warnings) = (runs.problems, check.warnings);
                    return Ok(failed(ask, Stage::Quick, problems, warnings, worked));
                }
            };
            let estimate = quick.total.score;
            let probably_below = ask.incumbent.is_some_and(|best| {
                estimate + quick.total.half_width.unwrap_or(0.0) < best - MARGIN
            });
            let reason = if ask.until == Until::Quick {
                Some("only the stage quick was asked for".to_owned())
            } else if probably_below {
                Some("most probably below the score to beat".to_owned())
            } else if estimate < HOPELESS {
                Some(format!("far behind the references: below {HOPELESS}"))
            } else {
                None
            };
            if let Some(reason) = reason {
                let mut report = stopped(ask, Stage::Quick, &reason, Some(estimate), &check);
                let flown = Flown {
                    scenarios: &quick.picked,
                    flyings: &quick.flyings,
                    flights: &quick.flights,
                    compared: &quick.compared,
                };
                self.feed(&mut report, ask, flown, &check.hooks, share);
                return Ok(report);
            }
        }
        self.full(ask, &scenarios, share, progress, check)
    }

    /// What is flown in the stage quick.
    fn quick<'a>(
        &self,
        ask: &Ask,
        scenarios: &[&'a ScenarioKeys],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Result<Quick<'a>, Runs>, Trouble> {
        let picked = pick(scenarios);
        let flyings = quick_flyings(ask, &picked);
        self.know_references(ask, &flyings, share, progress)?;
        let runs = self.fly(ask, &flyings, share, &|done| {
            progress(Progress {
                what: "quick",
                done,
                of: flyings.len() as u64,
            });
        })?;
        if !runs.problems.is_empty() {
            return Ok(Err(runs));
        }
        let compared = self.compare(ask, &picked, &flyings, &runs.flights);
        let mut total = total(&compared, ask.suite.file.regression_weight);
        // One seed says nothing of its error: the scenarios' own spread stands in for it.
        let scores: Vec<f64> = compared.iter().map(Compared::score).collect();
        total.half_width = Some(half_width(&scores).unwrap_or(MARGIN).max(MARGIN));
        Ok(Ok(Quick {
            total,
            picked,
            flyings,
            flights: runs.flights,
            compared,
        }))
    }

    fn full(
        &self,
        ask: &Ask,
        scenarios: &[&ScenarioKeys],
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
        check: Answer,
    ) -> Result<Report, Trouble> {
        let file = &ask.suite.file;
        let most = ask.seeds.most(file, ask.split);
        let mut seeds = ask.seeds.first(file, ask.split).min(most);
        let mut flyings = Vec::new();
        let mut flights: Vec<Option<Flight>> = Vec::new();
        let mut from = 0;
        loop {
            let new = full_flyings(ask, scenarios, from..seeds);
            self.know_references(ask, &new, share, progress)?;
            let runs = self.fly(ask, &new, share, &|done| {
                progress(Progress {
                    what: "full",
                    done,
                    of: new.len() as u64,
                });
            })?;
            if !runs.problems.is_empty() {
                let worked = Some(runs.worked());
                let (problems, warnings) = (runs.problems, check.warnings);
                return Ok(failed(ask, Stage::Full, problems, warnings, worked));
            }
            flyings.extend(new);
            flights.extend(runs.flights);
            let compared = self.compare(ask, scenarios, &flyings, &flights);
            let total = total(&compared, file.regression_weight);
            let sure = total.half_width.is_some_and(|w| w < SURE)
                || ask
                    .incumbent
                    .zip(total.half_width)
                    .is_some_and(|(best, w)| total.score + w < best - MARGIN);
            if seeds >= most || sure {
                let flown = Flown {
                    scenarios,
                    flyings: &flyings,
                    flights: &flights,
                    compared: &compared,
                };
                let hooks = check.hooks.clone();
                let mut report = told(self, ask, flown, total, check);
                self.feed(&mut report, ask, flown, &hooks, share);
                return Ok(report);
            }
            from = seeds;
            seeds += 1;
        }
    }
}
