//! What a run says of XpuSim's traffic, and of the time that is measured.

use crate::spec::{LengthSpec, RunSpec, WorkloadSpec};
use windtunnel_base::input::InputError;
use windtunnel_workload::xpusim;

/// The name of XpuSim's traffic.
pub(crate) const XPUSIM: &str = "xpusim";
/// How long it is measured unless that is said, seconds.
pub(crate) const DURATION_S: f64 = 60.0;
/// The longest time, seconds (30 years).
const LONGEST_S: f64 = 1e9;

/// The time that is measured, seconds: after the warm-up, until no more requests come. `None` = the
/// workload does not say it.
pub(crate) fn measured(w: &WorkloadSpec) -> Result<Option<[f64; 2]>, InputError> {
    let is_xpusim = w.name.as_deref() == Some(XPUSIM);
    let Some(duration) = w.duration.or(is_xpusim.then_some(DURATION_S)) else {
        return Ok(None);
    };
    let warm_up = w.warm_up.unwrap_or(0.0);
    if !(duration > 0.0 && duration <= LONGEST_S) {
        return Err(InputError::new(format!(
            "`duration` is {duration}; expected seconds above 0, at most {LONGEST_S:e}"
        )));
    }
    if !(0.0..=LONGEST_S).contains(&warm_up) {
        return Err(InputError::new(format!(
            "`warm_up` is {warm_up}; expected seconds, 0 to {LONGEST_S:e}"
        )));
    }
    Ok(Some([warm_up, warm_up + duration]))
}

/// What XpuSim's traffic is drawn from, on a clock of microseconds and up to its end.
pub(crate) fn drawn(run: &RunSpec, until_s: f64) -> xpusim::Parameters {
    let w = &run.workload;
    let length = |l: &LengthSpec, usual, most| xpusim::Length {
        usual: l.mean.unwrap_or(usual),
        most: l.max.unwrap_or(most),
    };
    xpusim::Parameters {
        rate: w.rate.unwrap_or(2.0),
        evenly: false,
        until_s,
        goes_on: false,
        clock_per_s: 1e6,
        prompt: length(&w.prompt_tokens, 512, 1024),
        output: length(&w.output_tokens, 128, 256),
        seed: run.seed(),
        horizon_us: i64::MAX,
        timeout_us: None,
    }
}
