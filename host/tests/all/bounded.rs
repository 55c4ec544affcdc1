//! The time that a workload takes hangs on what is asked for, not on what its file could mean. Each
//! of these would take minutes to years otherwise, or all memory; nothing here looks at a clock.

use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_base::request::Source;
use windtunnel_workload::spec::{Bounds, Changes, Pauses, parse};
use windtunnel_workload::{OpenOptions, Selection, open};

const LENGTHS: &str = "input_distribution: {type: constant, params: {value: 5}}, output_distribution: {type: constant, params: {value: 5}}";

/// Takes 50 requests of a spec; how many came, or why it is refused.
fn some(text: &str) -> Result<u64, String> {
    let text = text.replace("LENGTHS", LENGTHS);
    let opened = parse(Path::new("s.yaml"), &text, Changes::default());
    let opened = opened.map_err(|e| e.to_string())?;
    let bounds = Bounds {
        seed: 1,
        horizon_us: i64::MAX,
        num_requests: Some(50),
        timeout_us: None,
        pauses: Pauses::default(),
    };
    let mut source = opened.source(bounds).map_err(|e| e.to_string())?;
    let (mut given, mut last) = (0, 0);
    while let Some(request) = source.next_request() {
        assert!(request.arrival_us >= last);
        last = request.arrival_us;
        given += 1;
    }
    Ok(given)
}

#[test]
fn fifty_requests_of_any_rate_are_fifty() {
    let window = "lifecycle: {windows: [{start_us: 0, end_us: 1000000000000, trace_rate: 2000}]}";
    for process in [
        "poisson",
        "constant",
        "gamma, cv: 3",
        "weibull, cv: 2",
        "gamma, cv: 100000",
    ] {
        let client = format!("id: a, LENGTHS, arrival: {{process: {process}}}");
        let counted = format!("clients: [{{{client}, {window}}}]");
        assert_eq!(some(&counted), Ok(50), "{process}");
        let steady = format!("aggregate_rate: 1e9\nclients: [{{rate_fraction: 1, {client}}}]");
        assert_eq!(some(&steady), Ok(50), "{process}");
    }
    for text in [
        "clients: [{id: a, LENGTHS, lifecycle: {windows: [{start_us: 0, end_us: 1000000000, trace_rate: 1e6}]}}]",
        // Many windows, each of many requests.
        "cohorts: [{id: c, population: 100000, rate_fraction: 1, LENGTHS, spike: {start_time_us: 0, duration_us: 1000000000, trace_rate: 1e9}}]",
        // Sessions and users without measure.
        "aggregate_rate: 1e6\nclients: [{id: a, rate_fraction: 1, LENGTHS, closed_loop: false, reasoning: {multi_turn: {max_rounds: 4000000000, think_time_us: 0, context_growth: accumulate}}}]",
        "clients: [{id: a, concurrency: 4000000000, LENGTHS}]",
        // A pause that the process never gets through: its gaps are 0 but for one in 10^10.
        "aggregate_rate: 10\nclients: [{id: a, rate_fraction: 1, LENGTHS, arrival: {process: gamma, cv: 100000}, lifecycle: {windows: [{start_us: 1000000000, end_us: 2000000000}]}}]",
    ] {
        assert_eq!(some(text), Ok(50), "{text}");
    }
}

/// Windows of a microsecond, an hour apart: hardly anything falls into them.
#[test]
fn windows_that_are_missed_are_not_run_through_for_ever() {
    let window = |k: i64| {
        let start = k * 3_600_000_000;
        format!("{{start_us: {start}, end_us: {}}}", start + 1)
    };
    let windows: Vec<String> = (1..20_000).map(window).collect();
    let text = format!(
        "aggregate_rate: 10\nclients: [{{id: a, rate_fraction: 1, LENGTHS, lifecycle: {{windows: [{}]}}}}]",
        windows.join(", ")
    );
    assert!(some(&text).is_ok_and(|n| n <= 50));
}

#[test]
fn what_cannot_be_bounded_is_refused_with_its_bound() {
    let cohort = "{id: c, population: 100000, rate_fraction: 1, LENGTHS";
    let spike = format!(
        "{cohort}, spike: {{start_time_us: 0, duration_us: 1000000000, trace_rate: 1e11}}}}"
    );
    for (text, said) in [
        (
            "clients: [{id: a, LENGTHS, lifecycle: {windows: [{start_us: 0, end_us: 1000000000, trace_rate: 1e9}]}}]".to_owned(),
            "requests in one window; at most 2147483647 make sense",
        ),
        (
            format!("cohorts: [{}]", vec![spike; 10].join(", ")),
            "parts of 16 requests of a client each; at most 1048576 make sense",
        ),
        (
            format!("cohorts: [{}]", vec![format!("{cohort}}}"); 11].join(", ")),
            "1100000 clients in all; at most 1000000 make sense",
        ),
        (
            format!(
                "aggregate_rate: 1\nclients: [{{id: a, rate_fraction: 1, LENGTHS, lifecycle: {{windows: [{}]}}}}]",
                vec!["{start_us: 0, end_us: 9}"; 30_001].join(", ")
            ),
            "30001 windows share an aggregate rate; at most 30000 make sense",
        ),
    ] {
        let found = some(&text).expect_err("refused");
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn loops_beyond_what_is_wanted_cost_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.017335+00:00,2399,6\n";
    let held = "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 2]}\n{\"timestamp\": 900, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [1, 3]}\n";
    for (name, text) in [("t.csv", rows), ("t.jsonl", held)] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let with = |loops, max_requests| {
            let selection = Selection {
                loops,
                max_requests,
                ..Selection::default()
            };
            let options = OpenOptions {
                selection,
                ..OpenOptions::default()
            };
            let mut trace = open(&path, None, &options)?;
            let all = std::iter::from_fn(|| trace.next_request().map(|r| r.arrival_us));
            Ok::<Vec<i64>, InputError>(all.collect())
        };
        let few = with(30, Some(50)).expect("readable");
        assert_eq!(few.len(), 50);
        let many = with(1_000_000_000, Some(50)).expect("readable");
        assert_eq!(many, few, "{name}");
    }
}
