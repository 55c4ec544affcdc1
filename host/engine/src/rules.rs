//! The named switches of the engine, and their two presets.

use std::fmt;

/// What the engine does where the reference simulator and real vLLM differ.
///
/// Step-time coefficients hold only under the rules they were fitted with; a latency model says
/// which preset that is in [`fitted_under`](crate::latency::LatencyModel::fitted_under).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineRules {
    /// A preempted request keeps the tokens it generated and recomputes their KV with its prompt;
    /// its first-token time stands. Else it forgets them and starts over.
    pub keep_tokens_on_preemption: bool,
    /// The next step starts when the last one has ended. Else a request that finds the batch
    /// drained starts a step at once, even while the last step still runs.
    pub one_step_at_a_time: bool,
    /// A fully cached prompt recomputes its last block, and its cached blocks are held. Else it
    /// costs no tokens and holds none.
    pub recompute_last_block: bool,
    /// Every copy of a block stays findable. Else only the newest, and recycling any copy forgets
    /// it.
    pub find_all_copies: bool,
    /// An output budget beyond `max_model_len` is cut down to what fits. Else the request is
    /// dropped.
    pub clamp_output_budget: bool,
    /// The last sampled token gets KV space too.
    pub kv_for_last_token: bool,
    /// The batch of a step is chosen when the step before it starts, before that one's output is
    /// known: a request that arrives meanwhile waits one step more. Has an effect only together
    /// with `visible_at_step_end` and `keep_tokens_on_preemption`.
    pub async_scheduling: bool,
    /// A block that no lookup can find is the first to be used again. Else it waits behind those
    /// that were freed before it.
    pub reuse_unfindable_first: bool,
    /// The long-prefill threshold does not bind a request that is alone.
    pub spare_lone_prefill: bool,
    /// Tokens, completions and freed blocks are visible when the step ends. Else already when it
    /// starts.
    pub visible_at_step_end: bool,
    /// An inter-token gap is the time since the request's last token. Else the duration of the step
    /// that made the token, so that steps in which the request waited for token budget or for
    /// readmission vanish from it.
    pub gaps_are_elapsed_time: bool,
    /// The scheduling delay is that of the first admission to a batch. Else of the last one.
    pub first_scheduling_counts: bool,
    /// The instance that decodes fetches the KV cache of a prompt that another one computes, when
    /// the step that completes it has ended and as soon as it has blocks for it; the other keeps
    /// its blocks until then. Else the KV cache is sent off when that step starts, and the request
    /// is lost if the decoding instance has no blocks for it at this moment.
    pub decoder_fetches_kv: bool,
    /// A request's model tag must equal the lower-cased name of the run's model byte for byte. Else
    /// case does not matter, and the short name will do.
    pub exact_model_tags: bool,
    /// The step that completes a prompt yields the first output token. Else the step after it does,
    /// and a request takes one step more.
    pub prefill_yields_token: bool,
    /// KV blocks as vLLM V0 hands them out: an admission takes those of the whole prompt and leaves
    /// the watermark even on an idle engine, and a running request goes on only while a block is
    /// free, whether or not it needs one.
    pub v0_kv_blocks: bool,
    /// The instance that computes a prompt for another one yields the first output token, when the
    /// prompt is computed. Else the one that decodes does.
    pub prefiller_yields_token: bool,
    /// The fraction of a microsecond that a step's duration has is kept for the end of the next
    /// step. Else each duration is rounded by itself.
    pub keep_step_fractions: bool,
    /// A step computes prompts or decodes, of requests that were admitted to it together. One whose
    /// prompt is computed leaves the batch and waits, before those of the queue, for a batch that
    /// decodes. Else it stays and decodes.
    pub phases_apart: bool,
    /// An engine that found nothing to start looks again when a request comes, a step ends or a KV
    /// cache has moved. The end of a batching window does not wake it up, and a request that never
    /// fits holds up those behind it. Else the end does, and such a request is dropped.
    pub acts_on_events_alone: bool,
    /// KV caches of the prompts of one step are sent off together when it ends, with room for the
    /// longest that their requests may become, and the instance that decodes takes them whatever it
    /// has. Has an effect only together with `decoder_fetches_kv`.
    pub prompts_move_together: bool,
    /// Of the requests that the gateway holds, one may go on when a request comes to it, and one at
    /// each of its ticks, and those on their way to an instance do not count as there. Else as many
    /// may go on as there is room for, also when a request leaves an instance.
    pub gateway_waits_for_ticks: bool,
    /// The dispatch order `fifo` goes by priority, as `priority` does. Else the first to come goes
    /// first.
    pub gateway_fifo_by_priority: bool,
    /// A gateway that holds requests takes the place of the admission policy: all requests that
    /// tenants' budgets let through come to it. Else those that the policy admits.
    pub gateway_admits_all: bool,
    /// Data-parallel replicas have a scheduler, a queue and a KV cache each, and vLLM's load
    /// balancer chooses among them. Else they share one of each, whose tokens are split evenly.
    pub data_parallel_ranks: bool,
    /// A router that asks where a LoRA adapter is tells instances that have it from all others, and
    /// no more. Else it also asks where there is room for it, and where requests wait for it.
    pub adapters_are_there_or_not: bool,
}

impl EngineRules {
    /// Most steps that are chosen and whose output is not processed yet, the running one included;
    /// 0 = a step's output counts from its start on.
    #[must_use]
    pub fn steps_in_flight(&self) -> usize {
        match (self.visible_at_step_end, self.async_scheduling) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 1 + usize::from(self.keep_tokens_on_preemption),
        }
    }

    /// Can there be an API server that takes time? It takes up a step's output when the step has
    /// ended, and clients count from what they see.
    #[must_use]
    pub fn has_api_server(&self) -> bool {
        self.visible_at_step_end && self.gaps_are_elapsed_time && !self.prefiller_yields_token
    }

    /// Does the fast path not know what they ask for?
    #[must_use]
    pub fn needs_plain_steps(&self) -> bool {
        // Batches that decode by themselves are a group like any other.
        let decodes_apart = self.phases_apart && self.steps_in_flight() == 1;
        let asks_for_more = !self.prefill_yields_token
            || self.keep_step_fractions
            || self.phases_apart
            || self.acts_on_events_alone;
        self.prefiller_yields_token || self.v0_kv_blocks || asks_for_more && !decodes_apart
    }

    /// Bit-exact with BLIS f90a1e3a.
    pub const BLIS: Self = Self {
        keep_tokens_on_preemption: false,
        one_step_at_a_time: false,
        recompute_last_block: false,
        find_all_copies: false,
        clamp_output_budget: false,
        kv_for_last_token: true,
        async_scheduling: false,
        reuse_unfindable_first: false,
        spare_lone_prefill: false,
        visible_at_step_end: false,
        gaps_are_elapsed_time: false,
        first_scheduling_counts: false,
        decoder_fetches_kv: false,
        exact_model_tags: true,
        prefill_yields_token: true,
        v0_kv_blocks: false,
        prefiller_yields_token: false,
        keep_step_fractions: false,
        phases_apart: false,
        acts_on_events_alone: false,
        prompts_move_together: false,
        gateway_waits_for_ticks: true,
        gateway_fifo_by_priority: true,
        gateway_admits_all: true,
        data_parallel_ranks: false,
        adapters_are_there_or_not: true,
    };

    /// What vLLM V1 does.
    pub const VLLM: Self = Self {
        keep_tokens_on_preemption: true,
        one_step_at_a_time: true,
        recompute_last_block: true,
        find_all_copies: true,
        clamp_output_budget: true,
        kv_for_last_token: false,
        async_scheduling: true,
        reuse_unfindable_first: true,
        spare_lone_prefill: true,
        visible_at_step_end: true,
        gaps_are_elapsed_time: true,
        first_scheduling_counts: true,
        decoder_fetches_kv: true,
        exact_model_tags: false,
        prefill_yields_token: true,
        v0_kv_blocks: false,
        prefiller_yields_token: false,
        keep_step_fractions: false,
        phases_apart: false,
        acts_on_events_alone: false,
        prompts_move_together: false,
        gateway_waits_for_ticks: false,
        gateway_fifo_by_priority: false,
        gateway_admits_all: false,
        data_parallel_ranks: true,
        adapters_are_there_or_not: false,
    };
}

/// The name of a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// [`EngineRules::BLIS`].
    Blis,
    /// [`EngineRules::VLLM`].
    Vllm,
}

impl Preset {
    /// The switches.
    #[must_use]
    pub fn rules(self) -> EngineRules {
        match self {
            Self::Blis => EngineRules::BLIS,
            Self::Vllm => EngineRules::VLLM,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blis => "blis",
            Self::Vllm => "vllm",
        })
    }
}
