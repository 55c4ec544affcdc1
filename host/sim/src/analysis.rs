//! What a run is asked to find out.

use crate::settings::Given;
use crate::spec::OutputSpec;
use windtunnel_base::input::{InputError, read_text};
use windtunnel_base::record::{InstanceTotals, RunRecord};
use windtunnel_engine::frontend::{SeriesConfig, TraceConfig};
use windtunnel_results::metrics::fitness::Weights;
use windtunnel_results::metrics::saturation::Detectors;
use windtunnel_results::metrics::slo::{Dimension, SloTargets};

/// What a run is asked to find out, checked.
pub(crate) struct Analysis {
    pub(crate) slo_targets: SloTargets,
    pub(crate) fitness: Option<Weights>,
    pub(crate) detectors: Option<Detectors>,
    pub(crate) trace: TraceConfig,
}

impl Analysis {
    pub(crate) fn of(outputs: &OutputSpec, given: &Given) -> Result<Self, InputError> {
        given.reject_unless(
            &["counterfactual_k", "summarize_trace"],
            outputs.decisions,
            "without `decisions`",
        )?;
        given.reject_unless(
            &["saturation_final_window", "saturation_config"],
            outputs.detectors.is_some(),
            "without `detectors`",
        )?;
        given.reject_unless(
            &["slo_ttft", "slo_itl", "slo_e2e", "detectors"],
            !outputs.summary_only,
            "with `summary_only`, which keeps no request's record",
        )?;
        let mut slo_targets = SloTargets::default();
        let targets = [
            (Dimension::Ttft, "`slo_ttft`", &outputs.slo_ttft),
            (Dimension::Itl, "`slo_itl`", &outputs.slo_itl),
            (Dimension::E2e, "`slo_e2e`", &outputs.slo_e2e),
        ];
        for (dimension, setting, text) in targets {
            if let Some(text) = text {
                slo_targets.parse(dimension, setting, text)?;
            }
        }
        let fitness = outputs.fitness_weights.as_deref();
        Ok(Self {
            slo_targets,
            fitness: fitness
                .map(|text| Weights::parse("`fitness_weights`", text))
                .transpose()?,
            detectors: detectors(outputs)?,
            trace: TraceConfig {
                decisions: outputs.decisions,
                counterfactual_k: outputs.counterfactual_k.unwrap_or(0),
                observations: false,
                kv_events: outputs.kv_events,
                steps: outputs.steps,
                series: series(outputs)?,
            },
        })
    }
}

/// What is kept of instances over time.
fn series(outputs: &OutputSpec) -> Result<Option<SeriesConfig>, InputError> {
    let Some(seconds) = outputs.time_series_interval else {
        let kept = outputs.series.then(SeriesConfig::default);
        return Ok(kept);
    };
    if !outputs.series {
        return Err(InputError::new(
            "`time_series_interval` has no effect without `series`",
        ));
    }
    if !(1e-6..=1e9).contains(&seconds) {
        return Err(InputError::new(format!(
            "`time_series_interval` must be from 0.000001 to 1000000000 seconds, found {seconds}"
        )));
    }
    let interval_us = Some((seconds * 1e6).round() as i64);
    Ok(Some(SeriesConfig { interval_us }))
}

fn detectors(outputs: &OutputSpec) -> Result<Option<Detectors>, InputError> {
    let Some(names) = &outputs.detectors else {
        return Ok(None);
    };
    let mut detectors = Detectors::parse("`detectors`", names)?;
    if let Some(path) = &outputs.saturation_config {
        detectors.configure(&path.display().to_string(), &read_text(path)?)?;
    }
    if let Some(seconds) = outputs.saturation_final_window {
        if !(seconds.is_finite() && seconds > 0.0) {
            return Err(InputError::new(format!(
                "`saturation_final_window` {seconds} must be above 0 seconds"
            )));
        }
        detectors.final_window_us = (seconds * 1e6) as i64;
    }
    Ok(Some(detectors))
}

/// Share of the looked-up prompt tokens that a cache without limits would have had. Requests are
/// counted in order of arrival; where some overtook others, the prefix caches can have found a
/// little more, and a cache without limits with them.
pub(crate) fn infinite_cache_hit_rate(record: &RunRecord) -> Option<f64> {
    let sum = |of: fn(&InstanceTotals) -> u64| record.instances.iter().map(of).sum::<u64>();
    let found = sum(|t| t.prefix_reusable).max(sum(|t| t.prefix_hits));
    let all = sum(|t| t.prefix_queries);
    (all > 0).then(|| found as f64 / all as f64)
}
