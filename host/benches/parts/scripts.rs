//! What a decision costs in a script, beside the built-in that decides the same.

use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;
use windtunnel_base::request::Symbols;
use windtunnel_plugin_api::{
    Admit, ClusterView, InstanceView, PolicyError, QueueView, QueuedView, RequestView,
};
use windtunnel_policy::builtin::routing::least_loaded;
use windtunnel_policy::{Builder, Choice, Hook, PolicyLoader, PolicySpec, Reference};

/// Reads five fields of every instance and two of the request.
const TABLES: &str = "
return {
  route = function(req, insts, cluster)
    local best, least = 1, math.huge
    for i, inst in ipairs(insts) do
      local load = inst.queue_depth + inst.batch_size + inst.in_flight
      local cost = load * 10 + inst.kv_utilization + req.prompt_tokens / (1 + inst.kv_free_blocks) + req.class_priority
      if cost < least then best, least = i, cost end
    end
    return best
  end,
}";

/// The same over columns.
const COLUMNS: &str = "
local QUEUE, BATCH, IN_FLIGHT = column('queue_depth'), column('batch_size'), column('in_flight')
local KV, FREE = column('kv_utilization'), column('kv_free_blocks')
local read = buffer.readf64
return {
  route_columns = function(req, columns, n, cluster)
    local best, least = 1, math.huge
    local prompt, class = req.prompt_tokens, req.class_priority
    for i = 0, n - 1 do
      local at = 8 * i
      local load = read(columns, QUEUE + at) + read(columns, BATCH + at) + read(columns, IN_FLIGHT + at)
      local cost = load * 10 + read(columns, KV + at) + prompt / (1 + read(columns, FREE + at)) + class
      if cost < least then best, least = i + 1, cost end
    end
    return best
  end,
}";

const ADMIT: &str = "return { admit = function(req) return req.prompt_tokens < 100000 end }";

const SCORE: &str = "
return { score = function(now, req) return (now - req.enqueued_us) * (1 + req.class_priority) - req.prompt_tokens end }";

fn script(folder: &tempfile::TempDir, hook: Hook, text: &str) -> Choice {
    let path = folder.path().join(format!("{hook}-{}.lua", text.len()));
    std::fs::write(&path, text).expect("written");
    PolicyLoader::new(false)
        .load(hook, &Reference::Script(path), &mut |_| Vec::new())
        .expect("a policy")
}

fn instances(n: u32) -> Vec<InstanceView> {
    (0..n)
        .map(|index| InstanceView {
            index,
            queue_depth: index * 7 % 5,
            batch_size: 40 + index * 13 % 11,
            in_flight: index % 3,
            kv_free_blocks: 1000 - index,
            kv_utilization: f64::from(index * 29 % 100) / 100.0,
            ..InstanceView::default()
        })
        .collect()
}

/// Routing over 16 instances of which 4 have changed since the last decision.
pub(crate) fn routing(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = c.benchmark_group("script routing, 16 instances, 4 changed");
    for (name, text) in [("tables", TABLES), ("columns", COLUMNS)] {
        let spec = PolicySpec {
            routing: script(&folder, Hook::Routing, text),
            ..PolicySpec::default()
        };
        route(&mut group, name, &spec);
    }
    let spec = PolicySpec {
        routing: (&least_loaded::POLICY).into(),
        ..PolicySpec::default()
    };
    route(&mut group, "built-in least-loaded", &spec);
    group.finish();
}

fn route(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    spec: &PolicySpec,
) {
    let mut symbols = Symbols::default();
    let mut router = Builder::new(spec, 16, 1, &mut symbols)
        .router()
        .expect("a router");
    let mut views = instances(16);
    let mut request = RequestView::default();
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        b.iter(|| {
            request.serial += 1;
            request.prompt_tokens = 100 + (request.serial % 64) as u32;
            for k in 0..4 {
                let view = &mut views[((request.serial * 5 + k * 3) % 16) as usize];
                view.queue_depth = (view.queue_depth + 1) % 7;
                view.in_flight = (view.in_flight + 2) % 9;
                view.batch_size = 40 + view.in_flight;
                view.kv_free_blocks = 1000 - view.in_flight;
                view.kv_utilization = f64::from(view.in_flight) / 10.0;
            }
            router.route(&request, &ClusterView::bare(1, black_box(&views)))
        });
    });
}

/// Admission by a script that reads one field.
pub(crate) fn admission(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = PolicySpec {
        admission: script(&folder, Hook::Admission, ADMIT),
        ..PolicySpec::default()
    };
    let mut symbols = Symbols::default();
    let mut admission = Builder::new(&spec, 16, 1, &mut symbols)
        .admission()
        .expect("an admission policy");
    let views = instances(16);
    let mut request = RequestView::default();
    c.bench_function("script admission", |b| {
        b.iter(|| {
            request.prompt_tokens = (request.prompt_tokens + 1) % 4096;
            let answer: Result<Admit, PolicyError> =
                admission.admit(&request, &ClusterView::bare(1, &views));
            answer
        });
    });
}

/// Scores of all waiting requests.
pub(crate) fn scheduling(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = PolicySpec {
        scheduler: script(&folder, Hook::Scheduler, SCORE),
        ..PolicySpec::default()
    };
    let mut symbols = Symbols::default();
    let mut scheduler = Builder::new(&spec, 1, 1, &mut symbols)
        .scheduler(0)
        .expect("a scheduler");
    let mut group = c.benchmark_group("script scheduler, waiting requests");
    for n in [10u32, 100, 1000] {
        let requests: Vec<RequestView> = (0..n)
            .map(|k| RequestView {
                serial: k.into(),
                prompt_tokens: k * 37 % 1000,
                ..RequestView::default()
            })
            .collect();
        let waiting: Vec<QueuedView<'_>> = requests
            .iter()
            .enumerate()
            .map(|(k, request)| QueuedView {
                enqueued_us: k as i64 * 100,
                slot: k as u32,
                ..QueuedView::of(request)
            })
            .collect();
        let mut keys = vec![0.0; n as usize];
        let mut now = 1_000_000;
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| {
                now += 10;
                scheduler.order_queue(&QueueView::bare(now, &waiting, &[]), &mut keys)
            });
        });
    }
    group.finish();
}
