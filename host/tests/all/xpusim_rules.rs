//! What XpuSim's engine does otherwise, switch by switch, with times worked out by hand.
//!
//! Step times are [`BY_HAND`](crate::lab::BY_HAND): 100 us a step, plus 1 us a prefill token, plus
//! 10 us a decode.

use crate::cases::case;
use crate::lab::{self, Arrival, Script, ask, fresh, roomy};
use crate::properties::{cases, text};
use proptest::prelude::*;
use windtunnel_base::record::{Outcome, Role, RunRecord};
use windtunnel_base::request::Source;
use windtunnel_engine::cluster::{Cluster, ClusterConfig, PoolConfig, RunEnd, TransferConfig};
use windtunnel_engine::instance::EngineRules;
use windtunnel_engine::latency::DeviceMemory;
use windtunnel_policy::{Hook, PolicySpec};

/// vLLM's rules without choosing ahead: easy to add up by hand.
const IN_TURN: EngineRules = EngineRules {
    async_scheduling: false,
    ..EngineRules::VLLM
};

fn cluster<'s>(
    config: &ClusterConfig,
    policies: &PolicySpec,
    script: &'s mut Script,
) -> Cluster<'s> {
    let (front, hooks) = lab::policies(policies, config, script.symbols_mut());
    Cluster::new(config.clone(), front, hooks, script).expect("a cluster")
}

fn run(config: &ClusterConfig, asks: &[Arrival]) -> RunRecord {
    run_with(config, &PolicySpec::default(), asks)
}

fn run_with(config: &ClusterConfig, policies: &PolicySpec, asks: &[Arrival]) -> RunRecord {
    let mut script = Script::new(asks);
    let cluster = cluster(config, policies, &mut script);
    lab::run_checked(cluster).expect("the invariants hold").0
}

/// First token and end of every request.
fn times(record: &RunRecord) -> Vec<[Option<i64>; 2]> {
    let at = |r: i64, since: Option<i64>| since.map(|us| r + us);
    let of = record.requests.iter();
    of.map(|r| [at(r.arrival_us, r.ttft_us), r.completion_us()])
        .collect()
}

/// The first tokens and ends, which all requests have.
fn all_times(record: &RunRecord) -> Vec<[i64; 2]> {
    let known = times(record).into_iter();
    known
        .map(|two| two.map(|time| time.expect("it happened")))
        .collect()
}

/// An instance with the switch off, and on.
fn both(set: impl Fn(&mut EngineRules, bool)) -> [ClusterConfig; 2] {
    [false, true].map(|on| {
        let mut rules = IN_TURN;
        set(&mut rules, on);
        fresh(1, roomy(rules))
    })
}

fn batched(strategy: &str, params: &[(&str, f64)]) -> PolicySpec {
    PolicySpec {
        batching: lab::built_in(Hook::Batching, strategy, params),
        ..PolicySpec::default()
    }
}

#[test]
fn whose_prompt_is_computed_waits_for_a_batch_that_decodes() {
    let [off, on] = both(|rules, on| rules.phases_apart = on);
    let asks = [ask(0, 10, 3), ask(50, 10, 3)];
    // 0..110: the first prompt. 110..230: its decode beside the second prompt (100 + 10 + 10).
    // 230..350: both decode, and the first one is done. 350..460: the second one.
    assert_eq!(all_times(&run(&off, &asks)), [[110, 350], [230, 460]]);
    // 110..330: the first one decodes alone, though the second one waits. 330..440: its prompt.
    assert_eq!(all_times(&run(&on, &asks)), [[110, 330], [440, 660]]);
}

#[test]
fn the_end_of_a_window_wakes_up_or_is_noticed_at_the_next_event() {
    let [off, on] = both(|rules, on| rules.acts_on_events_alone = on);
    let asks = [ask(0, 10, 1), ask(5_000, 10, 1)];
    let params = [("min_batch_size", 3.0), ("window_us", 1_000.0)];
    let policies = batched("windowed", &params);
    let windowed = |config: ClusterConfig| all_times(&run_with(&config, &policies, &asks));
    assert_eq!(windowed(off), [[1_110, 1_110], [6_110, 6_110]]);
    // Both prompts together.
    assert_eq!(windowed(on), [[5_120, 5_120], [5_120, 5_120]]);
}

/// Room for so many tokens, by the byte.
fn memory(mut config: ClusterConfig, tokens: f64) -> ClusterConfig {
    config.pools[0].engine.scheduling.memory = Some(DeviceMemory {
        weights: 1_000.0,
        available: tokens,
        kv_per_token: 1.0,
        activations_per_token: 0.0,
    });
    config
}

#[test]
fn what_never_fits_is_dropped_or_holds_up_the_queue() {
    let [off, on] = both(|rules, on| rules.acts_on_events_alone = on);
    let asks = [ask(0, 90, 20), ask(10, 10, 1)];
    let record = run(&memory(off, 100.0), &asks);
    assert_eq!(record.requests[0].outcome, Outcome::Dropped);
    assert_eq!(times(&record)[1], [Some(120), Some(120)]);
    let record = run(&memory(on, 100.0), &asks);
    assert_eq!(times(&record), [[None, None], [None, None]]);
}

#[test]
fn decodes_are_admitted_by_what_is_there_and_what_they_come_to_need() {
    let rules = EngineRules {
        phases_apart: true,
        ..IN_TURN
    };
    let asks = [ask(0, 20, 3), ask(0, 20, 3)];
    let greedy = batched("greedy", &[]);
    let run_in = |tokens| {
        let config = memory(fresh(1, roomy(rules)), tokens);
        run_with(&config, &greedy, &asks)
    };
    // 2 x 23 tokens for the prompts; then 40 that are there and 46 once more.
    let together = run_in(86.0);
    assert_eq!(all_times(&together), [[140, 380], [140, 380]]);
    // One decodes after the other.
    let apart = run_in(85.0);
    assert_eq!(all_times(&apart), [[140, 360], [140, 580]]);
    let uses = &apart.instances[0].memory_uses;
    let uses: Vec<(i64, f64)> = uses.iter().map(|u| (u.from_us, u.bytes)).collect();
    assert_eq!(
        uses,
        [
            (0, 1_000.0),
            (140, 1_040.0),
            (250, 1_041.0),
            (360, 1_020.0),
            (470, 1_021.0),
            (580, 1_000.0)
        ]
    );
    // One after the other from the start.
    let alone = run_in(43.0);
    assert_eq!(all_times(&alone), [[120, 340], [460, 680]]);
}

#[test]
fn kv_caches_of_a_step_move_one_by_one_or_together() {
    let split = |together| {
        let rules = EngineRules {
            prompts_move_together: together,
            ..IN_TURN
        };
        let mut config = fresh(1, roomy(rules));
        config.pools[0].name = "prefill".into();
        config.pools[0].role = Role::Prefill;
        config.pools[0].kv_bytes_per_token = 1_000.0;
        config.pools.push(PoolConfig {
            name: "decode".into(),
            role: Role::Decode,
            ..config.pools[0].clone()
        });
        // A microsecond per token.
        config.transfer = TransferConfig {
            bandwidth_gb_s: 1.0,
            base_latency_us: 0.0,
            contention: false,
            ..TransferConfig::default()
        };
        let record = run(&config, &[ask(0, 10, 2), ask(0, 20, 5)]);
        let moved = record.requests.iter().map(|r| {
            let split = r.split.as_ref().expect("it was split");
            [split.transfer_start_us, split.transfer_end_us].map(|us| us.expect("it moved"))
        });
        moved.collect::<Vec<_>>()
    };
    // 0..130: both prompts.
    assert_eq!(split(false), [[130, 140], [130, 150]]);
    // 12 and 25 tokens, outputs included.
    assert_eq!(split(true), [[130, 167], [130, 167]]);
}

#[test]
fn a_run_ends_when_nothing_is_left_to_do_or_in_any_case() {
    let config = fresh(1, roomy(IN_TURN));
    let asks = [ask(0, 10, 1), ask(300, 10, 3), ask(2_000, 10, 1)];
    let ended = |idle_from_us, from_us| {
        let mut script = Script::new(&asks);
        let cluster = cluster(&config, &PolicySpec::default(), &mut script);
        let end = RunEnd {
            idle_from_us,
            from_us,
        };
        let record = cluster.ending(end).run(&mut |_| ());
        (record.instances[0].ended_us, times(&record))
    };
    // Idle from 110 on, but for the second request from 300 to 630.
    let first = [Some(110), Some(110)];
    assert_eq!(ended(100, 9_999), (110, vec![first]));
    assert_eq!(ended(111, 9_999).0, 630);
    // Its first token comes at 410, the next one at 520.
    let running = [Some(410), None];
    assert_eq!(ended(111, 500), (520, vec![first, running]));
}

proptest! {
    #![proptest_config(cases(150))]

    /// Batches that decode by themselves are taken as a group, over many steps at once.
    #[test]
    fn decodes_by_themselves_are_on_the_fast_path_what_they_are_one_by_one(
        case in case(40),
        tokens in prop_oneof![Just(None), (200u32..2_000).prop_map(Some)],
        strategy in prop_oneof![Just("continuous"), Just("greedy"), Just("windowed")],
        [first_token, fractions, events_alone] in any::<[bool; 3]>(),
        ends in prop_oneof![Just(None), (0i64..20_000, 0i64..20_000).prop_map(Some)],
    ) {
        let mut case = case;
        let rules = EngineRules {
            phases_apart: true,
            prefill_yields_token: first_token,
            keep_step_fractions: fractions,
            acts_on_events_alone: events_alone,
            ..IN_TURN
        };
        let engine = &mut case.config.pools[0].engine;
        engine.rules = rules;
        engine.total_kv_blocks = 1 << 30;
        // Who has these rules finds no prefixes.
        engine.scheduling.enable_prefix_caching = false;
        if let Some(tokens) = tokens {
            case.config = memory(case.config, tokens.into());
        }
        case.policies.batching = lab::built_in(Hook::Batching, strategy, &[]);
        let run = |plain: bool| {
            let mut case = case.clone();
            case.config.pools[0].engine.plain = plain;
            let mut script = Script::new(&case.asks);
            let mut cluster = cluster(&case.config, &case.policies, &mut script);
            if let Some((idle, more)) = ends {
                let end = RunEnd { idle_from_us: idle, from_us: idle + more };
                cluster = cluster.ending(end);
            }
            lab::run_checked(cluster).map(|(record, _)| text(&record))
        };
        prop_assert_eq!(run(false), run(true));
    }
}
