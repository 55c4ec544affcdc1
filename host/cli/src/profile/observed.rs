//! What the steps of a server took, told from what its clients saw.
//!
//! A client sees when tokens come. While the same requests decode, the gap between two tokens of
//! one is a step. The first token of a request that comes to an idle server comes after what the
//! front end takes and the step of its prompt. A prompt of one token is about the step of a decode,
//! so what its first token takes beyond that is the front end's.

use super::recipe::Probe;
use std::collections::BTreeMap;
use windtunnel_engine::latency::{MeasuredStep, StepAggregates};
use windtunnel_live::client::Exchange;

/// Most tokens whose mean gap is one step of the measurement: what the network or the client
/// delays, the next gap is shorter by.
const TOGETHER: usize = 20;
/// Longest prompt that counts as next to nothing.
const TINY: u64 = 1;

/// Steps, and what is not part of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Between the sending of a request and its first step, and behind that, milliseconds.
    pub request_overhead_ms: f64,
    /// The steps.
    pub steps: Vec<MeasuredStep>,
    /// Batches of which no moment was found in which all of their requests decoded.
    pub never_together: Vec<u64>,
}

/// The steps behind exchanges. `step_tokens` is the most new tokens of a step.
pub fn observe(done: &[(Probe, Vec<Exchange>)], step_tokens: u64) -> Observed {
    let mut observed = Observed::default();
    let mut firsts: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut tiny_gaps = Vec::new();
    for (probe, exchanges) in done {
        if let (Probe::Single { prompt, .. }, [one]) = (probe, exchanges.as_slice()) {
            firsts.entry(*prompt).or_default().extend(one.ttft_ms());
            if *prompt <= TINY {
                tiny_gaps.extend(mean_gap(one));
            }
        }
    }
    let first = |prompt: u64| firsts.get(&prompt).and_then(|times| median(times));
    if let Some((ttft, gap)) = first(TINY).zip(median(&tiny_gaps)) {
        observed.request_overhead_ms = (ttft - gap).max(0.0);
    }
    let overhead = observed.request_overhead_ms;
    // No step is much faster than that of one token: what seems so was another one's delay.
    let least = median(&tiny_gaps).unwrap_or(0.0) / 2.0;
    for (probe, exchanges) in done {
        match (*probe, exchanges.as_slice()) {
            (Probe::Single { prompt, .. }, [one]) => {
                let past = (prompt.max(1) - 1) / step_tokens * step_tokens;
                let before = if past > 0 {
                    first(past)
                } else {
                    Some(overhead)
                };
                if let Some((ttft, before)) = one.ttft_ms().zip(before) {
                    let new = one.prompt_tokens - past.min(one.prompt_tokens);
                    observed.add(work([new, past], [0, 0]), (ttft - before).max(least));
                }
                if let Some(gap) = mean_gap(one) {
                    let kv = one.prompt_tokens + one.tokens() / 2;
                    observed.add(work([0, 0], [1, kv]), gap);
                }
            }
            (Probe::Single { .. }, _) => {}
            (Probe::Batch { requests, .. }, all) => {
                let before = observed.steps.len();
                observed.add_batch(all);
                if observed.steps.len() == before {
                    observed.never_together.push(requests);
                }
            }
            (Probe::Joining { .. }, [decoding @ .., joining]) => {
                observed.add_joining(decoding, joining);
            }
            (Probe::Joining { .. }, []) => {}
        }
    }
    observed
}

impl Observed {
    fn add(&mut self, work: StepAggregates, ms: f64) {
        if ms > 0.0 && work.requests > 0 {
            self.steps.push(MeasuredStep { work, ms });
        }
    }

    /// Gaps while all of the requests decode.
    fn add_batch(&mut self, all: &[Exchange]) {
        let edge = |of: fn(&Exchange) -> Option<f64>, pick: fn(f64, f64) -> f64| {
            all.iter().filter_map(of).reduce(pick)
        };
        let from = edge(|e| e.arrivals.first().map(|a| a.at_ms), f64::max);
        let to = edge(|e| e.arrivals.last().map(|a| a.at_ms), f64::min);
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        for one in all {
            let inside = one.arrivals.iter();
            let inside = inside.filter(|a| from <= a.at_ms && a.at_ms <= to);
            let inside: Vec<_> = inside.collect();
            // The last arrival of a part is the first one of the next.
            for start in (0..inside.len().saturating_sub(1)).step_by(TOGETHER) {
                let end = (start + TOGETHER).min(inside.len() - 1);
                let part = &inside[start..=end];
                let [begins, .., ends] = part else {
                    continue;
                };
                let tokens: u64 = part[1..].iter().map(|a| a.tokens).sum();
                let middle = f64::midpoint(begins.at_ms, ends.at_ms);
                let kv = context(all, middle);
                let gap = (ends.at_ms - begins.at_ms) / tokens as f64;
                self.add(work([0, 0], [all.len() as u64, kv]), gap);
            }
        }
    }

    /// The step of a prompt that joins others: the gap that they see when its first token comes.
    fn add_joining(&mut self, decoding: &[Exchange], joining: &Exchange) {
        let Some(first) = joining.arrivals.first().map(|a| a.at_ms) else {
            return;
        };
        let running = decoding
            .iter()
            .filter(|e| e.arrivals.last().is_some_and(|a| a.at_ms > first));
        let running: Vec<Exchange> = running.cloned().collect();
        let gaps = running.iter().filter_map(|one| {
            let pairs = one.arrivals.windows(2);
            let nearest = pairs.min_by(|a, b| {
                let off = |pair: &[windtunnel_live::client::Arrival]| (pair[1].at_ms - first).abs();
                off(a).total_cmp(&off(b))
            })?;
            let gap = nearest[1].at_ms - nearest[0].at_ms;
            let same_step = (nearest[1].at_ms - first).abs() < gap / 2.0;
            (same_step && nearest[1].tokens == 1).then_some(gap)
        });
        let gaps: Vec<f64> = gaps.collect();
        let (Some(gap), n) = (median(&gaps), running.len() as u64) else {
            return;
        };
        let kv = context(&running, joining.sent_ms);
        self.add(work([joining.prompt_tokens, 0], [n, kv]), gap);
    }
}

/// Tokens that the next step of these requests reads: all but the last one of each.
fn context(all: &[Exchange], at_ms: f64) -> u64 {
    let of = |e: &Exchange| e.prompt_tokens + e.tokens_by(at_ms).saturating_sub(1);
    all.iter().map(of).sum()
}

/// A step of prefills (new tokens, tokens before) and decodes (requests, tokens before).
fn work([new, past]: [u64; 2], [decodes, kv]: [u64; 2]) -> StepAggregates {
    StepAggregates {
        requests: u32::from(new > 0) + u32::try_from(decodes).unwrap_or(u32::MAX),
        prefill_tokens: new,
        prefill_tokens_x_prompt: new * (new + past),
        prefill_tokens_x_context: new * past,
        prefill_tokens_squared: new * new,
        prefill_context: past,
        decodes,
        decode_context: kv,
        ..StepAggregates::default()
    }
}

/// The mean gap between tokens behind the first one, milliseconds.
fn mean_gap(one: &Exchange) -> Option<f64> {
    let (first, last) = (one.arrivals.first()?, one.arrivals.last()?);
    let tokens = one.tokens() - first.tokens;
    (tokens > 0).then(|| (last.at_ms - first.at_ms) / tokens as f64)
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{Reach, recipe};
    use super::*;
    use windtunnel_engine::latency::fit_steps;
    use windtunnel_live::client::Arrival;

    /// A server whose steps follow a law, asked by the recipe.
    struct Law {
        overhead: f64,
        base: f64,
        per_prompt_token: f64,
        per_decode: f64,
        per_kv: f64,
    }

    impl Law {
        fn ms(&self, prompt: u64, decodes: u64, kv: u64) -> f64 {
            let tokens = self.per_prompt_token * prompt as f64;
            self.base + tokens + self.per_decode * decodes as f64 + self.per_kv * kv as f64
        }

        /// Exchanges of requests that all come at `clock` and run from then on.
        fn answer(
            &self,
            clock: &mut f64,
            requests: u64,
            prompt: u64,
            output: u64,
        ) -> Vec<Exchange> {
            let one = Exchange {
                sent_ms: *clock,
                prompt_tokens: prompt,
                arrivals: Vec::new(),
            };
            let mut all = vec![one; requests as usize];
            *clock += self.overhead + self.ms(prompt * requests, 0, 0);
            for k in 0..output {
                if k > 0 {
                    *clock += self.ms(0, requests, requests * (prompt + k - 1));
                }
                for one in &mut all {
                    one.arrivals.push(Arrival {
                        at_ms: *clock,
                        tokens: 1,
                    });
                }
            }
            all
        }

        fn run(&self, probe: Probe, clock: &mut f64) -> Vec<Exchange> {
            *clock += 1000.0;
            match probe {
                Probe::Single { prompt, output } => self.answer(clock, 1, prompt, output),
                Probe::Batch {
                    requests,
                    prompt,
                    output,
                } => self.answer(clock, requests, prompt, output),
                Probe::Joining {
                    decodes,
                    decode_prompt,
                    prompt,
                } => {
                    let mut all = self.answer(clock, decodes, decode_prompt, 5);
                    let kv = decodes * (decode_prompt + 4);
                    let mut joining = Exchange {
                        sent_ms: *clock,
                        prompt_tokens: prompt,
                        arrivals: Vec::new(),
                    };
                    *clock += self.ms(prompt, decodes, kv);
                    let arrival = Arrival {
                        at_ms: *clock,
                        tokens: 1,
                    };
                    joining.arrivals.push(arrival);
                    for one in &mut all {
                        one.arrivals.push(arrival);
                        one.arrivals.push(Arrival {
                            at_ms: *clock + 9.0,
                            tokens: 1,
                        });
                    }
                    all.push(joining);
                    all
                }
            }
        }
    }

    #[test]
    fn the_law_of_a_server_comes_back() {
        let law = Law {
            overhead: 4.0,
            base: 10.0,
            per_prompt_token: 0.5,
            per_decode: 0.5,
            per_kv: 0.002,
        };
        let reach = Reach {
            prompt_tokens: 512,
            concurrency: 8,
            step_tokens: 512,
            model_len: 1024,
            kv_tokens: 100_000,
        };
        let mut clock = 0.0;
        let answered = recipe(&reach).into_iter();
        let done: Vec<_> = answered
            .map(|probe| (probe, law.run(probe, &mut clock)))
            .collect();
        let observed = observe(&done, 512);
        assert!(
            (observed.request_overhead_ms - 4.0).abs() < 0.05,
            "{observed:?}"
        );
        assert!(observed.never_together.is_empty());
        let fitted = fit_steps(&observed.steps).expect("a table");
        assert!(fitted.quality.error_median < 0.005, "{:?}", fitted.by_kind);
        // A step with both has one base, not two: no single share says that of all sizes.
        assert!(fitted.quality.error_p90 < 0.05, "{:?}", fitted.by_kind);
        for row in &fitted.table.rows {
            let expected = law.ms(row.prefill_tokens, row.decode_seqs, row.kv_tokens);
            assert!(
                (row.ms - expected).abs() < 0.02 * expected,
                "{row:?} {expected}"
            );
        }
    }

    #[test]
    fn chunks_of_a_long_prompt_are_told_apart() {
        let single = |prompt, ttft| {
            let one = Exchange {
                prompt_tokens: prompt,
                arrivals: vec![Arrival {
                    at_ms: ttft,
                    tokens: 1,
                }],
                ..Exchange::default()
            };
            (Probe::Single { prompt, output: 1 }, vec![one])
        };
        let done = [single(512, 100.0), single(1024, 230.0)];
        let observed = observe(&done, 512);
        let second = &observed.steps[1];
        assert_eq!(
            (second.work.prefill_tokens, second.work.prefill_context),
            (512, 512)
        );
        assert_eq!(second.ms, 130.0);
    }

    #[test]
    fn requests_that_never_decode_together_are_told() {
        let one = |at: [f64; 2]| Exchange {
            prompt_tokens: 4,
            arrivals: at.map(|at_ms| Arrival { at_ms, tokens: 1 }).to_vec(),
            ..Exchange::default()
        };
        let probe = Probe::Batch {
            requests: 2,
            prompt: 4,
            output: 2,
        };
        let done = [(probe, vec![one([1.0, 2.0]), one([3.0, 4.0])])];
        assert_eq!(observe(&done, 512).never_together, [2]);
    }
}
