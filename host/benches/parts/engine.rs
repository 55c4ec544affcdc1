//! Steps of one instance, fast and plain, and small whole runs.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::sync::Arc;
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};
use windtunnel_config::Defaults;
use windtunnel_engine::cluster::{Cluster, ClusterConfig};
use windtunnel_engine::frontend::FrontEndConfig;
use windtunnel_engine::instance::{
    EngineConfig, EngineRules, Instance, InstanceHooks, NEVER, SchedulingConfig,
};
use windtunnel_engine::latency::{LatencyModel, LatencyModelKind, Setup, resolve};
use windtunnel_plugin_api::RequestView;
use windtunnel_policy::PolicySpec;
use windtunnel_policy::builtin::routing::{least_loaded, weighted};
use windtunnel_results::metrics::digest::Digest;
use windtunnel_results::metrics::summary::RunSummary;
use windtunnel_sim::make_policies;
use windtunnel_workload::synthetic::{Distribution, Length, Parameters};

/// The model of all figures: llama-3.1-8b-instruct on one H100.
pub(crate) fn model(kind: LatencyModelKind) -> Arc<dyn LatencyModel> {
    // xpu-roofline has models of its own.
    let name = match kind {
        LatencyModelKind::XpuRoofline => "llama3-8b",
        _ => "llama-3.1-8b-instruct",
    };
    let mut setup = Setup::new(name, Defaults::builtin().clone());
    setup.gpu = Some("H100".into());
    // There are fitted coefficients for two GPUs only.
    setup.tp = Some(if kind == LatencyModelKind::Blackbox {
        2
    } else {
        1
    });
    setup.latency = Some(kind);
    resolve(&setup).expect("a built-in model").latency
}

/// As a run sets it up when only the model is given.
pub(crate) fn engine() -> EngineConfig {
    EngineConfig {
        total_kv_blocks: 26_312,
        block_size: 16,
        max_num_seqs: 256,
        max_num_batched_tokens: 2048,
        long_prefill_token_threshold: 0,
        max_model_len: 0,
        horizon_us: i64::MAX,
        rules: EngineRules::BLIS,
        token_events: false,
        scheduling: SchedulingConfig::default(),
        plain: false,
    }
}

/// The hooks of a cluster of one.
fn lone(spec: &PolicySpec) -> InstanceHooks {
    let latency = model(LatencyModelKind::Blackbox);
    let config = ClusterConfig::single(1, engine(), latency);
    let made = make_policies(spec, &config, &mut Symbols::default());
    made.expect("known policies").1.remove(0)
}

/// A request with tokens of its own.
pub(crate) fn request(k: u32, prompt: u32, output: u32) -> Request {
    let span = |start, len| {
        let mut tokens = TokenSeq::default();
        let stream = k + 1;
        tokens.push(Span { stream, start, len });
        tokens
    };
    let mut request = Request::new(
        RequestId::Number(u64::from(k)),
        0,
        span(0, prompt),
        span(prompt, output),
    );
    request.private_from = 0;
    request
}

/// An instance whose batch of `n` requests does nothing but decode.
fn decoding(n: u32, plain: bool, latency: &Arc<dyn LatencyModel>) -> Instance {
    let engine = EngineConfig { plain, ..engine() };
    let mut instance = Instance::new(
        0,
        engine,
        Arc::clone(latency),
        lone(&PolicySpec::default()),
        0,
    );
    let mut reports = Vec::new();
    for k in 0..n {
        // Prompts of different lengths, so that their blocks fill up in different steps.
        let view = RequestView {
            serial: u64::from(k),
            ..RequestView::default()
        };
        instance.add_request(request(k, 64 + k % 16, 1200), view, 0);
    }
    // Long enough for all prefills: a step takes at least 5 ms, and 2,048 tokens of prompts go into
    // one.
    instance.advance_to(300_000, &mut reports);
    instance
}

/// What a simulated second of decoding costs, roughly a hundred steps.
pub(crate) fn steps(c: &mut Criterion) {
    let latency = model(LatencyModelKind::TrainedPhysics);
    let mut group = c.benchmark_group("decode 1 s");
    for n in [16, 64, 256] {
        for (name, plain) in [("fast", false), ("plain", true)] {
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter_batched_ref(
                    || decoding(n, plain, &latency),
                    |instance| {
                        instance.advance_to(1_300_000, &mut Vec::new());
                        instance.batch_size()
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

/// Inter-token gaps: requests of one length each for themselves on an instance, so that steps are
/// few and what is left is to log a gap per step, to add them up for each request and to fold them.
pub(crate) fn gaps(c: &mut Criterion) {
    let latency = model(LatencyModelKind::TrainedPhysics);
    c.bench_function("gap log, 50 requests of 500 tokens", |b| {
        b.iter_batched_ref(
            || {
                let policies = PolicySpec::default();
                let engine = EngineConfig {
                    max_num_seqs: 1,
                    ..engine()
                };
                let mut instance =
                    Instance::new(0, engine, Arc::clone(&latency), lone(&policies), 0);
                for k in 0..50 {
                    let view = RequestView {
                        serial: u64::from(k),
                        ..RequestView::default()
                    };
                    instance.add_request(request(k, 16, 500), view, 0);
                }
                instance
            },
            |instance| {
                instance.advance_to(NEVER, &mut Vec::new());
                instance.finish(&mut Vec::new())
            },
            BatchSize::LargeInput,
        );
    });
}

/// Requests as the large rows of the performance page send them.
pub(crate) fn arrivals(rate: f64, requests: u64, output: u32) -> Distribution {
    let length = |mean: u32, stdev: f64| Length {
        mean: f64::from(mean),
        stdev,
        min: 2,
        max: 7000,
    };
    Distribution::new(Parameters {
        rate,
        num_requests: requests,
        prefix_tokens: 0,
        prompt: length(256, 64.0),
        output: length(output, 0.0),
        horizon_us: i64::MAX,
        seed: 42,
        timeout_us: None,
        from_zero: false,
        at_once: false,
        burstiness: None,
    })
    .expect("good parameters")
}

fn run(instances: u32, requests: u64, spec: &PolicySpec, latency: &Arc<dyn LatencyModel>) {
    let config = ClusterConfig {
        front: FrontEndConfig {
            snapshot_refresh_us: 50_000,
            cache_signal_delay_us: 50_000,
            model_names: vec!["llama-3.1-8b-instruct".into()],
            ..FrontEndConfig::default()
        },
        ..ClusterConfig::single(instances, engine(), Arc::clone(latency))
    };
    let mut source = arrivals(90.7 * f64::from(instances), requests, 128);
    let made = make_policies(spec, &config, source.symbols_mut());
    let (front, hooks, _) = made.expect("known policies");
    let mut digest = Digest::default();
    let cluster = Cluster::new(config, front, hooks, &mut source);
    let cluster = cluster.expect("a cluster");
    let record = cluster.run_into(&mut digest, &mut |_| {});
    black_box(RunSummary::of_digest(digest, &record));
}

/// From the first arrival to the summary, through the library.
pub(crate) fn whole_runs(c: &mut Criterion) {
    let latency = model(LatencyModelKind::TrainedPhysics);
    let mut group = c.benchmark_group("1,000 requests");
    group.throughput(Throughput::Elements(1000));
    for policy in [&least_loaded::POLICY, &weighted::POLICY] {
        let name = policy.name;
        for instances in [1, 4, 16] {
            let policies = PolicySpec {
                routing: policy.into(),
                ..PolicySpec::default()
            };
            group.bench_function(BenchmarkId::new(name, instances), |b| {
                b.iter(|| run(instances, 1000, &policies, &latency));
            });
        }
    }
    group.finish();
}
