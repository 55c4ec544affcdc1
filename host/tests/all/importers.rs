//! Files whose dialect, units and keys have to be found out or said: Mooncake traces of other
//! tools, reports with a sample of requests, configurations of load generators.

use crate::errors::Folder;
use serde_json::Value;

/// Arrivals in microseconds with prompt lengths, in order of arrival.
fn arrivals(folder: &Folder, flags: &str) -> Vec<(i64, u64)> {
    folder.fine(&format!("{flags} --results-path @/r.json"));
    let text = std::fs::read_to_string(folder.path().join("r.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let number = |r: &Value, key: &str| r[key].as_i64().unwrap();
    let row = |r: &Value| (number(r, "arrival_us"), number(r, "prompt_tokens") as u64);
    let mut all: Vec<(i64, u64)> = rows.iter().map(row).collect();
    all.sort_unstable();
    all
}

/// What is said to people about a run that works.
fn said(folder: &Folder, flags: &str) -> String {
    folder.fine(&format!("{flags} --quiet")).stderr
}

fn mooncake(rows: &[(&str, u32, &str)]) -> String {
    let row = |(time, input, rest): &(&str, u32, &str)| {
        format!(
            "{{\"timestamp\": {time}, \"input_length\": {input}, \"output_length\": 8{rest}}}\n"
        )
    };
    rows.iter().map(row).collect()
}

#[test]
fn time_stamps_are_in_the_unit_that_is_said_or_doubted() {
    let seconds = mooncake(&[
        ("0.0", 600, ""),
        ("0.2", 600, ""),
        ("30.4", 600, ""),
        ("61.9", 600, ""),
    ]);
    let folder = Folder::with(&[
        ("s", &seconds),
        (
            "us",
            &mooncake(&[("1760000000000000", 60, ""), ("1760000002500000", 60, "")]),
        ),
        (
            "b",
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,m,9,3,12,API log\n2505,m,9,3,12,API log\n",
        ),
        (
            "a",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00,10,1\n",
        ),
        (
            "c.yaml",
            "load: {stages: [{rate: 1, duration: 3}]}\ndata:\n  type: shared_prefix\n",
        ),
    ]);
    let times =
        |flags: &str| -> Vec<i64> { arrivals(&folder, flags).iter().map(|r| r.0).collect() };
    assert_eq!(
        times("--workload @/s --time-unit s"),
        [0, 200_000, 30_400_000, 61_900_000]
    );
    assert_eq!(said(&folder, "--workload @/s --time-unit s"), "");
    let note = said(&folder, "--workload @/s");
    assert!(
        note.contains("read in milliseconds, 4 requests arrive within 61.9 ms (48.5 per second); are the time stamps in seconds? --time-unit s"),
        "{note}"
    );
    // A Unix time tells its unit itself, and begins with the first request.
    assert_eq!(times("--workload @/us"), [0, 2_500_000]);
    assert!(
        said(&folder, "--workload @/us").contains("Unix times in microseconds, not milliseconds")
    );
    assert_eq!(times("--workload @/b --time-unit ms"), [0, 2_500_000]);
    assert!(said(&folder, "--workload @/b").contains("in milliseconds? --time-unit ms"));
    folder.check_beginnings(&[
        (
            "--workload @/a --time-unit s",
            "@/a: this is an Azure LLM inference trace: --time-unit has no effect",
        ),
        (
            "--workload @/b --trace-block-size 16",
            "@/b: this is a BurstGPT trace: --trace-block-size has no effect",
        ),
        (
            "--workload @/s --trace-block-size 0",
            "--trace-block-size is 0; expected at least 1 token",
        ),
        (
            "--time-unit s",
            "--time-unit has no effect with synthetic traffic",
        ),
        (
            "--workload-spec @/c.yaml --trace-block-size 16",
            "--trace-block-size has no effect with synthetic traffic",
        ),
    ]);
}

#[test]
fn units_and_blocks_are_part_of_a_run_and_of_every_command() {
    let text = mooncake(&[
        ("0", 170, ", \"hash_ids\": [1, 2, 3, 4, 5, 6]"),
        ("2", 170, ", \"hash_ids\": [1, 2, 3, 4, 5, 7]"),
    ]);
    let folder = Folder::with(&[("m", &text)]);
    let flags = "--workload @/m --time-unit s --trace-block-size 32";
    let dumped = folder.fine(&format!("{flags} --dump-spec")).stdout;
    assert!(
        dumped.contains("time_unit: s") && dumped.contains("block_size: 32"),
        "{dumped}"
    );
    folder.write("run.yaml", dumped.as_bytes());
    let ran = folder.command("run --spec @/run.yaml --json");
    let result: Value = serde_json::from_str(&ran.stdout).unwrap();
    // The second prompt finds the five blocks of 32 tokens that both have.
    let bound = result["infinite_cache_hit_rate"].as_f64().unwrap();
    assert!((bound - 160.0 / 340.0).abs() < 1e-9, "{bound}");
    for command in [
        "workload show @/m --time-unit s --trace-block-size 32",
        "workload validate @/m --time-unit s --trace-block-size 32",
        "workload convert @/m --to azure --time-unit s --trace-block-size 32",
        "replay @/m --model llama-3.1-8b-instruct --quiet --time-unit s --trace-block-size 32",
        "sweep --model llama-3.1-8b-instruct --grid num-instances=1,2 --workload @/m --time-unit s --trace-block-size 32 --quiet",
    ] {
        let ran = folder.command(command);
        assert_eq!(
            (ran.code, ran.stderr.contains("note")),
            (0, false),
            "{command}: {}",
            ran.stderr
        );
    }
    let ran = folder.command("workload validate @/m --trace-block-size 16");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("m:1: hash_ids: expected an id for every block of 16 tokens, found 6 for 170 tokens; the hash_ids fit --trace-block-size 32"),
        "{}",
        ran.stderr
    );
    let note = said(&folder, "--workload @/m --time-unit s");
    assert!(note.contains("the hash_ids fit blocks of 32 tokens, not 512, and are read so; --trace-block-size says otherwise"), "{note}");
}

#[test]
fn a_dialect_of_mooncake_is_understood_or_refused_whole() {
    let turns = "{\"session_id\": \"s-1\", \"timestamp\": 0, \"input_length\": 600, \"output_length\": 40, \"hash_ids\": [1, 2]}\n\
        {\"session_id\": \"s-1\", \"delay\": 1000, \"input_length\": 100, \"output_length\": 40, \"hash_ids\": [3]}\n\
        {\"session_id\": \"s-2\", \"timestamp\": 400, \"input_length\": 600, \"output_length\": 40, \"hash_ids\": [1, 2]}\n\
        {\"session_id\": \"s-2\", \"delay\": 1500, \"input_length\": 100, \"output_length\": 40, \"hash_ids\": [4]}\n";
    let mixed = mooncake(&[
        ("0", 600, ""),
        ("1000", 600, ", \"priority\": 1"),
        ("2000", 600, ", \"session_id\": \"a\", \"extra\": {}"),
    ]);
    let folder = Folder::with(&[
        ("turns", turns),
        ("mixed", &mixed),
        (
            "text",
            "{\"timestamp\": 0, \"messages\": [], \"output_length\": 20}\n",
        ),
        (
            "untimed",
            "{\"input_length\": 600, \"output_length\": 20}\n",
        ),
        (
            "slip",
            &mooncake(&[("0", 600, ""), ("1", 600, ", \"hash_idss\": [1, 2]")]),
        ),
    ]);
    let all = arrivals(&folder, "--workload @/turns");
    assert_eq!(
        all.iter().map(|r| r.1).collect::<Vec<_>>(),
        [600, 600, 740, 740]
    );
    // Its delay after an answer that takes its time.
    assert!(all[2].0 > 1_040_000 && all[3].0 > 1_940_000, "{all:?}");
    assert!(said(&folder, "--workload @/turns").contains("2 sessions have 2 later turns"));
    assert_eq!(arrivals(&folder, "--workload @/mixed").len(), 3);
    assert_eq!(
        said(&folder, "--workload @/mixed"),
        "note: keys that are not understood and have no effect: extra (1 rows)\n"
    );
    folder.check_beginnings(&[
        ("--workload @/text", "@/text:1: messages: prompts as messages are not read; expected input_length or text_input"),
        ("--workload @/untimed", "@/untimed:1: missing field `timestamp`; expected an object with timestamp, input_length"),
        ("--workload @/slip", "@/slip:2: unknown key \"hash_idss\"; did you mean \"hash_ids\"?"),
    ]);
    let closed =
        folder.command("replay @/mixed --model llama-3.1-8b-instruct --session-mode closed-loop");
    assert!(
        closed
            .stderr
            .contains("it has no sessions to replay as a closed loop"),
        "{}",
        closed.stderr
    );
}

#[test]
fn a_priority_of_a_trace_goes_before_its_class() {
    // All at one time on one slot: the most important is answered first.
    let rows: Vec<(&str, u32, &str)> = vec![
        ("0", 500, ", \"priority\": 0"),
        ("0", 501, ", \"priority\": 5"),
        ("0", 502, ", \"priority\": 9"),
    ];
    let folder = Folder::with(&[("m", &mooncake(&rows))]);
    folder.fine("--workload @/m --max-num-running-reqs 1 --scheduler priority-fcfs --priority-policy slo-class --results-path @/r.json");
    let text = std::fs::read_to_string(folder.path().join("r.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let ttft = |prompt: i64| {
        let row = rows.iter().find(|r| r["prompt_tokens"] == prompt).unwrap();
        row["ttft_us"].as_f64().unwrap()
    };
    assert!(ttft(502) < ttft(501), "{rows:?}");
}

#[test]
fn a_sample_of_a_report_is_no_load_unless_its_rate_is_changed() {
    let request = |start: f64| {
        format!(
            "{{\"request_start_time\": {start}, \"prompt_tokens\": 512, \"output_tokens\": 8, \"request_latency\": NaN}}"
        )
    };
    let report = |all: u32, kept: &str| {
        format!(
            "{{\"benchmarks\": [{{\"metrics\": {{\"request_totals\": {{\"successful\": {all}}}}}, \"requests\": {{\"successful\": [{kept}]}}}}]}}"
        )
    };
    let two = format!("{}, {}", request(7.0), request(11.0));
    let folder = Folder::with(&[
        ("sampled", &report(8, &two)),
        ("none", &report(8, "")),
        ("all", &report(2, &two)),
    ]);
    folder.check_beginnings(&[
        (
            "--workload @/sampled",
            "@/sampled: the report keeps 2 of 8 successful requests, a sample that is less load than they all were; \
             expected a report with all of them, or --rate-scale 4 to replay the sample at the rate of all",
        ),
        ("--workload @/none", "@/none: the report keeps 0 of 8 successful requests; expected one"),
    ]);
    assert_eq!(
        arrivals(&folder, "--workload @/sampled --rate-scale 4"),
        [(0, 512), (1_000_000, 512)]
    );
    assert!(
        said(&folder, "--workload @/sampled --rate-scale 4")
            .contains("keeps 2 of 8 successful requests")
    );
    assert_eq!(
        arrivals(&folder, "--workload @/all"),
        [(0, 512), (4_000_000, 512)]
    );
}

#[test]
fn keys_of_inference_perf_are_honoured_or_refused() {
    let stages = "stages: [{rate: 4, duration: 10}, {rate: 4, duration: 10}]";
    let random = "data:\n  type: random\n  input_distribution: {type: uniform, min: 10, max: 19}\n  output_distribution: {type: fixed, mean: 8}\n";
    let prefix = |rest: &str| {
        format!(
            "data:\n  type: shared_prefix\n  shared_prefix: {{num_groups: 1, num_prompts_per_group: 4, system_prompt_len: 96, question_len: 50, output_len: 50{rest}}}\n"
        )
    };
    let load = |load: &str, data: &str| format!("load:\n  {load}\n{data}");
    let folder = Folder::with(&[
        (
            "rest.yaml",
            &load(&format!("interval: 60\n  {stages}"), random),
        ),
        (
            "chat.yaml",
            &load(
                "stages: [{rate: 4, duration: 20}]",
                &prefix(", enable_multi_turn_chat: true"),
            ),
        ),
        (
            "same.yaml",
            &load("stages: [{rate: 4, duration: 20}]", &prefix("")),
        ),
        (
            "users.yaml",
            &load(
                "type: concurrent\n  stages: [{concurrency_level: 3, num_requests: 40}]",
                random,
            ),
        ),
        ("sweep.yaml", &load("sweep: {type: linear}", random)),
        (
            "lora.yaml",
            &load(
                "stages: [{rate: 4, duration: 1}]\n  lora_traffic_split: [{name: a, split: 0.5}, {name: b, split: 0.5}]",
                random,
            ),
        ),
        (
            "odd.yaml",
            &load("stages: [{rate: 4, duration: 1}]\n  warm_up: 3", random),
        ),
    ]);
    let of = |file: &str| arrivals(&folder, &format!("--workload-spec @/{file}"));
    let rest = of("rest.yaml");
    assert_eq!(rest.len(), 80);
    assert!(rest[39].0 < 10_000_000 && rest[40].0 > 70_000_000 && rest[79].0 < 80_000_000);
    assert!(rest.iter().all(|r| (10..=19).contains(&r.1)));
    // Four users with twenty rounds each.
    let chat = of("chat.yaml");
    let lengths: Vec<u64> = (0..20).map(|round| 146 + 100 * round).collect();
    let mut found: Vec<u64> = chat.iter().map(|r| r.1).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!((chat.len(), found), (80, lengths));
    // Four prompts, sent twenty times each: all but their first time they are in the cache.
    let result: Value =
        serde_json::from_str(&folder.fine("--workload-spec @/same.yaml --json").stdout).unwrap();
    let bound = result["infinite_cache_hit_rate"].as_f64().unwrap();
    let expected = f64::from(3 * 96 + 76 * 144) / f64::from(80 * 146);
    assert!((bound - expected).abs() < 1e-9, "{bound} {expected}");
    assert_eq!(of("users.yaml").iter().filter(|r| r.0 == 0).count(), 3);
    assert!(
        said(&folder, "--workload-spec @/lora.yaml")
            .contains("step times do not depend on adapters")
    );
    let folder_of = |file: &str| folder.refused(&format!("--workload-spec @/{file}"));
    assert!(
        folder_of("sweep.yaml").starts_with("@/sweep.yaml:2:10: load.sweep: the rates of a sweep")
    );
    assert!(folder_of("odd.yaml").contains("warm_up"));
    // Spelled out as a spec it is the same.
    for file in ["chat.yaml", "same.yaml", "lora.yaml"] {
        let spelled = folder.command(&format!(
            "workload convert @/{file} --to spec --out @/spelled.yaml"
        ));
        assert_eq!(spelled.code, 0, "{}", spelled.stderr);
        assert_eq!(of("spelled.yaml"), of(file), "{file}");
    }
}
