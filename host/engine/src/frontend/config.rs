//! Settings of the front end.

use super::gateway::FlowControl;
use super::predictor::Predictor;
use crate::forecast::ForecastError;

/// What to remember of a run beyond its records: the front end's decisions, what the KV caches did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceConfig {
    /// Keep every admission and routing decision.
    pub decisions: bool,
    /// Candidates to keep per routing decision; with 0 no regret is computed either.
    pub counterfactual_k: usize,
    /// Keep what every routing decision was made on. The instances are brought up to date for
    /// each, which changes no result.
    pub observations: bool,
    /// Keep what happens in the prefix caches. All full KV blocks then have an identity, which
    /// changes no result.
    pub kv_events: bool,
    /// Keep every step of the instances with the requests in it. The fast path is not taken then,
    /// which changes no result.
    pub steps: bool,
    /// Keep what the instances do over time.
    pub series: Option<SeriesConfig>,
}

/// What is kept of instances over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesConfig {
    /// Length of an interval, microseconds; `None` = as long as it takes for 500 to 1000 of them.
    pub interval_us: Option<i64>,
}

/// Settings of the front end. The default sees everything at once and takes no time.
#[derive(Clone, Debug, Default)]
pub struct FrontEndConfig {
    /// Arrival to admission decision, microseconds.
    pub admission_latency_us: i64,
    /// Admission to routing decision, microseconds.
    pub routing_latency_us: i64,
    /// Least age at which scraped fields are scraped again, microseconds; 0 = always fresh.
    pub snapshot_refresh_us: i64,
    /// Least age at which the precise prefix signal is refreshed, microseconds; 0 = always fresh.
    pub cache_signal_delay_us: i64,
    /// Names by which requests may ask for the served model. The first is the one given by the
    /// user.
    pub model_names: Vec<String>,
    /// A gateway that holds requests back while the instances are saturated; `None` = there is
    /// none.
    pub flow_control: Option<FlowControl>,
    /// Decision trace.
    pub trace: TraceConfig,
    /// Predicts output lengths for the policies that read predictions.
    pub predictor: Option<Predictor>,
    /// How wrong the durations are that policies ask for, at the front end and in the instances.
    pub estimate_error: Option<ForecastError>,
    /// What the seed of the random numbers that policies draw is mixed with; 0 = nothing. Who does
    /// not know it cannot tell the seed by the numbers.
    pub policy_salt: u64,
}
