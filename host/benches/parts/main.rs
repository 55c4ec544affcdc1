//! Benchmarks of the parts, one function per room: `cargo xtask bench --criterion`, or
//! `cargo bench -p windtunnel-benches -- NAME`.
//!
//! They say which part became slower when a whole run did. Nothing is asserted here and no test
//! runs them.

mod engine;
mod plugins;
mod rooms;
mod scripts;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    // Short: a machine's load moves the figures more than longer sampling steadies them.
    let mut c = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    engine::steps(&mut c);
    engine::gaps(&mut c);
    engine::whole_runs(&mut c);
    rooms::kv(&mut c);
    rooms::latency(&mut c);
    rooms::routing(&mut c);
    scripts::routing(&mut c);
    scripts::admission(&mut c);
    scripts::scheduling(&mut c);
    plugins::routing(&mut c);
    rooms::digest(&mut c);
    rooms::workloads(&mut c);
    c.final_summary();
}
