//! Runs whose requests are released before the k-th forward pass.

use crate::deployment::Deployment;
use crate::settings::Given;
use crate::spec::RunSpec;
use crate::workload::{LENGTH_SETTINGS, Opened, TRACE_SETTINGS, horizon};
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_workload::pass_release::{Listed, PassRelease, is_pass_release};

/// The requests, if the run names a list of such.
pub(crate) fn open(
    run: &RunSpec,
    given: &Given,
    deployment: &Deployment,
) -> Result<Option<Opened>, InputError> {
    let w = &run.workload;
    let path = match (w.name.as_deref(), &w.traces_filepath) {
        (Some("traces"), Some(path)) => path.as_path(),
        (Some(name), None) => Path::new(name),
        _ => return Ok(None),
    };
    if w.replay.is_some()
        || w.spec.is_some()
        || w.reqgen_config_path.is_some()
        || !is_pass_release(path)
    {
        return Ok(None);
    }
    let own = "with requests that are released by forward passes";
    given.reject_unless(&LENGTH_SETTINGS, false, own)?;
    let others = [
        "rate",
        "concurrency",
        "think_time_ms",
        "max_prompts",
        "timeout",
    ];
    given.reject_unless(&others, false, own)?;
    let of_traces: Vec<&str> = TRACE_SETTINGS
        .into_iter()
        .filter(|n| *n != "strict")
        .collect();
    given.reject_unless(&of_traces, false, own)?;
    let instances = deployment.config().instances();
    if instances != 1 {
        return Err(InputError::in_file(
            path.display(),
            format!(
                "its requests are released by the passes of one instance; `num_instances` is {instances}"
            ),
        ));
    }
    let source = PassRelease::load(path)?;
    let notes = check(source.requests(), deployment, w.trace.strict)?;
    let description = format!(
        "{}, {} requests released by forward passes",
        path.display(),
        source.requests().len()
    );
    Ok(Some(Opened {
        notes,
        ..Opened::of(Box::new(source), description, horizon(run)?)
    }))
}

/// Says which of the listed requests the engine does not serve, or not whole, and why; with
/// `strict` it is an error.
fn check(
    listed: &[Listed],
    deployment: &Deployment,
    strict: bool,
) -> Result<Vec<String>, InputError> {
    let mut notes = Vec::new();
    let engine = &deployment.config().pools[0].engine;
    let limit = engine.max_model_len;
    let measured = deployment
        .resolved()
        .first()
        .and_then(|r| r.profile.as_ref());
    let measured = measured.and_then(|p| p.measured().limits.max_model_len);
    let measured = measured.filter(|_| engine.rules.v0_kv_blocks && limit == 0);
    for request in listed {
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
        if strict {
            return Err(InputError::new(message));
        }
        notes.push(message);
    }
    Ok(notes)
}
