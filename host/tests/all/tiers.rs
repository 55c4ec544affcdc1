//! Tiers of KV blocks and LoRA adapters with slots: what holds of every run that has them.

use crate::cases::{Case, scaled};
use crate::errors::Folder;
use crate::properties::{cases, ensure, simulate, simulate_plainly, text};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use windtunnel_engine::adapters::{AdapterCost, AdapterCosts};
use windtunnel_engine::instance::{CpuOffload, EngineRules};
use windtunnel_engine::kv::{ChainConfig, DeviceTier, KvTiers, TierWay};

fn tiers() -> impl Strategy<Value = KvTiers> {
    let device = (
        0u32..3,
        1u32..3,
        0i64..200,
        0.1..50.0f64,
        0u32..4,
        0.1..1.0f64,
    );
    let device = device.prop_map(
        |(read, write, base_us, bandwidth, depth, fraction)| DeviceTier {
            read_threads: read,
            write_threads: write,
            base_us,
            read_bytes_per_us: bandwidth,
            write_bytes_per_us: bandwidth / 2.0,
            saturation_queue_depth: depth,
            single_transfer_fraction: fraction,
        },
    );
    let chain = (any::<bool>(), prop::collection::vec(device, 0..3));
    let way = prop_oneof![
        (0i64..50).prop_map(|block_us| TierWay::Mirror { block_us }),
        chain.prop_map(|(prompts_only, devices)| TierWay::Chain(ChainConfig {
            prompts_only,
            block_bytes: 100,
            devices,
        })),
    ];
    (1u64..40, way).prop_map(|(cpu_blocks, way)| KvTiers { cpu_blocks, way })
}

fn adapters() -> impl Strategy<Value = AdapterCosts> {
    let cost = (0u32..40, 0i64..500);
    let costs = prop::collection::vec(cost, 3);
    (1u32..4, costs, 0.0..0.5f64).prop_map(|(capacity, costs, share)| AdapterCosts {
        capacity,
        // A workload may name one that nobody knows.
        adapters: (["x", "y"].iter().zip(costs))
            .map(|(name, (rank, load_us))| AdapterCost {
                name: (*name).to_owned(),
                rank,
                load_us,
            })
            .collect(),
        overheads: vec![(8, share), (16, share * 2.0)],
    })
}

/// A case under the reference's rules; long ones end early, as requests may wait for ever there.
fn of_reference(mut case: Case) -> Case {
    case.config.horizon_us = case.config.horizon_us.min(20_000);
    case.config.pools[0].engine.rules = EngineRules::BLIS;
    case.config.pools[0].engine.scheduling = Default::default();
    case
}

proptest! {
    #![proptest_config(cases(120))]

    /// Invariants are checked after every event.
    #[test]
    fn tiers_conserve_blocks(case in scaled(24), tiers in tiers(), adapters in prop::option::of(adapters())) {
        let mut case = of_reference(case);
        case.config.pools[0].kv_tiers = Some(Arc::new(tiers));
        case.config.pools[0].adapters = adapters.map(Arc::new);
        let once = simulate(&case).map_err(TestCaseError::fail)?;
        let again = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&once.record), text(&again.record));
    }

    /// Where every block finds a free one that never held anything, nothing ever comes back.
    #[test]
    fn tiers_below_a_cache_that_forgets_nothing_change_nothing(case in scaled(24), tiers in tiers()) {
        let mut case = of_reference(case);
        case.config.pools[0].engine.total_kv_blocks = 100_000;
        let without = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        case.config.pools[0].kv_tiers = Some(Arc::new(tiers));
        let mut with = simulate(&case).map_err(TestCaseError::fail)?;
        for totals in &mut with.record.instances {
            let counts = totals.kv_tiers.take().expect("there are tiers");
            prop_assert_eq!(counts.reloaded, 0);
        }
        prop_assert_eq!(text(&without.record), text(&with.record));
    }

    #[test]
    fn adapters_with_slots_run_as_fast_as_plainly(case in scaled(24), adapters in adapters()) {
        let mut case = of_reference(case);
        case.config.pools[0].adapters = Some(Arc::new(adapters));
        let fast = simulate(&case).map_err(TestCaseError::fail)?;
        let plain = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        prop_assert_eq!(text(&fast.record), text(&plain.record));
        loads_are_sane(&case, &fast.record).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(cases(120))]

    /// Invariants are checked after every event.
    #[test]
    fn blocks_on_the_cpu_conserve_everything(
        case in scaled(24),
        cpu_blocks in 1u64..40,
        base_us in 0i64..300,
        token_us in 0.0..5.0f64,
        async_scheduling in any::<bool>(),
    ) {
        let mut case = case;
        let engine = &mut case.config.pools[0].engine;
        engine.rules = EngineRules { async_scheduling, ..EngineRules::VLLM };
        engine.scheduling.cpu_offload = Some(CpuOffload { cpu_blocks, base_us, token_us });
        case.config.horizon_us = case.config.horizon_us.min(40_000);
        let once = simulate(&case).map_err(TestCaseError::fail)?;
        let again = simulate_plainly(&case).map_err(TestCaseError::fail)?;
        // What is written to the CPU has names, whether others may ask for it or not.
        prop_assert_eq!(text(&once.record), text(&again.record));
        for r in &once.record.requests {
            prop_assert!(r.cached_tokens.unwrap_or(0) <= r.prompt_tokens + r.output_tokens);
        }
    }
}

fn loads_are_sane(case: &Case, record: &windtunnel_base::record::RunRecord) -> Result<(), String> {
    let costs = case.config.pools[0].adapters.as_ref();
    let capacity = u64::from(costs.ok_or("no adapters")?.capacity);
    for totals in &record.instances {
        let moves = &totals.adapter_moves;
        let loads: u64 = moves.iter().map(|m| m.loads).sum();
        let evictions: u64 = moves.iter().map(|m| m.evictions).sum();
        ensure!(
            loads == totals.adapter_loads,
            "{loads} loads, {} counted",
            totals.adapter_loads
        );
        // One may be on its way when the run ends.
        ensure!(
            loads <= evictions + capacity,
            "{loads} loads, {evictions} evictions"
        );
        ensure!(
            moves.iter().all(|m| m.evictions <= m.loads),
            "one goes that never came: {moves:?}"
        );
    }
    Ok(())
}

/// One request at a time, whose prompts take turns in a cache that holds one of them; the CPU has
/// all.
const TURNS: &str = "arrival,id,model,prompt,output\n\
    0.0,,,\"[1, 2, 3, 4, 5, 6, 7, 8]\",\"[0, 0]\"\n\
    1.0,,,\"[11, 12, 13, 14, 15, 16, 17, 18]\",\"[0, 0]\"\n\
    2.0,,,\"[1, 2, 3, 4, 5, 6, 7, 8]\",\"[0, 0]\"\n";

fn turns(flags: &str) -> Value {
    let folder = Folder::with(&[("t.csv", TURNS)]);
    let ran = folder.command(&format!(
        "run --model llama-3.1-8b-instruct --rules blis --latency-model trained-physics --total-kv-blocks 3 \
         --block-size 4 --workload traces --workload-traces-filepath @/t.csv --json {flags}"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn a_prefix_on_the_cpu_costs_its_transfer_and_saves_no_compute() {
    let ttft = |results: &Value| results["latency_ms"]["ttft"]["max"].as_f64().expect("one");
    let alone = turns("");
    let tiered =
        turns("--kv-cpu-blocks 10 --kv-transfer-base-latency 1000 --kv-transfer-bandwidth 0.004");
    assert_eq!(alone["kv_tiers"], Value::Null);
    assert_eq!(tiered["kv_tiers"]["reloaded_blocks"], 2);
    // Two blocks of 4 tokens at 0.004 tokens per us, and 1 ms each.
    let more = ttft(&tiered) - ttft(&alone);
    assert!((more - 4.0).abs() < 1e-6, "{more}");
    // Fewer than it asks for are none at all.
    assert_eq!(turns("--kv-cpu-blocks 0")["kv_tiers"], Value::Null);
}

/// The same under vLLM's rules, where a step takes 1000 us and 10 us for each token that it
/// prefills, and a token has 131,072 bytes: at 131.072 GB/s it is loaded in 1 us.
fn loaded(flags: &str) -> Value {
    let folder = Folder::with(&[("t.csv", TURNS)]);
    let ran = folder.command(&format!(
        "run --model llama-3.1-8b-instruct --hardware H100 --tp 1 --rules vllm --latency-model blackbox \
         --alpha-coeffs 0,0,0 --beta-coeffs 1000,10,1 --total-kv-blocks 3 --block-size 4 --workload traces \
         --workload-traces-filepath @/t.csv --json {flags}"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn under_vllm_a_prefix_on_the_cpu_is_loaded_and_not_computed() {
    let ttft = |results: &Value, of: &str| {
        let ms = results["latency_ms"]["ttft"][of]
            .as_f64()
            .expect("a figure");
        (ms * 1000.0).round() as i64
    };
    // Three prompts of 8 tokens, and nothing is left of the first one when it comes again.
    let alone = loaded("");
    assert_eq!((ttft(&alone, "p50"), ttft(&alone, "max")), (1080, 1080));
    // Its two blocks are loaded in 100 + 8 us; the last token is computed, as something has to be.
    let tiered =
        loaded("--kv-cpu-blocks 10 --kv-cpu-bandwidth 131.072 --kv-transfer-base-latency 100");
    assert_eq!(
        (ttft(&tiered, "p50"), ttft(&tiered, "max")),
        (1080, 108 + 1010)
    );
    assert_eq!(tiered["kv_tiers"]["stored_blocks"], 4);
    assert_eq!(tiered["kv_tiers"]["reloaded_blocks"], 2);
    // Two blocks on the CPU are the other prompt's by then.
    let small = loaded("--kv-cpu-blocks 2 --kv-cpu-bandwidth 131.072");
    assert_eq!(small["kv_tiers"]["reloaded_blocks"], 0);
    assert_eq!(small["kv_tiers"]["evicted_blocks"], 4);
}

#[test]
fn settings_of_tiers_are_refused_where_they_mean_nothing() {
    let folder = Folder::with(&[
        ("off.yaml", "kv_offload:\n  cpu_bytes_to_use: 100\n"),
        (
            "lora.yaml",
            "lora:\n  adapter_capacity: 1\n  adapters:\n    - {id: a, rank: 8}\n",
        ),
    ]);
    for (flags, told) in [
        (
            "--rules vllm --kv-cpu-blocks 5",
            "--kv-cpu-blocks needs --kv-cpu-bandwidth",
        ),
        (
            "--rules vllm --kv-cpu-blocks 5 --kv-cpu-bandwidth 0",
            "above 0, found 0",
        ),
        (
            "--rules vllm --kv-cpu-bandwidth 5",
            "without --kv-cpu-blocks",
        ),
        (
            "--rules vllm --lora-config @/lora.yaml",
            "it belongs to --rules blis",
        ),
        (
            "--rules vllm --kv-offload-config @/off.yaml",
            "it belongs to --rules blis",
        ),
        (
            "--rules vllm --kv-transfer-bandwidth 3",
            "it belongs to --rules blis",
        ),
        (
            "--rules blis --kv-cpu-bandwidth 5",
            "it belongs to --rules vllm",
        ),
        (
            "--rules blis --kv-transfer-bandwidth 5",
            "without --kv-cpu-blocks",
        ),
        (
            "--rules blis --kv-cpu-blocks 5 --kv-transfer-bandwidth 0",
            "above 0, found 0",
        ),
        (
            "--rules blis --kv-cpu-blocks 5 --kv-offload-threshold 2",
            "from 0 to 1, found 2",
        ),
        (
            "--rules blis --kv-cpu-blocks 5 --kv-offload-config @/off.yaml",
            "exclude each other",
        ),
        (
            "--rules blis --kv-offload-config @/off.yaml",
            "cpu_bytes_to_use is 100",
        ),
        (
            "--rules blis --lora-adapter-capacity 2",
            "without --lora-config",
        ),
        (
            "--rules blis --lora-config @/lora.yaml --lora-adapter-capacity 0",
            "at least 1, found 0",
        ),
        (
            "--rules blis --lora-config @/lora.yaml --lora-load-bandwidth-bytes-us 0",
            "load_bandwidth_bytes_us is 0",
        ),
        (
            "--rules vllm --kv-cpu-blocks 5 --kv-cpu-bandwidth 5 --engine vllm-0.19",
            "other than the newest",
        ),
        (
            "--rules vllm --kv-cpu-blocks 5 --kv-cpu-bandwidth 5 --no-enable-prefix-caching",
            "not simulated without",
        ),
        (
            "--rules vllm --kv-cpu-blocks 5 --kv-cpu-bandwidth 5 --prefill-instances 1 --decode-instances 1",
            "where some instances prefill for others",
        ),
    ] {
        let ran = folder.command(&format!(
            "run --model llama-3.1-8b-instruct --latency-model trained-physics --num-requests 1 {flags}"
        ));
        assert_eq!(ran.code, 2, "{flags}: {}", ran.stdout);
        assert!(ran.stderr.contains(told), "{flags}: {}", ran.stderr);
    }
}

/// Adapters a and b take turns in one slot; a request without one comes behind the second.
#[test]
fn the_head_of_the_queue_waits_for_its_adapter_and_all_behind_it() {
    let rows = "arrival,id,model,prompt,output,adapter\n\
        0.0,,,\"[1, 2, 3, 4]\",\"[0, 0]\",a\n\
        1.0,,,\"[11, 12, 13, 14]\",\"[0, 0]\",b\n\
        1.0001,,,\"[21, 22, 23, 24]\",\"[0, 0]\",\n\
        2.0,,,\"[31, 32, 33, 34]\",\"[0, 0]\",b\n";
    let lora = "lora:\n  adapter_capacity: 1\n  load_base_latency_us: 5000\n  load_bandwidth_bytes_us: 1000\n  \
        footprint_bytes_per_rank: 1000000\n  step_overhead_tiers: {8: {k6: 0.5, k7: 1}}\n  \
        adapters: [{id: a, rank: 10}, {id: b, rank: 20}]\n";
    let folder = Folder::with(&[("t.csv", rows), ("lora.yaml", lora)]);
    let ran = folder.command(
        "run --model llama-3.1-8b-instruct --rules blis --latency-model blackbox --alpha-coeffs 0,0,0 --beta-coeffs 1000,0,0 \
         --hardware H100 --tp 1 --total-kv-blocks 100 --workload traces --workload-traces-filepath @/t.csv --lora-config @/lora.yaml \
         --results-path @/rows.json --json",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let results: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let moves = results["adapter_moves"].as_array().expect("a list");
    let moves: Vec<(&str, u64, u64)> = (moves.iter())
        .map(|m| {
            let count = |key: &str| m[key].as_u64().expect("a count");
            (
                m["name"].as_str().expect("a name"),
                count("loads"),
                count("evictions"),
            )
        })
        .collect();
    assert_eq!(moves, [("a", 1, 1), ("b", 1, 0)]);
    let rows: Value = serde_json::from_str(
        &std::fs::read_to_string(folder.path().join("rows.json")).expect("rows"),
    )
    .expect("JSON");
    let ttft: Vec<i64> = (rows.as_array().expect("rows").iter())
        .map(|row| row["ttft_us"].as_i64().expect("a time"))
        .collect();
    // a: loaded in 5000 + 10 x 1000 us; a step with one adapter takes 1.5 times as long.
    // b: 5000 + 20 x 1000 us, in a step with c, which came 100 us later and waited behind it.
    // d: b is there.
    assert_eq!(ttft, [15_000 + 1500, 25_000 + 1500, 24_900 + 1500, 1500]);
}

#[test]
fn an_adapter_that_nobody_named_is_refused() {
    let rows = "arrival,id,model,prompt,output,adapter\n0.0,,,\"[1, 2, 3, 4]\",\"[0, 0]\",sqll\n";
    let lora = "lora:\n  adapter_capacity: 1\n  adapters: [{id: sql, rank: 8}]\n";
    let folder = Folder::with(&[("t.csv", rows), ("lora.yaml", lora)]);
    let ran = folder.command(
        "run --model llama-3.1-8b-instruct --rules blis --latency-model trained-physics --workload traces \
         --workload-traces-filepath @/t.csv --lora-config @/lora.yaml",
    );
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(
        ran.stderr.contains("\"sqll\"") && ran.stderr.contains("sql"),
        "{}",
        ran.stderr
    );
}
