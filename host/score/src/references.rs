//! What the tuned reference policies of a suite achieve: measured once, kept in memory and, where
//! there is a folder for it, on disk.

use super::flight::Flight;
use super::protocol::Flying;
use super::store::keep;
use super::suite::Suite;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

/// Flights by reference policy.
pub type ByReference = BTreeMap<String, Flight>;

#[derive(Default, Serialize, Deserialize)]
struct Row {
    flying: Flying,
    flights: ByReference,
}

/// Flights of the references of one suite.
type Known = HashMap<Flying, ByReference>;

/// Everything that is known.
pub struct References {
    folder: Option<PathBuf>,
    /// By suite.
    known: Mutex<HashMap<String, Known>>,
    /// What somebody is measuring, with its suite.
    claimed: Mutex<HashSet<(String, Flying)>>,
    /// Somebody has done with it.
    done: Condvar,
}

/// Runs that their holder measures, so that nobody else need.
pub struct Claim<'a> {
    references: &'a References,
    suite: String,
    /// The runs.
    pub flyings: Vec<Flying>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut claimed = self.references.claimed.lock().expect("no panic before");
        for flying in self.flyings.drain(..) {
            claimed.remove(&(self.suite.clone(), flying));
        }
        self.references.done.notify_all();
    }
}

impl References {
    /// Nothing known but what lies in `folder`.
    #[must_use]
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(|f| f.join("references")),
            known: Mutex::default(),
            claimed: Mutex::default(),
            done: Condvar::new(),
        }
    }

    fn file(&self, suite: &Suite) -> Option<PathBuf> {
        let name = format!(
            "{}-{}-{}.json",
            suite.file.name,
            suite.digest(),
            super::RESULTS_VERSION
        );
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    /// Those of `wanted` that are not known and that nobody measures yet, for the caller to
    /// measure. Waits while others measure what is left. `None` when all are known.
    #[must_use]
    pub fn claim(&self, suite: &Suite, wanted: &[Flying]) -> Option<Claim<'_>> {
        let digest = suite.digest();
        let mut claimed = self.claimed.lock().expect("no panic before");
        loop {
            let missing = self.missing(suite, wanted);
            if missing.is_empty() {
                return None;
            }
            let new = |f: &Flying| claimed.insert((digest.clone(), f.clone()));
            let flyings: Vec<Flying> = missing.into_iter().filter(new).collect();
            if !flyings.is_empty() {
                return Some(Claim {
                    references: self,
                    suite: digest,
                    flyings,
                });
            }
            claimed = self.done.wait(claimed).expect("no panic before");
        }
    }

    /// Which of `wanted` are not known yet.
    fn missing(&self, suite: &Suite, wanted: &[Flying]) -> Vec<Flying> {
        let mut known = self.known.lock().expect("no panic before");
        let of_suite = known
            .entry(suite.digest())
            .or_insert_with(|| self.file(suite).map(|f| read(&f)).unwrap_or_default());
        let missing = wanted.iter().filter(|f| !of_suite.contains_key(f));
        missing.cloned().collect()
    }

    /// The flights of the references.
    ///
    /// # Panics
    /// When they are not known.
    #[must_use]
    pub fn get(&self, suite: &Suite, flying: &Flying) -> ByReference {
        let known = self.known.lock().expect("no panic before");
        known[&suite.digest()][flying].clone()
    }

    /// Takes new flights in.
    pub fn learn(&self, suite: &Suite, new: impl IntoIterator<Item = (Flying, ByReference)>) {
        let mut known = self.known.lock().expect("no panic before");
        let of_suite = known.entry(suite.digest()).or_default();
        of_suite.extend(new);
        let Some(file) = self.file(suite) else { return };
        // Others may have learned in the meantime.
        for (flying, flights) in read(&file) {
            of_suite.entry(flying).or_insert(flights);
        }
        let mut rows: Vec<Row> = of_suite
            .iter()
            .map(|(flying, flights)| Row {
                flying: flying.clone(),
                flights: flights.clone(),
            })
            .collect();
        rows.sort_by(|a, b| a.flying.cmp(&b.flying));
        // Without a place to keep them they are measured again the next time.
        keep(&file, &rows);
    }
}

/// What a file says; a damaged one says nothing.
fn read(file: &Path) -> Known {
    let rows: Vec<Row> = std::fs::read(file)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    rows.into_iter().map(|r| (r.flying, r.flights)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_measures_is_waited_for_and_what_nobody_brings_is_measured_again() {
        let suite = Suite::open("routing-mixed", None).expect("a suite");
        let references = References::new(None);
        let flying = |seed| Flying {
            seed,
            ..Flying::default()
        };
        let claim = |seeds: &[u64]| {
            let wanted: Vec<Flying> = seeds.iter().map(|s| flying(*s)).collect();
            let claim = references.claim(&suite, &wanted)?;
            let flyings = claim.flyings.clone();
            Some((claim, flyings))
        };
        let (first, claimed) = claim(&[1, 2]).expect("nothing is known");
        assert_eq!(claimed, [flying(1), flying(2)]);
        let (second, claimed) = claim(&[2, 3]).expect("one of them");
        assert_eq!(claimed, [flying(3)]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| claim(&[1, 2]).map(|(_, flyings)| flyings));
            references.learn(&suite, [(flying(1), ByReference::new())]);
            drop(first);
            let left = waits.join().expect("no panic");
            assert_eq!(left, Some(vec![flying(2)]));
        });
        drop(second);
        assert!(claim(&[1]).is_none());
    }
}
