//! What a pipeline of stages asks of a deployment, whatever its step times come from.

use super::super::deployment::Setup;
use super::super::kind::LatencyModelKind;
use super::super::spread::Spread;
use windtunnel_base::input::InputError;
use windtunnel_config::ModelArch;

/// Step-time models that know what each layer of a model takes.
const BY_LAYER: &str = "kernel-tables, trained-physics, roofline and xpu-roofline";

/// Refuses a pipeline where nobody can say what a stage takes.
pub(super) fn refuse_pipeline(setup: &Setup, kind: LatencyModelKind) -> Result<(), InputError> {
    if setup.pp <= 1 {
        return Ok(());
    }
    Err(InputError::new(format!(
        "`pp` {}: latency model {kind} knows whole steps and not what a stage of a pipeline takes; {BY_LAYER} do \
         (`latency_model`)",
        setup.pp
    )))
}

/// Refuses a pipeline that cannot be.
pub(super) fn check(setup: &Setup) -> Result<(), InputError> {
    if setup.pp == 0 {
        return Err(InputError::new("`pp` must be at least 1, found 0"));
    }
    if setup.pp > 1 && setup.as_blis {
        return Err(InputError::new(format!(
            "`pp` {}: under `rules` blis there is no pipeline parallelism, as that simulator has none; give `rules` vllm",
            setup.pp
        )));
    }
    Ok(())
}

/// Refuses more stages than layers.
pub(super) fn check_stages(pp: u32, layers: u64, model: &str) -> Result<(), InputError> {
    if u64::from(pp) <= layers {
        return Ok(());
    }
    Err(InputError::new(format!(
        "`pp` is {pp}, but {model} has {layers} layers; expected at most one stage for each"
    )))
}

/// Has an instance stages, or several nodes?
pub(super) fn is_wide(spread: &Spread) -> bool {
    spread.pp > 1 || spread.nodes() > 1
}

/// Coefficients of trained-physics for a stage: what a step costs besides its layers is paid once,
/// by the first stage, and what each of its requests costs by the one that samples.
pub(super) fn of_stage(beta: &[f64], stage: &ModelArch) -> Vec<f64> {
    let mut beta = beta.to_vec();
    if !stage.samples {
        beta[5] = 0.0;
    }
    if !stage.embeds {
        beta[6] = 0.0;
    }
    beta
}
