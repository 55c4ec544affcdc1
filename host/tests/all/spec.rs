//! Workload specs through the command line.

use crate::errors::Folder;

const LENGTHS: &str = "input_distribution: {type: constant, params: {value: 64}}, output_distribution: {type: constant, params: {value: 8}}";

fn folder(name: &str, text: &str) -> Folder {
    Folder::with(&[(name, &text.replace("LENGTHS", LENGTHS))])
}

fn json(folder: &Folder, flags: &str) -> serde_json::Value {
    let ran = folder.fine(&format!("--json {flags}"));
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn flags_go_before_what_a_spec_says() {
    let text = "seed: 7\naggregate_rate: 10\nnum_requests: 40\nhorizon: 100000000\n\
        goodput_slo_targets: {batch: {ttft_ms: 5000}}\nclients: [{id: a, slo_class: batch, rate_fraction: 1, LENGTHS}]\n";
    let folder = folder("s.yaml", text);
    let plain = json(&folder, "--workload-spec @/s.yaml");
    assert_eq!(plain["injected_requests"], 40, "{plain}");
    assert_eq!(plain["setup"]["horizon_us"], 100_000_000);
    assert!(
        plain["goodput"].is_object() || plain["slo"].is_object(),
        "{plain}"
    );
    assert!(
        plain["setup"]["workload"]
            .as_str()
            .unwrap()
            .ends_with("1 client, at most 40 requests, seed 7")
    );
    let duration = |flags: &str| {
        json(&folder, flags)["vllm_estimated_duration_s"]
            .as_f64()
            .unwrap()
    };
    let usual = duration("--workload-spec @/s.yaml");
    assert!((3.0..5.5).contains(&usual), "{usual}");
    assert!(duration("--workload-spec @/s.yaml --rate 100") < 1.0);
    assert!(duration("--workload-spec @/s.yaml --horizon 1000000") <= 1.0);
    let more = json(
        &folder,
        "--workload-spec @/s.yaml --num-requests 60 --seed 1",
    );
    assert_eq!(more["injected_requests"], 60);
    let late = json(&folder, "--workload-spec @/s.yaml --timeout 0.01");
    assert_eq!(late["completed_requests"], 0, "{late}");
}

#[test]
fn what_has_no_effect_on_a_spec_is_refused() {
    let window = "clients: [{id: a, LENGTHS, lifecycle: {windows: [{start_us: 0, end_us: 1000000, trace_rate: 5}]}}]\n";
    let folder = folder("s.yaml", window);
    for (flags, message) in [
        (
            "--workload-spec @/s.yaml --prompt-tokens 5",
            "--prompt-tokens has no effect with --workload-spec",
        ),
        (
            "--workload-spec @/s.yaml --rate 5",
            "@/s.yaml:1:1: there is no aggregate_rate that a rate could replace",
        ),
        (
            "--workload-spec @/none.yaml",
            "@/none.yaml: cannot read: no such file or folder",
        ),
        (
            "--concurrency 0",
            "--concurrency is 0; expected at least 1 user",
        ),
        (
            "--concurrency 2",
            "--concurrency goes on as long as answers come: give --num-requests or --horizon, too",
        ),
    ] {
        let found = folder.refused(flags);
        assert!(found.starts_with(message), "{flags}\n{found}");
    }
    for flags in [
        "--workload-spec @/s.yaml --workload chatbot",
        "--concurrency 2 --rate 5",
        "--think-time-ms 5",
    ] {
        assert_eq!(folder.run(flags).code, 2, "{flags}");
    }
}

#[test]
fn users_wait_for_their_answers() {
    let folder = Folder::with(&[]);
    let flags = "--concurrency 4 --num-requests 50 --think-time-ms 200 --prompt-tokens-max 600 --output-tokens-max 600 --results-path @/r.csv";
    let result = json(&folder, flags);
    assert_eq!(result["completed_requests"], 50);
    let rows = std::fs::read_to_string(folder.path().join("r.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(rows.as_bytes());
    let header = reader.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|h| h == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let number = |row: &csv::StringRecord, name: &str| row[column(name)].parse::<i64>().unwrap();
    for user in 0..4 {
        let session = format!("concurrency_distribution_user_{user}");
        let mine: Vec<_> = rows
            .iter()
            .filter(|r| r[column("session")] == session)
            .collect();
        assert!(mine.len() > 3);
        for pair in mine.windows(2) {
            // The answer is there when its last step ends; some models add to the latency what the
            // API server does after it.
            let sent = number(pair[1], "arrival_us") - 200_000;
            let first_token = number(pair[0], "arrival_us") + number(pair[0], "ttft_us");
            assert!(
                (first_token..=number(pair[0], "completion_us")).contains(&sent),
                "{pair:?}"
            );
        }
    }
}

#[test]
fn refused_sessions_stop_and_the_run_ends() {
    let text = "aggregate_rate: 5\nnum_requests: 30\nclients: [{id: s, rate_fraction: 1, LENGTHS, reasoning: {multi_turn: {max_rounds: 3}}}]\n";
    let folder = folder("s.yaml", text);
    let all = json(&folder, "--workload-spec @/s.yaml");
    assert_eq!(
        (&all["injected_requests"], &all["completed_requests"]),
        (&30.into(), &30.into())
    );
    let none = json(
        &folder,
        "--workload-spec @/s.yaml --admission-policy reject-all",
    );
    assert_eq!(
        (&none["arrivals"], &none["completed_requests"]),
        (&10.into(), &0.into())
    );
}

#[test]
fn a_sweep_gives_a_spec_its_seeds() {
    let text = "seed: 3\naggregate_rate: 10\nnum_requests: 40\nclients: [{id: a, rate_fraction: 1, LENGTHS}]\n";
    let folder = folder("s.yaml", text);
    let command = "sweep --model llama-3.1-8b-instruct --workload-spec @/s.yaml --grid rate=10,20 --seeds 2 --out @/o.csv --quiet";
    let ran = folder.command(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = std::fs::read_to_string(folder.path().join("o.csv")).unwrap();
    let mut durations: Vec<&str> = rows.lines().skip(1).collect();
    assert_eq!(durations.len(), 4);
    durations.dedup();
    assert_eq!(durations.len(), 4);
}

#[test]
fn the_reference_of_the_format_is_made_from_its_types() {
    let path = crate::support::root().join("docs/reference/workload-spec.md");
    let made = windtunnel_workload::spec::reference::markdown();
    if std::env::var_os("WINDTUNNEL_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("a writable document");
    }
    let text = std::fs::read_to_string(path).expect("a document");
    assert!(
        text == made,
        "docs/reference/workload-spec.md is old; WINDTUNNEL_UPDATE_DOCS=1 renews it"
    );
    for key in [
        "`prefix_group`",
        "`context_growth`",
        "[Window](#window)",
        "| `pareto_lognormal` |",
    ] {
        assert!(made.contains(key), "{key}");
    }
}

#[test]
fn the_configuration_of_inference_perf_is_a_workload() {
    let load = "load:\n  type: constant\n  interval: 1\n  stages: [{rate: 4, duration: 30}]\nserver: {type: vllm}\n";
    let shared = "data:\n  type: shared_prefix\n  shared_prefix: {num_groups: 3, num_prompts_per_group: 2, system_prompt_len: 100, \
        question_len: 40, output_len: 8}\n";
    let random = "data:\n  type: random\n  input_distribution: {min: 10, max: 90, mean: 50, std_dev: 20, total_count: 9}\n  \
        output_distribution: {min: 5, max: 9, mean: 7, std_dev: 1}\n";
    let folder = Folder::with(&[
        ("s.yaml", &format!("{load}{shared}")),
        ("r.yaml", &format!("{load}{random}")),
        ("b.yaml", &format!("{load}data:\n  type: sharegpt\n")),
    ]);
    let s = json(&folder, "--workload-spec @/s.yaml");
    assert_eq!(
        (&s["arrivals"], &s["total_input_tokens"]),
        (&120.into(), &16_800.into())
    );
    assert_eq!(json(&folder, "--workload-spec @/r.yaml")["arrivals"], 120);
    let error = folder.refused("--workload-spec @/b.yaml");
    assert!(
        error.contains("data.type: unknown data \"sharegpt\""),
        "{error}"
    );
}

#[test]
fn the_oldest_generator_runs_and_prints_its_metrics() {
    let command = "run --model qwen2.5-7b-instruct --reqgen-config-path docs/examples/requestgenconfig.yaml \
        --regression-coeffs 0.006857138483067575,3.82496271961672e-05,5.517393223466091e-05 --queuing-coeffs 4.87273847,8956.34427 \
        --finished-coeffs 0.0470950911,1297.25103 --total-kv-blocks 64173 --max-num-running-reqs 8192 --max-num-scheduled-tokens 4096 --format blis";
    let folder = Folder::with(&[]);
    let ran = folder.command(command);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let value = |label: &str| -> f64 {
        let line = ran
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix(label)?.trim().strip_prefix(':'));
        let line = line.unwrap_or_else(|| panic!("no {label} in {}", ran.stdout));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    // Published for this case, where it does not hang on the bug that stopped admission after 1,284
    // requests.
    let near = |label: &str, published: f64, share: f64| {
        let found = value(label);
        assert!(
            (found / published - 1.0).abs() < share,
            "{label}: {found}, published {published}"
        );
    };
    near("Total Input Tokens", 5_282_504.0, 0.01);
    near("Mean Active Steps", 255.143, 0.03);
    near("vLLM estimated Duration(s)", 199.921, 0.05);
    assert_eq!(
        (value("Completed Requests"), value("Request Rate(req/s)")),
        (2000.0, 10.0)
    );
    assert!(
        (value("Throughput to arrival rate ratio") - value("Request throughput (req/s)") / 10.0)
            .abs()
            < 1e-3
    );
    let summary = folder.command(&command.replace(
        "--finished-coeffs 0.0470950911,1297.25103",
        "--summary-only",
    ));
    assert!(summary.code == 0 && !summary.stdout.contains("Saturation Metrics"));
    let refused = "--regression-coeffs 1,2 --queuing-coeffs 1,2";
    assert!(
        folder.refused(refused).starts_with(
            "--regression-coeffs takes 3 finite numbers of 0 or more, found [1.0, 2.0]"
        )
    );
    let flags = "--reqgen-config-path docs/examples/requestgenconfig.yaml --rate 5";
    assert!(
        folder
            .refused(flags)
            .starts_with("--rate has no effect with --reqgen-config-path")
    );
}
