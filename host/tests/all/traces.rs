//! Traces of other people's formats through the command line, and what can be chosen of them.

use crate::errors::Folder;
use serde_json::Value;

const MOONCAKE: &str = "{\"timestamp\": 0, \"input_length\": 1024, \"output_length\": 5, \"hash_ids\": [1, 2]}\n\
    {\"timestamp\": 3000, \"input_length\": 1100, \"output_length\": 5, \"hash_ids\": [1, 2, 3]}\n\
    {\"timestamp\": 3000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [1, 4]}\n\
    {\"timestamp\": 9000, \"input_length\": 10, \"output_length\": 5, \"hash_ids\": [5]}\n";

const BURST: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type,Session ID,Elapsed time\n\
    5,ChatGPT,472,18,490,Conversation log,s1,2.5\n45,ChatGPT,1087,230,1317,Conversation log,s1,3\n118,GPT-4,417,276,693,API log,,1\n\
    120,GPT-4,417,0,417,API log,,1\n";

const VLLM: &str = "{\"date\": \"x\", \"backend\": \"vllm\", \"num_prompts\": 3, \"request_rate\": 2.0, \"input_lens\": [10, 20, 30], \
    \"output_lens\": [5, 6, 0], \"start_times\": [100.5, 100.0, 101.0], \"ttfts\": [0.1, 0.1, 0.0], \"errors\": [\"\", \"\", \"timeout\"]}\n";

const GUIDELLM: &str = "{\"benchmarks\": [{\"requests\": {\"successful\": [{\"prompt_tokens\": 7, \"output_tokens\": 3, \"start_time\": 50.0}], \
    \"errored\": [{}], \"incomplete\": []}}, {\"requests\": {\"successful\": [\
    {\"input_metrics\": {\"text_tokens\": 9}, \"output_metrics\": {\"total_tokens\": 4}, \"info\": {\"timings\": {\"request_start\": 60.0}}},\
    {\"input_metrics\": {\"text_tokens\": 8}, \"output_metrics\": {\"total_tokens\": 4}, \"info\": {\"timings\": {\"request_start\": 61.0}}}\
    ]}}]}";

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00,10,1\n2024-05-12 00:00:01,20,1\n\
    2024-05-12 00:00:02,30,1\n2024-05-12 00:00:03,40,1\n";

/// Arrivals in microseconds with prompt lengths, in order of arrival.
fn arrivals(folder: &Folder, flags: &str) -> Vec<(i64, u64)> {
    let ran = folder.fine(&format!("{flags} --results-path @/r.json"));
    assert!(!ran.stdout.is_empty());
    let text = std::fs::read_to_string(folder.path().join("r.json")).unwrap();
    let rows: Value = serde_json::from_str(&text).unwrap();
    let row = |r: &Value| {
        (
            r["arrival_us"].as_i64().unwrap(),
            r["prompt_tokens"].as_u64().unwrap(),
        )
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn every_format_is_told_by_its_content() {
    let folder = Folder::with(&[
        ("m", MOONCAKE),
        ("b", BURST),
        ("v", VLLM),
        ("g", GUIDELLM),
        ("a", AZURE),
    ]);
    let of = |flags: &str| arrivals(&folder, flags);
    assert_eq!(
        of("--workload @/m"),
        [
            (0, 1024),
            (3_000_000, 1100),
            (3_000_000, 600),
            (9_000_000, 10)
        ]
    );
    assert_eq!(
        of("--workload @/b"),
        [(0, 472), (40_000_000, 1087), (113_000_000, 417)]
    );
    assert_eq!(of("--workload @/v"), [(0, 20), (500_000, 10)]);
    assert_eq!(of("--workload @/g --trace-run 2"), [(0, 9), (1_000_000, 8)]);
    assert_eq!(of("--workload @/a").len(), 4);
}

#[test]
fn mooncake_blocks_are_shared_and_the_bound_is_shown() {
    let folder = Folder::with(&[("m", MOONCAKE)]);
    let result: Value = serde_json::from_str(&folder.fine("--workload @/m --json").stdout).unwrap();
    // The second prompt finds 1,024 tokens, the third 512.
    let bound = result["infinite_cache_hit_rate"].as_f64().unwrap();
    assert!((bound - 1536.0 / 2734.0).abs() < 1e-9, "{bound}");
    assert!(result["cache_hit_rate"].as_f64().unwrap() > 0.5, "{result}");
    assert!(
        folder
            .fine("--workload @/m")
            .stdout
            .contains("(infinite cache 56.2%)")
    );
}

#[test]
fn every_format_can_be_cut_sampled_looped_and_sped_up() {
    let folder = Folder::with(&[("m", MOONCAKE), ("a", AZURE)]);
    let of = |flags: &str| arrivals(&folder, flags);
    assert_eq!(
        of("--workload @/a --trace-from 1 --trace-to 3"),
        [(0, 20), (1_000_000, 30)]
    );
    assert_eq!(of("--workload @/a --rate-scale 2")[3], (1_500_000, 40));
    assert_eq!(
        of("--workload @/a --num-requests 2"),
        [(0, 10), (1_000_000, 20)]
    );
    let looped = of("--workload @/a --trace-from 1 --trace-to 3 --trace-loops 2");
    assert_eq!(
        looped,
        [(0, 20), (1_000_000, 30), (2_000_000, 20), (3_000_000, 30)]
    );
    // Without an end a pass takes one mean gap more than the trace.
    assert_eq!(of("--workload @/a --trace-loops 3")[8], (8_000_000, 10));
    assert_eq!(of("--workload @/m --spread-ties")[2], (6_000_000, 600));
    let half = of("--workload @/a --trace-loops 500 --trace-sample 0.5 --seed 1");
    // The same rows are kept in every pass.
    assert!(half.len() % 500 == 0 && half.len() < 2000, "{}", half.len());
    let ran = folder.command(
        "replay @/a --model llama-3.1-8b-instruct --trace-to 1.5 --timeout 0.000001 --json",
    );
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&result["arrivals"], &result["timed_out_requests"]),
        (&2.into(), &2.into())
    );
    for (flags, message) in [
        (
            "--workload @/a --trace-from 9",
            "@/a: the window, sample and cap leave no request",
        ),
        (
            "--workload @/a --trace-from 3 --trace-to 2",
            "the window from 3 s to 2 s is empty",
        ),
        (
            "--workload @/a --trace-run 1",
            "@/a: this is an Azure LLM inference trace: it has no runs",
        ),
        (
            "--workload @/a --trace-sample 0",
            "the sample is 0; expected a share above 0, at most 1",
        ),
        (
            "--workload @/a --rate-scale 0",
            "the rate scale is 0; expected a finite number above 0",
        ),
    ] {
        folder.check_beginnings(&[(flags, message)]);
    }
}

#[test]
fn row_errors_are_counted_or_end_a_strict_import() {
    let damaged = format!("{MOONCAKE}{{\"timestamp\": 1}}\nnonsense\n");
    let azure = AZURE.replace("30,1", "many,1").replace("40,1", "40");
    let folder = Folder::with(&[
        ("m", &damaged),
        ("a", &azure),
        ("b", BURST),
        ("v", VLLM),
        ("g", GUIDELLM),
    ]);
    for (file, rows, reason) in [
        ("m", "skipped 2 of 6 rows", "missing field `input_length`"),
        (
            "a",
            "skipped 2 of 4 rows",
            "1 x column \"ContextTokens\": expected a whole number",
        ),
        (
            "b",
            "skipped 1 of 4 rows",
            "the request failed: it has no response tokens",
        ),
        ("v", "skipped 1 of 3 rows", "the request failed"),
        (
            "g --trace-run 1",
            "skipped 1 of 2 rows",
            "the request failed or was not finished",
        ),
    ] {
        let ran = folder.fine(&format!("--workload @/{file}"));
        assert!(
            ran.stderr.contains(rows) && ran.stderr.contains(reason),
            "{}",
            ran.stderr
        );
        folder.refused(&format!("--workload @/{file} --strict"));
    }
    folder.write("a", AZURE.replace("05-12", "not a date").as_bytes());
    assert!(
        folder
            .refused("--workload @/a")
            .contains("expected a time like")
    );
}

#[test]
fn results_without_details_or_with_several_runs_say_so() {
    let folder = Folder::with(&[
        ("g", GUIDELLM),
        ("v", &VLLM.replace("start_times", "begin_times")),
        ("w", &format!("{VLLM}{VLLM}")),
    ]);
    folder.check_beginnings(&[
        (
            "--workload @/g",
            "@/g: the file has 2 benchmarks; choose one with --trace-run 1 to 2",
        ),
        (
            "--workload @/g --trace-run 3",
            "@/g: there is no run 3: the file has 2 benchmarks",
        ),
        ("--workload @/v", "@/v: start_times is missing"),
        (
            "--workload @/w",
            "@/w: the file has 2 runs; choose one with --trace-run 1 to 2",
        ),
    ]);
    folder.fine("--workload @/w --trace-run 2");
}

/// A folder of two chunks with four windows, the second without lengths.
fn servegen() -> Folder {
    let folder = Folder::with(&[]);
    std::fs::create_dir(folder.path().join("d")).unwrap();
    folder.write(
        "d/chunk-0-trace.csv",
        b"0,0.5,2,Gamma,0.25,8\n600,0,0,,0,0\n1200,1.0,1,,0,0\n1800,0.1,3,Weibull,0.5,5\n",
    );
    folder.write("d/chunk-1-trace.csv", b"0,0.25,1,,0,0\n");
    folder.write(
        "d/chunk-0-dataset.json",
        b"{\"0\": {\"input_tokens\": \"{100: 0.5, 200: 0.5}\", \"output_tokens\": \"{8: 1.0}\"}, \"1200\": {\"input_tokens\": \"{300: 1e0,}\", \
        \"output_tokens\": \"{9: 1}\"}, \"21600\": {\"input_tokens\": \"{}\", \"output_tokens\": \"{}\"}}",
    );
    folder
}

#[test]
fn servegen_windows_have_their_rates_and_lengths() {
    let folder = servegen();
    let all = arrivals(&folder, "--workload @/d");
    let within = |from: i64, to: i64| {
        all.iter()
            .filter(move |(t, _)| (from..to).contains(&(t / 1_000_000)))
    };
    assert_eq!(
        (within(0, 600).count(), within(600, 1200).count()),
        (300, 0)
    );
    assert_eq!(
        (within(1200, 1800).count(), within(1800, 2400).count()),
        (600, 60)
    );
    assert!(
        within(0, 600).all(|(_, n)| [100, 200].contains(n))
            && within(1200, 2400).all(|(_, n)| *n == 300)
    );
    let note = folder.fine("--workload @/d").stderr;
    // 0.25 of 1.85 requests/s.
    assert!(
        note.contains("1 chunks have no lengths")
            && note.contains("chunk-1; that is 13.5% of the rate"),
        "{note}"
    );
    let part = arrivals(&folder, "--workload @/d --trace-from 1200 --trace-to 1800");
    assert_eq!(part.len(), 600);
    let same: Vec<(i64, u64)> = within(1200, 1800).copied().collect();
    assert_eq!(part.len(), same.len());
    folder.write(
        "s.yaml",
        b"servegen_data: {path: d, span_start: 1200, span_end: 1800}\n",
    );
    assert_eq!(
        arrivals(&folder, "--workload-spec @/s.yaml --seed 42").len(),
        600
    );
    folder.write(
        "s.yaml",
        b"servegen_data: {path: d, time_window: morning}\n",
    );
    let error = folder.refused("--workload-spec @/s.yaml");
    assert!(
        error.starts_with("@/s.yaml:1:39: servegen_data.time_window: has no effect"),
        "{error}"
    );
    folder.write(
        "d/chunk-0-dataset.json",
        b"{\"0\": {\"input_tokens\": \"[1]\", \"output_tokens\": \"{8: 1}\"}}",
    );
    let error = folder.refused("--workload @/d");
    assert!(
        error.contains(
            "chunk-0-dataset.json: window 0: input_tokens: expected a dictionary in braces"
        ),
        "{error}"
    );
}
