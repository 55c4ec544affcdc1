//! Runs in abstract time give what TickSim gives, through the command and in the form of the
//! shipped examples.

use crate::errors::Folder;
use crate::support::{root, windtunnel};
use crate::tick_pools::check_pools;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Figures of TickSim: a number of places is compared, all of them to nine digits.
pub(crate) fn recorded() -> Value {
    let text = include_str!("../data/ticks/cases.json");
    serde_json::from_str(text).expect("the recorded figures")
}

/// A run in the form of the shipped examples, with the inputs of a case of TickSim.
fn run_of(input: &Value) -> Value {
    let (strategy, generator) = (&input["batcher"], &input["load_generator"]);
    let strategy = match strategy.as_str().expect("a batcher") {
        "StaticBatcher" => "static",
        "IFBatcher" => "in-flight",
        "IFBatcherWithOnePrefillOnly" => "one-prefill",
        other => panic!("no strategy for {other}"),
    };
    let mut workload = json!({
        "output_tokens": { "mean": input["target_output_len_tokens"], "stdev": input["output_len_std"] },
    });
    let (name, key, value) = match generator.as_str().expect("a generator") {
        "BatchLoadGenerator" => ("all-at-once", "num_requests", &input["initial_batch"]),
        "ConcurrentLoadGenerator" => (
            "constant-concurrency",
            "concurrency",
            &input["target_concurrency"],
        ),
        "RequestRateLoadGenerator" => ("constant-rate", "rate", &input["request_rate"]),
        "LoadGenerator" => ("one-per-step", "num_requests", &Value::Null),
        other => panic!("no generator for {other}"),
    };
    workload["load_generator"] = name.into();
    workload[key] = value.clone();
    json!({
        "pools": [{
            "engine": { "max_num_seqs": input["max_batch_size"], "batching_strategy": strategy },
            "latency": {
                "model": "ticks", "prefill_time": input["prefill_time"], "itl": input["itl"],
                "total_prefill_chunks": input["total_prefill_chunks"],
            },
        }],
        "workload": workload,
        "seed": input["seed"],
        "time_limit": input["time_limit"],
    })
}

/// Where a figure of TickSim stands in our JSON.
const PLACES: [(&str, &str); 18] = [
    ("avg_e2e", "/e2e_ticks/mean"),
    ("avg_ttft", "/ttft_ticks/mean"),
    ("avg_itl", "/itl_ticks/mean"),
    ("median_e2e", "/e2e_ticks/median"),
    ("median_ttft", "/ttft_ticks/median"),
    ("median_itl", "/itl_ticks/median"),
    ("n_completed", "/completed_requests"),
    ("n_ttft", "/ttft_ticks/count"),
    ("n_itl", "/itl_ticks/count"),
    ("requests_per_1k", "/requests_per_1000_ticks"),
    ("tokens_per_1k", "/tokens_per_1000_ticks"),
    ("completed_tokens", "/completed_tokens"),
    ("inflight_tokens", "/running_tokens"),
    ("run_time_last_interval_end", "/end_ticks"),
    ("final_queue", "/final_queue"),
    ("final_batch", "/final_batch"),
    ("steps", "/steps"),
    ("max_queue", "/max_queue"),
];

pub(crate) fn compare(name: &str, expected: &Value, result: &Value) {
    let mut compared = 0;
    for (theirs, ours) in PLACES {
        let (want, got) = (&expected[theirs], result.pointer(ours));
        let got = got.unwrap_or_else(|| panic!("{name}: no {ours}"));
        match (want.as_f64(), got.as_f64()) {
            (Some(want), Some(got)) => {
                let off = (want - got).abs() / want.abs().max(1.0);
                assert!(off <= 1e-9, "{name}: {theirs} is {got}, not {want}");
                compared += 1;
            }
            (None, None) => {}
            _ => panic!("{name}: {theirs} is {got}, not {want}"),
        }
    }
    assert!(compared >= 10, "{name}: {compared} figures");
}

pub(crate) fn run_json(arguments: &[&str]) -> Value {
    let ran = windtunnel(arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// Writes a run into a file, and says where it is.
pub(crate) fn write(folder: &Folder, run: &Value) -> String {
    folder.write("run.yaml", run.to_string().as_bytes());
    let path = folder.path().join("run.yaml");
    path.to_string_lossy().into_owned()
}

/// Runs a case, in a file, and compares all figures.
fn check(folder: &Folder, case: &Value) {
    let name = case["name"].as_str().expect("a name");
    for plain in [false, true] {
        let mut run = run_of(&case["input"]);
        run["pools"][0]["engine"]["plain_steps"] = plain.into();
        let path = write(folder, &run);
        let result = run_json(&["run", "--spec", &path, "--json", "--quiet"]);
        compare(name, &case["expected"], &result);
        if let Some(created) = case["n_created"].as_u64() {
            assert_eq!(result["created_requests"], created, "{name}");
        }
    }
}

#[test]
fn recorded_cases_are_exact() {
    let folder = Folder::with(&[]);
    let recorded = recorded();
    let cases = recorded["cases"].as_array().expect("cases");
    assert!(cases.len() >= 12);
    cases.iter().for_each(|case| check(&folder, case));
}

/// Compares the runs of a source that goes on from a short run to a long one.
fn check_growth(folder: &Folder, case: &Value) {
    let mut input = case["input"].clone();
    for (key, value) in [
        ("batcher", json!("IFBatcherWithOnePrefillOnly")),
        ("max_batch_size", json!(4)),
        ("prefill_time", json!(2)),
        ("itl", json!(1)),
        ("output_len_std", case["input"]["std"].clone()),
    ] {
        input[key] = value;
    }
    input["load_generator"] = match input["kind"].as_str() {
        Some("rate") => json!("RequestRateLoadGenerator"),
        _ => json!("ConcurrentLoadGenerator"),
    };
    let mut run = run_of(&input);
    run["time_limit"] = Value::Null;
    let path = write(folder, &run);
    let result = run_json(&[
        "queue-growth",
        &path,
        "--time-limits",
        "100,10000",
        "--json",
    ]);
    for (k, name) in ["short_100", "long_10000"].into_iter().enumerate() {
        let (want, got) = (&case["runs"][name], &result["runs"][k]);
        let expected = &want["expected"];
        for (theirs, ours) in [
            ("final_queue", "final_queue"),
            ("avg_ttft", "ttft_mean_ticks"),
            ("avg_e2e", "e2e_mean_ticks"),
            ("n_completed", "completed_requests"),
        ] {
            let (want, got) = (expected[theirs].as_f64(), got[ours].as_f64());
            let (want, got) = (want.expect("a figure"), got.expect("a figure"));
            let off = (want - got).abs() / want.abs().max(1.0);
            assert!(off <= 1e-9, "{name}: {theirs} is {got}, not {want}");
        }
        let created = want["n_created"].as_u64();
        let created = created.or_else(|| Some(want["created"].as_array()?.len() as u64));
        assert_eq!(got["created_requests"].as_u64(), created, "{name}");
    }
}

#[test]
fn queues_grow_as_recorded() {
    let folder = Folder::with(&[]);
    let recorded = recorded();
    let cases = recorded["growth"].as_array().expect("cases");
    assert_eq!(cases.len(), 2);
    cases.iter().for_each(|case| check_growth(&folder, case));
}

/// The cases that lie beside the project or where `WINDTUNNEL_ORACLE` points.
fn more_cases() -> Vec<PathBuf> {
    let folder = std::env::var_os("WINDTUNNEL_ORACLE")
        .map_or_else(|| root().join("../shared/oracle"), PathBuf::from);
    let files = fs::read_dir(folder.join("ticks"))
        .into_iter()
        .flatten()
        .flatten();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn all_cases_beside_the_project_are_exact() {
    let folder = Folder::with(&[]);
    let mut exact = 0;
    for path in more_cases() {
        let text = fs::read_to_string(&path).expect("a case");
        let case: Value = serde_json::from_str(&text).expect("JSON");
        if case["runs"].is_object() {
            check_growth(&folder, &case);
        } else if case["input"]["prefill_workers"].is_null() {
            check(&folder, &case);
        } else {
            check_pools(&folder, &case);
        }
        exact += 1;
    }
    println!("{exact} cases exact");
}

/// The shipped example of this name.
pub(crate) fn example(name: &str) -> String {
    format!("examples/ticksim/{name}.yaml")
}

#[test]
fn shipped_examples_give_the_published_figures() {
    let published = [
        ("static", [58.16, 52.80, 1.00, 190.0, 1680.0]),
        ("in-flight", [58.44, 52.90, 1.39, 267.33, 2376.24]),
        ("chunked", [57.42, 54.51, 1.14, 310.0, 2730.0]),
        ("one-prefill", [55.94, 52.13, 1.00, 360.0, 3170.0]),
        ("concurrent", [15.14, 7.87, 1.00, 360.0, 3170.0]),
        ("rate", [17.66, 11.03, 1.00, 350.0, 3060.0]),
    ];
    for (name, figures) in published {
        let result = run_json(&["run", "--spec", &example(name), "--json", "--quiet"]);
        let places = [
            "/e2e_ticks/mean",
            "/ttft_ticks/mean",
            "/itl_ticks/mean",
            "/requests_per_1000_ticks",
            "/tokens_per_1000_ticks",
        ];
        for (place, want) in places.into_iter().zip(figures) {
            let got = result.pointer(place).and_then(Value::as_f64);
            let off = (got.expect("a figure") - want).abs();
            assert!(off < 0.005 + 1e-9, "{name}: {place} is {got:?}, not {want}");
        }
    }
    let ran = windtunnel([
        "queue-growth",
        &example("queue-growth-rate"),
        &example("queue-growth-concurrent"),
    ]);
    insta::assert_snapshot!(ran.stdout, @r#"
    ┌─────────────────────────┬───────┬───────┬─────────┬─────────┬──────────────┐
    │ Run                     ┆ Ticks ┆ Queue ┆ TTFT    ┆ E2E     ┆ Completed    │
    ╞═════════════════════════╪═══════╪═══════╪═════════╪═════════╪══════════════╡
    │ queue-growth-rate       ┆ 100   ┆ 6     ┆ 11.03   ┆ 17.66   ┆ 35 of 45     │
    │ queue-growth-rate       ┆ 10000 ┆ 1138  ┆ 1245.77 ┆ 1253.78 ┆ 3458 of 4599 │
    │ queue-growth-concurrent ┆ 100   ┆ 2     ┆ 7.87    ┆ 15.14   ┆ 36 of 42     │
    │ queue-growth-concurrent ┆ 10000 ┆ 2     ┆ 8.61    ┆ 17.32   ┆ 3459 of 3465 │
    └─────────────────────────┴───────┴───────┴─────────┴─────────┴──────────────┘
    Queue: requests that wait at the end. TTFT, E2E: means, ticks.
    "#);
}

/// The data that a page shows.
pub(crate) fn page_data(path: &Path) -> Value {
    let page = fs::read_to_string(path).expect("a page");
    assert!(!page.contains("http"), "it asks nobody for anything");
    let from = page.find("const data = ").expect("the data") + "const data = ".len();
    let to = page.find(";\nconst byId").expect("their end");
    serde_json::from_str(&page[from..to]).expect("JSON")
}

/// What each place of an instance's batch holds, step by step: a letter for prefill and decode.
pub(crate) fn places_shown(instance: &Value) -> Vec<String> {
    let steps = instance["steps"].as_array().expect("steps");
    let places = steps[0][3].as_array().expect("places").len();
    let letter = |step: &Value, k: usize| match &step[3][k] {
        Value::Null => '.',
        held if held[1] == 0 => 'p',
        _ => 'd',
    };
    (0..places)
        .map(|k| steps.iter().map(|step| letter(step, k)).collect())
        .collect()
}

#[test]
fn the_page_shows_the_places_of_the_batch_as_they_were() {
    let folder = Folder::with(&[]);
    let page = folder.path().join("page.html");
    let mut compared = 0;
    for case in recorded()["cases"].as_array().expect("cases") {
        let Some(slots) = case["slots"].as_array() else {
            continue;
        };
        let file = write(&folder, &run_of(&case["input"]));
        let html = page.to_string_lossy();
        run_json(&["run", "--spec", &file, "--html-path", &html, "--json", "-q"]);
        let data = page_data(&page);
        let steps = data["instances"][0]["steps"].as_array().expect("steps");
        assert_eq!(
            steps.len() as u64,
            case["expected"]["steps"].as_u64().expect("a number")
        );
        let places = places_shown(&data["instances"][0]);
        for (k, (shown, slot)) in places.iter().zip(slots).enumerate() {
            let slot = slot.as_str().expect("the states of a place");
            assert_eq!(*shown, slot[..shown.len()], "{}, place {k}", case["name"]);
            compared += 1;
        }
        let ends = case["step_end_times"].as_array().expect("times");
        let queue = case["queue_size"].as_array().expect("sizes");
        for (step, (end, waiting)) in steps.iter().zip(ends.iter().skip(1).zip(queue)) {
            assert_eq!(step[1].as_f64(), end.as_f64());
            assert_eq!(step[2].as_f64(), waiting.as_f64());
        }
    }
    assert_eq!(compared, 16);
}

#[test]
fn rows_and_table_are_in_ticks() {
    let folder = Folder::with(&[]);
    let rows = folder.path().join("rows.csv");
    let example = example("in-flight");
    let arguments = ["run", "--spec", &example, "--quiet", "--results-path"];
    let ran = windtunnel(arguments.into_iter().chain([&*rows.to_string_lossy()]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(ran.stdout, @r#"
    1 x 4 places, batching in-flight, time in ticks
    workload: 100 requests at once, 10 +- 5 output tokens, seed 42
    policies: admission always-admit, routing round-robin, scheduler fcfs

    ┌───────┬────────────────────┬────────┬─────┐
    │ Ticks ┆ Mean               ┆ Median ┆ Of  │
    ╞═══════╪════════════════════╪════════╪═════╡
    │ TTFT  ┆ 52.9               ┆ 55     ┆ 30  │
    │ ITL   ┆ 1.3945945945945948 ┆ 1      ┆ 185 │
    │ E2E   ┆ 58.44444444444444  ┆ 60     ┆ 27  │
    └───────┴────────────────────┴────────┴─────┘

    ┌───────────────────────────┬───────────────────┐
    │ Run                       ┆                   │
    ╞═══════════════════════════╪═══════════════════╡
    │ Requests per 1,000 ticks  ┆ 267.3267326732673 │
    │ Tokens per 1,000 ticks    ┆ 2376.237623762376 │
    │ Completed of created      ┆ 27 of 100         │
    │ Steps, end                ┆ 61, 101 ticks     │
    │ Queue at the end, at most ┆ 69, 96            │
    │ Batch at the end          ┆ 4                 │
    └───────────────────────────┴───────────────────┘
    "#);
    let rows = fs::read_to_string(rows).expect("rows");
    let first: Vec<&str> = rows.lines().take(3).collect();
    insta::assert_snapshot!(first.join("\n"), @r#"
    request_id,outcome,instance,arrival_ticks,scheduling_delay_ticks,ttft_ticks,e2e_ticks,completion_ticks,mean_itl_ticks,prefill_chunks,output_tokens
    request_0,completed,instance_0,0.0,0.0,8.0,20.0,20.0,1.0909090909090908,1,12
    request_1,completed,instance_0,0.0,0.0,8.0,16.0,16.0,1.0,1,9
    "#);
}

#[test]
fn what_has_no_meaning_in_ticks_is_refused() {
    let folder = Folder::with(&[]);
    let ticks = "run --latency-model ticks --load-generator all-at-once --num-requests 3";
    for (arguments, message) in [
        (
            format!("{ticks} --model llama-3.1-8b-instruct"),
            "--model has no effect with --latency-model ticks, whose time is abstract: it knows requests, steps and \
             places in a batch",
        ),
        (
            format!("{ticks} --horizon 5"),
            "--horizon has no effect with --latency-model ticks, whose time is abstract",
        ),
        (
            format!("{ticks} --rate 2"),
            "--rate has no effect with --load-generator all-at-once",
        ),
        (
            format!("{ticks} --rules blis"),
            "--rules blis does not go with --latency-model ticks",
        ),
        (
            format!("{ticks} --metrics-path m.json"),
            "--metrics-path has no effect with --latency-model ticks",
        ),
        (
            format!("{ticks} --format blis"),
            "--format blis has no effect with --latency-model ticks",
        ),
        (
            format!("{ticks} --batching-strategy chunked-context:chunk=3"),
            "chunk has no effect with --latency-model ticks",
        ),
        (
            format!("{ticks} --batching-strategy windowed:window=5ms"),
            "window is \"5ms\"; expected 0 to 1000000 ticks",
        ),
        (
            format!("{ticks} --seed 5000000000"),
            "--seed is 5000000000; expected a number below 2^32",
        ),
        (
            format!("{ticks} --lockstep"),
            "--lockstep has no effect where every instance prefills and decodes",
        ),
        (
            format!(
                "{ticks} --prefill-instances 1 --decode-instances 1 --lockstep --pd-hop-latency 1"
            ),
            "--pd-hop-latency has no effect with --lockstep, where KV caches move at once",
        ),
        (
            format!("{ticks} --prefix-tokens 1"),
            "--prefix-tokens has no effect in ticks without --[no-]enable-prefix-caching",
        ),
        (
            format!("{ticks} --enable-prefix-caching --prefix-tokens 1"),
            "--prefix-tokens is 1; expected less than the 1 of a prompt",
        ),
        (
            format!("{ticks} --scale 9:2 --time-limit 8"),
            "--scale has no effect at 9 ticks, when the run is over",
        ),
        (
            "run --model llama-3.1-8b-instruct --prefill-instances 1 --decode-instances 1 --lockstep"
                .into(),
            "--lockstep has no effect without --latency-model ticks",
        ),
        (
            "run --latency-model ticks --time-limit 9".into(),
            "--latency-model ticks needs --load-generator",
        ),
        (
            "run --latency-model ticks --load-generator constant-rate --rate 0.5".into(),
            "this load goes on for ever: give --time-limit or --num-requests, too",
        ),
        (
            "run --model llama-3.1-8b-instruct --load-generator one-per-step".into(),
            "--load-generator has no effect where time is real, as one-per-step; it goes with --latency-model ticks",
        ),
        (
            "run --latency-model ticks --load-generator constant-concurrency".into(),
            "--load-generator constant-concurrency needs --concurrency",
        ),
        (
            "run --model llama-3.1-8b-instruct --itl 2".into(),
            "--itl has no effect without --latency-model ticks",
        ),
        (
            "run --model llama-3.1-8b-instruct --time-series-interval 1".into(),
            "--time-series-interval has no effect without --time-series",
        ),
        (
            "run --rate 2".into(),
            "--model is not given; only a run with --latency-model ticks or profile has none",
        ),
    ] {
        let ran = folder.command(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments}");
        assert!(ran.stderr.contains(message), "{arguments}\n{}", ran.stderr);
    }
}

#[test]
fn every_strategy_serves_a_load_in_ticks() {
    for strategy in [
        "continuous",
        "chunked-context",
        "prefill-first",
        "run-to-completion",
        "greedy",
        "windowed:min_batch_size=3,window=7.5",
    ] {
        let result = run_json(&[
            "run",
            "--latency-model",
            "ticks",
            "--load-generator",
            "all-at-once",
            "--num-requests",
            "10",
            "--max-num-seqs",
            "4",
            "--total-prefill-chunks",
            "2",
            "--batching-strategy",
            strategy,
            "--json",
            "--quiet",
        ]);
        assert_eq!(result["completed_requests"], 10, "{strategy}");
        assert_eq!(result["completed_tokens"], 40, "{strategy}");
        assert_eq!(result["itl_ticks"]["count"], 20, "{strategy}");
    }
}

#[test]
fn all_at_once_works_with_real_step_times_too() {
    let result = run_json(&[
        "run",
        "--model",
        "llama-3.1-8b-instruct",
        "--load-generator",
        "all-at-once",
        "--num-requests",
        "8",
        "--json",
        "--quiet",
    ]);
    assert_eq!(result["completed_requests"], 8);
    let workload = result["setup"]["workload"].as_str().expect("words");
    assert!(workload.contains("8 requests at once"), "{workload}");
}
