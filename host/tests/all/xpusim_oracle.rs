//! What XpuSim recorded is reproduced here: when what happened to each request, and its figures.
//!
//! Small cases lie in `tests/data/oracle/xpu/runs`; more run when they are found beside the
//! project.

use crate::oracle::beside;
use crate::support::{read_json, root, windtunnel};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// How far times may be apart, relative to the larger of the time and a second: what adding up
/// fractions of seconds, as XpuSim does, leaves of them.
const TIMES: f64 = 1e-9;

/// Our command line for a case: its own flags, or its configuration in a file.
fn arguments(case: &Value, folder: &Path) -> Vec<String> {
    let mut line: Vec<String> = ["run", "--quiet", "--engine", "xpusim"]
        .map(str::to_owned)
        .to_vec();
    match case["command"].as_str() {
        // `python3 -m llm_inference_simulator FLAGS`
        Some(command) => line.extend(command.split_whitespace().skip(3).map(str::to_owned)),
        None => {
            let path = folder.join("config.json");
            fs::write(&path, case["config"].to_string()).expect("written");
            line.extend(["--spec".to_owned(), path.display().to_string()]);
        }
    }
    if case["constant_arrivals"] == true {
        line.extend(["--load-generator", "constant-rate"].map(str::to_owned));
    }
    line
}

fn near(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => {
            (found - expected).abs() <= TIMES * expected.abs().max(1.0)
        }
        _ => found == expected,
    }
}

/// Every figure of `expected` is in `found`.
fn compare(name: &str, at: &str, found: &Value, expected: &Value) {
    let Some(keys) = expected.as_object() else {
        assert!(
            near(found, expected),
            "{name}: {at} is {found}, not {expected}"
        );
        return;
    };
    for (key, expected) in keys {
        compare(name, &format!("{at}/{key}"), &found[key], expected);
    }
}

/// Runs a case and compares all of it.
fn check(path: &Path) {
    let case = read_json(path);
    let folder = tempfile::tempdir().expect("a folder");
    let mut line = arguments(&case, folder.path());
    let name = case["name"].as_str().expect("a name");
    let rows = folder.path().join("rows.json");
    line.extend(["--format", "xpusim", "--results-path"].map(str::to_owned));
    line.push(rows.display().to_string());
    let ran = windtunnel(&line);
    if !case["expected_error"].is_null() {
        assert_eq!(ran.code, 2, "{name}: {}", ran.stderr);
        return;
    }
    assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    compare(name, "", &found, &case["expected"]);
    let mut extra = case["extra"].clone();
    // As many as there are events.
    extra
        .as_object_mut()
        .expect("an object")
        .remove("memory_samples");
    compare(name, "extra", &found["extra"], &extra);
    let rows = read_json(&rows);
    let (rows, requests) = (rows.as_array(), case["requests"].as_array());
    let (rows, requests) = (rows.expect("rows"), requests.expect("requests"));
    assert_eq!(json!(rows.len()), case["requests_total"], "{name}");
    for (row, request) in rows.iter().zip(requests) {
        let id = &request["id"];
        compare(name, &format!("request {id}"), row, request);
    }
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a readable folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_run = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(".json") && !name.starts_with('_'))
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_run).collect();
    paths.sort();
    paths
}

#[test]
fn the_projects_runs_are_reproduced() {
    let cases = cases(&root().join("host/tests/data/oracle/xpu/runs"));
    assert!(cases.len() >= 4, "only {} runs lie here", cases.len());
    cases.iter().for_each(|path| check(path));
}

#[test]
fn all_runs_beside_the_project_are_reproduced() {
    let folder = beside().join("xpu");
    match folder.is_dir() {
        true => cases(&folder).iter().for_each(|path| check(path)),
        false => println!("xpusim: no folder {}", folder.display()),
    }
}
