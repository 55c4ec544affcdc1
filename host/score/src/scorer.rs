//! Scores candidates: takes them through the stages, unless a report on an equal question is known.

use super::ask::{Ask, Progress, Trouble};
use super::candidate::Candidate;
use super::fleet::{Fleet, Settings, Share};
use super::flight::Flight;
use super::plan::all_flyings;
use super::protocol::Flying;
use super::report::{Key, Report};
use super::store::Store;
use super::suite::Suite;
use super::tell::tell_no_more_than;
use std::sync::Arc;
use std::time::Instant;

/// Scores candidates.
pub struct Scorer {
    fleet: Fleet,
    store: Store,
}

impl Scorer {
    /// A scorer; no process runs yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            store: Store::new(settings.cache.as_deref().filter(|_| settings.reuse_reports)),
            fleet: Fleet::new(settings),
        }
    }

    /// The processes, for those who compare runs in other ways.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Scores a candidate with all processes.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn score(
        &self,
        ask: &Ask,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, Trouble> {
        self.score_with(ask, self.fleet.all(), progress)
    }

    /// Scores a candidate with the process at one place: for those who score several at a time by
    /// themselves.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    ///
    /// # Panics
    /// When there is no such place: there are as many as [`Settings::jobs`].
    pub fn score_at(&self, place: usize, ask: &Ask) -> Result<Report, Trouble> {
        let share = Share {
            first: place,
            places: 1,
        };
        self.score_with(ask, share, &|_| {})
    }

    /// Scores many candidates, several at a time; reports come in the order of the asks. `done`
    /// hears of each as it is finished.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_batch(
        &self,
        asks: &[Ask],
        done: &mut (dyn FnMut(usize, &Report) + Send),
    ) -> Result<Vec<Report>, Trouble> {
        // The references are measured by all processes, once.
        for ask in asks {
            let flyings = all_flyings(ask)?;
            let all = self.fleet.all();
            self.fleet.know_references(ask, &flyings, all, &|_| {})?;
        }
        let reports = self.fleet.several(
            asks,
            |ask, share| self.score_with(ask, share, &|_| {}),
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
        ask: &Ask,
        share: Share,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Report, Trouble> {
        let start = Instant::now();
        if let Some(mut known) = self.store.get(ask) {
            known.candidate.clone_from(&ask.candidate.name);
            return Ok(known);
        }
        let mut report = self.fleet.stages(ask, share, progress)?;
        report.key = Key {
            candidate: ask.candidate.digest().unwrap_or_default(),
            suite: ask.suite.digest(),
            engine: super::engine(),
            ..report.key
        };
        tell_no_more_than(&mut report, ask.split);
        report.tame();
        report.wall_ms = start.elapsed().as_millis() as u64;
        self.store.keep(ask, &report);
        Ok(report)
    }

    /// Makes runs of a candidate with all processes, without comparing them to anything. `None`
    /// where one broke off.
    ///
    /// # Errors
    /// Only trouble that is not the candidate's.
    pub fn flights(
        &self,
        suite: &Arc<Suite>,
        candidate: Candidate,
        flyings: &[Flying],
    ) -> Result<Vec<Option<Flight>>, Trouble> {
        let ask = Ask::new(candidate, Arc::clone(suite));
        let runs = self.fleet.fly(&ask, flyings, self.fleet.all(), &|_| {})?;
        Ok(runs.flights)
    }
}
