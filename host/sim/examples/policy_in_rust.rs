//! A routing policy in Rust, in the same program as the simulation, against two built-in ones.
//!
//! It fills the trait `Router` of the plugin contract, as every policy does: what it sees of the
//! instances is as old as their last scrape, so it keeps a ledger of its own by events. The same
//! type can be exported as a compiled plugin (docs/guide/plugins.md).
//!
//! ```sh
//! cargo run --release -p windtunnel-sim --example policy_in_rust
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it found out")]

use std::error::Error;
use windtunnel_sim::plugin_api::{
    ClusterView, Event, EventKind, Interests, PolicyError, RequestView, Route, Router,
};
use windtunnel_sim::{
    Custom, Hook, LengthSpec, PoolSpec, Resolver, RunSpec, Simulation, WorkloadSpec,
};

/// Sends a request where the fewest prompt tokens wait for their prefill.
struct LeastPrefill {
    /// Prompt tokens sent to each instance and without a first token so far.
    owed: Vec<u64>,
}

impl Router for LeastPrefill {
    /// Dispatches, ends and first tokens; what is not named is not computed.
    fn interests(&self) -> Interests {
        Interests::LIFECYCLE | Interests::TOKENS
    }

    fn route(
        &mut self,
        _request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let instances = cluster.instances.iter().enumerate();
        let least = instances.min_by_key(|(_, instance)| self.owed[instance.index as usize]);
        let (position, _) = least.ok_or_else(|| PolicyError::new("there is no instance"))?;
        Ok(Route::To(position))
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let (i, tokens) = (event.instance as usize, u64::from(event.prompt_tokens));
        match event.what() {
            Some(EventKind::Dispatch) => self.owed[i] += tokens,
            Some(EventKind::FirstToken) => self.owed[i] -= tokens,
            // It ended without a first token.
            Some(EventKind::Complete) if event.ttft_us == 0 => self.owed[i] -= tokens,
            _ => {}
        }
        Ok(())
    }
}

/// Prompts of very different lengths on four instances.
fn spec() -> RunSpec {
    let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
    spec.pools.push(PoolSpec {
        count: Some(4),
        ..PoolSpec::default()
    });
    spec.workload = WorkloadSpec {
        rate: Some(30.0),
        num_requests: Some(400),
        prompt_tokens: LengthSpec {
            mean: Some(1500),
            stdev: Some(2500),
            ..LengthSpec::default()
        },
        ..WorkloadSpec::default()
    };
    spec
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("TTFT in ms         mean       p50       p99");
    let report = |simulation: Simulation| -> Result<(), Box<dyn Error>> {
        let name = simulation.policies().get(Hook::Routing).name().to_owned();
        let ttft = simulation.run(&mut |_| ())?.summary.cluster.latency_ms.ttft;
        let (mean, p50, p99) = (ttft.mean, ttft.p50, ttft.p99);
        println!("{name:<13} {mean:>9.1} {p50:>9.1} {p99:>9.1}");
        Ok(())
    };
    for name in ["round-robin", "least-loaded"] {
        let mut spec = spec();
        spec.policies.routing = Some(name.to_owned());
        report(spec.resolve()?)?;
    }
    // It makes the policy, so that each run begins with an empty ledger.
    let policy = Custom::routing("least-prefill", |facts| LeastPrefill {
        owed: vec![0; facts.instances as usize],
    });
    let resolver = Resolver {
        policies: &[policy],
        ..Resolver::default()
    };
    report(resolver.resolve(&spec())?)
}
