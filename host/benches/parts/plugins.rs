//! One policy in the process and in a compiled plugin: the difference is what the boundary costs.

use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;
use windtunnel_plugin_api::{ClusterView, InstanceView, RequestView, Router, Setup};
use windtunnel_plugin_least_tokens::LeastTokens;
use windtunnel_policy::native::Plugin;

/// Least outstanding tokens, called through its trait and through a library.
pub(crate) fn routing(c: &mut Criterion) {
    // Cargo builds both forms of a plugin that is depended upon, beside this program.
    let mut path = std::env::current_exe().expect("this program");
    path.set_file_name(format!(
        "{}windtunnel_plugin_least_tokens{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    let plugin = Plugin::open(&path).expect("the plugin");
    let mut setup = Setup {
        params: &[],
        instances: 64,
        slots: 64,
        symbol: &mut |_| 0,
    };
    let routers: [(&str, Box<dyn Router>); 2] = [
        ("in the process", Box::new(LeastTokens::new())),
        ("plugin", plugin.router(None, &mut setup).expect("a router")),
    ];
    let mut group = c.benchmark_group("least-tokens");
    for (name, mut router) in routers {
        for n in [1u32, 4, 16, 64] {
            let views: Vec<InstanceView> = (0..n)
                .map(|index| InstanceView {
                    index,
                    ..InstanceView::default()
                })
                .collect();
            let request = RequestView::default();
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter(|| router.route(&request, &ClusterView::bare(1, black_box(&views))));
            });
        }
    }
    group.finish();
}
