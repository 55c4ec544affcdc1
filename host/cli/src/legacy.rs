//! Flags of the oldest releases of BLIS.

use super::args::{CommonArgs, LatencyName};
use super::effects::Explicit;
use super::workload_args::{LegacyArgs, RunArgs};
use windtunnel_base::input::InputError;
use windtunnel_results::report::generator;

/// What the metrics of their generator need; `rate` is its rate, if it makes the traffic.
pub fn metrics(
    args: &RunArgs,
    explicit: &Explicit,
    rate: Option<f64>,
) -> Result<Option<generator::Inputs>, InputError> {
    let records = !args.common.output.summary_only;
    explicit.reject_unless(
        &["finished_coeffs"],
        records,
        "with --summary-only, which keeps no request's record",
    )?;
    let left = args.workload.legacy.finished_coeffs.as_deref();
    let left_us = left.map_or([0.0; 2], |c| [c[0], c[1]]);
    Ok(rate
        .filter(|_| records)
        .map(|rate| generator::Inputs { rate, left_us }))
}

/// The flags with the coefficients of the oldest releases as those of today: microseconds, the
/// intercept first.
pub fn with_coefficients(
    common: &CommonArgs,
    legacy: &LegacyArgs,
) -> Result<CommonArgs, InputError> {
    let mut common = common.clone();
    for (flag, coefficients, expected) in [
        ("--regression-coeffs", &legacy.regression_coeffs, 3),
        ("--queuing-coeffs", &legacy.queuing_coeffs, 2),
        ("--finished-coeffs", &legacy.finished_coeffs, 2),
    ] {
        let Some(c) = coefficients else { continue };
        if c.len() != expected || c.iter().any(|x| !(x.is_finite() && *x >= 0.0)) {
            let message =
                format!("{flag} takes {expected} finite numbers of 0 or more, found {c:?}");
            return Err(InputError::new(message));
        }
    }
    if let (Some(beta), Some(queueing)) = (&legacy.regression_coeffs, &legacy.queuing_coeffs) {
        if !matches!(
            common.model.latency_model,
            LatencyName::Auto | LatencyName::Blackbox
        ) {
            return Err(InputError::new(
                "--regression-coeffs belong to --latency-model blackbox",
            ));
        }
        common.model.latency_model = LatencyName::Blackbox;
        common.model.beta_coeffs = Some(beta.iter().map(|seconds| seconds * 1e6).collect());
        common.model.alpha_coeffs = Some(vec![queueing[1], queueing[0], 0.0]);
    }
    Ok(common)
}
