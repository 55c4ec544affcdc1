//! A deployment whose step times were measured: the profile says what it is.

use super::super::capacity::KvMemory;
use super::super::deployment::{KvBlocksSource, MaxModelLenSource, Resolved, Setup};
use super::super::kind::LatencyModelKind;
use super::super::profile::Profile;
use super::stages::refuse_pipeline;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::{StepProfile, Upkeep};

/// Decides a deployment by its profile. What is given goes before what the profile says, but
/// neither changes what was measured: that is noted.
pub(super) fn resolve(setup: &Setup) -> Result<Resolved, InputError> {
    refuse_pipeline(setup, LatencyModelKind::Profile)?;
    let Some(path) = &setup.profile else {
        return Err(InputError::new(
            "`latency_model` profile needs `profile` FILE, a table of measured step times",
        ));
    };
    let measured = StepProfile::load(path)?;
    let limits = measured.limits;
    let mut notes = measured.notes.clone();
    let mut differs = |what: &str, given: Option<&str>, there: Option<&str>| {
        if let Some((given, there)) = given.zip(there)
            && !given.eq_ignore_ascii_case(there)
        {
            notes.push(format!(
                "{what} is {given}, but the step times of {} were measured with {there}",
                measured.file
            ));
        }
    };
    let model = setup.model.trim();
    let given = (!model.is_empty()).then_some(model);
    differs("`model`", given, measured.model.as_deref());
    differs(
        "`hardware`",
        setup.gpu.as_deref(),
        measured.device.as_deref(),
    );
    let tensor = measured.tensor.map(|tp| tp.to_string());
    let tp = setup.tp.map(|tp| tp.to_string());
    differs("`tp`", tp.as_deref(), tensor.as_deref());
    let name = given.or(measured.model.as_deref()).unwrap_or("unnamed");
    let (total_kv_blocks, kv_blocks_source) = match (setup.total_kv_blocks, limits.num_gpu_blocks) {
        (Some(blocks), _) => (blocks, KvBlocksSource::Flag),
        (None, Some(0)) => return Err(measured_zero(&measured, "KV blocks")),
        (None, Some(blocks)) => (blocks, KvBlocksSource::Profile),
        (None, None) => {
            return Err(InputError::in_file(
                &measured.file,
                "it does not say how many KV blocks there are; give `total_kv_blocks`",
            ));
        }
    };
    if limits.block_size == Some(0) {
        return Err(measured_zero(&measured, "tokens per KV block"));
    }
    if limits.max_num_seqs == Some(0) {
        return Err(measured_zero(&measured, "`max_num_running_reqs`"));
    }
    if limits.max_num_batched_tokens == Some(0) {
        return Err(measured_zero(&measured, "`max_num_scheduled_tokens`"));
    }
    if limits.max_model_len == Some(0) {
        return Err(measured_zero(&measured, "`max_model_len`"));
    }
    let (max_model_len, max_model_len_source) = match (setup.max_model_len, limits.max_model_len) {
        (Some(0), _) | (None, None) => (0, MaxModelLenSource::Unlimited),
        (Some(tokens), _) => (tokens, MaxModelLenSource::Flag),
        (None, Some(tokens)) => (tokens, MaxModelLenSource::Profile),
    };
    let gpu = setup.gpu.clone().or_else(|| measured.device.clone());
    let tp = setup.tp.or(measured.tensor);
    // Of an unknown number of GPUs nobody knows what they take.
    let known = gpu.as_ref().filter(|_| tp.is_some());
    let upkeep = known.map_or_else(Upkeep::default, |gpu| setup.defaults.hardware.upkeep(gpu));
    let tp = tp.unwrap_or(1);
    let vllm_version = measured.engine.clone();
    let profile = Arc::new(Profile::new(measured.clone(), setup.extrapolation));
    let memory: Option<KvMemory> = None;
    Ok(Resolved {
        model: name.to_lowercase(),
        canonical: name.to_owned(),
        gpu: gpu.unwrap_or_default(),
        tp,
        dp: setup.dp,
        pp: 1,
        layers_per_stage: Vec::new(),
        spread: None,
        fullest_stage: None,
        vllm_version,
        latency_kind: LatencyModelKind::Profile,
        latency: profile.clone(),
        profile: Some(profile),
        kernels: None,
        total_kv_blocks,
        kv_blocks_source,
        kv_element_bytes: 2.0,
        memory,
        device_memory: None,
        max_model_len,
        max_model_len_source,
        alpha: vec![0.0; 3],
        beta: Vec::new(),
        notes,
        is_moe: false,
        arch: None,
        hardware: None,
        capex_usd: None,
        upkeep,
    })
}

fn measured_zero(measured: &StepProfile, what: &str) -> InputError {
    InputError::in_file(
        &measured.file,
        format!("{what}: expected 1 or more, found 0"),
    )
}
