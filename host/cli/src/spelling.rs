//! How messages name settings: as flags on the command line, by their bare names in Python.

use super::scheduling_args::SWITCHES;
use windtunnel_sim::settings;

/// The files that a run writes, by their names as settings.
pub const FILES: [&str; 11] = [
    "results_path",
    "metrics_path",
    "trace_output",
    "decisions_path",
    "kv_events_path",
    "step_log",
    "saturation_report",
    "time_series",
    "timeline",
    "html",
    "script_log",
];

/// Other flags that messages from below name: of leaderboards, suites, plans and gates.
const OTHERS: [&str; 6] = [
    "name",
    "traces",
    "holdout_salt_file",
    "train_salt",
    "slo",
    "fail_if",
];

/// `message` with the settings in backticks, the files that a run writes, and the other flags that
/// are named below the command line, as `spell` writes them.
#[must_use]
pub fn spelled(message: &str, spell: impl Fn(&str) -> String) -> String {
    settings::spelled(message, |name| {
        let known =
            settings::key(name).is_some() || FILES.contains(&name) || OTHERS.contains(&name);
        known.then(|| spell(name))
    })
}

/// `message` with its settings as flags.
#[must_use]
pub fn in_flags(message: &str) -> String {
    spelled(message, |name| match name {
        name if SWITCHES.contains(&name) => format!("--[no-]{}", name.replace('_', "-")),
        "kv_events" => "--kv-events-path".to_owned(),
        "steps" => "--step-log".to_owned(),
        "series" => "--time-series".to_owned(),
        "decisions" => "--trace-level decisions".to_owned(),
        name => format!("--{}", name.replace('_', "-")),
    })
}
