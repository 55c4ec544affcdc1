//! What came of the drafts of speculative decoding.

use windtunnel_base::record::InstanceTotals;

/// Drafts verified in a run. What only pads a step is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drafts {
    /// Verifications: of every request in every step that had drafts.
    pub verifications: u64,
    /// Draft tokens verified.
    pub drafted: u64,
    /// Of these, tokens that were right.
    pub accepted: u64,
}

impl Drafts {
    /// The sums over instances; `None` if nothing was verified.
    #[must_use]
    pub fn of(instances: &[InstanceTotals]) -> Option<Self> {
        let sum = |of: fn(&InstanceTotals) -> u64| instances.iter().map(of).sum::<u64>();
        let drafts = Self {
            verifications: sum(|t| t.verifications),
            drafted: sum(|t| t.drafted_tokens),
            accepted: sum(|t| t.accepted_tokens),
        };
        (drafts.verifications > 0).then_some(drafts)
    }

    /// Share of the drafts that were right, 0..=1. Those behind a wrong one count as wrong.
    #[must_use]
    pub fn acceptance_rate(&self) -> f64 {
        self.accepted as f64 / self.drafted as f64
    }

    /// Tokens that a verification yields on average, as vLLM has it: the accepted drafts and the
    /// token sampled after them.
    #[must_use]
    pub fn mean_acceptance_length(&self) -> f64 {
        1.0 + self.accepted as f64 / self.verifications as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_add_up_and_nothing_verified_is_no_figure() {
        let totals = |verifications, drafted_tokens, accepted_tokens| InstanceTotals {
            verifications,
            drafted_tokens,
            accepted_tokens,
            ..InstanceTotals::default()
        };
        let drafts = Drafts::of(&[totals(3, 9, 2), totals(1, 3, 1), totals(0, 0, 0)]);
        let drafts = drafts.expect("verifications");
        assert_eq!(drafts.acceptance_rate(), 0.25);
        assert_eq!(drafts.mean_acceptance_length(), 1.75);
        assert_eq!(Drafts::of(&[totals(0, 0, 0)]), None);
    }
}
