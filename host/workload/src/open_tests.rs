use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn data(rest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/data/workload")
        .join(rest)
}

#[test]
fn a_trace_is_opened_by_its_content_alone() {
    let mut azure = open(&data("azure.csv"), None, &OpenOptions::default()).unwrap();
    assert_eq!(azure.format(), Format::AzureLlm);
    assert_eq!(azure.latest_arrival_us(), Some(52_001));
    assert_eq!(azure.replay_horizon_us(), 104_002);
    assert_eq!(azure.size_hint(), Some(3));
    assert!(azure.next_request().is_some());
    let closed = OpenOptions {
        session_mode: SessionMode::ClosedLoop,
        ..OpenOptions::default()
    };
    let header = data("closed-loop-prefix/trace.yaml");
    let trace = open(
        &data("closed-loop-prefix/trace.csv"),
        Some(&header),
        &closed,
    )
    .unwrap();
    assert_eq!(trace.format(), Format::TraceV2);
    assert_eq!(trace.size_hint(), Some(125));
    assert!(trace.has_follow_ups());
}

#[test]
fn options_without_effect_are_refused() {
    let azure = data("azure.csv");
    let refuse = |header: Option<&Path>, options: OpenOptions| {
        open(&azure, header, &options).unwrap_err().to_string()
    };
    let usual = OpenOptions::default();
    let closed = OpenOptions {
        session_mode: SessionMode::ClosedLoop,
        ..usual.clone()
    };
    assert!(refuse(Some(Path::new("h.yaml")), usual.clone()).contains("only TraceV2 has one"));
    assert!(refuse(None, closed).contains("it has no sessions"));
    let think_time = Some(ThinkTime::Constant(5));
    assert!(
        refuse(
            None,
            OpenOptions {
                think_time,
                ..usual.clone()
            }
        )
        .contains("no effect")
    );
    let select = |change: fn(&mut Selection)| {
        let mut options = usual.clone();
        change(&mut options.selection);
        refuse(None, options)
    };
    for rate_scale in [0.0, -1.0, f64::NAN] {
        let selection = Selection {
            rate_scale,
            ..Selection::default()
        };
        let error = refuse(
            None,
            OpenOptions {
                selection,
                ..usual.clone()
            },
        );
        assert!(error.contains("rate scale"), "{error}");
    }
    assert!(select(|s| s.timeout_us = Some(0)).contains("timeout"));
    assert!(select(|s| s.sample = 1.5).contains("the sample is 1.5"));
    assert!(select(|s| s.loops = 0).contains("0 loops"));
    assert!(select(|s| s.to_us = Some(0)).contains("the window from 0 s to 0 s is empty"));
    assert!(select(|s| s.from_us = Some(9_000_000)).contains("leave no request"));
    let run = Some(1);
    assert!(
        refuse(
            None,
            OpenOptions {
                run,
                ..usual.clone()
            }
        )
        .contains("it has no runs")
    );
    let missing = open(Path::new("no-such.csv"), None, &usual).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "no-such.csv: cannot read: no such file or folder"
    );
    let folder = open(&data(""), None, &usual).unwrap_err().to_string();
    assert!(folder.ends_with("cannot read: it is a folder"), "{folder}");
}

proptest! {
    #[test]
    fn no_file_makes_a_reader_panic(
        which in 0usize..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..4, any::<u8>()), 0..8),
    ) {
        let trace = std::fs::read(data("closed-loop-prefix/trace.csv")).unwrap();
        let five = b"t,a,b,p,o\n1.5,x,y,\"[1,2,3]\",[4]\n1.5,x,y,\"[1,2,5]\",[4]\n".to_vec();
        let mut bytes = match which {
            0 => trace[..2000].to_vec(),
            1 => std::fs::read(data("azure.csv")).unwrap(),
            _ => five,
        };
        const BYTES: &[u8] = b"0-9.,\"[]\n\r eN\xff";
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len());
            let byte = BYTES[byte as usize % BYTES.len()];
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at + 1),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                bytes.push(byte);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, &bytes).unwrap();
        let selection = Selection { rate_scale: 1.5, ..Selection::default() };
        match open(&path, None, &OpenOptions { selection, ..OpenOptions::default() }) {
            Ok(mut trace) => {
                let mut last = 0;
                while let Some(request) = trace.next_request() {
                    prop_assert!(request.arrival_us >= last);
                    last = request.arrival_us;
                }
            }
            Err(error) => prop_assert!(error.to_string().contains("t.csv"), "{}", error),
        }
    }
}
