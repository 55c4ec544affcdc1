//! The format of numbers and problems in feedback.

use crate::report::Problem;

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

/// A number with two significant digits or more.
pub(super) fn amount(x: f64) -> String {
    if x.abs() >= 10.0 {
        format!("{x:.0}")
    } else {
        format!("{x:.1}")
    }
}

/// A problem's place and message, cut to 400 characters.
pub(super) fn placed(problem: &Problem) -> String {
    problem.placed().chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ProblemKind;

    #[test]
    fn no_score_is_minus_zero() {
        assert_eq!(
            [-0.04, 0.0, 0.26, -3.0].map(signed),
            ["+0.0", "+0.0", "+0.3", "-3.0"]
        );
    }

    #[test]
    fn a_problem_names_its_place_once() {
        let told = |file: &str, line, message: &str| {
            let problem = Problem {
                line,
                ..Problem::new(ProblemKind::Lint, file, message)
            };
            placed(&problem)
        };
        assert_eq!(told("p.lua", Some(3), "wrong"), "p.lua:3: wrong");
        assert_eq!(told("p.lua", Some(3), "p.lua:3: wrong"), "p.lua:3: wrong");
        assert_eq!(told("p.lua", None, "too large"), "p.lua: too large");
        assert_eq!(told("", None, "too large"), "too large");
        assert_eq!(told("", None, &"x".repeat(1000)).len(), 400);
    }
}
