//! Leaderboards: folders of candidates with their reports on all splits, which can be reproduced
//! bit for bit.

mod entry;

pub use entry::{Entry, Form, HoldoutRun, Origin, entry_folder, name_of};

use super::aggregate::{difference_half_width, penalised_score};
use super::candidate::Candidate;
use super::report::{Report, Stage};
use super::score_request::{LastStage, ScoreRequest, ScoringError};
use super::scorer::Scorer;
use super::suite::{Split, Suite};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windtunnel_base::input::{InputError, check_name, is_of_name};

/// A leaderboard.
pub struct Board {
    /// Its folder.
    pub folder: PathBuf,
    /// The suite that its entries are scored on.
    pub suite: Arc<Suite>,
}

/// What came of candidates that were to be entered.
#[derive(Debug, Default)]
pub struct Added {
    /// The entries that were written.
    pub entries: Vec<Entry>,
    /// Why each of the others was not.
    pub failed: Vec<InputError>,
}

/// Whether an entry's results can be reproduced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The entry.
    pub name: String,
    /// All results are equal.
    pub same: bool,
    /// Notes for people.
    pub notes: Vec<String>,
}

/// A line of a leaderboard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The entry.
    pub name: String,
    /// Its candidate is a reference policy of the suite.
    pub reference: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// (score, half of its 95 % interval) by split.
    pub scores: BTreeMap<Split, (f64, Option<f64>)>,
    /// Train - val, with half its interval over the scenarios of both.
    pub gap: Option<(f64, Option<f64>)>,
    /// The gap is more than scenarios differ by chance: it is overfitted to those of train.
    pub overfit: bool,
    /// Scores of the train scenarios, in the suite's order.
    pub scenarios: Vec<(String, f64)>,
    /// Number of scorings on the holdout.
    pub holdout_runs: usize,
    /// It was scored on another version of the suite, so its scores do not compare.
    pub stale: bool,
    /// Hash of the salt that its holdout was drawn with: scores with different ones do not compare.
    pub holdout_salt: Option<String>,
}

/// An entry, or why it cannot be read.
type ReadEntry = Result<Entry, InputError>;

impl Board {
    /// The names of the entries, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, InputError> {
        let unreadable = |e: std::io::Error| {
            InputError::in_file(
                self.folder.display(),
                format!("no leaderboard: {}", windtunnel_base::input::plain(&e)),
            )
        };
        let mut names = Vec::new();
        for file in std::fs::read_dir(&self.folder).map_err(unreadable)? {
            let folder = file.map_err(unreadable)?.path();
            names.extend(name_of(&folder).filter(|_| folder.is_dir()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Reads the entries with the given names, or all.
    fn read_entries(&self, wanted: &[String]) -> Result<Vec<(String, ReadEntry)>, InputError> {
        let names = self.names()?;
        for name in wanted {
            if !names.contains(name) {
                let valid: Vec<&str> = names.iter().map(String::as_str).collect();
                return Err(InputError::in_file(
                    self.folder.display(),
                    windtunnel_base::input::unknown("entry", name, &valid),
                ));
            }
        }
        let asked = names
            .into_iter()
            .filter(|n| wanted.is_empty() || wanted.contains(n));
        let read = |name: String| {
            let folder =
                entry_folder(&self.folder, &name).unwrap_or_else(|| self.folder.join(&name));
            let entry = Entry::read(&folder);
            (name, entry)
        };
        Ok(asked.map(read).collect())
    }

    /// The entries with the given names, or all.
    ///
    /// # Errors
    /// When there is none of a name, or one cannot be read.
    pub fn entries(&self, wanted: &[String]) -> Result<Vec<Entry>, InputError> {
        self.read_entries(wanted)?
            .into_iter()
            .map(|(_, entry)| entry)
            .collect()
    }

    /// The splits that the suite has.
    fn splits(&self) -> Vec<Split> {
        let has = |split: &Split| self.suite.scenarios(*split).next().is_some();
        Split::ALL.into_iter().filter(has).collect()
    }

    /// Scores candidates on splits. `done` is called with (done, all) reports.
    fn reports(
        &self,
        scorer: &Scorer,
        candidates: &[&Candidate],
        splits: &[Split],
        done: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Vec<BTreeMap<Split, Report>>, ScoringError> {
        let request = |candidate: &Candidate, split: Split| ScoreRequest {
            split,
            last_stage: LastStage::Full,
            ..ScoreRequest::new(candidate.clone(), Arc::clone(&self.suite))
        };
        let requests: Vec<ScoreRequest> = candidates
            .iter()
            .flat_map(|c| splits.iter().map(move |s| request(c, *s)))
            .collect();
        let (mut made, all) = (0, requests.len() as u64);
        let mut reports = scorer
            .score_batch(&requests, &mut |_, _| {
                made += 1;
                done(made, all);
            })?
            .into_iter();
        let of_one = |_: &&Candidate| {
            let by_split = splits.iter().zip(reports.by_ref());
            by_split
                .map(|(split, report)| (*split, reproducible(report)))
                .collect()
        };
        Ok(candidates.iter().map(of_one).collect())
    }

    /// Scores entries on all splits and writes those that work.
    ///
    /// # Errors
    /// When an entry is incomplete, or one cannot be written.
    pub fn add(
        &self,
        scorer: &Scorer,
        entries: Vec<Entry>,
        done: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Added, ScoringError> {
        for entry in &entries {
            entry.check()?;
        }
        let candidates: Vec<&Candidate> = entries.iter().map(|e| &e.candidate).collect();
        let reports = self.reports(scorer, &candidates, &self.splits(), done)?;
        let mut added = Added::default();
        for (mut entry, reports) in entries.into_iter().zip(reports) {
            let broken = reports
                .iter()
                .find(|(_, report)| !report.ok || report.stage != Stage::Full);
            if let Some((split, report)) = broken {
                let why = report.errors.first().map_or("", |e| e.message.as_str());
                let message = format!("does not work on {split}: {why}");
                let failed = InputError::in_file(&entry.name, message);
                added.failed.push(failed);
                continue;
            }
            if let Some(report) = reports.get(&Split::Holdout) {
                entry.holdout_runs.push(HoldoutRun {
                    suite: report.key.suite.clone(),
                    engine: report.key.engine.clone(),
                    salt: report.key.holdout_salt.clone(),
                });
            }
            entry.reports = reports;
            entry.write(&self.folder)?;
            added.entries.push(entry);
        }
        Ok(added)
    }

    /// Scores the entries with the given names, or all, again and compares the results with those
    /// that are written; only those of `split`, if one is given. An entry that cannot be read has a
    /// verdict, too.
    ///
    /// # Errors
    /// When the folder or the suite is wrong, or a process cannot be started.
    pub fn verify(
        &self,
        scorer: &Scorer,
        wanted: &[String],
        split: Option<Split>,
        done: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Vec<Verdict>, ScoringError> {
        let (mut entries, mut verdicts) = (Vec::new(), Vec::new());
        for (name, entry) in self.read_entries(wanted)? {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(e) => verdicts.push(Verdict {
                    name,
                    same: false,
                    notes: vec![e.to_string()],
                }),
            }
        }
        let candidates: Vec<&Candidate> = entries.iter().map(|e| &e.candidate).collect();
        let splits = split.map_or_else(|| Split::ALL.to_vec(), |split| vec![split]);
        let there: Vec<Split> = self.splits();
        let mut scored: Vec<Split> = there.into_iter().filter(|s| splits.contains(s)).collect();
        let has_holdout = scored.contains(&Split::Holdout);
        // Under another salt the holdout has other requests: there is nothing to compare.
        if scored.contains(&Split::Holdout) {
            let salt = self.holdout_salt(&entries, split)?;
            if !entries.iter().any(|e| salt_of(e) == salt.as_ref()) {
                scored.retain(|s| *s != Split::Holdout);
            }
        }
        let unsalted = has_holdout && !scored.contains(&Split::Holdout);
        let reports = self.reports(scorer, &candidates, &scored, done)?;
        let pairs = entries.iter().zip(&reports);
        verdicts.extend(pairs.map(|(entry, fresh)| verdict(entry, &splits, fresh, unsalted)));
        verdicts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(verdicts)
    }

    /// The hash of the salt here; none where it is missing, and not needed.
    fn holdout_salt(
        &self,
        entries: &[Entry],
        wanted: Option<Split>,
    ) -> Result<Option<String>, InputError> {
        let salt = match self.suite.holdout_salt() {
            Ok(salt) => Some(salt.hash().to_owned()),
            Err(e) if wanted == Some(Split::Holdout) => return Err(e),
            Err(_) => None,
        };
        if wanted == Some(Split::Holdout)
            && let Some(entry) = entries.iter().find(|e| salt_of(e) != salt.as_ref())
        {
            let message = other_salt(entry);
            return Err(InputError::in_file(&entry.name, message));
        }
        Ok(salt)
    }

    /// The lines of the leaderboard, the best of `by` first.
    ///
    /// # Errors
    /// When an entry cannot be read.
    pub fn rows(&self, by: Split) -> Result<Vec<Row>, InputError> {
        let entries = self.entries(&[])?;
        let mut rows: Vec<Row> = entries.iter().map(|e| row(e, &self.suite)).collect();
        let score = |r: &Row| r.scores.get(&by).map_or(f64::NEG_INFINITY, |s| s.0);
        rows.sort_by(|a, b| score(b).total_cmp(&score(a)));
        Ok(rows)
    }
}

/// The name of an entry for a candidate: that of its file or folder, with other characters than
/// those of names replaced.
///
/// # Errors
/// When it has no name of its own, such as `..`.
pub fn entry_name(candidate: &str) -> Result<String, InputError> {
    let path = Path::new(candidate);
    let own = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    let own = own.unwrap_or_default().to_string_lossy();
    let name: String = own
        .chars()
        .map(|c| if is_of_name(c) { c } else { '-' })
        .collect();
    checked_name(&name)
        .map_err(|_| InputError::in_file(candidate, "gives no name for an entry; `name` gives one"))
}

/// Checks the name of an entry.
///
/// # Errors
/// When it has other characters than those of names.
pub fn checked_name(name: &str) -> Result<String, InputError> {
    check_name(name).map_err(|expected| {
        InputError::new(format!(
            "an entry cannot be called \"{name}\"; expected {expected}"
        ))
    })?;
    Ok(name.to_owned())
}

/// The reproducible part of a report: without wall-clock times and feedback.
fn reproducible(report: Report) -> Report {
    Report {
        wall_ms: 0,
        feedback: String::new(),
        feedback_items: Vec::new(),
        ..report
    }
}

/// The parts in which two reports differ, except for the engine.
fn differences(was: &Report, is: &Report) -> Option<String> {
    let parts = |report: &Report| {
        let mut report = report.clone();
        report.key.engine.clear();
        match serde_json::to_value(&report) {
            Ok(Value::Object(parts)) => parts,
            _ => Map::new(),
        }
    };
    let (was_parts, is_parts) = (parts(was), parts(is));
    let differing = is_parts
        .iter()
        .filter(|(name, is)| was_parts.get(*name) != Some(is));
    let names: Vec<&str> = differing.map(|(name, _)| name.as_str()).collect();
    if was.score != is.score {
        return Some(format!("score {:+.4} is now {:+.4}", was.score, is.score));
    }
    (!names.is_empty()).then(|| format!("other {}", names.join(", ")))
}

/// The hash of the salt that an entry's holdout was drawn with.
fn salt_of(entry: &Entry) -> Option<&String> {
    entry
        .reports
        .get(&Split::Holdout)?
        .key
        .holdout_salt
        .as_ref()
}

/// Why the holdout of an entry is not compared.
fn other_salt(entry: &Entry) -> String {
    match salt_of(entry) {
        Some(hash) => format!(
            "the holdout cannot be verified here: it was drawn with the salt whose hash is {hash}; `holdout_salt_file` names its file"
        ),
        None => {
            "the holdout cannot be verified: the report does not say with which salt it was drawn"
                .to_owned()
        }
    }
}

fn verdict(
    entry: &Entry,
    splits: &[Split],
    fresh: &BTreeMap<Split, Report>,
    no_holdout: bool,
) -> Verdict {
    let mut notes = Vec::new();
    let mut same = true;
    let mut other_engine = None;
    for split in splits {
        let (was, is) = match (entry.reports.get(split), fresh.get(split)) {
            (Some(was), Some(is)) if was.key.holdout_salt == is.key.holdout_salt => (was, is),
            (Some(_), Some(_)) => {
                notes.push(other_salt(entry));
                continue;
            }
            (None, None) => continue,
            (Some(_), None) if *split == Split::Holdout && no_holdout => {
                notes.push(other_salt(entry));
                continue;
            }
            (Some(_), None) => {
                same = false;
                notes.push(format!("{split}: the suite has no such scenarios here"));
                continue;
            }

            (None, Some(_)) => {
                same = false;
                notes.push(format!("{split}: the entry has no report"));
                continue;
            }
        };
        if was.key.suite != is.key.suite {
            same = false;
            notes.push(format!(
                "made with another version of the suite ({} {}, this is {} {}): its scores do not compare",
                was.suite, was.key.suite, is.suite, is.key.suite
            ));
            break;
        }
        if was.key.candidate != is.key.candidate {
            same = false;
            notes.push(format!("{split}: the report is of another candidate"));
            continue;
        }
        let engine_changed = was.key.engine != is.key.engine;
        if engine_changed {
            other_engine = Some(was.key.engine.clone());
        }
        if let Some(what) = differences(was, is) {
            same = false;
            notes.push(if engine_changed {
                format!("{split}: {what}; the engine has changed since (it was {})", was.key.engine)
            } else {
                format!("{split}: {what}, with the same engine: the report is not what this candidate gives")
            });
        }
    }
    if let (true, Some(engine)) = (same, other_engine) {
        notes.push(format!(
            "made by another engine ({engine}), with the same results"
        ));
    }
    Verdict {
        name: entry.name.clone(),
        same,
        notes,
    }
}

/// Train - val, with half its 95 % interval. The scenarios of a split are a sample of what could be
/// there: how much they differ from one another says how much two splits may.
fn gap(entry: &Entry, regression_weight: f64) -> Option<(f64, Option<f64>)> {
    let (train, val) = (
        entry.reports.get(&Split::Train)?,
        entry.reports.get(&Split::Val)?,
    );
    let counted = |report: &Report| -> Vec<f64> {
        let scores = report.scenarios.iter().map(|s| s.score);
        scores
            .map(|r| penalised_score(r, regression_weight))
            .collect()
    };
    let half = difference_half_width(&counted(train), &counted(val));
    Some((train.score - val.score, half))
}

fn row(entry: &Entry, suite: &Suite) -> Row {
    let score = |r: &Report| (r.score, r.score_ci95.map(|[low, high]| (high - low) / 2.0));
    let scores: BTreeMap<Split, (f64, Option<f64>)> = entry
        .reports
        .iter()
        .map(|(split, report)| (*split, score(report)))
        .collect();
    let gap = gap(entry, suite.file.regression_weight);
    let train = entry.reports.get(&Split::Train);
    let scenarios = train.map(|r| {
        r.scenarios
            .iter()
            .map(|s| (s.id.clone(), s.score))
            .collect()
    });
    Row {
        name: entry.name.clone(),
        reference: matches!(entry.candidate.body, super::candidate::Body::Reference(_)),
        origin: entry.origin.clone(),
        overfit: gap.is_some_and(|(gap, half)| half.is_some_and(|half| gap > half)),
        gap,
        scenarios: scenarios.unwrap_or_default(),
        holdout_runs: entry.holdout_runs.len(),
        stale: entry
            .reports
            .values()
            .any(|r| r.key.suite != suite.digest()),
        holdout_salt: salt_of(entry).cloned(),
        scores,
    }
}
