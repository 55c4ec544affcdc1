//! A request on both sides.

/// Latencies of a request on one side, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Side {
    pub(crate) at_us: f64,
    pub(crate) ttft_us: f64,
    pub(crate) e2e_us: f64,
    pub(crate) tpot_us: Option<f64>,
    pub(crate) itl_us: Option<f64>,
    pub(crate) output_tokens: u32,
}

/// A request that both sides have answered.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) slo_class: String,
    pub(crate) session: String,
    pub(crate) round: u32,
    pub(crate) real: Side,
    pub(crate) simulated: Side,
}
