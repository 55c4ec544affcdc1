//! What the tuned reference policies of a suite achieve: measured once, kept in memory and, where there is a folder for it, on disk.

use super::flight::Flight;
use super::protocol::Flying;
use super::suite::Suite;
use crate::input::write_whole;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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
}

impl References {
    /// Nothing known but what lies in `folder`.
    #[must_use]
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(|f| f.join("references")),
            known: Mutex::new(HashMap::new()),
        }
    }

    fn file(&self, suite: &Suite) -> Option<PathBuf> {
        let name = format!(
            "{}-{}-{}.json",
            suite.file.name,
            suite.digest(),
            super::ENGINE
        );
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    /// Which of `wanted` are not known yet.
    #[must_use]
    pub fn missing(&self, suite: &Suite, wanted: &[Flying]) -> Vec<Flying> {
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
        let kept = std::fs::create_dir_all(file.parent().unwrap_or(Path::new(""))).is_ok()
            && write_whole(&file, |out| Ok(serde_json::to_writer(out, &rows)?)).is_ok();
        if !kept {
            tracing::warn!("cannot keep {}", file.display());
        }
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
