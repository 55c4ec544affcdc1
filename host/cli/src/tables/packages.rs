//! Finding files of measurements in unpacked packages.
//!
//! Layouts: `SYSTEM/FAMILY/vllm/VERSION/KERNEL_perf.parquet` (aisimulate 0.13, aiconfigurator-core
//! 0.12) and `SYSTEM/vllm/VERSION/KERNEL_perf.parquet` (aiconfigurator up to 0.10), both beneath
//! `systems/data`.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_config::KernelSource;

/// Packages whose data is licensed as it says here.
const LICENCES: [(&str, &str); 4] = [
    ("aisimulate", "Apache-2.0"),
    ("aisimulate_core", "Apache-2.0"),
    ("aiconfigurator", "Apache-2.0"),
    ("aiconfigurator_core", "Apache-2.0"),
];

/// Data of one system in unpacked packages.
pub struct Packages {
    packages: Vec<Package>,
}

struct Package {
    /// Name and version as far as the folders tell them.
    name: String,
    licence: &'static str,
    /// `.../systems/data/SYSTEM`, where the package has it.
    system: PathBuf,
}

/// A file of measurements.
pub struct Found {
    pub path: PathBuf,
    pub source: KernelSource,
}

impl Packages {
    /// Finds the data of a system. In one of the folders at least it must be.
    pub fn open(folders: &[PathBuf], system: &str) -> Result<Self, InputError> {
        let mut packages = Vec::new();
        let mut systems = Vec::new();
        for folder in folders {
            let data = data_folder(folder)?;
            let here = data.join(system);
            if here.is_dir() {
                let (name, licence) = package_of(&data);
                packages.push(Package {
                    name,
                    licence,
                    system: here,
                });
            }
            systems.extend(names_in(&data)?);
        }
        if packages.is_empty() {
            systems.sort();
            systems.dedup();
            let systems: Vec<&str> = systems.iter().map(String::as_str).collect();
            let message = format!("--system: {}", unknown("system", system, &systems));
            return Err(InputError::new(message));
        }
        Ok(Self { packages })
    }

    /// The file of a kernel, in its folder where there is one: of `version`, or the newest, of
    /// the first package that has it.
    pub fn find(
        &self,
        folder: &str,
        file: &str,
        version: Option<&str>,
    ) -> Result<Option<Found>, InputError> {
        for package in &self.packages {
            for family in [Some(folder), None] {
                let folder = match family {
                    Some(family) => package.system.join(family).join("vllm"),
                    None => package.system.join("vllm"),
                };
                if !folder.is_dir() {
                    continue;
                }
                let mut versions = names_in(&folder)?;
                versions.sort_by(|a, b| by_version(b, a));
                for there in versions {
                    let path = folder.join(&there).join(file);
                    if version.is_none_or(|version| version == there) && path.is_file() {
                        return package.found(path, &there).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }
}

impl Package {
    fn found(&self, path: PathBuf, version: &str) -> Result<Found, InputError> {
        let bytes = fs::read(&path).map_err(|e| in_file(&path, &e.to_string()))?;
        let data = self.system.parent().unwrap_or(&self.system);
        let within = path.strip_prefix(data).unwrap_or(&path);
        Ok(Found {
            source: KernelSource {
                package: self.name.clone(),
                licence: self.licence.to_owned(),
                file: within.display().to_string(),
                hash: blake3::hash(&bytes).to_hex()[..16].to_owned(),
                engine: format!("vLLM {version}"),
                device: String::new(),
            },
            path,
        })
    }
}

/// An error about a file.
pub fn in_file(path: &Path, message: &str) -> InputError {
    InputError::in_file(path.display().to_string(), message)
}

/// The folder `systems/data` at or beneath a folder.
fn data_folder(folder: &Path) -> Result<PathBuf, InputError> {
    let mut places = vec![folder.to_path_buf(), folder.join("systems/data")];
    let packages = LICENCES.iter().map(|(name, _)| name);
    places.extend(packages.map(|name| folder.join(name).join("systems/data")));
    let is_data = |place: &&PathBuf| place.ends_with("systems/data") && place.is_dir();
    let found = places.iter().find(is_data);
    found.cloned().ok_or_else(|| {
        in_file(
            folder,
            "no measurements: there is no folder systems/data in it, nor in aisimulate_core, aiconfigurator_core or \
             aiconfigurator; and it has neither Vidur's profiles (compute/GPU/ORGANISATION/MODEL/mlp.csv) nor \
             LLMServingSim's (GPU/ORGANISATION/MODEL/VARIANT/meta.yaml)",
        )
    })
}

/// Name, version and licence of the package that a data folder belongs to.
fn package_of(data: &Path) -> (String, &'static str) {
    let package = data.parent().and_then(Path::parent);
    let name = package.and_then(Path::file_name).map_or_else(
        || "unknown package".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let beside = package
        .and_then(Path::parent)
        .and_then(|beside| names_in(beside).ok());
    let info = beside.into_iter().flatten().find_map(|folder| {
        let version = folder.strip_prefix(&format!("{name}-"))?;
        version.strip_suffix(".dist-info").map(str::to_owned)
    });
    let licence = LICENCES.iter().find(|(package, _)| *package == name);
    let licence = licence.map_or("unknown", |(_, licence)| licence);
    match info {
        Some(version) => (format!("{name} {version}"), licence),
        None => (name, licence),
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>, InputError> {
    let entries = fs::read_dir(folder).map_err(|e| in_file(folder, &e.to_string()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

/// Versions by their numbers.
fn by_version(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        let parts = text.split(|c: char| !c.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b))
}
