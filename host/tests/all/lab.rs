//! Clusters built from the library: scripted requests, simple step times, any rules and policies.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use windtunnel_base::record::{RequestRecord, RunRecord};
use windtunnel_base::request::{
    FinishReason, Finished, Request, RequestId, Source, Span, Symbols, TokenSeq,
};
use windtunnel_engine::cluster::{Cluster, ClusterConfig};
use windtunnel_engine::frontend::{FrontEndConfig, FrontEndPolicies};
use windtunnel_engine::instance::{
    EngineConfig, EngineRules, InstanceHooks, Preset, SchedulingConfig,
};
use windtunnel_engine::latency::{LatencyModel, StepAggregates, StepItem};
use windtunnel_policy::{Choice, Hook, PolicySpec};

/// A step time that is affine in the step's aggregates; everything in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Affine {
    pub(crate) base: i64,
    pub(crate) per_prefill_token: i64,
    pub(crate) per_decode: i64,
    /// Per 16 tokens of decode context.
    pub(crate) per_context_block: i64,
    pub(crate) queueing: i64,
    pub(crate) queueing_per_token: i64,
    pub(crate) output_token: i64,
    pub(crate) post_decode: i64,
}

impl LatencyModel for Affine {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }
    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        let prefill = self.per_prefill_token * step.prefill_tokens as i64;
        let decode = self.per_decode * step.decodes as i64;
        let context = self.per_context_block * (step.decode_context / 16) as i64;
        (self.base + prefill + decode + context).max(1)
    }
    fn ignores_decode_context(&self) -> bool {
        self.per_context_block == 0
    }
    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        self.queueing + self.queueing_per_token * i64::from(prompt_tokens)
    }
    fn output_token_us(&self) -> i64 {
        self.output_token
    }
    fn post_decode_us(&self) -> i64 {
        self.post_decode
    }
}

/// 100 us a step, 1 us a prefill token, 10 us a decode: easy to add up by hand.
pub(crate) const BY_HAND: Affine = Affine {
    base: 100,
    per_prefill_token: 1,
    per_decode: 10,
    per_context_block: 0,
    queueing: 0,
    queueing_per_token: 0,
    output_token: 0,
    post_decode: 0,
};

/// A request to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) at: i64,
    /// Prompt tokens of its own, after the shared ones.
    pub(crate) prompt: u32,
    pub(crate) output: u32,
    /// Shared prefix: group (0 = none) and tokens.
    pub(crate) prefix: (u32, u32),
    /// The client's output budget; `None` = the true output length.
    pub(crate) budget: Option<u32>,
    /// Microseconds after the arrival; 0 = never.
    pub(crate) timeout: i64,
    pub(crate) class: &'static str,
    pub(crate) tenant: &'static str,
    pub(crate) model: &'static str,
    /// LoRA adapter.
    pub(crate) adapter: &'static str,
    /// Later rounds of its session.
    pub(crate) rounds: Vec<Round>,
}

/// A round that follows when the one before it has ended, with all that was said before in its
/// prompt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub(crate) think: i64,
    pub(crate) prompt: u32,
    pub(crate) output: u32,
}

/// A request of `prompt` and `output` tokens at `at`.
pub(crate) fn ask(at: i64, prompt: u32, output: u32) -> Arrival {
    Arrival {
        at,
        prompt,
        output,
        ..Arrival::default()
    }
}

/// How a request ended, as its client learned it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) reason: FinishReason,
    pub(crate) at_us: i64,
    pub(crate) processed: u32,
}

/// Streams below this are shared prefixes.
const PRIVATE: u32 = 1 << 16;

/// A source of scripted requests that also writes down what it sees.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    symbols: Symbols,
    coming: VecDeque<Request>,
    later: HashMap<RequestId, VecDeque<Round>>,
    made: u32,
    /// Says that follow-ups may come, so that the cluster takes every event in order.
    ordered: bool,
    /// Arrivals of all requests handed out, by id.
    pub(crate) arrivals: HashMap<RequestId, i64>,
    pub(crate) ended: HashMap<RequestId, Ended>,
}

impl Script {
    /// The asks in order of time; equal times keep their order.
    pub(crate) fn new(asks: &[Arrival]) -> Self {
        let mut script = Self {
            symbols: Symbols::default(),
            coming: VecDeque::new(),
            later: HashMap::new(),
            made: 0,
            ordered: asks.iter().any(|a| !a.rounds.is_empty()),
            arrivals: HashMap::new(),
            ended: HashMap::new(),
        };
        let mut asks: Vec<&Arrival> = asks.iter().collect();
        asks.sort_by_key(|a| a.at);
        for (k, a) in asks.into_iter().enumerate() {
            let mut prompt = TokenSeq::default();
            let (group, tokens) = a.prefix;
            if group > 0 {
                prompt.push(Span {
                    stream: group,
                    start: 0,
                    len: tokens,
                });
            }
            let mut request = script.make(k as u64, a.at, prompt, a.prompt, a.output);
            if let Some(budget) = a.budget {
                request.max_output_tokens = budget;
            }
            if a.timeout > 0 {
                request.deadline_us = a.at + a.timeout;
            }
            request.slo_class = script.symbols.intern(a.class);
            request.tenant = script.symbols.intern(a.tenant);
            request.adapter = script.symbols.intern(a.adapter);
            request.model = script.symbols.intern(a.model);
            if a.rounds.is_empty() {
                request.private_from = tokens;
            } else {
                request.session = script.symbols.intern(&format!("session_{k}"));
                script
                    .later
                    .insert(request.id.clone(), a.rounds.iter().cloned().collect());
            }
            script.coming.push_back(request);
        }
        script
    }

    /// The same requests, without anything that lets the engine do less: any token may occur
    /// elsewhere, anything may follow.
    pub(crate) fn without_promises(mut self) -> Self {
        self.ordered = true;
        self.coming
            .iter_mut()
            .for_each(|r| r.private_from = u32::MAX);
        self
    }

    /// A request whose own tokens and output lie in one stream, which nobody else uses.
    fn make(&mut self, k: u64, at: i64, shared: TokenSeq, own: u32, output: u32) -> Request {
        let stream = PRIVATE + self.made;
        self.made += 1;
        let mut prompt = shared;
        prompt.push(Span {
            stream,
            start: 0,
            len: own,
        });
        let mut answer = TokenSeq::default();
        answer.push(Span {
            stream,
            start: own,
            len: output,
        });
        Request::new(RequestId::Number(k), at, prompt, answer)
    }
}

impl Source for Script {
    fn next_request(&mut self) -> Option<Request> {
        let request = self.coming.pop_front()?;
        self.arrivals.insert(request.id.clone(), request.arrival_us);
        Some(request)
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let Finished {
            request,
            reason,
            at_us,
            generated_tokens,
        } = *finished;
        let ended = Ended {
            reason,
            at_us,
            processed: generated_tokens,
        };
        let before = self.ended.insert(request.id.clone(), ended);
        assert_eq!(before, None, "{} ended twice", request.id);
        let mut rounds = self.later.remove(&request.id)?;
        let round = rounds.pop_front()?;
        let mut context = request.prompt.clone();
        context.extend_from(&request.output, generated_tokens);
        let number = 1_000_000 + u64::from(self.made);
        let at = at_us + round.think;
        let mut next = self.make(number, at, context, round.prompt, round.output);
        next.session = request.session;
        next.round = request.round + 1;
        next.slo_class = request.slo_class;
        self.later.insert(next.id.clone(), rounds);
        self.arrivals.insert(next.id.clone(), at);
        Some(next)
    }

    fn has_follow_ups(&self) -> bool {
        self.ordered
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

/// An engine with room for everything.
pub(crate) fn roomy(rules: EngineRules) -> EngineConfig {
    EngineConfig {
        total_kv_blocks: 10_000,
        block_size: 16,
        max_num_seqs: 256,
        max_num_batched_tokens: 2048,
        long_prefill_token_threshold: 0,
        max_model_len: 0,
        horizon_us: i64::MAX,
        rules,
        token_events: false,
        scheduling: SchedulingConfig::default(),
        plain: false,
    }
}

/// A cluster with [`BY_HAND`] step times whose front end sees everything at once.
pub(crate) fn fresh(instances: u32, engine: EngineConfig) -> ClusterConfig {
    ClusterConfig {
        front: FrontEndConfig {
            model_names: vec!["Org/Model-A".into(), "Model-A".into()],
            ..FrontEndConfig::default()
        },
        ..ClusterConfig::single(instances, engine, Arc::new(BY_HAND))
    }
}

/// The cluster with other step times on all instances.
pub(crate) fn timed(mut config: ClusterConfig, latency: Affine) -> ClusterConfig {
    for pool in &mut config.pools {
        pool.latency = Arc::new(latency);
    }
    config
}

/// A built-in policy with values for some of its parameters.
pub(crate) fn built_in(hook: Hook, name: &str, values: &[(&str, f64)]) -> Choice {
    let values = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value));
    let values: Vec<(String, f64)> = values.collect();
    Choice::built_in(hook, name, &values).expect("a built-in policy")
}

/// The hooks of `n` instances.
pub(crate) fn hooks(policies: &PolicySpec, n: u32) -> Vec<InstanceHooks> {
    let engine = EngineConfig {
        max_num_seqs: 1,
        ..roomy(EngineRules::VLLM)
    };
    let config = ClusterConfig::single(n, engine, Arc::new(BY_HAND));
    self::policies(policies, &config, &mut Symbols::default()).1
}

/// All policies of a cluster, made together.
pub(crate) fn policies(
    spec: &PolicySpec,
    config: &ClusterConfig,
    symbols: &mut Symbols,
) -> (FrontEndPolicies, Vec<InstanceHooks>) {
    let made = windtunnel_sim::make_policies(spec, config, symbols);
    let (front, hooks, _) = made.expect("policies");
    (front, hooks)
}

/// No run of these tests has as many events, if it ends at all.
const MOST_EVENTS: u64 = 300_000;

/// Runs a cluster to its end, checking its invariants after every event at first and now and then
/// later.
pub(crate) fn run_checked(mut cluster: Cluster<'_>) -> Result<(RunRecord, Vec<u64>), String> {
    let mut events = 0u64;
    while cluster.advance() {
        events += 1;
        if events > MOST_EVENTS {
            return Err(format!("still going on after {events} events"));
        }
        if events < 500 || events.is_multiple_of(61) {
            cluster
                .check()
                .map_err(|e| format!("after event {events}: {e}"))?;
        }
    }
    cluster.check().map_err(|e| format!("at the end: {e}"))?;
    let used = cluster.engines().map(|i| i.kv().used()).collect();
    let mut requests = Vec::new();
    let mut record = cluster.finish(&mut requests);
    requests.sort_by_key(|r| r.serial);
    record.requests = requests;
    Ok((record, used))
}

/// Runs built-in policies over the asks.
pub(crate) fn run(
    config: ClusterConfig,
    latency: Affine,
    policies: &PolicySpec,
    asks: &[Arrival],
) -> RunRecord {
    let mut script = Script::new(asks);
    let (front, hooks) = self::policies(policies, &config, &mut script.symbols);
    let cluster = Cluster::new(timed(config, latency), front, hooks, &mut script);
    let record = run_checked(cluster.expect("a cluster"));
    record.expect("the invariants hold").0
}

/// Runs one instance with default policies and [`BY_HAND`] step times; the records come in order of
/// arrival.
pub(crate) fn run_one(engine: EngineConfig, asks: &[Arrival]) -> Vec<RequestRecord> {
    run(fresh(1, engine), BY_HAND, &PolicySpec::default(), asks).requests
}
