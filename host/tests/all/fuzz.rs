//! The corpus of the fuzz targets: hostile files are refused or read, never a panic, never without
//! end.

use crate::support::root;

#[path = "../../../fuzz/src/lib.rs"]
mod bodies;

fn replay(target: &str, body: fn(&[u8])) -> usize {
    let folder = root().join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    for file in &files {
        println!("{}", file.display());
        body(&std::fs::read(file).expect("readable"));
    }
    files.len()
}

#[test]
fn hostile_traces_are_refused_or_read() {
    assert!(replay("trace", bodies::trace) >= 15);
}

#[test]
fn hostile_specs_are_refused_or_read() {
    assert!(replay("spec", bodies::spec) >= 15);
}

#[test]
fn hostile_policies_are_refused_or_looked_at() {
    assert!(replay("policy", bodies::policy) >= 5);
}

#[test]
fn hostile_suites_and_bundles_are_refused_or_read() {
    assert!(replay("suite", bodies::suite) >= 5);
}
