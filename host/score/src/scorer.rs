//! Scores candidates. A request that was scored before is answered from the cache.

use super::candidate::{Body, Candidate};
use super::plan::initial_runs;
use super::protocol::RunKey;
use super::redact::redact;
use super::report::{Key, Report};
use super::report_cache::ReportCache;
use super::run::RunSummary;
use super::runner::{Runner, Settings, WorkerSlots};
use super::score_request::{Progress, ScoreRequest, ScoringError};
use super::suite::Suite;
use super::version::engine;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use windtunnel_base::input::InputError;

/// Scores candidates in worker processes.
pub struct Scorer {
    runner: Runner,
    cache: ReportCache,
}

impl Scorer {
    /// A scorer. Processes are started when they are needed.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            cache: ReportCache::new(settings.cache.as_deref().filter(|_| settings.reuse_reports)),
            runner: Runner::new(settings),
        }
    }

    /// The runner of the worker processes, for other comparisons than scores.
    #[must_use]
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Scores a candidate with all workers.
    ///
    /// # Errors
    /// When the suite is wrong, a process cannot be started, or the scoring is cancelled. A
    /// candidate that does not work has a report.
    pub fn score(
        &self,
        request: &ScoreRequest,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, ScoringError> {
        self.score_with(request, self.runner.all_slots(), progress)
    }

    /// Scores a candidate with the worker of one slot, for callers that score several candidates in
    /// threads of their own.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    ///
    /// # Panics
    /// When there is no such slot; there are [`Settings::jobs`].
    pub fn score_in_slot(
        &self,
        slot: usize,
        request: &ScoreRequest,
    ) -> Result<Report, ScoringError> {
        let slots = WorkerSlots {
            first: slot,
            count: 1,
        };
        self.score_with(request, slots, &|_| {})
    }

    /// As [`score_in_slot`](Self::score_in_slot), until nobody wants the report: then `unwanted` is
    /// set, by whatever thread, and the scoring is cancelled.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    ///
    /// # Panics
    /// As [`score_in_slot`](Self::score_in_slot).
    pub fn score_while_wanted(
        &self,
        slot: usize,
        request: &ScoreRequest,
        unwanted: &Arc<AtomicBool>,
    ) -> Result<Report, ScoringError> {
        let workers = &self.runner.workers;
        workers.end_when(slot, Some(Arc::clone(unwanted)));
        let report = self.score_in_slot(slot, request);
        workers.end_when(slot, None);
        report
    }

    /// Scores many candidates in parallel; reports are in the order of the requests. `done` is
    /// called with (index, report) as each is finished.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_batch(
        &self,
        requests: &[ScoreRequest],
        done: &mut (dyn FnMut(usize, &Report) + Send),
    ) -> Result<Vec<Report>, ScoringError> {
        // All workers make the runs of the references, once.
        for request in requests {
            let run_keys = initial_runs(request)?;
            let all = self.runner.all_slots();
            self.runner
                .ensure_references(request, &run_keys, all, &|_| {})?;
        }
        let reports = self.runner.map_parallel(
            requests,
            |request, slots| self.score_with(request, slots, &|_| {}),
            |k, report| {
                if let Ok(report) = report {
                    done(k, report);
                }
            },
        );
        reports.into_iter().collect()
    }

    fn score_with(
        &self,
        request: &ScoreRequest,
        slots: WorkerSlots,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, ScoringError> {
        let start = Instant::now();
        if let Some(mut report) = self.cache.get(request) {
            report.candidate.clone_from(&request.candidate.name);
            return Ok(report);
        }
        let salts = request.salts()?;
        let mut report = self.runner.stages(request, slots, progress)?;
        // What explains a score may have been given up: such a report is not kept.
        if self.runner.workers.is_cancelled(slots.first) {
            return Err(ScoringError::Cancelled);
        }
        report.key = Key {
            candidate: request.candidate.digest().unwrap_or_default(),
            suite: request.suite.digest(),
            engine: engine(),
            holdout_salt: salts.holdout,
            train_salt: salts.train,
            ..report.key
        };
        redact(&mut report, request.split);
        report.sanitize();
        report.wall_ms = start.elapsed().as_millis() as u64;
        self.cache.insert(request, &report);
        Ok(report)
    }

    /// Makes runs of a candidate with all workers, without a comparison. `None` where a run failed.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn runs(
        &self,
        suite: &Arc<Suite>,
        candidate: Candidate,
        run_keys: &[RunKey],
    ) -> Result<Vec<Option<RunSummary>>, ScoringError> {
        let request = ScoreRequest::new(candidate, Arc::clone(suite));
        let runs = self
            .runner
            .run(&request, run_keys, self.runner.all_slots(), &|_| {})?;
        // What others are measured against has to work.
        if let (Body::Reference(name), Some(problem)) =
            (&request.candidate.body, runs.problems.first())
        {
            let message = format!("references.{name}: {}", problem.message);
            return Err(InputError::in_file(suite.label(), message).into());
        }
        Ok(runs.summaries)
    }
}
