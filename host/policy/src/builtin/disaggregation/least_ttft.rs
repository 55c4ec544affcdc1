//! `least-ttft`: a prompt is computed where its first token comes first.

use super::ttft::{self, SentSince};
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;
use windtunnel_plugin_api::{ClusterView, Disaggregation, Interests, PolicyError, RequestView};

/// `least-ttft`. The rule is that of one of the reference simulator's variants of EDPP; the
/// estimates are ours.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[Param::number(
        "margin_ms",
        0.0,
        -10_000.0,
        10_000.0,
        "By how much the first token must come earlier, ms",
    )],
    ..BuiltIn::new(
        "least-ttft",
        "An instance that prefills computes a prompt if the first token is estimated to come earlier by that, transfer included.",
        Make::Disaggregation(|_, values| {
            Box::new(LeastTtft {
                margin_us: 1000.0 * values.get("margin_ms"),
                sent: SentSince::default(),
            })
        }),
    )
};

/// Compares estimated times to first token.
pub struct LeastTtft {
    margin_us: f64,
    sent: SentSince,
}

/// What the estimates of both deciders read.
pub(super) const READS: Interests =
    Interests(Interests::PRECISE_PREFIX.0 | Interests::WORK.0 | Interests::COUNTERS.0);

impl Disaggregation for LeastTtft {
    fn interests(&self) -> Interests {
        READS
    }

    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        let Some(here) = ttft::local(request, decode, &mut self.sent, cluster) else {
            return Ok(false);
        };
        let elsewhere = ttft::remote(request, decode, cluster);
        let elsewhere = elsewhere.iter().map(|way| way.ttft_us);
        let remotely = elsewhere.fold(f64::INFINITY, f64::min) + self.margin_us < here.ttft_us;
        if !remotely {
            self.sent.note_local(request, decode, cluster);
        }
        Ok(remotely)
    }
}
