//! Which requests a latency is of.

use windtunnel_base::record::RequestRecord;

/// The requests that latencies are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population {
    /// Those that completed: the same for all latencies.
    Completed,
    /// The reference's: time to first token of every request that reached an instance and has one,
    /// the others of completed requests, with an inter-token latency of 0 where there is no gap.
    Reference,
}

impl Population {
    /// Time to first token of a request, if it counts.
    pub(super) fn ttft_us(self, r: &RequestRecord) -> Option<f64> {
        let counts = self == Self::Reference || r.e2e_us.is_some();
        r.ttft_us.filter(|_| counts).map(|us| us as f64)
    }

    /// Mean inter-token latency of a request, if it counts.
    pub(super) fn itl_us(self, r: &RequestRecord) -> Option<f64> {
        r.e2e_us?;
        match self {
            Self::Completed => r.mean_itl_us,
            Self::Reference => Some(r.mean_itl_us.unwrap_or(0.0)),
        }
    }
}
