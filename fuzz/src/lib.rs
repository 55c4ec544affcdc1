//! What is fuzzed; the corpus runs through the same functions in the ordinary tests
//! (`host/tests/all/fuzz.rs`).

use std::path::Path;
use windtunnel_base::request::Source;
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
