//! Whether files have changed: by their times and sizes, looked at now and then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

/// What files were like when they were looked at last.
#[derive(Debug, Default)]
pub struct Watched(BTreeMap<PathBuf, Option<(SystemTime, u64)>>);

impl Watched {
    /// Looks at these files from now on. Has one of them changed since they were looked at last?
    pub fn changed(&mut self, files: impl IntoIterator<Item = PathBuf>) -> bool {
        let look = |path: &PathBuf| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        let now: BTreeMap<_, _> = files
            .into_iter()
            .map(|path| (path.clone(), look(&path)))
            .collect();
        let before = std::mem::replace(&mut self.0, now);
        // A file that was not looked at before has not changed.
        self.0
            .iter()
            .any(|(path, about)| before.get(path).is_some_and(|was| was != about))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_again_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&a, "1").unwrap();
        let mut watched = Watched::default();
        assert!(!watched.changed([a.clone(), b.clone()]));
        assert!(!watched.changed([a.clone(), b.clone()]));
        std::fs::write(&a, "12").unwrap();
        assert!(watched.changed([a.clone(), b.clone()]));
        std::fs::write(&b, "").unwrap();
        assert!(watched.changed([a.clone(), b]));
        assert!(!watched.changed([a]));
    }
}
