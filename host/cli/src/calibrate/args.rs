//! The flags of `windtunnel calibrate`, and what comes of a pair.

use crate::args::CommonArgs;
use crate::observe::{AskArgs, LoadArgs};
use clap::Args;
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_results::calibrate::{Calibration, Hits, Network};
use windtunnel_results::metrics::slo::{Dimension, SloTargets};

/// `windtunnel calibrate`.
#[derive(Args, Clone, Debug)]
pub struct CalibrateArgs {
    /// What was observed: a TraceV2 trace as `observe` writes it, NAME or its CSV; its header lies
    /// beside it
    #[arg(value_name = "REAL", requires = "simulated", conflicts_with_all = ["trace_data", "url"])]
    pub(super) real: Option<PathBuf>,
    /// What was simulated: rows as `replay --results-path` writes them, JSON or CSV, or BLIS's
    #[arg(value_name = "SIM", conflicts_with = "sim_results")]
    pub(super) simulated: Option<PathBuf>,
    /// Several observations with their simulations: are they in the same order? Repeat it
    #[arg(long, value_name = "REAL=SIM", conflicts_with_all = ["real", "trace_data", "url"])]
    pub(super) pair: Vec<String>,
    /// Header of the observed trace, YAML
    #[arg(long, value_name = "FILE", requires = "trace_data")]
    pub(super) trace_header: Option<PathBuf>,
    /// Data of the observed trace, CSV; the same as REAL
    #[arg(long, value_name = "FILE", requires = "sim_results")]
    pub(super) trace_data: Option<PathBuf>,
    /// What was simulated; the same as SIM
    #[arg(long, value_name = "FILE", requires = "trace_data")]
    pub(super) sim_results: Option<PathBuf>,
    /// Write the report as BLIS lays it out, JSON
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Round-trip time that is added to simulated latencies, microseconds [default: the header's,
    /// else 0]
    #[arg(long, value_name = "US")]
    pub(super) network_rtt_us: Option<f64>,
    /// Bandwidth between client and server, megabits per second; 0 = no limit
    #[arg(long, default_value_t = 0.0, value_name = "MBPS")]
    pub(super) network_bandwidth_mbps: f64,
    /// When each event with tokens came, as `observe --record-itl` writes it: adds ITL
    #[arg(long, value_name = "FILE", conflicts_with = "pair")]
    pub(super) itl_data: Option<PathBuf>,
    /// Totals of the simulation with its cache_hit_rate, JSON: adds hit rates
    #[arg(long, value_name = "FILE", conflicts_with = "pair")]
    pub(super) sim_metrics: Option<PathBuf>,
    /// Difference of hit rates that is fine, percentage points
    #[arg(long, default_value_t = 5.0, value_name = "PP")]
    pub(super) hit_rate_tolerance_pp: f64,
    /// MAPE of TTFT that is fine, a share
    #[arg(long, default_value_t = 0.15, value_name = "SHARE")]
    pub(super) ttft_mape_threshold: f64,
    /// A live server: observe it, simulate the same requests at the same times, and compare
    #[arg(long, value_name = "URL", help_heading = "From a live server")]
    pub(super) url: Option<String>,
    /// The model, as the server calls it [default: the first that it serves]
    #[arg(
        long,
        value_name = "NAME",
        requires = "url",
        help_heading = "From a live server"
    )]
    pub(super) served_model: Option<String>,
    /// Most requests at once that are sent; others are held back [default: no limit]
    #[arg(
        long,
        value_name = "N",
        requires = "url",
        help_heading = "From a live server"
    )]
    pub(super) client_concurrency: Option<usize>,
    /// Observe several loads one after the other, requests per second [default: --rate]
    #[arg(
        long,
        value_name = "REQ/S",
        value_delimiter = ',',
        requires = "url",
        conflicts_with = "rate",
        help_heading = "From a live server"
    )]
    pub(super) rates: Vec<f64>,
    /// Keep what was observed: NAME.yaml and NAME.csv, or NAME-RATE for each of --rates
    #[arg(
        long,
        value_name = "NAME",
        requires = "url",
        help_heading = "From a live server"
    )]
    pub(super) out: Option<PathBuf>,
    /// Fit kernel-tables to all of --rates but the last, which is held out; the calibration goes to
    /// this file
    #[arg(
        long,
        value_name = "FILE",
        requires = "rates",
        help_heading = "From a live server"
    )]
    pub(super) fit: Option<PathBuf>,
    /// How the server is asked.
    #[command(flatten)]
    pub(super) ask: AskArgs,
    /// What is sent.
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// What is simulated.
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

/// An observation with its simulation, compared.
pub struct Compared {
    pub name: String,
    pub found: Calibration,
    pub hits: Option<Hits>,
    pub network: Network,
}

impl CalibrateArgs {
    /// Targets of the flags, and below them those that the observation carries.
    pub(super) fn targets(&self, carried: &SloTargets) -> Result<SloTargets, InputError> {
        let analysis = &self.common.analysis;
        let mut targets = SloTargets::default();
        for (dimension, flag, text) in [
            (Dimension::Ttft, "--slo-ttft", &analysis.slo_ttft),
            (Dimension::Itl, "--slo-itl", &analysis.slo_itl),
            (Dimension::E2e, "--slo-e2e", &analysis.slo_e2e),
        ] {
            if let Some(text) = text {
                targets.parse(dimension, flag, text)?;
            }
        }
        Ok(targets.over(carried))
    }
}
