//! The strategies, on both paths of an instance.

use super::{BatchLimits, BatchState, Batching, BatchingStrategy, Decodes, STRATEGIES};
use crate::instance::test_hooks::fcfs;
use crate::instance::{EngineConfig, Instance, InstanceEvent, SchedulingConfig};
use crate::latency::{LatencyModel, StepAggregates, StepItem};
use crate::rules::{EngineRules, Preset};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::sync::Arc;
use windtunnel_base::record::{InstanceTotals, RequestRecord};
use windtunnel_base::request::{Request, RequestId, TokenSeq};
use windtunnel_plugin_api::RequestView;

/// 100 us a step, and the given times per prefilled token and per 16 tokens of decode context.
struct Affine(i64, i64);

impl LatencyModel for Affine {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }
    fn step_us(&self, step: &StepAggregates, _: &mut dyn Iterator<Item = StepItem>) -> i64 {
        100 + self.0 * step.prefill_tokens as i64 + self.1 * (step.decode_context / 16) as i64
    }
    fn ignores_decode_context(&self) -> bool {
        self.1 == 0
    }
    fn queueing_us(&self, _: u32) -> i64 {
        0
    }
    fn output_token_us(&self) -> i64 {
        0
    }
    fn post_decode_us(&self) -> i64 {
        0
    }
}

/// Limits that jump with the state.
#[derive(Clone, Debug)]
struct Erratic {
    seed: u32,
}

impl BatchingStrategy for Erratic {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        let mix = |salt: u32| {
            let parts = [state.running, state.prefilling, state.waiting, salt];
            let hash = parts.iter().fold(self.seed, |hash, part| {
                (hash.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9)
            });
            hash >> 16
        };
        BatchLimits {
            max_new_tokens: 1 + mix(1) % 40,
            max_prefill_tokens: 1 + mix(2) % 20,
            max_admissions: mix(3) % 3 + u32::from(state.running == 0),
            decodes: match mix(4) % 4 {
                0 => Decodes::WaitForPrefills,
                _ => Decodes::TakePart,
            },
            ..BatchLimits::CLOSED
        }
    }
}

fn engine(rules: EngineRules, plain: bool) -> EngineConfig {
    EngineConfig {
        total_kv_blocks: 24,
        block_size: 4,
        max_num_seqs: u32::MAX,
        max_num_batched_tokens: u32::MAX,
        long_prefill_token_threshold: 0,
        max_model_len: 0,
        horizon_us: i64::MAX,
        rules,
        token_events: false,
        scheduling: SchedulingConfig::default(),
        plain,
    }
}

/// A request: arrival, prompt, output.
type Shape = (i64, u32, u32);

/// The records by serial and the counters, with the instance's invariants checked on the way.
fn run(
    config: EngineConfig,
    latency: Affine,
    strategy: Box<dyn BatchingStrategy>,
    shapes: &[Shape],
) -> (BTreeMap<u64, RequestRecord>, InstanceTotals) {
    let mut instance =
        Instance::new(0, config, Arc::new(latency), fcfs(), 0).with_batching(strategy);
    let mut events = Vec::new();
    for (serial, &(arrival_us, prompt, output)) in (0..).zip(shapes) {
        instance.advance_to(arrival_us, &mut events);
        instance.check().unwrap();
        let stream = serial as u32 % 3 + 1;
        let mut request = Request::new(
            RequestId::Number(serial),
            arrival_us,
            TokenSeq::of(stream, prompt),
            TokenSeq::of(100 + serial as u32, output),
        );
        request.private_from = prompt;
        let view = RequestView {
            serial,
            ..RequestView::default()
        };
        instance.add_request(request, view, arrival_us);
    }
    instance.advance_to(1_000_000, &mut events);
    instance.check().unwrap();
    let mut unfinished = Vec::new();
    let totals = instance.finish(&mut unfinished);
    let finished = events.into_iter().filter_map(|event| match event {
        InstanceEvent::Finished(finished) => Some(finished.record),
        _ => None,
    });
    let records = finished.chain(unfinished).map(|r| (r.serial, r));
    (records.collect(), totals)
}

fn chosen(text: &str) -> Batching {
    let time_us = |text: &str| Ok(text.parse().expect("a number"));
    Batching::parse(text, time_us).expect("a strategy")
}

/// With places for `slots` requests, when each was admitted and had its first token, microseconds
/// after its arrival; every step takes 100.
fn served(strategy: &str, slots: u32, shapes: &[Shape]) -> (Vec<i64>, Vec<i64>) {
    let rules = EngineRules {
        async_scheduling: false,
        ..EngineRules::VLLM
    };
    let mut config = engine(rules, false);
    (config.max_num_seqs, config.total_kv_blocks) = (slots, 1000);
    let strategy = chosen(strategy).make(&config);
    let (records, _) = run(config, Affine(0, 0), strategy, shapes);
    let all = |of: fn(&RequestRecord) -> Option<i64>| {
        let times = records.values().map(of);
        times.map(|us| us.expect("it was served")).collect()
    };
    (all(|r| r.scheduling_delay_us), all(|r| r.ttft_us))
}

fn admitted(strategy: &str, slots: u32, shapes: &[Shape]) -> Vec<i64> {
    served(strategy, slots, shapes).0
}

#[test]
fn static_batching_admits_when_the_batch_is_done() {
    // One prefill step and up to four decode steps of 100 us.
    let shapes = [(0, 10, 2), (0, 10, 5), (0, 10, 2), (0, 10, 2), (0, 10, 2)];
    assert_eq!(admitted("static", 2, &shapes), [0, 0, 500, 500, 700]);
}

#[test]
fn in_flight_batching_fills_a_place_as_soon_as_it_is_free() {
    let shapes = [(0, 10, 2), (0, 10, 5), (0, 10, 2), (0, 10, 2), (0, 10, 2)];
    assert_eq!(admitted("in-flight", 2, &shapes), [0, 0, 200, 400, 500]);
}

#[test]
fn one_prefill_at_a_time_admits_when_the_last_one_is_through() {
    let shapes = [(0, 10, 9), (0, 10, 9), (0, 3, 9), (0, 10, 9)];
    assert_eq!(admitted("one-prefill", 4, &shapes), [0, 100, 200, 300]);
}

#[test]
fn chunks_of_one_size_are_computed_beside_decodes() {
    let shapes = [(0, 3, 3), (0, 10, 3), (0, 12, 3)];
    let (admitted, ttft) = served("chunked-context:chunk=4", 4, &shapes);
    assert_eq!((admitted, ttft), (vec![0, 0, 0], vec![100, 300, 300]));
}

#[test]
fn prompts_first_hold_up_decodes() {
    // The second prompt comes while the first request decodes: its step is its own.
    let shapes = [(0, 10, 3), (150, 10, 2)];
    for (strategy, done) in [("in-flight", 300), ("prefill-first", 400)] {
        let mut config = engine(EngineRules::VLLM, false);
        config.rules.async_scheduling = false;
        let strategy = chosen(strategy).make(&config);
        let (records, _) = run(config, Affine(0, 0), strategy, &shapes);
        assert_eq!(records[&0].e2e_us, Some(done));
        assert_eq!(records[&1].ttft_us, Some(150));
    }
}

#[test]
fn a_batch_that_runs_to_completion_is_joined_only_before_it_decodes() {
    // A prompt of three chunks, and one that comes in its second step; then one too late.
    let shapes = [(0, 12, 2), (150, 4, 4), (350, 4, 1)];
    let config = |chunk| {
        let mut config = engine(EngineRules::VLLM, false);
        config.rules.async_scheduling = false;
        config.rules.spare_lone_prefill = false;
        config.long_prefill_token_threshold = chunk;
        config
    };
    let admitted = |strategy: &str| {
        let strategy = chosen(strategy).make(&config(4));
        let (records, _) = run(config(4), Affine(0, 0), strategy, &shapes);
        let delays = records.values().map(|r| r.scheduling_delay_us);
        delays.map(|us| us.expect("served")).collect::<Vec<i64>>()
    };
    // Joined at 200; prompts are done at 300, the last decode at 600.
    assert_eq!(admitted("run-to-completion"), [0, 50, 250]);
    // A closed batch ends at 400, the second one at 800.
    assert_eq!(admitted("greedy"), [0, 250, 50]);
    assert_eq!(admitted("static"), [0, 250, 50]);
}

#[test]
fn a_window_ends_without_another_event() {
    let shapes = [(0, 10, 1), (1000, 10, 1), (1010, 10, 1), (1020, 10, 1)];
    let windowed = "windowed:min_batch_size=3,window=200";
    assert_eq!(admitted(windowed, 4, &shapes), [200, 20, 10, 0]);
    assert_eq!(admitted("greedy", 4, &shapes), [0, 0, 90, 80]);
}

#[test]
fn a_name_is_refused_with_the_nearest_and_values_with_what_is_expected() {
    let refused = |text: &str| {
        let time = |_: &str| Err(windtunnel_base::input::InputError::new("a time as 20ms"));
        let error = Batching::parse(text, time).expect_err("refused");
        error.to_string()
    };
    assert_eq!(
        refused("statik"),
        "unknown batching strategy \"statik\"; did you mean \"static\"? valid: continuous, static, in-flight, \
         one-prefill, chunked-context, prefill-first, run-to-completion, greedy, windowed"
    );
    assert_eq!(
        refused("static:chunk=2"),
        "batching strategy static has no parameters, found \"chunk\""
    );
    assert_eq!(
        refused("chunked-context:chunk=0"),
        "batching strategy chunked-context: chunk is \"0\"; expected a whole number, 1 or more"
    );
    assert_eq!(
        refused("chunked-context:chunk=3,chunk=4"),
        "batching strategy chunked-context: chunk is given twice"
    );
    assert_eq!(
        refused("windowed:min_batch_sise=2"),
        "unknown parameter of windowed \"min_batch_sise\"; did you mean \"min_batch_size\"? valid: \
         min_batch_size, window"
    );
    assert_eq!(
        refused("windowed:window=soon"),
        "batching strategy windowed: window is \"soon\"; expected a time as 20ms"
    );
    assert_eq!(
        refused("windowed:5"),
        "batching strategy windowed: found \"5\"; expected param=value"
    );
}

fn strategy() -> impl Strategy<Value = (usize, u32)> {
    (0..STRATEGIES.len() + 2, any::<u32>())
}

/// One of the strategies, with parameters made of `seed`, or an erratic one.
fn make((kind, seed): (usize, u32), config: &EngineConfig) -> Box<dyn BatchingStrategy> {
    let Some(strategy) = STRATEGIES.get(kind) else {
        return Box::new(Erratic { seed });
    };
    let params = strategy.params.iter().enumerate();
    let params = params.map(|(k, p)| {
        let value = (seed >> (8 * k)) % if p.is_time { 900 } else { 12 };
        format!("{}={}", p.name, value + 1)
    });
    let params: Vec<String> = params.collect();
    let text = match params.is_empty() {
        true => strategy.name.to_owned(),
        false => format!("{}:{}", strategy.name, params.join(",")),
    };
    chosen(&text).make(config)
}

proptest! {
    #[test]
    fn both_paths_give_the_same_under_any_strategy(
        strategy in strategy(),
        vllm in any::<bool>(),
        limits in (1u32..6, 4u32..60, 0u32..12),
        context_us in 0i64..3,
        gaps in prop::collection::vec((0i64..600, 1u32..40, 0u32..30), 1..14),
    ) {
        let mut clock = 0;
        let shapes: Vec<Shape> = gaps
            .into_iter()
            .map(|(gap, prompt, output)| {
                clock += gap;
                (clock, prompt, output)
            })
            .collect();
        let preset = if vllm { Preset::Vllm } else { Preset::Blis };
        let results = |plain| {
            let mut config = engine(preset.rules(), plain);
            (config.max_num_seqs, config.max_num_batched_tokens, config.long_prefill_token_threshold)
                = limits;
            // What is erratic keeps to no number of places.
            if strategy.0 >= STRATEGIES.len() {
                config.max_num_seqs = u32::MAX;
            }
            run(config, Affine(1, context_us), make(strategy, &config), &shapes)
        };
        prop_assert_eq!(format!("{:?}", results(false)), format!("{:?}", results(true)));
    }
}
