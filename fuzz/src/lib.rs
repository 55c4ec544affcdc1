//! What is fuzzed; the corpus runs through the same functions in the ordinary tests
//! (`host/tests/all/fuzz.rs`).

use std::path::Path;
use std::sync::Arc;
use windtunnel_base::request::Source;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::lua::{Program, canonical, compared_names, hooks_filled, lint};
use windtunnel_policy::lua::{declarations, refuse_misreads, with_defaults};
use windtunnel_score::Suite;
use windtunnel_score::suite::SuiteSource;
use windtunnel_workload::spec::{Bounds, Changes, Pauses, read, reference};
use windtunnel_workload::{OpenOptions, Selection, open};

/// Requests that are looked at.
const MOST: usize = 2000;

/// A trace of any format: it is refused, or its requests come in order of time.
pub fn trace(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace");
    std::fs::write(&path, bytes).expect("written");
    for strict in [false, true] {
        let selection = Selection {
            spread_ties: !strict,
            loops: 2,
            ..Selection::default()
        };
        let options = OpenOptions {
            strict,
            selection,
            ..OpenOptions::default()
        };
        match open(&path, None, &options) {
            Ok(mut trace) => in_order(&mut trace),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A workload spec: it is refused with its place, or its requests come in order of time.
pub fn spec(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spec.yaml");
    std::fs::write(&path, bytes).expect("written");
    match read(&path, Changes::default()) {
        Ok(opened) => {
            let _ = opened.expanded();
            let bounds = Bounds {
                seed: 1,
                horizon_us: 1_000_000_000,
                num_requests: Some(MOST as u64),
                timeout_us: None,
                pauses: Pauses::default(),
            };
            if let Ok(mut source) = opened.source(bounds) {
                in_order(&mut source);
            }
        }
        Err(error) => assert!(error.to_string().contains(&name(&path))),
    }
    assert!(reference::schema().is_object());
}

/// What stands between two of these in a policy is repeated: mutations find cycles, not depth.
const REPEATED: char = '\u{1}';
/// How often.
const TIMES: usize = 2000;
/// Units of a policy while it is loaded: enough to define hooks.
const UNITS: i64 = 2_000;

/// The text of a policy: it is looked at from all sides and loaded, or refused with a line.
pub fn policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let parts: Vec<&str> = text.split(REPEATED).collect();
    let text = match parts[..] {
        [before, repeated, after] => {
            let times = TIMES.min((200 << 10) / repeated.len().max(1));
            format!("{before}{}{after}", repeated.repeat(times))
        }
        _ => text.to_owned(),
    };
    let Ok(mut program) = Program::new("p.lua", text, &[], false) else {
        return;
    };
    program.run_units = UNITS;
    let syntax = lint(&program);
    for finding in syntax.iter().flatten().chain(syntax.as_ref().err()) {
        assert!(
            finding.line > 0 && !finding.message.is_empty(),
            "{finding:?}"
        );
    }
    let _ = (
        canonical(&program),
        refuse_misreads(&program),
        compared_names(&program),
    );
    let values: Vec<(String, f64)> = program
        .declared
        .iter()
        .map(|p| (p.name.to_string(), p.least))
        .collect();
    let changed = with_defaults(&program.text, &values);
    assert_eq!(
        declarations("p.lua", &changed).map_or(0, |p| p.len()),
        values.len()
    );
    let program = Arc::new(program);
    match hooks_filled(&program) {
        // What the script engine does not take, the lint has refused.
        Ok(_) => assert!(syntax.is_ok(), "{syntax:?}"),
        Err(error) => assert!(error.to_string().contains("p.lua"), "{error}"),
    }
}

/// The text of a suite, of a bundle, of a configuration of the endpoint picker: refused with the
/// file's name, or read.
pub fn suite(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(error) = Bundle::parse("b.yaml", text) {
        assert!(error.to_string().contains("b.yaml"), "{error}");
    }
    // A folder that is not there: nothing that a suite names is read.
    let source = SuiteSource::File("/nonexistent/s.yaml".into());
    match Suite::of_text(source, text.to_owned(), None) {
        Ok(suite) => assert!(!suite.digest().is_empty() && !suite.label().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn in_order(source: &mut dyn Source) {
    let mut last = 0;
    for _ in 0..MOST {
        let Some(request) = source.next_request() else {
            break;
        };
        assert!(
            request.arrival_us >= last,
            "{} before {last}",
            request.arrival_us
        );
        last = request.arrival_us;
        if request.prompt.len() < 1 << 16 {
            let blocks = request.prompt.block_keys(16).count();
            assert_eq!(blocks as u32, request.prompt.len() / 16);
        }
    }
}
