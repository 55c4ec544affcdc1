//! Versions of vLLM whose behaviour is known, and simulators of it, each a row of switches and
//! defaults.
//!
//! Every row of a version was found in its own sources and held to its own scheduler, which ran on
//! a virtual clock (`xtask/vllm_oracle`); docs/concepts/rules.md says on which cases.

use crate::latency::PICOSECONDS_PER_US;
use crate::rules::EngineRules;
use std::fmt;

/// A version of vLLM, or a simulator that is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum EngineProfile {
    /// The scheduler of XpuSim (deckerd2001/inference_sim).
    XpuSim,
    /// The V0 scheduler as ProfileSim (plantbud/VllmSimulator) simulates it.
    ProfileSim,
    /// 0.8.5.
    Vllm0_8_5,
    /// 0.11.0.
    Vllm0_11,
    /// 0.15.1.
    Vllm0_15,
    /// 0.19.1.
    Vllm0_19,
    /// 0.32.0.
    #[default]
    Vllm0_32,
}

impl EngineProfile {
    /// All: simulators, then versions of vLLM, the oldest first.
    pub const ALL: [Self; 7] = [
        Self::XpuSim,
        Self::ProfileSim,
        Self::Vllm0_8_5,
        Self::Vllm0_11,
        Self::Vllm0_15,
        Self::Vllm0_19,
        Self::Vllm0_32,
    ];

    /// Its name, as users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XpuSim => "xpusim",
            Self::ProfileSim => "profilesim",
            Self::Vllm0_8_5 => "vllm-0.8.5",
            Self::Vllm0_11 => "vllm-0.11",
            Self::Vllm0_15 => "vllm-0.15",
            Self::Vllm0_19 => "vllm-0.19",
            Self::Vllm0_32 => "vllm-0.32",
        }
    }

    /// The profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Is it a simulator, rather than a version of vLLM?
    #[must_use]
    pub fn is_simulator(self) -> bool {
        self < Self::Vllm0_8_5
    }

    /// Units of its clock, which the engine takes for microseconds, in a microsecond.
    #[must_use]
    pub fn clock_units(self) -> i64 {
        match self {
            Self::XpuSim => PICOSECONDS_PER_US,
            _ => 1,
        }
    }

    /// Its switches.
    #[must_use]
    pub fn rules(self) -> EngineRules {
        EngineRules {
            async_scheduling: self >= Self::Vllm0_15,
            reuse_unfindable_first: self >= Self::Vllm0_32,
            spare_lone_prefill: self >= Self::Vllm0_32,
            prefill_yields_token: !self.is_simulator(),
            v0_kv_blocks: self == Self::ProfileSim,
            keep_step_fractions: self.is_simulator(),
            phases_apart: self == Self::XpuSim,
            acts_on_events_alone: self == Self::XpuSim,
            prompts_move_together: self == Self::XpuSim,
            ..EngineRules::VLLM
        }
    }

    /// Is a request admitted only if its whole prompt has KV blocks, if nobody says otherwise?
    #[must_use]
    pub fn reserves_full_isl(self) -> bool {
        self >= Self::Vllm0_19 || self == Self::ProfileSim
    }

    /// Does it look up prompts in a prefix cache, if nobody says otherwise?
    #[must_use]
    pub fn has_prefix_cache(self) -> bool {
        !self.is_simulator()
    }

    /// Does it know a setting? Those that it does not know came later, or are not simulated for it.
    #[must_use]
    pub fn knows(self, setting: &str) -> bool {
        match self {
            Self::XpuSim => return matches!(setting, "engine" | "batching_strategy"),
            Self::ProfileSim => return matches!(setting, "engine" | "watermark"),
            _ => {}
        }
        let since = match setting {
            // 0.11 has it as an option, in which a request runs one step more than it needs.
            "async_scheduling" | "enable_chunked_prefill" => Self::Vllm0_15,
            // It came between these versions.
            "api_server_count" => Self::Vllm0_11,
            "scheduler_reserve_full_isl" => Self::Vllm0_19,
            // Before, the engine core does not order its queue by priority, or loses count of the
            // tokens of a request that is preempted in the step that chose it.
            "scheduling_policy" => Self::Vllm0_15,
            "watermark"
            | "long_prefill_token_threshold_adaptive"
            | "max_num_active_seqs"
            | "max_num_queued_reqs"
            | "max_num_queued_tokens"
            | "num_speculative_tokens"
            | "speculative_method"
            | "acceptance_rate" => Self::Vllm0_32,
            _ => Self::Vllm0_8_5,
        };
        self >= since
    }

    /// `max_num_batched_tokens` and `max_num_seqs` of its API server on a GPU of this name and
    /// memory, GiB, if nobody says otherwise.
    #[must_use]
    pub fn default_limits(self, gpu: &str, memory_gib: f64) -> (u32, u32) {
        let a100 = gpu.to_ascii_lowercase().contains("a100");
        // The first version goes by memory alone.
        let large = memory_gib >= 70.0 && (!a100 || self == Self::Vllm0_8_5);
        let tokens = match large {
            true if memory_gib >= 160.0 && self >= Self::Vllm0_32 => 16_384,
            true => 8_192,
            false => 2_048,
        };
        (tokens, if large { 1_024 } else { 256 })
    }
}

impl fmt::Display for EngineProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for profile in EngineProfile::ALL {
            assert_eq!(EngineProfile::named(profile.name()), Some(profile));
        }
        assert_eq!(EngineProfile::named("vllm-0.1"), None);
        assert_eq!(EngineProfile::default().rules(), EngineRules::VLLM);
    }

    #[test]
    fn limits_depend_on_the_gpu_as_in_vllm() {
        let limits = |profile: EngineProfile, gpu, gib| profile.default_limits(gpu, gib);
        let newest = EngineProfile::Vllm0_32;
        assert_eq!(limits(newest, "H100", 80.0), (8_192, 1_024));
        assert_eq!(limits(newest, "A100-80", 80.0), (2_048, 256));
        assert_eq!(limits(newest, "L40S", 48.0), (2_048, 256));
        assert_eq!(limits(newest, "B200", 180.0), (16_384, 1_024));
        assert_eq!(
            limits(EngineProfile::Vllm0_19, "B200", 180.0),
            (8_192, 1_024)
        );
        assert_eq!(
            limits(EngineProfile::Vllm0_8_5, "A100-80", 80.0),
            (8_192, 1_024)
        );
    }
}
