//! The outcome with exit code 3: nothing went wrong, and the answer is no.

use windtunnel_base::input::InputError;
use windtunnel_results::conditions::Condition;
use windtunnel_results::report::Results;

/// The flag.
pub(crate) const FAIL_IF: &str = "--fail-if";

/// What was asked for is not so: everything was read and computed, and a figure is beyond its
/// limit.
#[derive(Debug)]
pub(crate) struct GateFailed(pub(crate) String);

impl std::fmt::Display for GateFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GateFailed {}

/// The conditions of `--fail-if` on a run's figures.
///
/// # Errors
/// When they are malformed.
pub(crate) fn of_a_run(given: Option<&str>) -> Result<Vec<Condition>, InputError> {
    given.map_or(Ok(Vec::new()), |text| Condition::parse_all(FAIL_IF, text))
}

/// The same on figures that only the caller knows.
///
/// # Errors
/// When they are malformed or name other figures.
pub(crate) fn named(given: Option<&str>, names: &[&str]) -> Result<Vec<Condition>, InputError> {
    given.map_or(Ok(Vec::new()), |text| {
        Condition::parse_named(FAIL_IF, text, names)
    })
}

/// Fails where one of the conditions holds of a run. One on a figure of nothing is an error: it
/// would pass whatever happens.
///
/// # Errors
/// A [`GateFailed`], or when a figure is of nothing.
pub(crate) fn check_run(conditions: &[Condition], results: &Results<'_>) -> anyhow::Result<()> {
    check(conditions, "", |condition| condition.figure(results))
}

/// The same, with the figures that `figure` finds; `of` says whose they are.
pub(crate) fn check(
    conditions: &[Condition],
    of: &str,
    figure: impl Fn(&Condition) -> Option<f64>,
) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for condition in conditions {
        let Some(found) = figure(condition) else {
            let message = format!("{FAIL_IF} {condition}: {of}there is no such figure here");
            return Err(InputError::new(message).into());
        };
        if condition.holds(Some(found)) {
            failed.push(format!(
                "{} is {}",
                condition.name(),
                condition.shown(found)
            ));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(GateFailed(format!("{FAIL_IF}: {of}{}", failed.join(", "))).into()),
    }
}
