//! Rooms by themselves: KV cache, step times, routers, digest, workloads.

use crate::engine::{arrivals, model, request};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use std::fmt::Write;
use std::hint::black_box;
use windtunnel_base::record::{Outcome, RequestRecord, State};
use windtunnel_base::request::{Source, Symbols, TokenSeq};
use windtunnel_engine::instance::EngineRules;
use windtunnel_engine::kv::{BlockTable, CachedPrefix, KvCache, Sequence};
use windtunnel_engine::latency::{LatencyModelKind, StepAggregates, StepItem};
use windtunnel_plugin_api::{ClusterView, InstanceView, RequestView};
use windtunnel_policy::builtin::routing::{least_loaded, weighted};
use windtunnel_policy::{Builder, PolicySpec};
use windtunnel_results::metrics::digest::Digest;
use windtunnel_workload::{OpenOptions, open};

/// A cache in which every block was used before, and one in which a prompt of 2,048 tokens is
/// cached.
pub(crate) fn kv(c: &mut Criterion) {
    let mut cache = KvCache::new(4096, 16, &EngineRules::BLIS, true);
    let mut table = BlockTable::default();
    let prompt = TokenSeq::of(1, 2048);
    let output = TokenSeq::default();
    let shared = Sequence {
        prompt: &prompt,
        output: &output,
        private_from: u32::MAX,
    };
    let none = CachedPrefix::default();
    cache.allocate_prefill(&mut table, shared, 2048, &none);
    c.bench_function("kv/cached_prefix of 128 blocks", |b| {
        b.iter(|| cache.cached_prefix(black_box(shared), 2048).blocks());
    });
    c.bench_function("kv/claim and release 128 cached blocks", |b| {
        let mut other = BlockTable::default();
        let longer = TokenSeq::of(1, 2064);
        let sequence = Sequence {
            prompt: &longer,
            ..shared
        };
        b.iter(|| {
            let cached = cache.cached_prefix(shared, 2048);
            let fits = cache.allocate_prefill(&mut other, sequence, 16, &cached);
            cache.release(&mut other, 0);
            fits
        });
    });
    for (name, private_from) in [("private", 0), ("findable", u32::MAX)] {
        let mut cache = KvCache::new(64, 16, &EngineRules::BLIS, true);
        let one = request(7, 256, 128);
        let sequence = Sequence {
            prompt: &one.prompt,
            output: &one.output,
            private_from,
        };
        c.bench_function(&format!("kv/256 + 128 tokens and release, {name}"), |b| {
            let mut table = BlockTable::default();
            b.iter(|| {
                let mut fits = cache.allocate_prefill(&mut table, sequence, 256, &none);
                for _ in 0..128 {
                    fits &= cache.allocate_decode(&mut table, sequence, true);
                }
                cache.release(&mut table, 0);
                fits
            });
        });
    }
}

/// One step of 64 decodes and a prefill, by each model.
pub(crate) fn latency(c: &mut Criterion) {
    let items: Vec<StepItem> = (0..65)
        .map(|k| StepItem {
            new_tokens: if k == 64 { 256 } else { 1 },
            context: if k == 64 { 0 } else { 256 + k },
            prompt_tokens: 256,
            is_prefill: k == 64,
        })
        .collect();
    let mut step = StepAggregates::default();
    items.iter().for_each(|&item| step.add(item));
    let fitted = |kind: &LatencyModelKind| {
        !matches!(kind, LatencyModelKind::Ticks | LatencyModelKind::Profile)
    };
    for kind in LatencyModelKind::ALL.into_iter().filter(fitted) {
        let model = model(kind);
        c.bench_function(&format!("step_us/{kind}"), |b| {
            b.iter(|| model.step_us(black_box(&step), &mut items.iter().copied()));
        });
    }
}

/// One decision among instances with different loads.
pub(crate) fn routing(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for policy in [&least_loaded::POLICY, &weighted::POLICY] {
        let name = policy.name;
        for n in [4u32, 16, 64] {
            let views: Vec<InstanceView> = (0..n)
                .map(|index| InstanceView {
                    index,
                    queue_depth: index * 7 % 5,
                    batch_size: 40 + index * 13 % 11,
                    in_flight: index % 3,
                    kv_utilization: f64::from(index * 29 % 100) / 100.0,
                    ..InstanceView::default()
                })
                .collect();
            let spec = PolicySpec {
                routing: policy.into(),
                ..PolicySpec::default()
            };
            let mut symbols = Symbols::default();
            let mut builder = Builder::new(&spec, n, 1, &mut symbols);
            let mut router = builder.router().expect("a known router");
            let request = RequestView::default();
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter(|| router.route(&request, &ClusterView::bare(1, black_box(&views))));
            });
        }
    }
    group.finish();
}

/// 100,000 finished requests into the sums of a summary.
pub(crate) fn digest(c: &mut Criterion) {
    let one = request(0, 256, 128);
    let records: Vec<RequestRecord> = (0..100_000u64)
        .map(|k| {
            // Spread over 64 instances and some 10,000 latencies.
            let noise = (k.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50) as i64;
            RequestRecord {
                instance: Some((k % 64) as u32),
                generated_tokens: 128,
                scheduling_delay_us: Some(noise / 4),
                ttft_us: Some(20_000 + noise),
                e2e_us: Some(1_000_000 + 31 * noise),
                ..RequestRecord::unserved(k, &one, State::Completed, Outcome::Completed)
            }
        })
        .collect();
    let mut group = c.benchmark_group("digest");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("100,000 requests", |b| {
        b.iter_batched_ref(
            Digest::default,
            |digest| records.iter().for_each(|r| digest.add(r)),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Requests out of their sources.
pub(crate) fn workloads(c: &mut Criterion) {
    const N: u64 = 10_000;
    let mut group = c.benchmark_group("source");
    group.throughput(Throughput::Elements(N));
    group.bench_function("distribution", |b| {
        b.iter_batched_ref(
            || arrivals(90.7, N, 128),
            |source| std::iter::from_fn(|| source.next_request()).count(),
            BatchSize::LargeInput,
        );
    });
    let mut text = String::from("TIMESTAMP,ContextTokens,GeneratedTokens\n");
    for k in 0..N {
        let (minute, second, tick) = (k / 3600 % 60, k / 60 % 60, k % 60 * 160_000);
        let (prompt, output) = (100 + k % 900, 1 + k % 300);
        writeln!(
            text,
            "2023-11-16 18:{minute:02}:{second:02}.{tick:07},{prompt},{output}"
        )
        .expect("a string takes it");
    }
    let path = std::env::temp_dir().join("windtunnel-bench-azure.csv");
    std::fs::write(&path, &text).expect("a writable folder");
    group.bench_function("azure, read and give out", |b| {
        b.iter(|| {
            let mut source = open(&path, None, &OpenOptions::default()).expect("good rows");
            std::iter::from_fn(|| source.next_request()).count()
        });
    });
    group.finish();
}
