//! `token-bucket`: prompt tokens are paid for from a bucket that refills with time.

use crate::builtin::policy::{BuiltIn, Make};
use crate::param::{ABOVE_ZERO, Param};
use windtunnel_plugin_api::{Admission, Admit, ClusterView, Interests, PolicyError, RequestView};

/// `token-bucket`.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "capacity",
            10_000.0,
            ABOVE_ZERO,
            f64::MAX,
            "Tokens that the full bucket holds",
        ),
        Param::number(
            "refill_rate",
            1_000.0,
            ABOVE_ZERO,
            f64::MAX,
            "Tokens per second",
        ),
    ],
    bundle_keys: &[
        ("token_bucket_capacity", "capacity"),
        ("token_bucket_refill_rate", "refill_rate"),
    ],
    ..BuiltIn::new(
        "token-bucket",
        "Prompt tokens cost tokens of a bucket that refills with time.",
        Make::Admission(|_, values| {
            let (capacity, refill_rate) = (values.get("capacity"), values.get("refill_rate"));
            Box::new(TokenBucket::new(capacity, refill_rate))
        }),
    )
};

/// A bucket that starts full. Each prompt token takes one token out of it; a request that finds too
/// few is rejected and takes none.
pub struct TokenBucket {
    capacity: f64,
    refill_rate: f64,
    tokens: f64,
    last_us: i64,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens that refills at `refill_rate` tokens per second.
    #[must_use]
    pub fn new(capacity: f64, refill_rate: f64) -> Self {
        Self {
            capacity,
            refill_rate,
            tokens: capacity,
            last_us: 0,
        }
    }
}

impl Admission for TokenBucket {
    fn interests(&self) -> Interests {
        Interests::NONE
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let elapsed = cluster.now_us - self.last_us;
        if elapsed > 0 {
            self.tokens = self
                .capacity
                .min(self.tokens + elapsed as f64 * self.refill_rate / 1e6);
            self.last_us = cluster.now_us;
        }
        let cost = f64::from(request.prompt_tokens);
        if self.tokens >= cost {
            self.tokens -= cost;
            Ok(Admit::Admit)
        } else {
            Ok(Admit::Reject("insufficient tokens".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(policy: &mut dyn Admission, request: &RequestView, now_us: i64) -> Admit {
        let answer = policy.admit(request, &ClusterView::bare(now_us, &[]));
        answer.expect("built-ins answer")
    }

    #[test]
    fn the_bucket_starts_full_and_charges_nothing_for_a_refusal() {
        let mut bucket = TokenBucket::new(100.0, 10.0);
        let request = |tokens| RequestView {
            prompt_tokens: tokens,
            ..RequestView::default()
        };
        assert_eq!(answer(&mut bucket, &request(90), 0), Admit::Admit);
        assert_ne!(answer(&mut bucket, &request(20), 0), Admit::Admit);
        assert_ne!(answer(&mut bucket, &request(20), 999_999), Admit::Admit);
        assert_eq!(answer(&mut bucket, &request(20), 1_000_000), Admit::Admit);
        assert_ne!(
            answer(&mut bucket, &request(101), i64::MAX / 2),
            Admit::Admit,
            "more than the bucket ever holds"
        );
    }
}
