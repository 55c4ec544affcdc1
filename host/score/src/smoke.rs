//! Smoke scenarios: a few hundred requests on small clusters, in which every hook is called. They
//! are the same for every candidate and suite.

use rand::RngExt;
use std::sync::Arc;
use windtunnel_base::fault::RunFault;
use windtunnel_base::input::InputError;
use windtunnel_base::record::{Outcome, Role, RoutingObservations, RunRecord};
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};
use windtunnel_base::rng::stream;
use windtunnel_config::Defaults;
use windtunnel_engine::cluster::{
    ClusterConfig, ClusterEvent, Delay, Drain, Events, Happening, PoolConfig, PoolScaling, Scaling,
};
use windtunnel_engine::forecast::ForecastError;
use windtunnel_engine::frontend::{FrontEndConfig, Predictor, TraceConfig};
use windtunnel_engine::instance::{EngineConfig, Preset, SchedulingConfig};
use windtunnel_engine::latency::{LatencyModel, Setup, resolve};
use windtunnel_policy::lua::ScriptUsage;
use windtunnel_policy::{Hook, PolicySpec};
use windtunnel_sim::{Deployment, Play};

/// Requests of each scenario.
const REQUESTS: u32 = 300;

/// A small cluster and its load.
struct SmokeScenario {
    name: &'static str,
    instances: u32,
    max_num_seqs: u32,
    /// KV blocks per instance.
    blocks: u64,
    /// Mean time between arrivals, microseconds.
    every_us: f64,
    /// What its instances do.
    shape: Shape,
}

/// What the instances of a small cluster do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// All serve whole requests, from the start to the end.
    Whole,
    /// One instance prefills for the others.
    Apart,
    /// They come and go as a policy says, none to all, and one fails.
    Scaled,
}

/// One instance; several; several under overload, with queues, preemptions and deadlines missed.
const SMOKE_SCENARIOS: &[SmokeScenario] = &[
    SmokeScenario {
        name: "one instance",
        instances: 1,
        max_num_seqs: 16,
        blocks: 4_000,
        every_us: 40_000.0,
        shape: Shape::Whole,
    },
    SmokeScenario {
        name: "four instances",
        instances: 4,
        max_num_seqs: 32,
        blocks: 4_000,
        every_us: 8_000.0,
        shape: Shape::Whole,
    },
    SmokeScenario {
        name: "overload",
        instances: 3,
        max_num_seqs: 12,
        blocks: 220,
        every_us: 3_000.0,
        shape: Shape::Whole,
    },
];

/// Instances that prefill for others, and others, for suites that ask where prompts are computed.
const APART: SmokeScenario = SmokeScenario {
    name: "prefill and decode apart",
    instances: 2,
    max_num_seqs: 16,
    blocks: 1_000,
    every_us: 8_000.0,
    shape: Shape::Apart,
};

/// Instances that come and go, for suites that ask how many there should be.
const SCALED: SmokeScenario = SmokeScenario {
    name: "instances come and go",
    instances: 4,
    max_num_seqs: 8,
    blocks: 1_000,
    every_us: 60_000.0,
    shape: Shape::Scaled,
};

/// Result of the policies in one smoke scenario.
pub struct SmokeRun {
    /// Name of the scenario.
    pub name: &'static str,
    /// Requests sent.
    pub requests: usize,
    /// Requests served in full.
    pub completed: usize,
    /// Preemptions.
    pub preemptions: u64,
    /// Why the run was aborted.
    pub fault: Option<RunFault>,
    /// A fingerprint of the outcome of every request.
    pub outcomes: [u8; 32],
    /// Share of the prompts that another instance computed than decoded; none where every instance
    /// serves whole requests.
    pub disaggregated: Option<f64>,
    /// Mean number of instances; none where they do not come and go.
    pub mean_instances: Option<f64>,
    /// Routing decisions.
    pub observations: RoutingObservations,
    /// Calls and fuel of the scripts.
    pub used: ScriptUsage,
    /// Growth of the scripts' memory, bytes.
    pub state_bytes: usize,
}

/// Runs the policies on all smoke scenarios, up to the first fault: also on one in which some
/// instances prefill for others, and on one in which they come and go, where `hooks` has the hook
/// that is asked there.
///
/// # Errors
/// When a policy cannot be made.
pub fn run_all(spec: &PolicySpec, hooks: &[Hook]) -> Result<Vec<SmokeRun>, InputError> {
    let mut setup = Setup::new("llama-3.1-8b-instruct", Defaults::builtin().clone());
    setup.gpu = Some("H100".into());
    setup.tp = Some(2);
    let latency = resolve(&setup)?.latency;
    let mut runs = Vec::new();
    let asked = [(&APART, Hook::Disaggregation), (&SCALED, Hook::Scale)];
    let asked = asked.iter().filter(|(_, hook)| hooks.contains(hook));
    for scenario in SMOKE_SCENARIOS
        .iter()
        .chain(asked.map(|(scenario, _)| *scenario))
    {
        let (record, used, state_bytes) = run(spec, scenario, &latency)?;
        let completed = record.requests.iter();
        let completed = completed
            .filter(|r| r.outcome == Outcome::Completed)
            .count();
        let aborted = record.fault.is_some();
        runs.push(SmokeRun {
            name: scenario.name,
            requests: record.requests.len(),
            completed,
            preemptions: record.instances.iter().map(|i| i.preemptions).sum(),
            outcomes: outcomes(&record),
            disaggregated: record.transfers.map(|_| {
                let split = record.requests.iter().filter(|r| r.split.is_some()).count();
                split as f64 / record.requests.len().max(1) as f64
            }),
            mean_instances: record.scaling.as_ref().map(|scaling| {
                let us: i128 = scaling.pools.iter().map(|pool| pool.instance_us).sum();
                us as f64 / scaling.ended_us.max(1) as f64
            }),
            fault: record.fault,
            observations: record.observations,
            used,
            state_bytes,
        });
        if aborted {
            break;
        }
    }
    Ok(runs)
}

fn outcomes(record: &RunRecord) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for r in &record.requests {
        hasher.update(format!("{:?} {:?} {:?};", r.outcome, r.ttft_us, r.e2e_us).as_bytes());
    }
    *hasher.finalize().as_bytes()
}

fn run(
    spec: &PolicySpec,
    scenario: &SmokeScenario,
    latency: &Arc<dyn LatencyModel>,
) -> Result<(RunRecord, ScriptUsage, usize), InputError> {
    let engine = EngineConfig {
        total_kv_blocks: scenario.blocks,
        block_size: 16,
        max_num_seqs: scenario.max_num_seqs,
        max_num_batched_tokens: 2048,
        long_prefill_token_threshold: 0,
        max_model_len: 0,
        horizon_us: i64::MAX,
        rules: Preset::Vllm.rules(),
        token_events: false,
        scheduling: SchedulingConfig::default(),
        plain: false,
    };
    let config = ClusterConfig {
        front: FrontEndConfig {
            snapshot_refresh_us: 50_000,
            cache_signal_delay_us: 50_000,
            model_names: vec!["llama-3.1-8b-instruct".into()],
            predictor: Some(Predictor {
                error: ForecastError {
                    sigma: 0.3,
                    bias: 1.0,
                },
                by_class: Vec::new(),
            }),
            ..FrontEndConfig::default()
        },
        ..ClusterConfig::single(scenario.instances, engine, Arc::clone(latency))
    };
    let config = match scenario.shape {
        Shape::Whole => config,
        Shape::Apart => apart(config),
        Shape::Scaled => scaled(config),
    };
    let mut traffic = MixedTraffic::new(scenario);
    let play = Play {
        seed: 1,
        // The run ends even if a policy delays requests for ever.
        horizon_us: 120_000_000,
        trace: TraceConfig {
            observations: true,
            ..TraceConfig::default()
        },
        salted: true,
        slo_targets_us: [500_000, 50_000, 0],
    };
    let deployment = Deployment::of_parts(config, Preset::Vllm);
    let (cluster, meter) = deployment.cluster(spec, play, &mut traffic)?;
    let (used, held) = (meter.used(), meter.held_bytes());
    let record = cluster.run(&mut |_| {});
    let state_bytes = meter.held_bytes().saturating_sub(held);
    Ok((record, meter.used() - used, state_bytes))
}

/// The cluster twice: instances that prefill, and instances that decode.
fn apart(mut config: ClusterConfig) -> ClusterConfig {
    let pool = PoolConfig {
        kv_bytes_per_token: 131_072.0,
        ..config.pools[0].clone()
    };
    let of = |name: &str, role| PoolConfig {
        name: name.into(),
        role,
        ..pool.clone()
    };
    config.pools = vec![of("prefill", Role::Prefill), of("decode", Role::Decode)];
    config.transfer.contention = true;
    config
}

/// The cluster with instances that come and go: two at first, asked for every second. One fails
/// for good.
fn scaled(mut config: ClusterConfig) -> ClusterConfig {
    config.schedule.initial = vec![2];
    config.scaling = Scaling {
        pools: vec![Some(PoolScaling {
            interval_us: 1_000_000,
            min: 0,
            startup: Delay {
                mean_us: 2_000_000.0,
                stddev_us: 500_000.0,
            },
            drain: Drain::Wait,
            gpu_usd_per_hour: 3.0,
        })],
        ..Scaling::default()
    };
    config.events = Events {
        all: vec![ClusterEvent {
            at_us: 6_000_000,
            instances: vec![0],
            what: Happening::Fail { restart_us: None },
        }],
        retries: 2,
        retry_after_us: 500_000,
    };
    config
}

/// Requests of several tenants, classes, sessions and shared prefixes, some with deadlines.
struct MixedTraffic {
    symbols: Symbols,
    next: u32,
    now: f64,
    every_us: f64,
}

impl MixedTraffic {
    fn new(scenario: &SmokeScenario) -> Self {
        Self {
            symbols: Symbols::default(),
            next: 0,
            now: 0.0,
            every_us: scenario.every_us,
        }
    }
}

/// Streams below this are shared prefixes.
const PRIVATE: u32 = 1 << 16;

impl Source for MixedTraffic {
    fn next_request(&mut self) -> Option<Request> {
        let k = self.next;
        if k == REQUESTS {
            return None;
        }
        self.next += 1;
        let mut random = stream(1, "smoke", 0, k.into());
        let mut draw = |below: u32| random.random_range(0..below);
        self.now += self.every_us * f64::from(draw(2001)) / 1000.0;
        let group = draw(4);
        let shared = if group == 0 { 0 } else { 64 * group };
        let (own, output) = (1 + draw(600), 1 + draw(120));
        let mut prompt = TokenSeq::default();
        if shared > 0 {
            prompt.push(Span {
                stream: group,
                start: 0,
                len: shared,
            });
        }
        let mut answer = TokenSeq::default();
        let stream = PRIVATE + k;
        prompt.push(Span {
            stream,
            start: 0,
            len: own,
        });
        answer.push(Span {
            stream,
            start: own,
            len: output,
        });
        let arrival = self.now as i64;
        let id = RequestId::Number(u64::from(k));
        let mut request = Request::new(id, arrival, prompt, answer);
        request.private_from = shared;
        let class = ["critical", "standard", "batch", "sheddable"][draw(4) as usize];
        request.slo_class = self.symbols.intern(class);
        request.tenant = self
            .symbols
            .intern(["", "acme", "globex"][draw(3) as usize]);
        request.session = self.symbols.intern(&format!("session_{}", draw(40)));
        request.slo_ttft_us = 1000 * i64::from(50 + draw(500));
        if group > 0 {
            request.prefix_group = self.symbols.intern(&format!("prefix_{group}"));
            request.prefix_tokens = shared;
        }
        if draw(10) == 0 {
            request.deadline_us = arrival + 400_000;
        }
        Some(request)
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}
