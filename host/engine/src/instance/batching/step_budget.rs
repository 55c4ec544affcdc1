//! How many tokens a request gets in a step, and whether one more may be admitted.

use crate::instance::engine_request::EngineRequest;
use windtunnel_plugin_api::{BatchLimits, Decodes};

/// What is left of a step's limits while its batch is formed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepBudget {
    new_tokens: u32,
    admissions: u32,
    max_prefill_tokens: u32,
    /// Most tokens of a request that are ever computed.
    max_computed_tokens: u32,
    /// Drafts that a decode has.
    drafts: u32,
    /// Decodes take part only if no prompt is computed.
    decodes_wait: bool,
    hold_until_us: i64,
    /// Running requests take part in the step; some of them prefill.
    running_take_part: bool,
    running_prefill: bool,
}

/// A head of the wait queue that did not fit. Another attempt fails as well until enough blocks
/// come free or become findable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockedHead {
    serial: u64,
    /// Prefill tokens that it could have had.
    prefill_limit: u32,
    /// Others ran, so blocks had to be left free.
    among_others: bool,
    /// The counter of relief at which it may fit.
    fits_from: u64,
    /// The counter of evictions with which that was found, if it matters.
    evictions: Option<u64>,
}

/// What an admission depends on besides the request and the step's budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Others run.
    pub(crate) among_others: bool,
    /// Counters of the KV cache.
    pub(crate) relief: u64,
    pub(crate) evictions: u64,
}

impl StepBudget {
    pub(crate) fn new(limits: BatchLimits, max_computed_tokens: u32, drafts: u32) -> Self {
        Self {
            new_tokens: limits.max_new_tokens,
            admissions: limits.max_admissions,
            max_prefill_tokens: limits.max_prefill_tokens,
            max_computed_tokens,
            drafts,
            decodes_wait: limits.decodes == Decodes::WaitForPrefills,
            hold_until_us: limits.hold_until_us,
            running_take_part: false,
            running_prefill: false,
        }
    }

    /// Tokens that a request with `computed` tokens computed and `remaining` to prefill would get
    /// if it were the first of the step.
    fn prefill_chunk(&self, remaining: u32, computed: u32) -> u32 {
        remaining
            .min(self.max_prefill_tokens)
            .min(self.max_computed_tokens.saturating_sub(computed))
    }

    /// Tokens that it gets now.
    pub(crate) fn prefill_tokens(&self, remaining: u32, computed: u32) -> u32 {
        self.prefill_chunk(remaining, computed).min(self.new_tokens)
    }

    /// Would it get more if it were the first of the step?
    pub(crate) fn cuts_prefill(&self, remaining: u32, computed: u32) -> bool {
        self.prefill_chunk(remaining, computed) > self.new_tokens
    }

    /// Tokens that a running request gets now; `None` = it takes no part in the step, because
    /// it only waits for the output of its last one.
    pub(super) fn running_tokens(&self, request: &EngineRequest) -> Option<u32> {
        let computed = request.computed_tokens;
        if request.in_prefill() {
            Some(self.prefill_tokens(request.prefill_target - computed, computed))
        } else if self.drafts == 0 {
            (!request.is_scheduled_through()).then_some(1)
        } else if request.surely_ends() {
            None
        } else {
            // One of which only the drafts would fit below the length limit has to wait for output.
            let tokens = self.prefill_tokens(1 + self.drafts, computed);
            (tokens > 0).then_some(tokens)
        }
    }

    /// Tokens that a waiting request with `computed` tokens found and `remaining` to prefill asks
    /// for; `None` = it has to wait. A prefill of one token is given drafts, although there are
    /// none yet, so that all requests of a step of decodes have the same number of tokens.
    pub(super) fn padded(&self, remaining: u32, computed: u32) -> Option<u32> {
        let padded = 1 + self.drafts;
        let pads = self.drafts > 0
            && remaining == 1
            && !self.running_prefill
            && (self.running_take_part || computed > 0)
            && padded <= self.max_computed_tokens.saturating_sub(computed);
        if pads {
            (padded <= self.new_tokens).then_some(padded)
        } else {
            Some(remaining)
        }
    }

    /// Do decodes take part only if the step computes no prompt?
    pub(crate) fn decodes_wait(&self) -> bool {
        self.decodes_wait
    }

    /// The policy sets the same limits up to this time, if the requests stay as they are.
    pub(crate) fn hold_until_us(&self) -> i64 {
        self.hold_until_us
    }

    /// No tokens are left.
    pub(super) fn is_spent(&self) -> bool {
        self.new_tokens == 0
    }

    /// Schedules tokens of a running request.
    pub(super) fn schedule(&mut self, tokens: u32) {
        self.new_tokens -= tokens;
    }

    /// Notes that a running request takes part in the step.
    pub(super) fn note_part(&mut self, request: &EngineRequest) {
        self.running_take_part = true;
        self.running_prefill |= request.in_prefill();
    }

    /// Schedules one token of each of `decodes` running requests, which must all be decodes that
    /// take part. `false` changes nothing: there are not enough tokens for all.
    pub(crate) fn schedule_decodes(&mut self, decodes: u64) -> bool {
        match u64::from(self.new_tokens).checked_sub(decodes) {
            Some(left) => {
                self.new_tokens = left as u32;
                true
            }
            None => false,
        }
    }

    /// Schedules tokens of a running request in prefill after other requests. Returns how many, and
    /// whether those others left it fewer than it would have got before them.
    pub(crate) fn schedule_prefill(&mut self, request: &EngineRequest) -> (u32, bool) {
        let computed = request.computed_tokens;
        let chunk = self.prefill_chunk(request.prefill_target - computed, computed);
        let tokens = chunk.min(self.new_tokens);
        self.new_tokens -= tokens;
        (tokens, tokens < chunk)
    }

    /// Takes back the tokens of a request that is preempted. A step that preempts admits nothing.
    pub(super) fn preempt(&mut self, tokens: u32) {
        self.new_tokens += tokens;
        self.admissions = 0;
    }

    /// May a waiting request be admitted now?
    pub(crate) fn may_admit(&self) -> bool {
        self.admissions > 0 && self.new_tokens > 0
    }

    /// Schedules the first tokens of a waiting request, which is admitted.
    pub(crate) fn admit(&mut self, tokens: u32) {
        self.new_tokens -= tokens;
        self.admissions -= 1;
    }

    fn prefill_limit(&self) -> u32 {
        self.max_prefill_tokens.min(self.new_tokens)
    }
}

impl BlockedHead {
    /// A request that just lacked `short` blocks. With `reuse` it would have reused free blocks for
    /// a part of its prompt.
    pub(super) fn new(
        request: &EngineRequest,
        budget: &StepBudget,
        room: Room,
        short: u64,
        reuse: bool,
    ) -> Self {
        Self {
            serial: request.view.serial,
            prefill_limit: budget.prefill_limit(),
            among_others: room.among_others,
            fits_from: room.relief.saturating_add(short),
            evictions: reuse.then_some(room.evictions),
        }
    }

    /// Would this request fail to fit again? It would ask for at least as many blocks as before.
    pub(super) fn is(&self, request: &EngineRequest, budget: &StepBudget, room: Room) -> bool {
        request.view.serial == self.serial
            && budget.prefill_limit() >= self.prefill_limit
            && room.among_others == self.among_others
            && room.relief < self.fits_from
            && self
                .evictions
                .is_none_or(|evictions| evictions == room.evictions)
    }
}
