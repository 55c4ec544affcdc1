//! Speculative decoding: what becomes of the drafts of a step.
//!
//! A request that decodes computes its last token and drafts of the next ones in one step. Those
//! drafts that are right, up to the first wrong one, become output, and the token after them is
//! sampled. A step that is chosen before this is known takes all drafts to be right; what was wrong
//! is taken back when the output is processed. Blocks in which drafts lie are held from the choice
//! on and stay when drafts are wrong, but only those of verified tokens are findable.

use super::chosen_step::StepPart;
use super::slot::Slot;
use super::state::Instance;
use crate::kv::CachedPrefix;
use windtunnel_base::rng::Stream;

impl Instance {
    /// Allocates KV space for `tokens` more tokens of a request and what lies ahead of them, after
    /// the `cached` blocks if it holds none. `false` changes nothing.
    pub(super) fn allocate_slots(
        &mut self,
        slot: Slot,
        tokens: u32,
        cached: &CachedPrefix,
    ) -> bool {
        let request = &mut self.requests[slot];
        let found = cached.blocks() * self.config.block_size;
        let computed = request.computed_tokens + found + tokens;
        let slots = self.config.slots(computed);
        if !self.kv.allocate_slots(&mut request.blocks, slots, cached) {
            return false;
        }
        let known = request.prompt_tokens() + request.emitted;
        self.make_findable(slot, computed.min(known));
        true
    }

    /// Tokens that a step yields for a part that samples. Takes back what it computed for wrong
    /// drafts.
    pub(super) fn verified_tokens(&mut self, part: &StepPart) -> u32 {
        let accepted = self.accepted_drafts(part.entry.slot, part.drafts);
        if part.drafts > 0 {
            self.totals.verifications += 1;
            self.totals.drafted_tokens += u64::from(part.drafts);
            self.totals.accepted_tokens += u64::from(accepted);
        }
        let request = &mut self.requests[part.entry.slot];
        // One that was preempted meanwhile has nothing computed.
        if request.running {
            request.computed_tokens -= part.drafts - accepted + part.padding;
        }
        let left = request.output_limit - request.emitted;
        (1 + accepted).min(left)
    }

    /// How many of the next drafts of a request are right.
    fn accepted_drafts(&self, slot: Slot, drafts: u32) -> u32 {
        if drafts == 0 {
            return 0;
        }
        let request = &self.requests[slot];
        let position = request.emitted;
        match &request.request.accepted {
            Some(lengths) if lengths.is_empty() => 0,
            Some(lengths) => lengths[position as usize % lengths.len()].min(drafts),
            None => {
                // Named by the position: a draft is right or wrong whenever it is verified.
                let serial = request.view.serial;
                let numbers = Stream::new(self.seed, "speculation", serial, position.into());
                let rate = self.config.scheduling.speculation.acceptance_rate;
                let rate = rate.unwrap_or(0.0);
                let is_right = || unit(numbers.next()) < rate;
                (0..drafts).take_while(|_| is_right()).count() as u32
            }
        }
    }
}

/// A number from 0 to below 1 of 64 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::test_hooks::fcfs;
    use super::super::{
        EngineConfig, EngineRules, Instance, InstanceEvent, SchedulingConfig, Speculation,
        SpeculativeMethod,
    };
    use crate::latency::{LatencyModel, StepAggregates, StepItem};
    use crate::rules::Preset;
    use std::sync::Arc;
    use windtunnel_base::record::{InstanceTotals, RequestRecord};
    use windtunnel_base::request::{Request, RequestId, TokenSeq};
    use windtunnel_plugin_api::RequestView;

    /// 100 us a step and 10 us per token of decodes.
    struct Steps;

    impl LatencyModel for Steps {
        fn fitted_under(&self) -> Preset {
            Preset::Vllm
        }
        fn step_us(&self, step: &StepAggregates, _: &mut dyn Iterator<Item = StepItem>) -> i64 {
            100 + 10 * step.decode_tokens() as i64
        }
        fn queueing_us(&self, _: u32) -> i64 {
            0
        }
        fn output_token_us(&self) -> i64 {
            0
        }
        fn post_decode_us(&self) -> i64 {
            0
        }
    }

    fn engine(method: SpeculativeMethod, rate: f64, async_scheduling: bool) -> EngineConfig {
        EngineConfig {
            total_kv_blocks: 40,
            block_size: 4,
            max_num_seqs: 64,
            max_num_batched_tokens: 64,
            long_prefill_token_threshold: 0,
            max_model_len: 0,
            horizon_us: i64::MAX,
            rules: EngineRules {
                async_scheduling,
                ..EngineRules::VLLM
            },
            scheduling: SchedulingConfig {
                speculation: Speculation {
                    num_speculative_tokens: 3,
                    method,
                    acceptance_rate: Some(rate),
                },
                ..SchedulingConfig::default()
            },
            token_events: false,
            plain: false,
        }
    }

    /// Runs requests of 10 prompt tokens with these outputs, all at 0.
    fn run(config: EngineConfig, outputs: &[u32]) -> (Vec<RequestRecord>, InstanceTotals) {
        let mut instance = Instance::new(0, config, Arc::new(Steps), fcfs(), 7);
        for (serial, &output) in (0..).zip(outputs) {
            let stream = 2 * serial as u32 + 1;
            let request = Request::new(
                RequestId::Number(serial),
                0,
                TokenSeq::of(stream, 10),
                TokenSeq::of(stream + 1, output),
            );
            let view = RequestView {
                serial,
                ..RequestView::default()
            };
            instance.add_request(request, view, 0);
        }
        let mut events = Vec::new();
        let mut until = 0;
        while instance.next_event_us() < super::super::NEVER {
            until += 50;
            instance.advance_to(until, &mut events);
            instance.check().expect("sound");
        }
        let mut records: Vec<RequestRecord> = events
            .into_iter()
            .filter_map(|event| match event {
                InstanceEvent::Finished(finished) => Some(finished.record),
                _ => None,
            })
            .collect();
        records.sort_by_key(|record| record.serial);
        (records, instance.finish(&mut Vec::new()))
    }

    #[test]
    fn right_drafts_come_with_the_token_before_them() {
        for (asynchronous, steps) in [(false, 3), (true, 4)] {
            let config = engine(SpeculativeMethod::Ngram, 1.0, asynchronous);
            let (records, totals) = run(config, &[9]);
            // A prefill yields one token, then two steps four each. Chosen ahead, nobody knows in
            // time that the second one is the last.
            assert_eq!(records[0].ttft_us, Some(100));
            assert_eq!(records[0].e2e_us, Some(100 + 2 * 140));
            assert_eq!(records[0].generated_tokens, 9);
            assert_eq!(totals.steps, steps);
            assert_eq!(totals.gaps, [(0, 6), (140, 2)]);
            assert_eq!((totals.drafted_tokens, totals.accepted_tokens), (6, 6));
        }
    }

    #[test]
    fn wrong_drafts_cost_time_and_yield_nothing() {
        let config = engine(SpeculativeMethod::Ngram, 0.0, false);
        let (records, totals) = run(config, &[9]);
        assert_eq!(records[0].e2e_us, Some(100 + 8 * 140));
        assert_eq!((totals.verifications, totals.accepted_tokens), (8, 0));
        assert_eq!(totals.gaps, [(140, 8)]);
    }

    #[test]
    fn output_stops_at_its_length_in_the_middle_of_drafts() {
        let config = engine(SpeculativeMethod::Ngram, 1.0, false);
        let (records, totals) = run(config, &[7]);
        assert_eq!(records[0].generated_tokens, 7);
        assert_eq!(totals.gaps, [(0, 4), (140, 2)]);
    }

    #[test]
    fn a_drafter_with_kv_holds_blocks_ahead() {
        let peak = |method| run(engine(method, 0.0, false), &[2]).1.kv_peak_blocks;
        // 10 tokens of the prompt, then 4 in the next step: 14 tokens, with lookahead 17.
        assert_eq!(peak(SpeculativeMethod::Ngram), 4);
        assert_eq!(peak(SpeculativeMethod::Eagle), 5);
    }

    #[test]
    fn a_draft_is_right_or_wrong_whatever_runs_beside_it() {
        let outputs: Vec<u32> = (20..60).collect();
        let accepted = |config| run(config, &outputs).1;
        let alone = EngineConfig {
            max_num_seqs: 1,
            ..engine(SpeculativeMethod::Eagle, 0.5, false)
        };
        let (one, many) = (
            accepted(alone),
            accepted(engine(SpeculativeMethod::Ngram, 0.5, false)),
        );
        assert_eq!(one.output_tokens, many.output_tokens);
        // Of three drafts, half are right first, a quarter second, an eighth third: 7/24.
        let rate = one.accepted_tokens as f64 / one.drafted_tokens as f64;
        assert!((rate - 7.0 / 24.0).abs() < 0.03, "{rate}");
        let roomy = EngineConfig {
            total_kv_blocks: 4_000,
            max_num_batched_tokens: 4_096,
            ..engine(SpeculativeMethod::Ngram, 0.5, false)
        };
        let roomy = accepted(roomy);
        assert_eq!(one.accepted_tokens, roomy.accepted_tokens);
        assert_eq!(one.drafted_tokens, roomy.drafted_tokens);
    }
}
