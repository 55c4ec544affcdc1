//! The suites that are built into the program, and the workload specs that they name.

// Suites by name, and workload specs by their place in the folder of suites: `SUITES` and
// `WORKLOADS`, made by the build script.
include!(concat!(env!("OUT_DIR"), "/suites.rs"));

fn find(of: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    of.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// The suite called `name`.
#[must_use]
pub fn suite(name: &str) -> Option<&'static str> {
    find(SUITES, name)
}

/// Names of all suites.
#[must_use]
pub fn suite_names() -> Vec<&'static str> {
    SUITES.iter().map(|(name, _)| *name).collect()
}

/// The workload spec at `path` in the folder of suites.
#[must_use]
pub fn workload(path: &str) -> Option<&'static str> {
    find(WORKLOADS, path)
}

/// Places of all workload specs.
#[must_use]
pub fn workload_names() -> Vec<&'static str> {
    WORKLOADS.iter().map(|(name, _)| *name).collect()
}
