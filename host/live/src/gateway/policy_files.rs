//! The files that policies are in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, plain};
use windtunnel_sim::PoliciesSpec;

/// The files that policies are in.
pub fn files(policies: &PoliciesSpec) -> Vec<PathBuf> {
    let named = [&policies.admission, &policies.routing]
        .into_iter()
        .flatten();
    let paths = named.map(|name| match name.split_once(".so:") {
        Some((path, _)) => PathBuf::from(format!("{path}.so")),
        None => PathBuf::from(name),
    });
    let is_file = |path: &PathBuf| {
        let ending = path.extension().and_then(|e| e.to_str());
        matches!(ending, Some("lua" | "luau" | "so"))
    };
    paths
        .filter(is_file)
        .chain(policies.config.clone())
        .collect()
}

/// Fingerprints of files, by path.
///
/// # Errors
/// When one cannot be read.
pub fn fingerprints(files: &[PathBuf]) -> Result<BTreeMap<String, String>, InputError> {
    let one = |path: &PathBuf| {
        let bytes =
            std::fs::read(path).map_err(|e| InputError::in_file(path.display(), plain(&e)))?;
        Ok((
            path.display().to_string(),
            blake3::hash(&bytes).to_hex().to_string(),
        ))
    };
    files.iter().map(one).collect()
}

/// `path` as it is written in a configuration that lies in `folder`.
pub fn beside(folder: &Path, policies: &mut PoliciesSpec) {
    for name in [&mut policies.admission, &mut policies.routing]
        .into_iter()
        .flatten()
    {
        let path = Path::new(name.as_str());
        if name.contains(['/', '.']) && path.is_relative() {
            *name = folder.join(path).display().to_string();
        }
    }
    if let Some(path) = &mut policies.config {
        *path = folder.join(&*path);
    }
}
