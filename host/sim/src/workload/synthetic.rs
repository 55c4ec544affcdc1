//! Synthetic traffic at a rate: how long it comes, and which part of the run is measured.

use crate::opened::Opened;
use crate::settings::Given;
use crate::spec::{ArrivalsSpec, LengthSpec, LoadGeneratorSpec, RunSpec, WorkloadSpec};
use crate::xpusim_traffic::{DURATION_S, XPUSIM, drawn, measured};
use windtunnel_base::input::InputError;
use windtunnel_config::Defaults;
use windtunnel_workload::synthetic::{Distribution, Length, MOST_REQUESTS, Parameters};
use windtunnel_workload::xpusim::{Parameters as XpuSimParameters, XpuSimTraffic};

/// Settings of synthetic lengths.
pub(crate) const LENGTH_SETTINGS: [&str; 9] = [
    "prefix_tokens",
    "prompt_tokens",
    "prompt_tokens_stdev",
    "prompt_tokens_min",
    "prompt_tokens_max",
    "output_tokens",
    "output_tokens_stdev",
    "output_tokens_min",
    "output_tokens_max",
];

/// Refuses times where they would change nothing; `preset`: is it synthetic traffic at a rate?
pub(super) fn check_times(run: &RunSpec, given: &Given, preset: bool) -> Result<(), InputError> {
    let w = &run.workload;
    let others = w.replay.is_some()
        || w.reqgen_config_path.is_some()
        || w.spec.is_some()
        || w.concurrency.is_some();
    given.reject_unless(
        &["duration", "warm_up"],
        !others && (preset || w.name.as_deref() == Some(XPUSIM)),
        "without synthetic traffic at a `rate`",
    )?;
    let evenly = matches!(
        w.load_generator,
        None | Some(LoadGeneratorSpec::ConstantRate)
    );
    given.reject_unless(
        &["arrivals", "burstiness"],
        !others && preset && evenly,
        "without synthetic traffic at a `rate`",
    )?;
    given.reject_unless(
        &["warm_up"],
        measured(w)?.is_some(),
        "without `duration`, which says how long is measured after it",
    )?;
    given.reject_unless(
        &["warm_up"],
        !run.outputs.summary_only,
        "with `summary_only`, which keeps no request's record",
    )
}

/// The same in microseconds, of a run that was found to be right.
pub(crate) fn measured_us(run: &RunSpec) -> Option<[i64; 2]> {
    let window = measured(&run.workload).ok().flatten()?;
    let us = window.map(|seconds| (seconds * 1e6).round() as i64);
    (!run.outputs.summary_only).then_some(us)
}

/// Requests at a rate, with the lengths of the run or of a preset; `evenly` spaced if the run does
/// not say how.
pub(super) fn at_a_rate(
    run: &RunSpec,
    given: &Given,
    defaults: &Defaults,
    horizon_us: i64,
    evenly: bool,
) -> Result<Opened, InputError> {
    let w = &run.workload;
    let (prefix_tokens, prompt, output) = lengths(w, given, defaults)?;
    let name = w.name.as_deref().unwrap_or("distribution");
    let rate = w.rate.unwrap_or(1.0);
    let until = measured(w)?.map(|[_, end]| end);
    given.reject_unless(
        &["max_prompts"],
        until.is_none(),
        "with `duration`, which says when the last request comes",
    )?;
    // As many as there can be: the time cuts them.
    let burstiness = burstiness(w, evenly);
    given.reject_unless(
        &["burstiness"],
        w.arrivals != Some(ArrivalsSpec::Constant),
        "with `arrivals` constant",
    )?;
    let by_time = until.map(|end| match burstiness {
        // Of random ones there may be any number.
        Some(_) => MOST_REQUESTS,
        None => (end * rate) as u64 + 2,
    });
    let num_requests = by_time.unwrap_or(w.num_requests.unwrap_or(100));
    let seed = run.seed();
    let at_once = w.load_generator == Some(LoadGeneratorSpec::AllAtOnce);
    let until_us = until.map_or(i64::MAX, |end| (end * 1e6).round() as i64 + 1);
    let source = Distribution::new(Parameters {
        rate,
        num_requests,
        prefix_tokens,
        prompt,
        output,
        horizon_us: horizon_us.min(until_us),
        seed,
        timeout_us: timeout(w)?,
        from_zero: false,
        at_once,
        burstiness,
    })?;
    let amount = match until {
        Some(end) => format!("{end} s of requests"),
        None => format!("{num_requests} requests"),
    };
    let pace = match at_once {
        true => "at once".to_owned(),
        false => match burstiness {
            None => format!("at {rate} request/s (evenly spaced)"),
            Some(1.0) => format!("at {rate} request/s (Poisson)"),
            Some(b) => format!("at {rate} request/s (burstiness {b})"),
        },
    };
    Ok(Opened::of(
        Box::new(source),
        format!("{name}, {amount} {pace}, seed {seed}"),
        horizon_us,
    ))
}

/// Shape of the gaps between requests; `None` = they are equal, as they are by default if they come
/// `evenly`.
fn burstiness(w: &WorkloadSpec, evenly: bool) -> Option<f64> {
    match (w.arrivals, w.burstiness) {
        (_, Some(given)) => Some(given),
        (Some(ArrivalsSpec::Poisson), None) => Some(1.0),
        (Some(ArrivalsSpec::Constant), None) => None,
        // A load generator says how they come.
        (None, None) => (!evenly && w.load_generator.is_none()).then_some(1.0),
    }
}

/// XpuSim's traffic.
pub(super) fn as_xpusim(
    run: &RunSpec,
    given: &Given,
    horizon_us: i64,
) -> Result<Opened, InputError> {
    let w = &run.workload;
    given.reject_unless(
        &[
            "max_prompts",
            "prefix_tokens",
            "prompt_tokens_stdev",
            "prompt_tokens_min",
            "output_tokens_stdev",
            "output_tokens_min",
        ],
        false,
        "with `workload` xpusim, which has a `duration`, and lengths by `prompt_tokens` and `output_tokens` and their \
         largest values",
    )?;
    let end = measured(w)?.map_or(DURATION_S, |[_, end]| end);
    let parameters = XpuSimParameters {
        horizon_us,
        timeout_us: w.timeout.map(|_| timeout(w)).transpose()?.flatten(),
        ..drawn(run, end)
    };
    let (rate, seed) = (parameters.rate, parameters.seed);
    let source = XpuSimTraffic::new(&parameters)?;
    Ok(Opened::of(
        Box::new(source),
        format!("{XPUSIM}, {end} s of requests at {rate} request/s, seed {seed}"),
        horizon_us,
    ))
}

/// The time limit of every request, microseconds.
pub(super) fn timeout(w: &WorkloadSpec) -> Result<Option<i64>, InputError> {
    let seconds = w.timeout.unwrap_or(300.0);
    if !seconds.is_finite() || seconds == 0.0 {
        return Err(InputError::new(format!(
            "`timeout` {seconds} must be above 0 seconds, or negative for none"
        )));
    }
    Ok((seconds > 0.0).then_some((seconds * 1e6) as i64))
}

/// Shared prefix, prompt and output lengths of a preset or as given.
pub(super) fn lengths(
    w: &WorkloadSpec,
    given: &Given,
    defaults: &Defaults,
) -> Result<(u32, Length, Length), InputError> {
    let length = |mean: u32, stdev: u32, min, max| Length {
        mean: f64::from(mean),
        stdev: f64::from(stdev),
        min,
        max,
    };
    let name = w.name.as_deref().unwrap_or("distribution");
    if name == "distribution" {
        let of = |l: &LengthSpec| {
            length(
                l.mean.unwrap_or(512),
                l.stdev.unwrap_or(256),
                l.min.unwrap_or(2),
                l.max.unwrap_or(7000),
            )
        };
        let prefix = w.prefix_tokens.unwrap_or(0);
        return Ok((prefix, of(&w.prompt_tokens), of(&w.output_tokens)));
    }
    let why =
        format!("with the preset \"{name}\", which sets all lengths; use `workload` distribution");
    given.reject_unless(&LENGTH_SETTINGS, false, &why)?;
    let preset = defaults.preset(name)?;
    let of = |l: windtunnel_config::LengthPreset| length(l.mean, l.stdev, l.min, l.max);
    Ok((preset.prefix, of(preset.prompt), of(preset.output)))
}
