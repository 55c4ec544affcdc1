//! Speculative decoding: what becomes of the drafts of a step.
//!
//! A request that decodes computes its last token and drafts of the next ones in one step. Those
//! drafts that are right, up to the first wrong one, become output, and the token after them is
//! sampled. A step that is chosen before this is known takes all drafts to be right; what was wrong
//! is taken back when the output is processed. Blocks in which drafts lie are held from the choice
//! on and stay when drafts are wrong, but only those of verified tokens are findable.

use super::chosen_step::StepPart;
use super::engine_request::EngineRequest;
use super::slot::Slot;
use super::state::Instance;
use windtunnel_base::rng::Stream;

impl Instance {
    /// Allocates KV space for `tokens` more tokens of a request and what lies ahead of them, after
    /// the `cached` blocks if it holds none. `false` changes nothing.
    pub(super) fn allocate_slots(&mut self, slot: Slot, tokens: u32, cached: &[u32]) -> bool {
        let request = &mut self.requests[slot];
        let found = cached.len() as u32 * self.config.block_size;
        let computed = request.computed_tokens + found + tokens;
        let slots = self.config.slots(computed);
        if !self.kv.allocate_slots(&mut request.blocks, slots, cached) {
            return false;
        }
        self.make_findable(slot, |request| {
            computed.min(request.prompt_tokens() + request.emitted)
        });
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

    /// Where steps are chosen ahead, tokens become known with the output; the last one is not
    /// computed yet.
    pub(super) fn cache_verified_blocks(&mut self, slot: Slot) {
        if self.config.rules.steps_in_flight() > 1 && self.requests[slot].running {
            self.make_findable(slot, |request| {
                request.prompt_tokens() + request.emitted - 1
            });
        }
    }

    fn make_findable(&mut self, slot: Slot, known: impl Fn(&EngineRequest) -> u32) {
        let request = &mut self.requests[slot];
        request.known_tokens = known(request);
        let mut blocks = std::mem::take(&mut request.blocks);
        self.kv
            .cache_blocks(&mut blocks, request.sequence(), request.known_tokens);
        request.blocks = blocks;
    }
}

/// A number from 0 to below 1 of 64 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
