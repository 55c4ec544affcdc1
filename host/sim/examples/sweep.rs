//! A sweep: every rate on every size of the pool, on all cores, and the smallest pool that holds a
//! target.
//!
//! Runs know nothing of each other, so `parallel::map` may carry them out in any order; the results
//! come back in the order of the points and do not depend on the number of threads.
//!
//! ```sh
//! cargo run --release -p windtunnel-sim --example sweep
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it found out")]

use std::error::Error;
use windtunnel_sim::{
    InputError, OutputSpec, PoliciesSpec, PoolSpec, RunSpec, WorkloadSpec, parallel,
};

const RATES: [f64; 3] = [10.0, 20.0, 40.0];
const SIZES: [u32; 4] = [1, 2, 4, 8];
const TARGET_MS: f64 = 250.0;

/// Figures of one point.
struct Row {
    rate: f64,
    instances: u32,
    ttft_p99_ms: f64,
    e2e_p99_ms: f64,
    requests_per_s: f64,
    peak_kv: f64,
}

fn run(&(rate, instances): &(f64, u32)) -> Result<Row, InputError> {
    let spec = RunSpec {
        pools: vec![PoolSpec {
            count: Some(instances),
            ..PoolSpec::default()
        }],
        policies: PoliciesSpec {
            routing: Some("least-loaded".to_owned()),
            ..PoliciesSpec::default()
        },
        workload: WorkloadSpec {
            name: Some("summarization".to_owned()),
            rate: Some(rate),
            num_requests: Some(300),
            ..WorkloadSpec::default()
        },
        // Sums are enough here: no record of a request is kept.
        outputs: OutputSpec {
            summary_only: true,
            ..OutputSpec::default()
        },
        ..RunSpec::of_model("llama-3.1-8b-instruct")
    };
    let cluster = spec.resolve()?.run(&mut |_| ())?.summary.cluster;
    Ok(Row {
        rate,
        instances,
        ttft_p99_ms: cluster.latency_ms.ttft.p99,
        e2e_p99_ms: cluster.latency_ms.e2e.p99,
        requests_per_s: cluster.responses_per_sec(),
        peak_kv: 100.0 * cluster.kv_peak_utilization,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let points: Vec<(f64, u32)> = RATES
        .iter()
        .flat_map(|&rate| SIZES.map(|instances| (rate, instances)))
        .collect();
    let rows = parallel::map(&points, parallel::default_jobs(), run, |_, _| ());
    let rows: Vec<Row> = rows.into_iter().collect::<Result<_, _>>()?;

    println!("rate/s  instances  TTFT p99 ms  E2E p99 ms  requests/s  KV peak");
    for row in &rows {
        println!(
            "{:>6} {:>10} {:>12.1} {:>11.0} {:>11.1} {:>7.1}%",
            row.rate,
            row.instances,
            row.ttft_p99_ms,
            row.e2e_p99_ms,
            row.requests_per_s,
            row.peak_kv
        );
    }
    for rate in RATES {
        let mut holds = rows
            .iter()
            .filter(|row| row.rate == rate && row.ttft_p99_ms <= TARGET_MS);
        match holds.next() {
            Some(row) => println!(
                "{rate} requests/s: TTFT p99 within {TARGET_MS} ms from {} instances on",
                row.instances
            ),
            None => println!("{rate} requests/s: no pool holds TTFT p99 within {TARGET_MS} ms"),
        }
    }
    Ok(())
}
