//! How far off simulated requests are.

/// Errors of simulated requests, percent of what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadErrors {
    /// Of the time to first token.
    pub ttft: MetricErrors,
    /// Of the time per output token after the first; none where all answers have one.
    pub tpot: Option<MetricErrors>,
    /// End to end.
    pub e2e: MetricErrors,
}

/// Errors of one metric, percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricErrors {
    /// Of the mean over the requests; above 0 = the simulation is slower.
    pub of_mean: f64,
    /// Median of the absolute errors of single requests.
    pub median: f64,
    /// Mean of the absolute errors of single requests.
    pub mean: f64,
}
