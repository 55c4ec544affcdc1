//! What the author of the next candidate should know, most useful first. Equal runs have equal
//! feedback, and it is short enough for a prompt.
//!
//! [`facts`] come from the records of every run; what only a [watched](super::watch) run shows is
//! known of the worst scenarios.

pub mod facts;
mod failure;
mod problems;
mod text;
mod told;
mod words;

pub use failure::failed;
pub use text::{MOST_TOKENS, tokens};
pub use told::{Figure, Head, Told};
pub use words::signed;

use super::report::{FeedbackItem, Problem};
use problems::problems;
use text::{fit, item};
use words::{amount, time};

/// Most problems in it.
const MOST_PROBLEMS: usize = 6;
/// Most warnings of the lint in it.
const MOST_WARNINGS: usize = 2;

/// The feedback on a candidate that works: its text and its pieces.
#[must_use]
pub fn compose(
    head: &Head,
    scenarios: &[Told<'_>],
    warnings: &[Problem],
) -> (String, Vec<FeedbackItem>) {
    let mut items = vec![score(head, scenarios)];
    items.extend(worst(scenarios));
    items.extend(problems(scenarios, MOST_PROBLEMS));
    for told in scenarios {
        items.extend(regret(told));
    }
    items.extend(worst_requests(scenarios));
    items.extend(scenarios.iter().find_map(signals));
    items.extend(warnings.iter().take(MOST_WARNINGS).map(warning));
    if head.units_per_call > 0.0 {
        let text = format!(
            "COST {} units of fuel per call (a unit is a loop iteration or a function call; a call may spend {}).",
            amount(head.units_per_call),
            windtunnel_policy::lua::CALL_UNITS
        );
        items.push(item(None, "cost", text));
    }
    (fit(&items), items)
}

fn score(head: &Head, scenarios: &[Told<'_>]) -> FeedbackItem {
    let interval = head.ci95.map_or(String::new(), |[low, high]| {
        format!(" (95 % interval {} to {})", signed(low), signed(high))
    });
    let won = scenarios.iter().filter(|s| s.report.score > 0.0).count();
    let wins = format!(
        "against the best tuned reference of each scenario; wins {won} of {}",
        scenarios.len()
    );
    let score = signed(head.score);
    let text = match &head.stopped {
        Some(why) => format!(
            "SCORE -100: stopped early ({why}); by what was seen it would be {score} {wins}."
        ),
        None => format!("SCORE {score}{interval} {wins}."),
    };
    item(None, "score", text)
}

/// The scenario with the lowest score, with the figures that decide, and the other losses.
fn worst(scenarios: &[Told<'_>]) -> Option<FeedbackItem> {
    let mut by_score: Vec<&Told<'_>> = scenarios.iter().collect();
    by_score.sort_by(|a, b| a.report.score.total_cmp(&b.report.score));
    let told = by_score.first()?;
    let mut figures: Vec<&Figure> = told.figures.iter().collect();
    figures.sort_by(|a, b| a.points.total_cmp(&b.points));
    let shown = figures.iter().take(3).map(|f| {
        let value = |x: f64| {
            if f.share {
                format!("{:.1} %", 100.0 * x)
            } else {
                time(x)
            }
        };
        let (ours, theirs) = (value(f.ours), value(f.theirs));
        format!(
            "{} {ours}, theirs {theirs} ({} points)",
            f.name,
            signed(f.points)
        )
    });
    let mut text = format!(
        "WORST [{}] {} against {}: {}.",
        told.report.id,
        signed(told.report.score),
        told.report.best_builtin.as_deref().unwrap_or_default(),
        shown.collect::<Vec<_>>().join("; ")
    );
    let others = by_score[1..].iter().filter(|s| s.report.score < 0.0);
    let others = others.map(|s| format!("{} {}", s.report.id, signed(s.report.score)));
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        text += &format!(" Other losses: {}.", others.join(", "));
    }
    Some(item(Some(&told.report.id), "worst", text))
}

fn regret(told: &Told<'_>) -> Option<FeedbackItem> {
    let regret = &told.watched.as_ref()?.regret;
    let id = told.report.id.as_str();
    if let Some(why) = &regret.none {
        let text = format!("REGRET [{id}] not known: {why}.");
        return Some(item(Some(id), "regret", text));
    }
    if regret.sampled == 0 {
        return None;
    }
    let mut text = format!(
        "REGRET [{id}] {} decisions were made otherwise and run {} ahead. Lost against the best that was tried: mean {} of request-time, p90 {}; \
         for {:.0} % of them the request's first token could have come in half the time.",
        regret.sampled,
        time(1000.0 * regret.window_s),
        time(regret.mean_ms),
        time(regret.p90_ms),
        100.0 * regret.twice
    );
    let most = regret
        .forks
        .iter()
        .max_by(|a, b| a.regret_ms.total_cmp(&b.regret_ms));
    let best = most.and_then(|fork| {
        let best = fork
            .others
            .iter()
            .min_by(|a, b| a.extra_ms.total_cmp(&b.extra_ms));
        Some((fork, best.filter(|way| way.extra_ms < 0.0)?))
    });
    if let Some((fork, best)) = best {
        let way = |way: &super::regret::Way| {
            let ttft = way.ttft_ms.map_or("not within it".into(), time);
            format!(
                "instance_{} ({} tokens cached, {} waiting): TTFT {ttft}",
                way.instance, way.cached_tokens, way.waiting
            )
        };
        text += &format!(
            " Largest: {} (prompt {} tokens, t={:.1} s) went to {}; on {}, {} less request-time in all.",
            fork.id,
            fork.prompt_tokens,
            fork.at_s,
            way(&fork.chosen),
            way(best),
            time(-best.extra_ms)
        );
    }
    Some(item(Some(id), "regret", text))
}

fn worst_requests(scenarios: &[Told<'_>]) -> Option<FeedbackItem> {
    let told = scenarios
        .iter()
        .min_by(|a, b| a.report.score.total_cmp(&b.report.score))?;
    let id = told.report.id.as_str();
    let mut text = format!(
        "WORST REQUESTS [{id}] id | class | TTFT | target | instance | cached of prompt | wait"
    );
    for r in &told.ours.worst {
        let log = told.watched.iter().flat_map(|w| &w.log);
        let cached = log
            .filter(|l| l.request.serial == r.serial)
            .find_map(|l| l.instances.get(l.chosen as usize))
            .map_or("?".into(), |seen| seen.cached_tokens.to_string());
        let or = |ms: Option<f64>, none: &str| ms.map_or(none.to_owned(), time);
        text += &format!(
            "\n{} | {} | {} | {} | instance_{} | {cached} of {} | {}",
            r.id,
            r.class,
            or(r.ttft_ms, "never"),
            or(r.target_ms, "none"),
            r.instance,
            r.prompt_tokens,
            or(r.wait_ms, "to the end")
        );
    }
    (!told.ours.worst.is_empty()).then(|| item(Some(id), "worst_requests", text))
}

fn signals(told: &Told<'_>) -> Option<FeedbackItem> {
    let signals = &told.watched.as_ref()?.signals;
    let mut said = Vec::new();
    if let Some(age) = signals.scraped_age_ms {
        let error = signals.queue_error.map_or(String::new(), |e| {
            format!(", queue_depth {e:.1} requests off in the mean")
        });
        said.push(format!(
            "scraped fields were {} old in the median when it decided{error}; in_flight and dispatched_tokens are always fresh",
            time(age)
        ));
    }
    if let Some(error) = signals.prefix_error {
        said.push(format!(
            "precise_prefix_blocks was out of date in {:.0} % of the decisions",
            100.0 * error
        ));
    }
    if !signals.unread.is_empty() {
        said.push(format!(
            "never read, though it varies here: {}",
            signals.unread.join(", ")
        ));
    }
    if !signals.constant.is_empty() {
        said.push(format!(
            "read, but always the same here: {}",
            signals.constant.join(", ")
        ));
    }
    let text = format!("SIGNALS [{}] {}.", told.report.id, said.join("; "));
    (!said.is_empty()).then(|| item(Some(&told.report.id), "signals", text))
}

fn warning(problem: &Problem) -> FeedbackItem {
    let text = format!("WARNING {}", words::placed(problem));
    item(None, "warning", text)
}
