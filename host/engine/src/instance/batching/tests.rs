//! Strategies other than vLLM's, on both paths of an instance.

use super::{BatchLimits, BatchState, BatchingStrategy};
use crate::instance::test_hooks::fcfs;
use crate::instance::{EngineConfig, Instance, InstanceEvent, SchedulingConfig};
use crate::latency::{LatencyModel, StepAggregates, StepItem};
use crate::rules::{EngineRules, Preset};
use proptest::prelude::*;
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

/// Admits a full batch when the last one is done.
#[derive(Clone, Debug)]
struct Static {
    slots: u32,
}

impl BatchingStrategy for Static {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        BatchLimits {
            max_new_tokens: u32::MAX,
            max_prefill_tokens: u32::MAX,
            max_admissions: if state.running == 0 { self.slots } else { 0 },
        }
    }
}

/// Admits one request when none prefills, and prefills it in chunks.
#[derive(Clone, Debug)]
struct OnePrefill {
    chunk: u32,
}

impl BatchingStrategy for OnePrefill {
    fn limits(&self, state: &BatchState) -> BatchLimits {
        BatchLimits {
            max_new_tokens: u32::MAX,
            max_prefill_tokens: self.chunk,
            max_admissions: u32::from(state.prefilling == 0),
        }
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

/// When each request was admitted, microseconds after its arrival.
fn admitted(strategy: impl BatchingStrategy + 'static, shapes: &[Shape]) -> Vec<i64> {
    let config = engine(EngineRules::BLIS, false);
    let (records, _) = run(config, Affine(0, 0), Box::new(strategy), shapes);
    let delays = records.values().map(|r| r.scheduling_delay_us);
    delays.map(|us| us.expect("it was admitted")).collect()
}

#[test]
fn static_batching_admits_when_the_batch_is_done() {
    // One prefill step and up to four decode steps of 100 us.
    let shapes = [(0, 10, 2), (0, 10, 5), (0, 10, 2), (0, 10, 2), (0, 10, 2)];
    assert_eq!(
        admitted(Static { slots: 2 }, &shapes),
        [0, 0, 500, 500, 700]
    );
}

#[test]
fn one_prefill_at_a_time_admits_when_the_last_one_is_through() {
    let shapes = [(0, 10, 9), (0, 10, 9), (0, 3, 9), (0, 10, 9)];
    let chunked = OnePrefill { chunk: 5 };
    assert_eq!(admitted(chunked, &shapes), [0, 200, 400, 500]);
    let whole = OnePrefill { chunk: u32::MAX };
    assert_eq!(admitted(whole, &shapes), [0, 100, 200, 300]);
}

fn strategy() -> impl Strategy<Value = (u32, u32)> {
    (0u32..3, any::<u32>())
}

fn make((kind, seed): (u32, u32)) -> Box<dyn BatchingStrategy> {
    match kind {
        0 => Box::new(Static {
            slots: seed % 5 + 1,
        }),
        1 => Box::new(OnePrefill {
            chunk: seed % 30 + 1,
        }),
        _ => Box::new(Erratic { seed }),
    }
}

proptest! {
    #[test]
    fn both_paths_give_the_same_under_any_strategy(
        strategy in strategy(),
        vllm in any::<bool>(),
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
            run(engine(preset.rules(), plain), Affine(1, context_us), make(strategy), &shapes)
        };
        prop_assert_eq!(format!("{:?}", results(false)), format!("{:?}", results(true)));
    }
}
