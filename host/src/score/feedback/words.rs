//! Numbers and places as they are written in feedback.

use crate::score::report::Problem;

/// A score with its sign.
#[must_use]
pub fn signed(x: f64) -> String {
    // Not -0.0.
    format!("{:+.1}", if x.abs() < 0.05 { 0.0 } else { x })
}

/// A time given in milliseconds.
pub(super) fn time(ms: f64) -> String {
    match ms.abs() {
        10_000.0.. => format!("{:.1} s", ms / 1000.0),
        10.0.. => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

/// A number of which the first digits matter.
pub(super) fn amount(x: f64) -> String {
    if x.abs() >= 10.0 {
        format!("{x:.0}")
    } else {
        format!("{x:.1}")
    }
}

/// A problem's place and message, the beginning of a long one.
pub(super) fn placed(problem: &Problem) -> String {
    problem.placed().chars().take(400).collect()
}
