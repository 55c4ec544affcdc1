//! The summaries made of what a run leaves behind.

pub mod adapters;
pub mod anomaly;
pub mod digest;
pub mod drafts;
pub mod fitness;
pub mod groups;
pub mod measured;
pub mod population;
pub mod saturation;
pub mod slo;
pub mod stats;
pub mod summary;
pub mod ticks;
pub mod transfers;
pub mod window;
pub mod xpusim;

/// Time per output token after the first, in the unit of the other two; `None` without a second
/// token.
pub(crate) fn tpot(ttft: f64, e2e: f64, output_tokens: u32) -> Option<f64> {
    (output_tokens > 1).then(|| (e2e - ttft) / f64::from(output_tokens - 1))
}
