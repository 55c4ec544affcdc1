//! A request inside an instance.

use super::gaps::GapRuns;
use super::group::Seat;
use super::queue::{JobIx, Place};
use crate::kv::{Held, Sequence};
use windtunnel_base::record::{Outcome, RequestRecord, State};
use windtunnel_base::request::Request;
use windtunnel_plugin_api::{QueuedView, RequestView, RunningView};

/// A request on an instance, with everything the engine knows about it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) view: RequestView,
    pub(crate) running: bool,
    /// Number of its admission to the batch.
    pub(crate) seq: u64,
    /// Decodes as a member of the group; its own progress stands still since step `joined`.
    pub(crate) grouped: bool,
    pub(crate) joined: u64,
    /// Tokens computed: prompt (cached ones included), then output tokens processed.
    pub(crate) progress: u32,
    /// Tokens computed once this step is done.
    pub(crate) computed: u32,
    /// Tokens scheduled in this step.
    pub(crate) scheduled: u32,
    /// Tokens to compute before the next token is sampled: the prompt, and after a preemption the
    /// kept output too.
    pub(crate) prefill_target: u32,
    pub(crate) held: Held,
    pub(crate) gaps: GapRuns,
    /// Time of the last token, microseconds.
    pub(crate) last_token_us: i64,
    /// First-token time minus arrival. Survives a preemption although the token may be produced
    /// again.
    pub(crate) ttft_us: Option<i64>,
    /// The first token of this attempt is out.
    pub(crate) first_token_out: bool,
    pub(crate) scheduling_delay_us: Option<i64>,
    pub(crate) enqueued_us: i64,
    pub(crate) priority: f64,
    /// Its place in a keyed queue.
    pub(crate) key: f64,
    pub(crate) preemptions: u32,
}

impl Job {
    pub(crate) fn new(request: Request, view: RequestView) -> Self {
        Self {
            prefill_target: request.prompt_tokens(),
            request,
            view,
            running: false,
            seq: 0,
            grouped: false,
            joined: 0,
            progress: 0,
            computed: 0,
            scheduled: 0,
            held: Held::default(),
            gaps: GapRuns::default(),
            last_token_us: 0,
            ttft_us: None,
            first_token_out: false,
            scheduling_delay_us: None,
            enqueued_us: 0,
            priority: 0.0,
            key: 0.0,
            preemptions: 0,
        }
    }

    pub(crate) fn prompt(&self) -> u32 {
        self.request.prompt_tokens()
    }

    pub(crate) fn output(&self) -> u32 {
        self.request.output_tokens()
    }

    pub(super) fn seat(&self, ix: JobIx) -> Seat {
        Seat { seq: self.seq, ix }
    }

    /// Is the next work on it prefill?
    pub(crate) fn in_prefill(&self) -> bool {
        self.progress < self.prefill_target
    }

    /// Progress at which it has all its tokens. A request without output ends with its prefill,
    /// like one of one token.
    pub(crate) fn finish_line(&self) -> u32 {
        self.prompt() + self.output().max(1) - 1
    }

    /// Output tokens produced so far. While kept tokens are recomputed after a preemption, those
    /// count.
    pub(crate) fn emitted(&self) -> u32 {
        if !self.first_token_out {
            return 0;
        }
        let by_progress = (self.progress + 1).saturating_sub(self.prompt());
        by_progress
            .max(self.prefill_target - self.prompt())
            .min(self.output())
    }

    pub(crate) fn sequence(&self) -> Sequence<'_> {
        Sequence {
            prompt: &self.request.prompt,
            output: &self.request.output,
            private_from: self.request.private_from,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            key: self.key,
            arrival_us: self.request.arrival_us,
            id: self.request.id.clone(),
        }
    }

    pub(crate) fn queued_view(&self, slot: JobIx) -> QueuedView<'_> {
        QueuedView {
            enqueued_us: self.enqueued_us,
            priority: self.priority,
            preemptions: self.preemptions,
            output_tokens: self.emitted(),
            slot,
            ..QueuedView::of(&self.view)
        }
    }

    /// Its view before step `step`.
    pub(crate) fn running_view(&self, slot: JobIx, step: u64) -> RunningView<'_> {
        let since = if self.grouped {
            (step - self.joined) as u32
        } else {
            0
        };
        RunningView {
            priority: self.priority,
            computed_tokens: self.progress + since,
            output_tokens: self.emitted() + since,
            kv_blocks: self.held.len() as u32,
            preemptions: self.preemptions,
            slot,
            ..RunningView::of(&self.view)
        }
    }

    /// Its results so far; the caller fills in how it ended.
    pub(crate) fn record(&self, instance: u32, outcome: Outcome) -> RequestRecord {
        let state = match outcome {
            Outcome::Completed | Outcome::LengthCapped => State::Completed,
            Outcome::TimedOut => State::TimedOut,
            Outcome::Running => State::Running,
            Outcome::Dropped
            | Outcome::Rejected
            | Outcome::Unroutable
            | Outcome::Queued
            | Outcome::InTransit => State::Queued,
        };
        RequestRecord {
            instance: Some(instance),
            scheduling_delay_us: self.scheduling_delay_us,
            ttft_us: self.ttft_us,
            preemptions: self.preemptions,
            ..RequestRecord::unserved(self.view.serial, &self.request, state, outcome)
        }
    }
}
