//! Cached reports. A candidate that differs from an earlier one only in comments and spacing gets
//! the same report.

use super::report::Report;
use super::score_request::{ScoreRequest, Seeds};
use super::version::engine;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{folder_of, read_own, replace_whole, sweep_leftovers};

/// A report as it is cached.
#[derive(Serialize, Deserialize)]
struct CachedReport {
    /// Names of the scripts when it was made.
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

fn names(request: &ScoreRequest) -> Vec<String> {
    let paths = request.candidate.texts.keys();
    paths.map(|path| path.display().to_string()).collect()
}

/// Reports on disk, by a hash of everything that they depend on.
pub struct ReportCache {
    folder: Option<PathBuf>,
}

impl ReportCache {
    /// A cache in `folder`; without one nothing is cached.
    #[must_use]
    pub fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map(|f| f.join("reports"));
        if let Some(folder) = &folder {
            sweep_leftovers(folder);
        }
        Self { folder }
    }

    fn file(&self, request: &ScoreRequest) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let seeds = match request.seeds {
            Seeds::Suite => "suite".to_owned(),
            Seeds::Auto => "auto".to_owned(),
            Seeds::Fixed(n) => n.to_string(),
        };
        let parts = [
            request.candidate.digest()?,
            request.suite.digest(),
            engine(),
            request.split.name().to_owned(),
            format!("{:?}", request.last_stage),
            seeds,
            format!("{:?}", request.scenarios),
            format!("{:?}", request.incumbent),
            format!("{:?} {}", request.salts().ok()?, request.fresh_seeds),
        ];
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        let name = format!("{}.json", &hasher.finalize().to_hex()[..32]);
        Some(folder.join(name))
    }

    /// The report on an equal request. A damaged file counts as none, and so does a report that
    /// mentions scripts by names that they no longer have.
    #[must_use]
    pub fn get(&self, request: &ScoreRequest) -> Option<Report> {
        let text = read_cache_file(&self.file(request)?)?;
        let cached: CachedReport = serde_json::from_slice(&text).ok()?;
        let names = names(request);
        let outdated = |name: &String| !names.contains(name) && mentions(&cached.report, name);
        (!cached.scripts.iter().any(outdated)).then_some(cached.report)
    }

    /// Caches a report on a candidate that works. Others are not cached: their problems name lines,
    /// which depend on the spacing, and may be due to the machine.
    pub fn insert(&self, request: &ScoreRequest, report: &Report) {
        let Some(file) = self.file(request).filter(|_| report.ok) else {
            return;
        };
        let cached = CachedReport {
            scripts: names(request),
            report: report.clone(),
        };
        write_cache_file(&file, &cached);
    }
}

/// Largest file of the cache that is read, bytes.
const LARGEST: u64 = 256 << 20;

/// Whether the folder of a file of the cache is one that was made for it: through a link, files
/// elsewhere would be read and replaced.
fn folder_is_ours(file: &Path) -> bool {
    let folder = folder_of(file).symlink_metadata();
    folder.map_or(true, |folder| folder.is_dir())
}

/// Reads a file of the cache. A link is none, whatever it leads to.
pub(super) fn read_cache_file(file: &Path) -> Option<Vec<u8>> {
    if !folder_is_ours(file) {
        return None;
    }
    read_own(file, LARGEST).ok()
}

/// Writes a file of the cache; a link at its place is replaced. A failure is only logged: the
/// content can be computed again.
pub(super) fn write_cache_file(file: &Path, value: &(impl Serialize + ?Sized)) {
    let written = folder_is_ours(file)
        && std::fs::create_dir_all(folder_of(file)).is_ok()
        && replace_whole(file, |out| Ok(serde_json::to_writer(out, value)?)).is_ok();
    if !written {
        tracing::warn!("cannot keep {}", file.display());
    }
}
