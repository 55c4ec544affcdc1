//! Filters of weighted routing: which instances the scorers get to see.

use super::memory::Memory;
use super::scorers::Decision;
use crate::builtin::policy::Values;
use crate::param::{ABOVE_ZERO, Param};

pub(super) const AFFINITY_THRESHOLD: Param = Param::number(
    "affinity_threshold",
    0.0,
    0.0,
    1.0,
    "Affinity filter: only instances with this share of the prompt's blocks cached, if there are any; 0 = no filter",
);
pub(super) const MAX_TTFT_PENALTY_MS: Param = Param::number(
    "max_ttft_penalty_ms",
    18_000.0,
    0.0,
    f64::MAX,
    "Affinity filter: all instances when the best of those would prefill so much later than the best other; 0 = never",
);
pub(super) const PEAK_PREFILL_TOKENS_PER_S: Param = Param::number(
    "peak_prefill_tokens_per_s",
    15_928.0,
    ABOVE_ZERO,
    f64::MAX,
    "Affinity filter: prefill speed by which uncached tokens in flight become time",
);
pub(super) const EXPLORATION: Param = Param::number(
    "exploration",
    0.0,
    0.0,
    1.0,
    "Affinity filter: share of the requests that it lets pass",
);
pub(super) const SESSION_PIN: Param = Param::number(
    "session_pin",
    0.0,
    0.0,
    1.0,
    "1: a session stays on the instance that it was sent to first",
)
.whole();

/// The filters, in the order in which they are asked.
///
/// The affinity filter is llm-d's `prefix-cache-affinity-filter` ("sticky until saturated"), with
/// its defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filters {
    /// A session stays where it was sent to.
    pub session_pin: bool,
    /// Share of the prompt's blocks from which on an instance is sticky, 0..=1; 0 = no filter.
    pub affinity_threshold: f64,
    /// How much later the best sticky instance may prefill than the best other, milliseconds; 0 =
    /// however late.
    pub max_ttft_penalty_ms: f64,
    /// Tokens per second by which tokens in flight become time.
    pub peak_prefill_tokens_per_s: f64,
    /// Share of the requests that the affinity filter lets pass.
    pub exploration: f64,
}

impl Filters {
    pub(super) fn of(values: &Values) -> Self {
        Self {
            session_pin: values.get("session_pin") == 1.0,
            affinity_threshold: values.get("affinity_threshold"),
            max_ttft_penalty_ms: values.get("max_ttft_penalty_ms"),
            peak_prefill_tokens_per_s: values.get("peak_prefill_tokens_per_s"),
            exploration: values.get("exploration"),
        }
    }

    /// Do the filters ask for prefix hits?
    #[must_use]
    pub fn asks_prefixes(&self) -> bool {
        self.affinity_threshold > 0.0
    }

    /// Do they read the tokens in flight?
    #[must_use]
    pub fn reads_ledger(&self) -> bool {
        self.asks_prefixes() && self.max_ttft_penalty_ms > 0.0
    }

    /// Narrows the candidates down; at least one stays.
    pub fn narrow(
        &self,
        decision: &Decision<'_, '_>,
        memory: &Memory,
        candidates: &mut Vec<usize>,
    ) {
        if self.session_pin
            && let Some(home) = memory.sessions.get(&decision.request.session)
        {
            let at_home = |i: &usize| decision.cluster.instances[*i].index == *home;
            if candidates.iter().any(at_home) {
                candidates.retain(at_home);
            }
        }
        if self.asks_prefixes() && candidates.len() > 1 {
            self.stick(decision, memory, candidates);
        }
    }

    fn stick(&self, decision: &Decision<'_, '_>, memory: &Memory, candidates: &mut Vec<usize>) {
        let cluster = decision.cluster;
        if self.exploration > 0.0 && cluster.host.random_fraction() < self.exploration {
            return;
        }
        let precise = decision.settings.precise == Some(true);
        let sticky = |i: &usize| decision.share(precise, *i) >= self.affinity_threshold;
        let (warm, others): (Vec<usize>, Vec<usize>) = candidates.iter().partition(|i| sticky(i));
        if warm.is_empty() {
            return;
        }
        let soonest_ms = |among: &[usize]| {
            let tokens = among
                .iter()
                .map(|&i| memory.ledger.tokens(cluster.instances[i].index));
            tokens.min().unwrap_or(0) as f64 / self.peak_prefill_tokens_per_s * 1000.0
        };
        let saturated = self.max_ttft_penalty_ms > 0.0
            && !others.is_empty()
            && soonest_ms(&warm) - soonest_ms(&others) > self.max_ttft_penalty_ms;
        if !saturated {
            *candidates = warm;
        }
    }
}
