//! What a measured profile says of an engine, and what it and measured kernels do not cover.

use windtunnel_base::input::InputError;
use windtunnel_config::pool::EngineSpec;
use windtunnel_engine::instance::EngineConfig;
use windtunnel_engine::latency::{Extrapolation, MaxModelLenSource, Resolved};
use windtunnel_engine::profile::EngineProfile;

/// Finishes an engine whose limits are decided, if its step times are those of a profile: its
/// watermark, and whether its steps may have more than was measured.
pub(crate) fn configure(
    engine: &mut EngineConfig,
    spec: &EngineSpec,
    resolved: &mut Resolved,
) -> Result<(), InputError> {
    let Some(profile) = resolved.profile.clone() else {
        return Ok(());
    };
    let limits = profile.measured().limits;
    if let (None, Some(kept)) = (spec.watermark, limits.num_watermark_blocks) {
        let blocks = engine.total_kv_blocks;
        if kept >= blocks {
            return Err(InputError::in_file(
                &profile.measured().file,
                format!("{kept} watermark blocks of {blocks} KV blocks leave none to use"),
            ));
        }
        engine.scheduling.watermark = kept as f64 / blocks as f64;
    }
    let is_profilesim = spec.profile.as_deref() == Some(EngineProfile::ProfileSim.name());
    if is_profilesim && resolved.max_model_len_source == MaxModelLenSource::Profile {
        // ProfileSim takes requests of any length; `check_listed` names those beyond it.
        resolved.max_model_len = 0;
        resolved.max_model_len_source = MaxModelLenSource::Unlimited;
        engine.max_model_len = 0;
    }
    profile.check_reach(engine.max_num_batched_tokens, engine.max_num_seqs)
}

/// What a run asked for outside of what was measured: notes, or an error where the profile must
/// not be extended.
pub(crate) fn outside(resolved: &[Resolved]) -> Result<Vec<String>, InputError> {
    let mut notes = Vec::new();
    for profile in resolved.iter().filter_map(|r| r.profile.as_ref()) {
        match (profile.told_outside(), profile.extrapolation()) {
            (Some(told), Extrapolation::Error) => {
                return Err(InputError::new(format!(
                    "{told}; `extrapolation` clamp or linear says what such steps take"
                )));
            }
            (Some(told), how) => notes.push(format!("{told}; `extrapolation` {how} decided")),
            (None, _) => {}
        }
    }
    let kernels = resolved.iter().filter_map(|r| r.kernels.as_ref());
    notes.extend(kernels.filter_map(|kernels| kernels.told_outside()));
    Ok(notes)
}
