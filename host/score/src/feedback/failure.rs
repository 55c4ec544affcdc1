//! Feedback on a candidate that does not work.

use super::format::placed;
use super::text::{fit, item};
use crate::report::{FeedbackItem, Problem, Stage};

/// The feedback: each problem with the lines around it. `worked` is (successful runs, attempted
/// runs).
#[must_use]
pub fn failed(
    stage: Stage,
    problems: &[Problem],
    worked: Option<(usize, usize)>,
) -> (String, Vec<FeedbackItem>) {
    let mut items = Vec::new();
    let where_ = match stage {
        Stage::Lint => "before it ran",
        Stage::Smoke => "on its first runs, small clusters in which every hook has to work",
        Stage::Quick => "in the short runs that come before the whole suite",
        Stage::Full => "in the whole suite",
    };
    let far = worked.map_or(String::new(), |(k, n)| {
        format!(" It works in {k} of {n} runs.")
    });
    let text = format!("SCORE -100: it does not work; it failed {where_}.{far}");
    items.push(item(None, "score", text));
    for problem in problems {
        let scenario = problem.scenario.as_deref();
        items.push(item(scenario, problem.kind.name(), described(problem)));
    }
    (fit(&items), items)
}

fn described(problem: &Problem) -> String {
    let mut text = format!("ERROR {}", problem.kind.name());
    if let Some(scenario) = &problem.scenario {
        text += &format!(" [{scenario}]");
    }
    let mut when = Vec::new();
    when.extend(problem.hook.as_ref().map(|h| format!("hook {h}")));
    when.extend(problem.request.as_ref().map(|r| format!("on {r}")));
    if !when.is_empty() {
        text += &format!(" ({})", when.join(", "));
    }
    text += &format!(": {}", placed(problem));
    if let Some(hint) = &problem.hint
        && !problem.message.contains(hint.as_str())
    {
        text += &format!("; {hint}");
    }
    let marked = problem.line.map(|line| format!("{line}: "));
    for line in problem.snippet.iter().flat_map(|s| s.lines()) {
        let here = marked
            .as_ref()
            .is_some_and(|m| line.starts_with(m.as_str()));
        text += &format!("\n{} {line}", if here { ">" } else { " " });
    }
    text
}
