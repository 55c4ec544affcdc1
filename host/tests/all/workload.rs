//! `windtunnel workload`: what it shows is so, what it writes can be read again.

use crate::errors::Folder;
use crate::support::Ran;
use serde_json::Value;

const SPEC: &str = "version: \"1\"\nseed: 5\naggregate_rate: 20\nnum_requests: 300\nclients:\n\
    - {id: chat, rate_fraction: 1, slo_class: interactive, prefix_group: g, prefix_length: 512, arrival: {process: gamma, cv: 2},\n  \
    input_distribution: {type: exponential, params: {mean: 200}}, output_distribution: {type: constant, params: {value: 30}},\n  \
    reasoning: {multi_turn: {max_rounds: 3, think_time_us: 250000, context_growth: accumulate}}}\n";

const OPEN: &str = "aggregate_rate: 20\nnum_requests: 300\nclients:\n\
    - {id: a, rate_fraction: 1, prefix_group: g, prefix_length: 512, input_distribution: {type: exponential, params: {mean: 200}},\n  \
    output_distribution: {type: constant, params: {value: 30}}}\n";

fn fine(folder: &Folder, args: &str) -> Ran {
    let ran = folder.command(args);
    assert_eq!(ran.code, 0, "{args}\n{}", ran.stderr);
    ran
}

fn shown(folder: &Folder, args: &str) -> Value {
    serde_json::from_str(&fine(folder, &format!("workload show --json {args}")).stdout).unwrap()
}

fn refused(folder: &Folder, args: &str, message: &str) {
    let ran = folder.command(args);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
    let found = ran
        .stderr
        .replace(&folder.path().display().to_string(), "@");
    assert!(found.contains(message), "{args}\n{found}");
}

#[test]
fn show_tells_rate_lengths_burstiness_and_sharing() {
    let folder = Folder::with(&[("s.yaml", SPEC), ("o.yaml", OPEN)]);
    let s = shown(&folder, "@/o.yaml");
    assert_eq!((&s["requests"], &s["sessions"]), (&300.into(), &0.into()));
    assert!((s["rate_mean"].as_f64().unwrap() - 20.0).abs() < 5.0);
    assert!((s["gap_cv"].as_f64().unwrap() - 1.0).abs() < 0.2);
    // All but the first prompt find 512 of about 712 tokens.
    let hit = s["infinite_cache_hit_rate"].as_f64().unwrap();
    assert!((hit - 512.0 / 712.0).abs() < 0.04, "{hit}");
    assert_eq!(s["output_tokens"]["max"], 30);
    let sessions = shown(&folder, "@/s.yaml");
    assert_eq!(
        (&sessions["requests"], &sessions["sessions"]),
        (&300.into(), &100.into())
    );
    assert!(sessions["infinite_cache_hit_rate"].as_f64().unwrap() > hit);

    let ran = fine(&folder, "workload show @/s.yaml --html @/p.html");
    for part in [
        "300 in 100 sessions",
        "Burstiness: cv of gaps",
        "Requests/s over time",
        "Prompt tokens, from",
        "█",
    ] {
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
    assert!(ran.stdout.lines().all(|l| l.chars().count() <= 140));
    let page = std::fs::read_to_string(folder.path().join("p.html")).unwrap();
    assert!(
        page.starts_with("<!doctype html>")
            && page.contains("Requests per second")
            && page.contains("each bin ends where the next power of two begins")
            && !page.contains("http:")
            && !page.contains("https:")
    );
    refused(
        &folder,
        "workload show @/none",
        "@/none: cannot read: no such file",
    );
    refused(
        &folder,
        "workload show @/s.yaml --trace-from 3",
        "--trace-from has no effect on a workload spec",
    );
}

#[test]
fn a_spec_becomes_a_trace_that_replays_alike() {
    let folder = Folder::with(&[("s.yaml", SPEC), ("o.yaml", OPEN)]);
    fine(&folder, "workload convert @/s.yaml --to trace-v2 --out @/t");
    let header = std::fs::read_to_string(folder.path().join("t.yaml")).unwrap();
    assert!(
        header.contains("session_context_growth: accumulate"),
        "{header}"
    );
    let flags = "--model llama-3.1-8b-instruct --json";
    let run: Value = serde_json::from_str(
        &fine(&folder, &format!("run {flags} --workload-spec @/s.yaml")).stdout,
    )
    .unwrap();
    let replay = format!(
        "replay {flags} --trace-header @/t.yaml --trace-data @/t.csv --session-mode closed-loop"
    );
    let replay: Value = serde_json::from_str(&fine(&folder, &replay).stdout).unwrap();
    for key in [
        "completed_requests",
        "total_input_tokens",
        "total_output_tokens",
        "ttft_p99_ms",
        "cache_hit_rate",
    ] {
        assert_eq!(run[key], replay[key], "{key}");
    }
    refused(
        &folder,
        "workload convert @/o.yaml --to trace-v2",
        "give --out PREFIX",
    );
}

#[test]
fn what_is_written_reads_as_the_same_workload() {
    let folder = Folder::with(&[("o.yaml", OPEN)]);
    let original = shown(&folder, "@/o.yaml");
    for (target, file, precision) in [("mooncake", "m.jsonl", 0.01), ("azure", "a.csv", 1.0)] {
        fine(
            &folder,
            &format!("workload convert @/o.yaml --to {target} --out @/{file}"),
        );
        let again = shown(&folder, &format!("@/{file}"));
        for key in ["requests", "prompt_tokens", "output_tokens"] {
            assert_eq!(original[key], again[key], "{target} {key}");
        }
        let hit = |s: &Value| s["infinite_cache_hit_rate"].as_f64().unwrap();
        assert!(
            (hit(&original) - hit(&again)).abs() <= precision,
            "{target}"
        );
    }
    // A spec fitted to the trace has its rate, burstiness and lengths, though not its requests.
    fine(&folder, "workload convert @/a.csv --to spec --out @/f.yaml");
    let fitted = shown(&folder, "@/f.yaml");
    let near = |key: &str, share: f64| {
        let (a, b) = (
            original[key].as_f64().unwrap(),
            fitted[key].as_f64().unwrap(),
        );
        assert!((a - b).abs() <= share * a, "{key}: {a} {b}");
    };
    near("requests", 0.0);
    near("gap_cv", 0.25);
    near("prompt_tokens_total", 0.1);
    near("span_s", 0.1);
}

#[test]
fn a_spec_is_spelled_out_and_runs_as_before() {
    let perf = "inference_perf:\n  stages: [{rate: 4, duration: 10}, {rate: 12, duration: 10}]\n  shared_prefix: {num_unique_system_prompts: 2, \
        num_users_per_system_prompt: 2, system_prompt_len: 100, question_len: 40, output_len: 8}\n";
    let folder = Folder::with(&[("p.yaml", perf)]);
    fine(
        &folder,
        "workload convert @/p.yaml --to spec --out @/q.yaml",
    );
    let text = std::fs::read_to_string(folder.path().join("q.yaml")).unwrap();
    assert!(text.contains("stage-1-prompt-1-user-1") && !text.contains("inference_perf"));
    let of = |file: &str| {
        let mut s = shown(&folder, file);
        s.as_object_mut().unwrap().remove("workload");
        s
    };
    assert_eq!(of("@/p.yaml"), of("@/q.yaml"));
}

#[test]
fn generated_specs_are_good_and_merge() {
    let folder = Folder::with(&[]);
    for name in [
        "bursty",
        "unfair",
        "prefix-heavy",
        "mixed-slo",
        "chatbot",
        "multidoc",
    ] {
        let ran = fine(
            &folder,
            &format!("workload generate {name} --rate 10 --num-requests 50"),
        );
        folder.write(&format!("{name}.yaml"), ran.stdout.as_bytes());
        assert!(
            fine(&folder, &format!("workload validate @/{name}.yaml"))
                .stdout
                .contains("a good workload spec")
        );
        let s = shown(&folder, &format!("@/{name}.yaml"));
        assert_eq!(s["requests"], 50, "{name}");
    }
    let ran = fine(&folder, "workload compose @/unfair.yaml @/mixed-slo.yaml");
    assert!(
        ran.stderr
            .contains("\"realtime\" is taken, so it becomes \"mixed-slo-realtime\""),
        "{}",
        ran.stderr
    );
    folder.write("both.yaml", ran.stdout.as_bytes());
    let both = shown(&folder, "@/both.yaml --num-requests 4000");
    let share = |client: &str| {
        let clients = both["clients"].as_array().unwrap();
        let found = clients.iter().find(|c| c["client"] == client).unwrap();
        found["requests"].as_f64().unwrap() / 4000.0
    };
    assert!(
        (share("bulk") - 0.45).abs() < 0.05 && (share("mixed-slo-realtime") - 0.165).abs() < 0.04
    );
    refused(
        &folder,
        "workload generate burst",
        "scenarios: bursty, unfair, prefix-heavy, mixed-slo",
    );
    refused(&folder, "workload generate bursty --rate 0", "--rate is 0");
}

#[test]
fn validate_reads_every_row() {
    let trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-12 00:00:00,10,1\n2024-05-12 00:00:01,x,1\n";
    let folder = Folder::with(&[
        ("bad.csv", trace),
        ("good.csv", &trace.replace(",x,", ",9,")),
        ("s.yaml", SPEC),
    ]);
    let ran = fine(&folder, "workload validate @/good.csv @/s.yaml");
    assert!(
        ran.stdout
            .contains("good.csv: good (Azure LLM inference trace), 2 requests\n"),
        "{}",
        ran.stdout
    );
    refused(
        &folder,
        "workload validate @/good.csv @/bad.csv",
        "@/bad.csv:3: column \"ContextTokens\": expected a whole number",
    );
}
