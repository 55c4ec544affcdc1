//! A first run: four instances of Llama 3.1 8B behind a router, synthetic traffic, and what came of
//! it.
//!
//! It shows the way of every run: a `RunSpec` says what to simulate, `resolve` finds the mistakes
//! in it, `run` carries it out, and the `RunResult` has sums, and a record of every request.
//!
//! ```sh
//! cargo run --release -p windtunnel-sim --example first_run
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it found out")]

use std::error::Error;
use windtunnel_sim::{LengthSpec, PoliciesSpec, PoolSpec, RunSpec, WorkloadSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let spec = RunSpec {
        pools: vec![PoolSpec {
            count: Some(4),
            ..PoolSpec::default()
        }],
        policies: PoliciesSpec {
            routing: Some("least-loaded".to_owned()),
            ..PoliciesSpec::default()
        },
        workload: WorkloadSpec {
            rate: Some(40.0), // requests per second
            num_requests: Some(400),
            prompt_tokens: LengthSpec {
                mean: Some(1024),
                ..LengthSpec::default()
            },
            output_tokens: LengthSpec {
                mean: Some(128),
                stdev: Some(32),
                ..LengthSpec::default()
            },
            ..WorkloadSpec::default()
        },
        ..RunSpec::of_model("llama-3.1-8b-instruct")
    };

    let simulation = spec.resolve()?;
    println!("model:      {}", simulation.model());
    println!("workload:   {}", simulation.workload());

    let result = simulation.run(&mut |_| ())?;
    let cluster = &result.summary.cluster;
    let (ttft, e2e) = (&cluster.latency_ms.ttft, &cluster.latency_ms.e2e);
    println!(
        "completed:  {} of {} requests in {:.1} simulated seconds",
        cluster.completed,
        result.summary.arrivals,
        cluster.duration_s()
    );
    println!(
        "throughput: {:.1} requests/s, {:.0} output tokens/s",
        cluster.responses_per_sec(),
        cluster.tokens_per_sec()
    );
    println!("TTFT:       p50 {:.1} ms, p99 {:.1} ms", ttft.p50, ttft.p99);
    println!("E2E:        p50 {:.0} ms, p99 {:.0} ms", e2e.p50, e2e.p99);

    // The sums come from records: one per request, in order of arrival.
    let slowest = result.record.requests.iter().max_by_key(|r| r.e2e_us);
    if let Some(request) = slowest {
        println!(
            "slowest:    {}, {} prompt and {} output tokens on instance {:?}, E2E {:?} us",
            request.id,
            request.prompt_tokens,
            request.output_tokens,
            request.instance,
            request.e2e_us
        );
    }

    // A run is data: the same file goes to `windtunnel run --spec FILE`.
    println!("\nThe run as a file:\n{}", spec.to_yaml()?);
    Ok(())
}
