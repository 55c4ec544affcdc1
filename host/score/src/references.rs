//! Results of the tuned reference policies of suites: computed once, kept in memory and, if there
//! is a cache folder, on disk.

use super::protocol::RunKey;
use super::report_cache::{read_cache_file, write_cache_file};
use super::run::RunSummary;
use super::suite::Suite;
use super::version::RESULTS_VERSION;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

/// Summaries of a run by reference policy.
pub type ByReference = BTreeMap<String, RunSummary>;

#[derive(Default, Serialize, Deserialize)]
struct Row {
    run_key: RunKey,
    summaries: ByReference,
}

/// Results of the references of one suite.
type Known = HashMap<RunKey, ByReference>;

/// Results of the references of all suites.
pub struct References {
    folder: Option<PathBuf>,
    /// By digest of the suite.
    known: Mutex<HashMap<String, Known>>,
    /// Runs that a thread is making, with the digest of their suite.
    claimed: Mutex<HashSet<(String, RunKey)>>,
    /// Notified when a claim ends.
    done: Condvar,
}

/// Runs that the holder makes, so that no other thread does.
pub struct Claim<'a> {
    references: &'a References,
    suite: String,
    /// The runs.
    pub run_keys: Vec<RunKey>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut claimed = self.references.claimed.lock().expect("no panic before");
        for run_key in self.run_keys.drain(..) {
            claimed.remove(&(self.suite.clone(), run_key));
        }
        self.references.done.notify_all();
    }
}

impl References {
    /// The results in `folder`, if there is one.
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
            RESULTS_VERSION
        );
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    /// Claims those of `wanted` that are not known and that no other thread is making. Waits while
    /// other threads make what is left. `None` when all are known.
    #[must_use]
    pub fn claim(&self, suite: &Suite, wanted: &[RunKey]) -> Option<Claim<'_>> {
        let digest = suite.digest();
        let mut claimed = self.claimed.lock().expect("no panic before");
        loop {
            let missing = self.missing(suite, wanted);
            if missing.is_empty() {
                return None;
            }
            let new = |f: &RunKey| claimed.insert((digest.clone(), f.clone()));
            let run_keys: Vec<RunKey> = missing.into_iter().filter(new).collect();
            if !run_keys.is_empty() {
                return Some(Claim {
                    references: self,
                    suite: digest,
                    run_keys,
                });
            }
            claimed = self.done.wait(claimed).expect("no panic before");
        }
    }

    /// Those of `wanted` that are not known yet.
    fn missing(&self, suite: &Suite, wanted: &[RunKey]) -> Vec<RunKey> {
        let mut known = self.known.lock().expect("no panic before");
        let of_suite = known
            .entry(suite.digest())
            .or_insert_with(|| self.file(suite).map(|f| read(&f)).unwrap_or_default());
        let missing = wanted.iter().filter(|f| !of_suite.contains_key(f));
        missing.cloned().collect()
    }

    /// The summaries of all references for a run.
    ///
    /// # Panics
    /// When they are not known.
    #[must_use]
    pub fn get(&self, suite: &Suite, run_key: &RunKey) -> ByReference {
        let known = self.known.lock().expect("no panic before");
        known[&suite.digest()][run_key].clone()
    }

    /// Adds results and writes those of the suite to the cache.
    pub fn insert(&self, suite: &Suite, new: impl IntoIterator<Item = (RunKey, ByReference)>) {
        let mut known = self.known.lock().expect("no panic before");
        let of_suite = known.entry(suite.digest()).or_default();
        of_suite.extend(new);
        let Some(file) = self.file(suite) else { return };
        // Another process may have added results in the meantime.
        for (run_key, summaries) in read(&file) {
            of_suite.entry(run_key).or_insert(summaries);
        }
        let mut rows: Vec<Row> = of_suite
            .iter()
            .map(|(run_key, summaries)| Row {
                run_key: run_key.clone(),
                summaries: summaries.clone(),
            })
            .collect();
        rows.sort_by(|a, b| a.run_key.cmp(&b.run_key));
        write_cache_file(&file, &rows);
    }
}

/// The results in a file; a damaged file has none.
fn read(file: &Path) -> Known {
    let rows: Vec<Row> = read_cache_file(file)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    rows.into_iter().map(|r| (r.run_key, r.summaries)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claimed_runs_are_waited_for_and_abandoned_ones_are_claimed_again() {
        let suite = Suite::open("routing-mixed", None).expect("a suite");
        let references = References::new(None);
        let key = |seed| RunKey {
            seed,
            ..RunKey::default()
        };
        let claim = |seeds: &[u64]| {
            let wanted: Vec<RunKey> = seeds.iter().map(|s| key(*s)).collect();
            let claim = references.claim(&suite, &wanted)?;
            let run_keys = claim.run_keys.clone();
            Some((claim, run_keys))
        };
        let (first, claimed) = claim(&[1, 2]).expect("nothing is known");
        assert_eq!(claimed, [key(1), key(2)]);
        let (second, claimed) = claim(&[2, 3]).expect("one of them");
        assert_eq!(claimed, [key(3)]);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| claim(&[1, 2]).map(|(_, run_keys)| run_keys));
            references.insert(&suite, [(key(1), ByReference::new())]);
            drop(first);
            let left = waits.join().expect("no panic");
            assert_eq!(left, Some(vec![key(2)]));
        });
        drop(second);
        assert!(claim(&[1]).is_none());
    }
}
