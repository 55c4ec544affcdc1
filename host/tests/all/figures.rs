//! No figure is of something else than it says: nothing measured is absent or the worst, hits are
//! over lookups, latencies of one table are of the same requests, and both windows of throughput
//! have their name.

use crate::errors::Folder;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use windtunnel_base::request::{Source, Tapped};
use windtunnel_engine::cluster::Cluster;
use windtunnel_engine::instance::{EngineConfig, EngineRules};
use windtunnel_policy::PolicySpec;
use windtunnel_workload::InfiniteCache;

use crate::lab::{self, Arrival, Script};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The rows of a sweep.
fn sweep(folder: &Folder, flags: &str) -> Vec<Value> {
    let ran = folder.command(&format!(
        "sweep --model llama-3.1-8b-instruct --json {flags}"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    json(&ran.stdout).as_array().expect("rows").clone()
}

/// The rows of a results file by request.
fn rows(folder: &Folder, flags: &str) -> Vec<BTreeMap<String, String>> {
    folder.fine(&format!("{flags} --results-path @/r.csv"));
    let mut csv = csv::Reader::from_path(folder.path().join("r.csv")).expect("a file");
    csv.deserialize().map(|row| row.expect("a row")).collect()
}

/// Eight requests, half a second apart, of two prompts in turn that lie in full blocks.
fn repeated(prompt: u32) -> String {
    let ids = ["[1, 2, 3, 4]", "[5, 6, 7, 8]"];
    let line = |k: usize| {
        format!(
            "{{\"timestamp\": {}, \"input_length\": {prompt}, \"output_length\": 4, \"hash_ids\": {}}}\n",
            500 * k,
            ids[k % 2]
        )
    };
    (0..8).map(line).collect()
}

/// Twenty requests of 2,000 tokens that share the first 1,536.
fn shared() -> String {
    let line = |k: usize| {
        format!(
            "{{\"timestamp\": {}, \"input_length\": 2000, \"output_length\": 4, \"hash_ids\": [1, 2, 3, {}]}}\n",
            300 * k,
            100 + k
        )
    };
    (0..20).map(line).collect()
}

#[test]
fn rejecting_everything_has_the_worst_fitness_and_no_star() {
    let folder = Folder::with(&[]);
    let flags = "--num-requests 50 --rate 5 --slo-ttft 200ms --fitness-weights throughput:1,p99_ttft:2,mean_e2e:1";
    let grid =
        format!("--grid admission-policy=reject-all,always-admit {flags} --latency-model blackbox");
    let runs = sweep(&folder, &grid);
    assert_eq!(runs[0]["fitness"], 0);
    assert!(runs[1]["fitness"].as_f64() > Some(0.05), "{}", runs[1]);
    for absent in [
        "ttft_p99_ms",
        "tpot_mean_ms",
        "e2e_mean_ms",
        "cache_hit_rate",
    ] {
        assert!(runs[0][absent].is_null(), "{absent}");
    }
    let table = folder
        .command(&format!("sweep --model llama-3.1-8b-instruct {grid}"))
        .stdout;
    let line = |name: &str| table.lines().find(|l| l.contains(name)).expect("a line");
    assert!(!line("reject-all").contains('*'), "{table}");
    assert!(line("always-admit").contains("0.078*"), "{table}");

    let run = "--num-requests 20 --admission-policy reject-all --detectors all --fitness-weights throughput:1,p99_ttft:2";
    let text = folder.fine(run).stdout;
    assert!(text.contains("\nFitness:    0.000000\n"), "{text}");
    assert!(
        text.contains("\nSaturation: -, as nothing completed\n"),
        "{text}"
    );
    assert!(text.contains("prefix hit rate -,"), "{text}");
    // The reference counts latencies of nothing as 0, the best.
    let reference = folder.fine(&format!("{run} --format blis")).stdout;
    assert!(reference.contains("\nScore: 2.000000\n"), "{reference}");
    assert!(
        reference.contains("\"threshold\": \"STABLE\""),
        "{reference}"
    );
}

#[test]
fn dropping_everything_is_not_better_than_rejecting_it() {
    let folder = Folder::with(&[]);
    let ran = folder.command(
        "sweep --model llama-3.1-8b-instruct --num-requests 50 --rate 5 --prompt-tokens 4000 --prompt-tokens-stdev 1 \
         --prompt-tokens-max 7000 --grid max-model-len=2048,8192",
    );
    let line = |name: &str| {
        ran.stdout
            .lines()
            .find(|l| l.contains(name))
            .expect("a line")
    };
    assert!(ran.stdout.contains("Not served"), "{}", ran.stdout);
    assert!(!line("│ 2048 ").contains('*'), "{}", ran.stdout);
    assert!(line("│ 2048 ").contains(" 50 "), "{}", ran.stdout);
    assert!(line("│ 8192 ").contains(" 0* "), "{}", ran.stdout);
}

#[test]
fn the_hit_rate_of_a_cluster_is_hits_over_lookups_everywhere() {
    let folder = Folder::with(&[("a.jsonl", &shared())]);
    // 19 of 20 prompts find 96 of their 125 blocks where all go to one instance, 16 where four
    // instances take turns.
    for (policy, hits, shown) in [("weighted", 19.0, "73.0%"), ("round-robin", 16.0, "61.4%")] {
        let rate = hits * 1536.0 / 40_000.0;
        let flags = format!("--workload @/a.jsonl --num-instances 4 --routing-policy {policy}");
        let run = json(&folder.fine(&format!("{flags} --json")).stdout);
        assert_eq!(run["cache_hit_rate"], rate, "{policy}");
        assert_eq!(run["infinite_cache_hit_rate"], 19.0 * 1536.0 / 40_000.0);
        let text = folder.fine(&flags).stdout;
        assert!(
            text.contains(&format!("prefix hit rate {shown} (infinite cache 73.0%)")),
            "{text}"
        );
        let row = &sweep(&folder, &format!("{flags} --grid rate-scale=1"))[0];
        assert_eq!(row["cache_hit_rate"], rate, "{policy}");
        let file = format!("{flags} --metrics-path @/m.json");
        folder.fine(&file);
        let reference = std::fs::read_to_string(folder.path().join("m.json")).expect("a file");
        let mean = json(&reference)["cache_hit_rate"].as_f64().expect("a rate");
        assert!(
            mean < rate,
            "the reference has the plain mean over blocks: {mean}"
        );
    }
    // Three of four instances got nothing: they have no rate, no TTFT and no queue.
    let flags = "--workload @/a.jsonl --num-instances 4 --routing-policy weighted";
    let run = json(&folder.fine(&format!("{flags} --json")).stdout);
    let idle: Vec<&Value> = run["instances"]
        .as_array()
        .expect("instances")
        .iter()
        .filter(|i| i["routed_requests"] == 0)
        .collect();
    assert_eq!(idle.len(), 3);
    for instance in idle {
        for key in [
            "/cache_hit_rate",
            "/mean_queue_length",
            "/latency_ms/ttft/p99",
        ] {
            assert_eq!(instance.pointer(key), Some(&Value::Null), "{key}");
        }
    }
    let text = folder.fine(flags).stdout;
    let idle =
        "│ instance_1 ┆        0 ┆   0.0% ┆           - ┆    0.0% ┆        - ┆         0 ┆     - │";
    assert!(text.contains(idle), "{text}");
}

#[test]
fn fully_cached_prompts_are_hits_under_both_rules() {
    let folder = Folder::with(&[("a.jsonl", &repeated(2048)), ("b.jsonl", &repeated(2040))]);
    // Six of eight prompts are cached: whole, or but for the last block, which vLLM computes again.
    for (file, rules, cached) in [
        ("a", "blis", 2048.0),
        ("a", "vllm", 2032.0),
        ("b", "blis", 2032.0),
        ("b", "vllm", 2032.0),
    ] {
        let flags = format!("--workload @/{file}.jsonl --rules {rules}");
        let run = json(&folder.fine(&format!("{flags} --json")).stdout);
        let length = if file == "a" { 2048.0 } else { 2040.0 };
        assert_eq!(run["cache_hit_rate"], 0.75 * cached / length, "{flags}");
        assert_eq!(
            run["infinite_cache_hit_rate"], run["cache_hit_rate"],
            "{flags}"
        );
        let found: Vec<f64> = rows(&folder, &flags)
            .iter()
            .map(|r| r["cached_tokens"].parse().expect("a number"))
            .collect();
        assert_eq!(found[..2], [0.0; 2], "{flags}");
        assert_eq!(found[2..], [cached; 6], "{flags}");
    }
}

#[test]
fn what_is_computed_again_after_a_preemption_is_no_hit() {
    let folder = Folder::with(&[]);
    let tight = "--total-kv-blocks 1500 --rate 20 --num-requests 150";
    for rules in ["blis", "vllm"] {
        let run = |more: &str| {
            json(
                &folder
                    .fine(&format!("{tight} --rules {rules} --json {more}"))
                    .stdout,
            )
        };
        let none = run("");
        assert!(none["preemption_count"].as_u64() > Some(50), "{rules}");
        assert_eq!(none["cache_hit_rate"], 0.0, "{rules}: nothing is shared");
        let some = run("--prefix-tokens 304");
        let (reached, bound) = (&some["cache_hit_rate"], &some["infinite_cache_hit_rate"]);
        assert!(reached.as_f64() > Some(0.3), "{rules}: {reached}");
        assert!(
            reached.as_f64() <= bound.as_f64(),
            "{rules}: {reached} above {bound}"
        );
    }
    let rejected = rows(&folder, "--num-requests 3 --admission-policy reject-all");
    assert!(
        rejected.iter().all(|r| r["cached_tokens"].is_empty()),
        "never looked up"
    );
}

#[test]
fn the_bound_holds_where_a_request_overtakes_another() {
    // The second prompt continues the third, and the shorter one goes first: it is computed whole,
    // and the longer one finds a block more than the third would have found of the second.
    let trace = "{\"timestamp\": 0, \"input_length\": 2000, \"output_length\": 200, \"hash_ids\": [91, 92, 93, 94]}\n\
        {\"timestamp\": 100, \"input_length\": 1536, \"output_length\": 4, \"hash_ids\": [1, 2, 3]}\n\
        {\"timestamp\": 110, \"input_length\": 1024, \"output_length\": 4, \"hash_ids\": [1, 2]}\n";
    let folder = Folder::with(&[("o.jsonl", trace)]);
    for (scheduler, cached) in [("fcfs", 1008.0), ("sjf", 1024.0)] {
        let flags = format!(
            "--workload @/o.jsonl --rules vllm --max-num-seqs 1 --scheduler {scheduler} --json"
        );
        let run = json(&folder.fine(&flags).stdout);
        assert_eq!(run["cache_hit_rate"], cached / 4560.0, "{scheduler}");
        assert_eq!(
            run["infinite_cache_hit_rate"],
            cached / 4560.0,
            "{scheduler}"
        );
    }
}

#[test]
fn a_request_of_one_token_has_no_time_per_token() {
    let folder = Folder::with(&[(
        "z.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00,100,0\n2024-05-10 00:00:01,100,1\n",
    )]);
    let flags = "--workload @/z.csv --slo-itl 1ms";
    let run = json(&folder.fine(&format!("{flags} --json")).stdout);
    for key in [
        "/itl_mean_ms",
        "/itl_p99_ms",
        "/latency_ms/tpot/mean",
        "/classes/default/itl_ms/p99",
    ] {
        assert_eq!(run.pointer(key), Some(&Value::Null), "{key}");
    }
    // Without a gap there is none above its target.
    assert_eq!(run["goodput"]["attainment"], 1.0);
    let rows = rows(&folder, flags);
    assert!(rows.iter().all(|r| r["mean_itl_us"].is_empty()), "{rows:?}");
    let reference = folder.fine(&format!("{flags} --format blis")).stdout;
    assert!(reference.contains("\"itl_mean_ms\": 0,"), "{reference}");
}

#[test]
fn all_latencies_are_of_the_requests_that_completed() {
    let folder = Folder::with(&[]);
    let flags = "--rate 20 --num-requests 100 --timeout 6 --latency-model blackbox";
    let run = json(&folder.fine(&format!("{flags} --json")).stdout);
    let rows = rows(&folder, flags);
    let late =
        |r: &&BTreeMap<String, String>| r["outcome"] == "timed_out" && !r["ttft_us"].is_empty();
    assert!(
        rows.iter().filter(late).count() > 5,
        "some time out after their first token"
    );
    let completed = run["completed_requests"].as_u64().expect("a number");
    for kind in ["ttft", "e2e", "scheduling_delay"] {
        assert_eq!(run["latency_ms"][kind]["count"], completed, "{kind}");
    }
    let done: Vec<f64> = rows
        .iter()
        .filter(|r| r["outcome"] == "completed")
        .map(|r| r["ttft_us"].parse().expect("a time"))
        .collect();
    let mean = done.iter().sum::<f64>() / done.len() as f64 / 1000.0;
    assert_eq!(run["ttft_mean_ms"], mean);
    let text = folder.fine(flags).stdout;
    let says = format!(
        "Latencies are those of the {completed} requests that completed, of 100 that arrived."
    );
    assert!(text.contains(&says), "{text}");
}

#[test]
fn throughput_is_told_with_and_without_the_drain() {
    let folder = Folder::with(&[]);
    let flags = "--rate 60 --num-requests 600 --num-instances 2";
    let run = json(&folder.fine(&format!("{flags} --json")).stdout);
    let rows = rows(&folder, flags);
    let times = |column: &str| -> Vec<f64> {
        rows.iter()
            .map(|r| r[column].parse().expect("a time"))
            .collect()
    };
    let arrivals = times("arrival_us");
    let (first, last) = (arrivals[0], arrivals[599]);
    let meanwhile = times("completion_us")
        .iter()
        .filter(|at| **at <= last)
        .count() as f64;
    let window = &run["arrival_window"];
    let seconds = (last - first) / 1e6;
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().expect("a number");
        assert!(
            (found - expected).abs() < 1e-9 * expected,
            "{found}, expected {expected}"
        );
    };
    close(&window["arrivals_per_sec"], 599.0 / seconds);
    close(&window["responses_per_sec"], meanwhile / seconds);
    close(
        &run["responses_per_sec"],
        600.0 / run["vllm_estimated_duration_s"].as_f64().expect("a number"),
    );
    let row = &sweep(&folder, &format!("{flags} --grid max-num-seqs=256"))[0];
    for (column, key) in [
        ("arrivals_per_s", "arrivals_per_sec"),
        ("window_requests_per_s", "responses_per_sec"),
        ("window_output_tokens_per_s", "tokens_per_sec"),
    ] {
        assert_eq!(row[column], window[key], "{column}");
    }
    let text = folder.fine(flags).stdout;
    for part in [
        "requests/s",
        "over the whole run (",
        "\nArrivals:   ",
        "completed in that time: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let one = json(&folder.fine("--num-requests 1 --json").stdout);
    assert!(one["arrival_window"].is_null());
}

/// Requests in bursts that share prefixes of any length, some of nothing else.
fn asks() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0i64..3000, 0u32..3, 0u32..100, 0u32..40, 1u32..30);
    let ask = |(at, group, shared, own, output)| Arrival {
        prefix: (group, if group == 0 { 0 } else { shared }),
        ..lab::ask(at, if group == 0 { own + 1 } else { own }, output)
    };
    prop::collection::vec(one.prop_map(ask), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// In order of arrival, and with any number of preemptions.
    #[test]
    fn no_prefix_cache_finds_more_than_one_without_limits(
        asks in asks(),
        instances in 1u32..4,
        blocks in 40u64..200,
        block_size in 1u32..20,
        vllm in any::<bool>(),
    ) {
        let rules = if vllm { EngineRules::VLLM } else { EngineRules::BLIS };
        let total_kv_blocks = blocks * u64::from(64 / block_size + 1);
        let engine = EngineConfig { total_kv_blocks, block_size, max_num_seqs: 8, ..lab::roomy(rules) };
        let config = lab::fresh(instances, engine);
        let mut script = Script::new(&asks);
        let (front, hooks) = lab::policies(&PolicySpec::default(), &config, script.symbols_mut());
        let cache = InfiniteCache::new(block_size);
        let mut cache = if vllm { cache } else { cache.whole_prompts() };
        let mut source = Tapped::new(&mut script, |request, _| {
            request.reusable_tokens = cache.take(request);
        });
        let cluster = Cluster::new(config, front, hooks, &mut source).expect("a cluster");
        let (record, _) = lab::run_checked(cluster).expect("the invariants hold");
        for (i, t) in (0u32..).zip(&record.instances) {
            let mine = || record.requests.iter().filter(|r| r.instance == Some(i));
            let cached: u64 = mine().filter_map(|r| r.cached_tokens).map(u64::from).sum();
            let seen = mine().filter(|r| r.cached_tokens.is_some());
            let looked_up: u64 = seen.map(|r| u64::from(r.prompt_tokens)).sum();
            prop_assert_eq!((t.prefix_hits, t.prefix_queries), (cached, looked_up));
            prop_assert!(t.prefix_hits <= t.prefix_reusable && t.prefix_reusable <= t.prefix_queries);
        }
        let roomy = instances == 1 && record.instances[0].preemptions == 0 && blocks > 150;
        let (hits, bound) = (record.instances[0].prefix_hits, record.instances[0].prefix_reusable);
        prop_assert!(!roomy || !vllm || hits == bound, "{} of {}", hits, bound);
    }
}
