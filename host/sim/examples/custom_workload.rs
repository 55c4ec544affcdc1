//! A workload of one's own: agents that call the model round after round, each time with everything
//! said before in the prompt.
//!
//! It fills the trait `Source`. A prompt is no text but spans of a *token stream*: equal stream and
//! position mean equal tokens, so the prefix cache finds the rounds before by itself. A follow-up
//! is asked for when a request ends, so an agent waits for its answer, as a real one does.
//!
//! ```sh
//! cargo run --release -p windtunnel-sim --example custom_workload
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it found out")]

use std::error::Error;
use windtunnel_sim::request::{
    FinishReason, Finished, Request, RequestId, Source, Span, Symbols, TokenSeq,
};
use windtunnel_sim::{PoolSpec, RunSpec};

const AGENTS: u32 = 40;
const ROUNDS: u32 = 6;

/// Agents that start one after the other.
#[derive(Default)]
struct Agents {
    started: u32,
    sent: u64,
    symbols: Symbols,
}

impl Agents {
    /// Round `round` of an agent, with `context` tokens of the rounds before and new ones: what a
    /// tool returned. Its answer continues the agent's stream where the prompt ends.
    fn request(&mut self, agent: u32, round: u32, context: u32, arrival_us: i64) -> Request {
        let new = 200 + 150 * ((agent + round) % 4);
        let answer = Span {
            stream: agent,
            start: context + new,
            len: 60 + 20 * (round % 3),
        };
        let mut output = TokenSeq::default();
        output.push(answer);
        let id = RequestId::Number(self.sent);
        self.sent += 1;
        let prompt = TokenSeq::of(agent, context + new);
        let mut request = Request::new(id, arrival_us, prompt, output);
        request.session = self.symbols.intern(&format!("agent-{agent}"));
        request.round = round;
        request
    }
}

impl Source for Agents {
    fn next_request(&mut self) -> Option<Request> {
        let agent = self.started;
        (agent < AGENTS).then(|| {
            self.started += 1;
            self.request(agent, 0, 0, i64::from(agent) * 50_000)
        })
    }

    fn on_finished(&mut self, finished: &Finished<'_>) -> Option<Request> {
        let before = finished.request;
        let agent = before.prompt.spans().first()?.stream;
        let goes_on = finished.reason == FinishReason::Completed && before.round + 1 < ROUNDS;
        let context = before.prompt_tokens() + finished.generated_tokens;
        let tool_us = 300_000;
        goes_on.then(|| self.request(agent, before.round + 1, context, finished.at_us + tool_us))
    }

    fn has_follow_ups(&self) -> bool {
        true
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("routing          requests  prefix hits  TTFT mean ms  E2E p99 ms");
    for routing in ["round-robin", "session-affinity", "weighted"] {
        let mut spec = RunSpec::of_model("llama-3.1-8b-instruct");
        spec.pools.push(PoolSpec::default());
        spec.pools[0].count = Some(4);
        spec.policies.routing = Some(routing.to_owned());
        let agents = Agents::default();
        let simulation = spec.resolve_with(Box::new(agents), "agents that use tools")?;
        let cluster = simulation.run(&mut |_| ())?.summary.cluster;
        let (hits, latency) = (
            100.0 * cluster.cache_hit_rate.unwrap_or(0.0),
            &cluster.latency_ms,
        );
        println!(
            "{routing:<16} {:>8} {hits:>11.1}% {:>13.1} {:>11.0}",
            cluster.completed, latency.ttft.mean, latency.e2e.p99
        );
    }
    Ok(())
}
