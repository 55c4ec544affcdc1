//! The limits and rules of an instance.

use crate::latency::{DeviceMemory, StepLimits};
use crate::rules::EngineRules;

/// "Never", as a time.
pub const NEVER: i64 = i64::MAX;

/// Limits and rules of an instance; vLLM's names where it has them.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// KV blocks.
    pub total_kv_blocks: u64,
    /// Tokens per KV block.
    pub block_size: u32,
    /// Most requests in the running batch.
    pub max_num_seqs: u32,
    /// Most new tokens per step.
    pub max_num_batched_tokens: u32,
    /// Most prefill tokens of one request per step; 0 = no limit.
    pub long_prefill_token_threshold: u32,
    /// Most tokens of prompt and output; 0 = no limit.
    pub max_model_len: u64,
    /// Nothing happens after this time, microseconds.
    pub horizon_us: i64,
    /// Switches.
    pub rules: EngineRules,
    /// Limits and habits of the scheduler beyond those.
    pub scheduling: SchedulingConfig,
    /// Report first tokens and preemptions.
    pub token_events: bool,
    /// Touch every request in every step. Slow; the definition of what the fast path must give.
    pub plain: bool,
}

/// Limits and habits of vLLM's scheduler beyond the numbers of requests and tokens. The default
/// is that none of them has an effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SchedulingConfig {
    /// Look up prompts in the prefix cache.
    pub enable_prefix_caching: bool,
    /// A prompt may be computed in several steps. Else it waits for a step that holds all of it.
    pub enable_chunked_prefill: bool,
    /// Admit a request only if its whole prompt has KV blocks, not just its first chunk.
    pub reserve_full_isl: bool,
    /// Share of the KV blocks that an admission leaves free while others run, 0 to 1.
    pub watermark: f64,
    /// The long-prefill threshold is at least an equal share of the step's tokens.
    pub adaptive_long_prefill_threshold: bool,
    /// Most requests admitted at once to the batch, those that wait for their last output
    /// included; 0 = `max_num_seqs`.
    pub max_num_active_seqs: u32,
    /// Most LoRA adapters in one step; 0 = no limit.
    pub max_loras: u32,
    /// Time to load an adapter that a step has and the one before had not, microseconds.
    pub lora_load_us: i64,
    /// Time of the engine core itself.
    pub core: CoreTime,
    /// The processes through which requests come and tokens leave. They take no time but under
    /// rules that [have](EngineRules::has_api_server) such a server.
    pub api_server: ApiServerConfig,
    /// Speculative decoding.
    pub speculation: Speculation,
    /// KV blocks on the CPU; `None` = there are none.
    pub cpu_offload: Option<CpuOffload>,
    /// Requests are admitted by the memory that they may come to need, too, and memory in use and
    /// steps are kept; `None` = by KV blocks alone.
    pub memory: Option<DeviceMemory>,
    /// Gaps between tokens are counted to the nearest multiple of this, microseconds, where the
    /// clock of a run is finer than its figures.
    pub gap_resolution: i64,
}

/// KV blocks on the CPU as vLLM's offloading connector keeps them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuOffload {
    /// How many, at least 1.
    pub cpu_blocks: u64,
    /// Time of a load besides that of its tokens, microseconds.
    pub base_us: i64,
    /// Time of a loaded token, microseconds. Loads go one after the other; what is written takes no
    /// time.
    pub token_us: f64,
}

/// Time that the engine core's own process takes, one thing after the other, while steps run beside
/// it: to choose a step, and to process its output. Each is microseconds per step, and per request
/// in the step. Zero by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CoreTime {
    /// To choose a step; it can start when it is chosen.
    pub schedule_us: [f64; 2],
    /// To process its output; tokens are out then.
    pub update_us: [f64; 2],
}

impl CoreTime {
    /// No time at all?
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// To choose a step with `requests`, microseconds.
    pub(super) fn schedule(&self, requests: u32) -> i64 {
        line(self.schedule_us, requests)
    }

    /// To process the output of a step with `requests`, microseconds.
    pub(super) fn update(&self, requests: u32) -> i64 {
        line(self.update_us, requests)
    }
}

/// The API server of an instance: processes that take requests in and send tokens out, each one
/// thing at a time. It takes no time by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ApiServerConfig {
    /// Processes, at least 1; 0 counts as 1.
    pub count: u32,
    /// Microseconds of a process per request, per prompt token, and per request to which a step's
    /// output is sent.
    pub times_us: [f64; 3],
    /// What of the step-time model's delay before the wait queue is such a process's, and is
    /// replaced by that: microseconds per request, and per prompt token.
    pub of_model_us: [f64; 2],
}

impl ApiServerConfig {
    /// No time at all?
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.times_us == [0.0; 3]
    }

    /// To take in a request, microseconds.
    #[must_use]
    pub fn request_us(&self, prompt_tokens: u32) -> i64 {
        line([self.times_us[0], self.times_us[1]], prompt_tokens)
    }

    /// What it replaces, microseconds.
    pub(super) fn of_model_us(&self, prompt_tokens: u32) -> i64 {
        line(self.of_model_us, prompt_tokens)
    }

    /// To send the output of a step to so many requests, microseconds.
    pub(super) fn output_us(&self, messages: u64) -> i64 {
        (self.times_us[2] * messages as f64).round() as i64
    }
}

fn line([base, each]: [f64; 2], requests: u32) -> i64 {
    (base + each * f64::from(requests)).round() as i64
}

/// Speculative decoding as vLLM schedules it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speculation {
    /// Drafts per request and step; 0 = no speculative decoding.
    pub num_speculative_tokens: u32,
    /// Where drafts come from.
    pub method: SpeculativeMethod,
    /// Chance of a draft to be right if those before it are, 0 to 1; `None` = requests say
    /// themselves what is right ([`accepted`](windtunnel_base::request::Request::accepted)).
    pub acceptance_rate: Option<f64>,
}

impl Speculation {
    /// No speculative decoding.
    pub const OFF: Self = Self {
        num_speculative_tokens: 0,
        method: SpeculativeMethod::Ngram,
        acceptance_rate: None,
    };

    /// Is there any?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.num_speculative_tokens > 0
    }

    /// Tokens for which a request has KV blocks beyond those of its step: the drafter computes KV.
    #[must_use]
    pub fn lookahead(&self) -> u32 {
        match self.method {
            SpeculativeMethod::Eagle => self.num_speculative_tokens,
            SpeculativeMethod::Ngram => 0,
        }
    }

    /// Is the last block of a prefix hit computed again? A drafter that goes by the hidden states
    /// of the model needs those of the tokens before the one it begins with.
    #[must_use]
    pub fn recomputes_last_hit(&self) -> bool {
        self.is_on() && self.method == SpeculativeMethod::Eagle
    }
}

/// Where drafts come from, by vLLM's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeculativeMethod {
    /// A head over the model's hidden states, with KV of its own.
    Eagle,
    /// The prompt and the output so far; there is no KV of drafts.
    Ngram,
}

impl SpeculativeMethod {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Eagle, Self::Ngram];

    /// Its name in vLLM.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eagle => "eagle",
            Self::Ngram => "ngram",
        }
    }
}

impl Default for SchedulingConfig {
    fn default() -> Self {
        Self {
            enable_prefix_caching: true,
            enable_chunked_prefill: true,
            reserve_full_isl: false,
            watermark: 0.0,
            adaptive_long_prefill_threshold: false,
            max_num_active_seqs: 0,
            max_loras: 0,
            lora_load_us: 0,
            core: CoreTime::default(),
            api_server: ApiServerConfig::default(),
            speculation: Speculation::OFF,
            cpu_offload: None,
            memory: None,
            gap_resolution: 1,
        }
    }
}

impl EngineConfig {
    /// The limits that estimates of durations assume.
    #[must_use]
    pub fn step_limits(&self) -> StepLimits {
        StepLimits {
            max_tokens: self.max_num_batched_tokens,
            max_prefill_tokens: self.long_prefill_token_threshold,
        }
    }

    /// Tokens for which a request must have KV blocks when `computed` of its tokens are.
    pub(super) fn slots(&self, computed: u32) -> u32 {
        let slots = computed.saturating_add(self.scheduling.speculation.lookahead());
        match self.max_model_len {
            0 => slots,
            limit => u32::try_from(limit).map_or(slots, |limit| slots.min(limit).max(computed)),
        }
    }

    /// Blocks that an admission beside others must leave free.
    pub(super) fn watermark_blocks(&self) -> u64 {
        // vLLM counts its null block.
        (self.scheduling.watermark * (self.total_kv_blocks as f64 + 1.0)) as u64
    }

    /// KV blocks that a prompt of so many tokens takes, and those that it may have at most.
    #[must_use]
    pub fn prompt_blocks(&self, prompt_tokens: u64) -> (u64, u64) {
        let kept = match self.rules.v0_kv_blocks {
            true => self.watermark_blocks(),
            false => 0,
        };
        let needed = prompt_tokens.div_ceil(u64::from(self.block_size));
        (needed, self.total_kv_blocks.saturating_sub(kept))
    }

    /// Does a prompt of so many tokens not even fit on an idle engine?
    pub(super) fn never_fits(&self, prompt_tokens: u64) -> bool {
        let (needed, usable) = self.prompt_blocks(prompt_tokens);
        needed > usable
    }

    /// Most tokens of a request that are ever computed: the last one that fits into
    /// `max_model_len` is sampled but not computed.
    pub(super) fn max_computed_tokens(&self) -> u32 {
        match self.max_model_len {
            0 => u32::MAX,
            limit => u32::try_from(limit - 1).unwrap_or(u32::MAX),
        }
    }
}
