//! A request inside an instance.

use super::itl_log::TokenSteps;
use super::part::Part;
use super::queue_key::QueueKey;
use super::slot::{BatchEntry, Slot};
use crate::kv::{Asker, BlockTable, Sequence};
use windtunnel_base::record::{Outcome, RequestRecord, State};
use windtunnel_base::request::Request;
use windtunnel_plugin_api::{QueuedView, RequestView, RunningView};

/// A request on an instance, with everything the engine knows about it.
#[derive(Clone, Debug)]
pub(crate) struct EngineRequest {
    pub(crate) request: Request,
    pub(crate) view: RequestView,
    /// Tells it from all others that were ever here: two parts of one request may follow each
    /// other.
    pub(crate) stamp: u64,
    /// What of it is done here.
    pub(crate) part: Part,
    pub(crate) running: bool,
    /// Blocks from the CPU are on their way to it, with which so many tokens are computed.
    pub(crate) loading: Option<u32>,
    /// Full blocks of its prompt that were written to the CPU.
    pub(crate) offloaded_blocks: u32,
    /// Its adapter has to stay until it has left.
    pub(crate) uses_adapter: bool,
    /// Number of its admission to the batch.
    pub(crate) admission: u64,
    /// Decodes as a member of the group since step `joined_step`; what it computed from then on is
    /// not counted in its own fields.
    pub(crate) in_group: bool,
    pub(crate) joined_step: u64,
    /// Tokens computed by the steps chosen so far: of the prompt (cached ones included), then of
    /// the output.
    pub(crate) computed_tokens: u32,
    /// The same with the step at hand.
    pub(crate) computed_after_step: u32,
    /// Tokens scheduled in this step.
    pub(crate) scheduled_tokens: u32,
    /// One more than the number of the last chosen step that it took part in by itself; 0 = none.
    pub(crate) scheduled_in: u64,
    /// Sampled tokens that are out since the last restart.
    pub(crate) emitted: u32,
    /// Sampled tokens with which it ends, at least 1.
    pub(crate) output_limit: u32,
    /// Of these, the first ones that are no output: 1 where the step that completes a prompt yields
    /// none.
    pub(crate) unseen: u32,
    /// Tokens, of those in its blocks, whose full blocks may be findable.
    pub(crate) known_tokens: u32,
    /// Tokens to compute before the next token is sampled: the prompt, and after a preemption the
    /// kept output too.
    pub(crate) prefill_target: u32,
    pub(crate) blocks: BlockTable,
    /// The steps that gave it a token after the first, for its inter-token latencies.
    pub(crate) token_steps: TokenSteps,
    /// Time of the last token, microseconds, and one more than the number of its step.
    pub(crate) last_token_us: i64,
    pub(crate) last_token_step: u64,
    /// First-token time minus arrival. Survives a preemption although the token may be produced
    /// again.
    pub(crate) ttft_us: Option<i64>,
    /// The first token since the last restart is out.
    pub(crate) has_first_token: bool,
    pub(crate) scheduling_delay_us: Option<i64>,
    /// Prompt tokens found in the prefix cache at the first admission.
    pub(crate) cached_tokens: Option<u32>,
    pub(crate) enqueued_us: i64,
    /// Its place in a wait queue without keys.
    pub(crate) queue_place: i64,
    pub(crate) priority: f64,
    /// Its key in a keyed wait queue.
    pub(crate) key: f64,
    pub(crate) preemptions: u32,
}

impl EngineRequest {
    pub(crate) fn new(request: Request, view: RequestView) -> Self {
        Self {
            prefill_target: request.prompt_tokens(),
            request,
            view,
            stamp: 0,
            part: Part::Whole,
            running: false,
            loading: None,
            offloaded_blocks: 0,
            uses_adapter: false,
            admission: 0,
            in_group: false,
            joined_step: 0,
            computed_tokens: 0,
            computed_after_step: 0,
            scheduled_tokens: 0,
            scheduled_in: 0,
            emitted: 0,
            output_limit: 0,
            unseen: 0,
            known_tokens: 0,
            blocks: BlockTable::default(),
            token_steps: TokenSteps::default(),
            last_token_us: 0,
            last_token_step: 0,
            ttft_us: None,
            has_first_token: false,
            scheduling_delay_us: None,
            cached_tokens: None,
            enqueued_us: 0,
            queue_place: 0,
            priority: 0.0,
            key: 0.0,
            preemptions: 0,
        }
    }

    pub(crate) fn prompt_tokens(&self) -> u32 {
        self.request.prompt_tokens()
    }

    /// The true output length, tokens. No policy sees it.
    pub(crate) fn final_output_tokens(&self) -> u32 {
        self.request.output_tokens()
    }

    pub(super) fn entry(&self, slot: Slot) -> BatchEntry {
        BatchEntry {
            admission: self.admission,
            slot,
        }
    }

    /// Does its next step prefill? Else it decodes.
    pub(crate) fn in_prefill(&self) -> bool {
        self.computed_tokens < self.prefill_target
    }

    /// Of the tokens scheduled in this step, those that are drafts, and those that only pad it.
    pub(super) fn draft_tokens(&self) -> (u32, u32) {
        if self.in_prefill() {
            let padding = self.computed_after_step.saturating_sub(self.prefill_target);
            (0, padding.min(self.scheduled_tokens))
        } else {
            (self.scheduled_tokens.saturating_sub(1), 0)
        }
    }

    /// Computed tokens at which the step that yields its last token is chosen.
    pub(crate) fn computed_at_finish(&self) -> u32 {
        self.prompt_tokens() + self.output_limit - 1
    }

    /// Are all its tokens scheduled? Then it only waits for the output of its last step.
    pub(crate) fn is_scheduled_through(&self) -> bool {
        !self.in_prefill() && self.computed_tokens >= self.computed_at_finish()
    }

    /// Is it sure, whatever becomes of the drafts of chosen steps, that these yield its last token?
    pub(crate) fn surely_ends(&self) -> bool {
        let known = self.prompt_tokens() + self.emitted;
        !self.in_prefill() && self.computed_tokens >= known && self.emitted + 1 >= self.output_limit
    }

    /// How it ended, if all its output is out. A request without output ends with its first token.
    pub(crate) fn ended(&self) -> Option<Outcome> {
        (self.emitted >= self.output_limit).then(|| {
            if self.output_limit - self.unseen < self.final_output_tokens() {
                Outcome::LengthCapped
            } else {
                Outcome::Completed
            }
        })
    }

    /// Output tokens that its client has.
    pub(crate) fn emitted_tokens(&self) -> u32 {
        let seen = self.emitted.saturating_sub(self.unseen);
        seen.min(self.final_output_tokens())
    }

    pub(crate) fn sequence(&self) -> Sequence<'_> {
        Sequence {
            prompt: &self.request.prompt,
            output: &self.request.output,
            private_from: self.request.private_from,
        }
    }

    /// What it asks of the KV cache: room for `tokens` more tokens, behind those that are computed
    /// and, if it is not admitted yet, `cached` ones. A decode asks for one, however many are said.
    pub(crate) fn asker(&self, cached: u32, tokens: u32, known: bool) -> Asker<'_> {
        let prefills = self.in_prefill();
        Asker {
            id: &self.request.id,
            sequence: self.sequence(),
            start: self.computed_tokens + cached,
            tokens: if prefills { tokens } else { 1 },
            prefills,
            known,
            may_wait: !matches!(self.part, Part::Decode(_)),
        }
    }

    pub(crate) fn queue_key(&self) -> QueueKey {
        QueueKey {
            key: self.key,
            arrival_us: self.request.arrival_us,
            id: self.request.id.clone(),
        }
    }

    pub(crate) fn queued_view(&self, slot: Slot) -> QueuedView<'_> {
        QueuedView {
            enqueued_us: self.enqueued_us,
            priority: self.priority,
            preemptions: self.preemptions,
            output_tokens: self.emitted_tokens(),
            slot,
            ..QueuedView::of(&self.view)
        }
    }

    /// Its view for policies when `chosen` steps are chosen and `processed` of them are processed.
    pub(crate) fn running_view(&self, slot: Slot, chosen: u64, processed: u64) -> RunningView<'_> {
        let since = |step: u64| match self.in_group {
            true => step.saturating_sub(self.joined_step) as u32,
            false => 0,
        };
        RunningView {
            priority: self.priority,
            computed_tokens: self.computed_tokens + since(chosen),
            output_tokens: self.emitted_tokens() + since(processed),
            kv_blocks: self.blocks.len() as u32,
            preemptions: self.preemptions,
            slot,
            ..RunningView::of(&self.view)
        }
    }

    /// Its results so far; the caller adds what only its end tells.
    pub(crate) fn record(&self, instance: u32, outcome: Outcome) -> RequestRecord {
        let state = match outcome {
            Outcome::Completed | Outcome::LengthCapped | Outcome::Evicted => State::Completed,
            Outcome::TimedOut => State::TimedOut,
            Outcome::Running => State::Running,
            Outcome::Dropped
            | Outcome::Rejected
            | Outcome::Unroutable
            | Outcome::RequestsQueued
            | Outcome::TokensQueued
            | Outcome::GatewayFull
            | Outcome::Shed
            | Outcome::Expired
            | Outcome::Held
            | Outcome::Failed
            | Outcome::Queued
            | Outcome::InTransit => State::Queued,
        };
        RequestRecord {
            instance: Some(instance),
            scheduling_delay_us: self.scheduling_delay_us,
            ttft_us: self.ttft_us,
            cached_tokens: self.cached_tokens,
            preemptions: self.preemptions,
            ..RequestRecord::unserved(self.view.serial, &self.request, state, outcome)
        }
    }
}
