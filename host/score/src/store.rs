//! Reports that were made before. A candidate that differs from an earlier one in comments and
//! spacing only gets the same report.

use super::ask::{Ask, Seeds};
use super::report::Report;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{folder_of, write_whole};

/// A report as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The names that the scripts had.
    scripts: Vec<String>,
    #[serde(flatten)]
    report: Report,
}

/// Whether a text of the report names a script.
fn mentions(report: &Report, script: &str) -> bool {
    let problems = report.errors.iter().chain(&report.warnings);
    let mut problems = problems.flat_map(|p| p.file.iter().chain([&p.message]));
    let mut items = report.feedback_items.iter().map(|item| &item.text);
    problems.any(|text| text.contains(script)) || items.any(|text| text.contains(script))
}

fn names(ask: &Ask) -> Vec<String> {
    let paths = ask.candidate.texts.keys();
    paths.map(|path| path.display().to_string()).collect()
}

/// Reports by what they depend on, on disk.
pub struct Store {
    folder: Option<PathBuf>,
}

impl Store {
    /// Keeps reports in `folder`, if there is one.
    #[must_use]
    pub fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(|f| f.join("reports")),
        }
    }

    fn file(&self, ask: &Ask) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let seeds = match ask.seeds {
            Seeds::Suite => "suite".to_owned(),
            Seeds::Auto => "auto".to_owned(),
            Seeds::Fixed(n) => n.to_string(),
        };
        let parts = [
            ask.candidate.digest()?,
            ask.suite.digest(),
            super::engine(),
            ask.split.name().to_owned(),
            format!("{:?}", ask.until),
            seeds,
            format!("{:?}", ask.scenarios),
            format!("{:?}", ask.incumbent),
        ];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        let name = format!("{}.json", &hasher.finalize().to_hex()[..32]);
        Some(folder.join(name))
    }

    /// The report on an equal question. A damaged one counts for none; nor does one that names
    /// scripts which are called otherwise now.
    #[must_use]
    pub fn get(&self, ask: &Ask) -> Option<Report> {
        let text = std::fs::read_to_string(self.file(ask)?).ok()?;
        let kept: Kept = serde_json::from_str(&text).ok()?;
        let names = names(ask);
        let tells = |name: &String| !names.contains(name) && mentions(&kept.report, name);
        (!kept.scripts.iter().any(tells)).then_some(kept.report)
    }

    /// Keeps a report. What went wrong names lines, which change with the spacing, and limits of
    /// the machine may have had a part in it: only reports on candidates that work are kept.
    pub fn keep(&self, ask: &Ask, report: &Report) {
        let Some(file) = self.file(ask).filter(|_| report.ok) else {
            return;
        };
        let kept = Kept {
            scripts: names(ask),
            report: report.clone(),
        };
        keep(&file, &kept);
    }
}

/// Writes a file of the cache. There is a warning if that fails, and it is made again the next
/// time.
pub(super) fn keep(file: &Path, value: &(impl Serialize + ?Sized)) {
    let kept = std::fs::create_dir_all(folder_of(file)).is_ok()
        && write_whole(file, |out| Ok(serde_json::to_writer(out, value)?)).is_ok();
    if !kept {
        tracing::warn!("cannot keep {}", file.display());
    }
}
