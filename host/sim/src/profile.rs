//! What a measured profile says of an engine, and what it does not cover.

use crate::spec::RunSpec;
use crate::workload::Opened;
use windtunnel_base::input::InputError;
use windtunnel_config::pool::EngineSpec;
use windtunnel_engine::cluster::PoolConfig;
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

/// Says which of the listed requests the engine does not serve, or not whole, and why; with
/// `strict` it is an error.
pub(crate) fn check_listed(
    pool: &PoolConfig,
    resolved: Option<&Resolved>,
    run: &RunSpec,
    workload: &mut Opened,
) -> Result<(), InputError> {
    let engine = &pool.engine;
    let limit = engine.max_model_len;
    let measured = resolved.and_then(|r| r.profile.as_ref());
    let measured = measured.and_then(|p| p.measured().limits.max_model_len);
    let measured = measured.filter(|_| engine.rules.v0_kv_blocks && limit == 0);
    for request in &workload.listed {
        let (prompt, output) = (u64::from(request.prompt), u64::from(request.output));
        let (needed, usable) = engine.prompt_blocks(prompt);
        let kept = engine.total_kv_blocks - usable;
        let what = if limit > 0 && prompt + output > limit {
            let then = match (prompt >= limit, engine.rules.clamp_output_budget) {
                (false, true) => format!("its output is cut down to {} tokens", limit - prompt),
                _ => "it is dropped".to_owned(),
            };
            format!(
                "prompt {prompt} + output {output} = {} tokens exceeds `max_model_len` {limit}: {then}",
                prompt + output
            )
        } else if needed > usable {
            let of = match kept {
                0 => String::new(),
                kept => format!(" ({} - {kept} watermark)", engine.total_kv_blocks),
            };
            format!(
                "its prompt of {prompt} tokens needs {needed} blocks, the KV cache has {usable} usable{of}: it is dropped"
            )
        } else if measured.is_some_and(|len| prompt + output > len) {
            format!(
                "prompt {prompt} + output {output} = {} tokens exceeds the profile's max_model_len {}: `engine` profilesim \
                 serves it all the same, as ProfileSim does; `max_model_len` makes it a limit",
                prompt + output,
                measured.unwrap_or_default()
            )
        } else {
            continue;
        };
        let message = format!("{}: {what}", request.id);
        if run.workload.trace.strict {
            return Err(InputError::new(message));
        }
        workload.notes.push(message);
    }
    Ok(())
}

/// What a run asked for outside of what was measured: a note, or an error where the profile must
/// not be extended.
pub(crate) fn outside(resolved: &Resolved) -> Result<Option<String>, InputError> {
    let Some(profile) = &resolved.profile else {
        return Ok(None);
    };
    let told = profile.told_outside();
    match (told, profile.extrapolation()) {
        (Some(told), Extrapolation::Error) => Err(InputError::new(format!(
            "{told}; `extrapolation` clamp or linear says what such steps take"
        ))),
        (Some(told), how) => Ok(Some(format!("{told}; `extrapolation` {how} decided"))),
        (None, _) => Ok(None),
    }
}
