//! Flags of the legacy releases of BLIS.

use super::args::{CommonArgs, LatencyName};
use super::workload_args::LegacyArgs;
use windtunnel_base::input::InputError;
use windtunnel_sim::LatencySpec;

/// The coefficients of the legacy releases as those of today, if they are given: microseconds, the
/// intercept first.
pub fn coefficients(
    common: &CommonArgs,
    legacy: &LegacyArgs,
) -> Result<Option<LatencySpec>, InputError> {
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
        for (flag, given) in [
            ("--alpha-coeffs", common.model.alpha_coeffs.is_some()),
            ("--beta-coeffs", common.model.beta_coeffs.is_some()),
        ] {
            if given {
                let message = format!("--regression-coeffs cannot be used with {flag}");
                return Err(InputError::new(message));
            }
        }
        if !matches!(
            common.model.latency_model,
            LatencyName::Auto | LatencyName::Blackbox
        ) {
            return Err(InputError::new(
                "--regression-coeffs belong to --latency-model blackbox",
            ));
        }
        return Ok(Some(LatencySpec {
            model: Some("blackbox".into()),
            vllm_version: common.model.vllm_version.clone(),
            alpha_coeffs: Some(vec![queueing[1], queueing[0], 0.0]),
            beta_coeffs: Some(beta.iter().map(|seconds| seconds * 1e6).collect()),
            ..LatencySpec::default()
        }));
    }
    Ok(None)
}
