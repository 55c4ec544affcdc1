//! The batching strategies, on both paths of an instance; what is refused; and scripts beside them.

mod answers;

use crate::batching::Named;
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_base::record::{InstanceTotals, RequestRecord};
use windtunnel_base::request::{Request, RequestId, Symbols, TokenSeq};
use windtunnel_engine::instance::{
    EngineConfig, EngineRules, Instance, InstanceEvent, InstanceHooks, Preset, SchedulingConfig,
};
use windtunnel_engine::latency::{LatencyModel, StepAggregates, StepItem};
use windtunnel_plugin_api::{
    BatchLimits, Batching, Decodes, Interests, PolicyError, QueueView, RequestView, StepView,
};
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Builder, Choice, Hook, PolicyLoader, PolicySpec, Reference, shipped};

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

/// Limits that jump with the state. With `asked`, they jump with every question, too.
struct Erratic {
    seed: u32,
    asked: Option<u32>,
}

impl Batching for Erratic {
    fn interests(&self) -> Interests {
        match self.asked {
            Some(_) => Interests::STEPS,
            None => Interests::NONE,
        }
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        self.asked = self.asked.map(|asked| asked + 1);
        let parts = [
            queue.batch_size,
            step.prefilling,
            queue.queue_depth,
            self.asked.unwrap_or(0),
        ];
        let mix = |salt: u32| {
            let hash = parts.iter().chain([&salt]).fold(self.seed, |hash, part| {
                (hash.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9)
            });
            hash >> 16
        };
        Ok(BatchLimits {
            max_new_tokens: 1 + mix(1) % 40,
            max_prefill_tokens: 1 + mix(2) % 20,
            max_admissions: mix(3) % 3 + u32::from(queue.batch_size == 0),
            decodes: match mix(4) % 4 {
                0 => Decodes::WaitForPrefills,
                _ => Decodes::TakePart,
            },
            hold_until_us: BatchLimits::NEVER,
        })
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

/// What an instance came to.
struct Ran {
    records: BTreeMap<u64, RequestRecord>,
    totals: InstanceTotals,
    fault: Option<String>,
}

impl Ran {
    /// Without a fault, everything.
    fn said(&self) -> String {
        assert_eq!(self.fault, None);
        format!("{:?} {:?}", self.records, self.totals)
    }
}

/// Runs the requests, with the instance's invariants checked on the way.
fn run(
    config: EngineConfig,
    latency: Affine,
    strategy: Box<dyn Batching>,
    shapes: &[Shape],
) -> Ran {
    let hooks = hooks(&PolicySpec::default(), strategy);
    let mut instance = Instance::new(0, config, Arc::new(latency), hooks, 0);
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
            prompt_tokens: prompt,
            ..RequestView::default()
        };
        instance.add_request(request, view, arrival_us);
    }
    instance.advance_to(1_000_000, &mut events);
    let fault = events.iter().find_map(|event| match event {
        InstanceEvent::Fault(fault) => Some(fault.to_string()),
        _ => None,
    });
    if fault.is_none() {
        instance.check().unwrap();
    }
    let mut unfinished = Vec::new();
    let totals = instance.finish(&mut unfinished);
    let finished = events.into_iter().filter_map(|event| match event {
        InstanceEvent::Finished(finished) => Some(finished.record),
        _ => None,
    });
    let records = finished.chain(unfinished).map(|r| (r.serial, r));
    Ran {
        records: records.collect(),
        totals,
        fault,
    }
}

/// The default policies of an instance, with this strategy.
fn hooks(spec: &PolicySpec, batching: Box<dyn Batching>) -> InstanceHooks {
    let mut symbols = Symbols::default();
    let mut builder = Builder::new(spec, 1, 1, &mut symbols);
    InstanceHooks {
        priority: builder.priority(0).expect("a policy"),
        scheduler: builder.scheduler(0).expect("a policy"),
        victim: builder.victim(0).expect("a policy"),
        batching,
    }
}

/// The policy that a text as that of `batching_strategy` names; a time is a number of microseconds.
fn choice(text: &str) -> Result<Choice, InputError> {
    let time_us = |text: &str| {
        let us = text.parse();
        us.map_err(|_| InputError::new("a time as 20ms"))
    };
    let named = Named::parse(text)?;
    let mut wrong = None;
    let mut loader = PolicyLoader::new(false);
    let choice = loader.load(Hook::Batching, &named.reference, &mut |declared| {
        let values = named.values(declared, time_us);
        values.unwrap_or_else(|e| {
            wrong = Some(e);
            Vec::new()
        })
    });
    wrong.map_or(choice, Err)
}

fn made(batching: Choice) -> Box<dyn Batching> {
    let spec = PolicySpec {
        batching,
        ..PolicySpec::default()
    };
    let mut symbols = Symbols::default();
    let made = Builder::new(&spec, 1, 1, &mut symbols).batching(0, 0);
    made.expect("a strategy")
}

fn chosen(text: &str) -> Box<dyn Batching> {
    made(choice(text).expect("a strategy"))
}

/// A script in place of a strategy.
fn script(text: &str) -> Box<dyn Batching> {
    let path = PathBuf::from("b.lua");
    let texts = BTreeMap::from([(path.clone(), text.to_owned())]);
    let mut loader = PolicyLoader::from_texts(texts);
    let loaded = loader.load(Hook::Batching, &Reference::Script(path), &mut |_| {
        Vec::new()
    });
    made(loaded.expect("a script"))
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
    let records = run(config, Affine(0, 0), chosen(strategy), shapes).records;
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
        let records = run(config, Affine(0, 0), chosen(strategy), &shapes).records;
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
        let records = run(config(4), Affine(0, 0), chosen(strategy), &shapes).records;
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
    let refused = |text: &str| choice(text).expect_err("refused").to_string();
    assert_eq!(
        refused("statik"),
        "unknown batching strategy \"statik\"; did you mean \"static\"? valid: continuous, static, in-flight, \
         one-prefill, chunked-context, prefill-first, run-to-completion, greedy, windowed, step-time"
    );
    assert_eq!(
        refused("static:chunk=2"),
        "batching strategy static has no parameters, found \"chunk\""
    );
    assert_eq!(
        refused("chunked-context:chunk=0"),
        "batching strategy chunked-context: chunk is \"0\"; expected 1 or more"
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

/// A kind of strategy, and a seed for its parameters.
type Kind = (usize, u32);

fn kind() -> impl Strategy<Value = Kind> {
    (0..built_ins(Hook::Batching).len() + 2, any::<u32>())
}

/// A built-in strategy with parameters made of `seed`.
fn of_built_in((kind, seed): Kind) -> Option<Choice> {
    let policy = built_ins(Hook::Batching).get(kind)?;
    let params = policy.params.iter().enumerate();
    let params = params.map(|(k, p)| {
        let time = p.name.ends_with("_us");
        let value = (seed >> (8 * k)) % if time { 900 } else { 12 };
        (p.name.to_string(), f64::from(value + 1))
    });
    let params: Vec<(String, f64)> = params.collect();
    Some(Choice::built_in(Hook::Batching, policy.name, &params).expect("a built-in"))
}

/// One of the strategies, or an erratic one: one that remembers nothing, or one that does.
fn make(kind: Kind) -> Box<dyn Batching> {
    let remembers = kind.0 > built_ins(Hook::Batching).len();
    match of_built_in(kind) {
        Some(choice) => made(choice),
        None => Box::new(Erratic {
            seed: kind.1,
            asked: remembers.then_some(0),
        }),
    }
}

/// The script that decides as this built-in does, with the same values.
fn twin(of: &Choice) -> Box<dyn Batching> {
    let Choice::BuiltIn { policy, values } = of else {
        unreachable!("a built-in");
    };
    let name = PathBuf::from(format!("{}.lua", policy.name));
    let text = shipped::find(Hook::Batching, policy.name)
        .expect("a twin")
        .text;
    let texts = BTreeMap::from([(name.clone(), text.to_owned())]);
    let given: Vec<(String, f64)> = values.named().map(|(n, v)| (n.to_owned(), v)).collect();
    let mut loader = PolicyLoader::from_texts(texts);
    let script = Reference::Script(name);
    made(
        loader
            .load(Hook::Batching, &script, &mut |_| given.clone())
            .expect("a script"),
    )
}

fn shapes_of(gaps: Vec<(i64, u32, u32)>) -> Vec<Shape> {
    let mut clock = 0;
    let shape = |(gap, prompt, output)| {
        clock += gap;
        (clock, prompt, output)
    };
    gaps.into_iter().map(shape).collect()
}

proptest! {
    #[test]
    fn both_paths_give_the_same_under_any_strategy(
        kind in kind(),
        vllm in any::<bool>(),
        limits in (1u32..6, 4u32..60, 0u32..12),
        context_us in 0i64..3,
        gaps in prop::collection::vec((0i64..600, 1u32..40, 0u32..30), 1..14),
    ) {
        let shapes = shapes_of(gaps);
        let preset = if vllm { Preset::Vllm } else { Preset::Blis };
        let results = |plain| {
            let mut config = engine(preset.rules(), plain);
            (config.max_num_seqs, config.max_num_batched_tokens, config.long_prefill_token_threshold)
                = limits;
            run(config, Affine(1, context_us), make(kind), &shapes).said()
        };
        prop_assert_eq!(results(false), results(true));
    }

    /// Whatever the engine's rules, with asynchronous scheduling and without.
    #[test]
    fn scripts_decide_as_the_built_ins_do(
        kind in (0..built_ins(Hook::Batching).len(), any::<u32>()),
        asynchronous in any::<bool>(),
        limits in (1u32..6, 4u32..60, 0u32..12),
        gaps in prop::collection::vec((0i64..600, 1u32..40, 0u32..30), 1..14),
    ) {
        let shapes = shapes_of(gaps);
        let built_in = of_built_in(kind).expect("a built-in");
        let result = |strategy| {
            let rules = EngineRules { async_scheduling: asynchronous, ..EngineRules::VLLM };
            let mut config = engine(rules, false);
            (config.max_num_seqs, config.max_num_batched_tokens, config.long_prefill_token_threshold)
                = limits;
            run(config, Affine(1, 1), strategy, &shapes).said()
        };
        prop_assert_eq!(result(made(built_in.clone())), result(twin(&built_in)));
    }
}
