//! Tiers of KV blocks and LoRA adapters with slots: what holds of every run that has them.

use crate::cases::{Case, scaled};
use crate::errors::Folder;
use crate::properties::{cases, ensure, simulate, simulate_plainly, text};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;
use windtunnel_engine::adapters::{AdapterCost, AdapterCosts};
use windtunnel_engine::instance::EngineRules;
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
const TURNS: &str = "arrival,id,prompt,output\n\
    0.0,a,\"[1, 2, 3, 4, 5, 6, 7, 8]\",\"[0, 0]\"\n\
    1.0,b,\"[11, 12, 13, 14, 15, 16, 17, 18]\",\"[0, 0]\"\n\
    2.0,c,\"[1, 2, 3, 4, 5, 6, 7, 8]\",\"[0, 0]\"\n";

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
