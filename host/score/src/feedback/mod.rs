//! Feedback for the author of the next candidate, most useful first. Equal runs have equal
//! feedback, and it is short enough for a prompt.
//!
//! [`facts`] come from the records of every run. What only an [inspection](super::inspect) shows is
//! known of the worst scenarios.

pub mod facts;
mod failure;
mod findings;
mod format;
mod problems;
pub mod scaling;
mod scaling_texts;
pub mod split_texts;
pub mod splits;
mod text;

pub use failure::failed;
pub use findings::{Figure, Headline, ScenarioFindings};
pub use format::signed;
pub use text::{MOST_TOKENS, tokens};

use super::objective::Unit;
use super::regret::Alternative;
use super::report::{FeedbackItem, Problem};
use format::{amount, time};
use problems::problems;
use text::{fit, item};
use windtunnel_base::input::visible;

/// Most problems in the feedback.
const MOST_PROBLEMS: usize = 6;
/// Most warnings of the lint in the feedback.
const MOST_WARNINGS: usize = 2;

/// The feedback on a candidate that works: its text and its items.
#[must_use]
pub fn compose(
    headline: &Headline,
    scenarios: &[ScenarioFindings<'_>],
    warnings: &[Problem],
) -> (String, Vec<FeedbackItem>) {
    let mut items = vec![score(headline, scenarios)];
    items.extend(worst(scenarios));
    items.extend(problems(scenarios, MOST_PROBLEMS));
    for findings in scenarios {
        items.extend(regret(findings));
    }
    items.extend(worst_requests(scenarios));
    items.extend(scenarios.iter().find_map(signals));
    items.extend(warnings.iter().take(MOST_WARNINGS).map(warning));
    if let Some(fuel) = headline.fuel {
        let text = format!(
            "COST {} units of fuel per call (a unit is a loop iteration, a function call or a return of short code). {}.",
            amount(headline.units_per_call),
            fuel.text()
        );
        // What may fail elsewhere is worth more than what is slow here.
        let at = if fuel.fails_if_3_times_longer {
            1
        } else {
            items.len()
        };
        items.insert(at, item(None, "cost", text));
    }
    (fit(&items), items)
}

fn score(headline: &Headline, scenarios: &[ScenarioFindings<'_>]) -> FeedbackItem {
    let interval = headline.ci95.map_or(String::new(), |[low, high]| {
        format!(" (95 % interval {} to {})", signed(low), signed(high))
    });
    let won = scenarios.iter().filter(|s| s.report.score > 0.0).count();
    let wins = format!(
        "against the best tuned reference of each scenario; wins {won} of {}",
        scenarios.len()
    );
    let score = signed(headline.score);
    let text = match &headline.stopped {
        Some((why, got)) => format!(
            "SCORE {}: stopped early ({why}); by what was seen it would be {score} {wins}.",
            signed(*got)
        ),
        None => format!("SCORE {score}{interval} {wins}."),
    };
    item(None, "score", text)
}

/// The scenario with the lowest score, with the objectives that cost it most, and the other losses.
fn worst(scenarios: &[ScenarioFindings<'_>]) -> Option<FeedbackItem> {
    let mut by_score: Vec<&ScenarioFindings<'_>> = scenarios.iter().collect();
    by_score.sort_by(|a, b| a.report.score.total_cmp(&b.report.score));
    let findings = by_score.first()?;
    let mut figures: Vec<&Figure> = findings.figures.iter().collect();
    figures.sort_by(|a, b| a.points.total_cmp(&b.points));
    let shown = figures.iter().take(3).map(|f| {
        let value = |x: f64| match f.unit {
            Unit::Share => format!("{:.1} %", 100.0 * x),
            Unit::Ms => time(x),
            Unit::GpuHours => format!("{x:.2} with misses"),
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
        findings.report.id,
        signed(findings.report.score),
        findings.report.best_builtin.as_deref().unwrap_or_default(),
        shown.collect::<Vec<_>>().join("; ")
    );
    let others = by_score[1..].iter().filter(|s| s.report.score < 0.0);
    let others = others.map(|s| format!("{} {}", s.report.id, signed(s.report.score)));
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        text += &format!(" Other losses: {}.", others.join(", "));
    }
    Some(item(Some(&findings.report.id), "worst", text))
}

fn regret(findings: &ScenarioFindings<'_>) -> Option<FeedbackItem> {
    let regret = &findings.inspection.as_ref()?.regret;
    let id = findings.report.id.as_str();
    if let Some(why) = &regret.unavailable {
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
        100.0 * regret.half_ttft_elsewhere
    );
    // What a request itself would have gained: a choice that only moves the waits of others says
    // nothing about it.
    let sooner = |a: &Alternative, chosen: &Alternative| match (a.ttft_ms, chosen.ttft_ms) {
        (Some(there), Some(here)) => time(there) != time(here) && there < here,
        (there, here) => there.is_some() && here.is_none(),
    };
    let gains = regret.counterfactuals.iter().filter_map(|decision| {
        let better = decision
            .alternatives
            .iter()
            .filter(|a| a.extra_ms < 0.0 && sooner(a, &decision.chosen));
        let best = better.min_by(|a, b| a.extra_ms.total_cmp(&b.extra_ms))?;
        Some((decision, best))
    });
    let best = gains.min_by(|(_, a), (_, b)| a.extra_ms.total_cmp(&b.extra_ms));
    if let Some((decision, best)) = best {
        let choice = |a: &Alternative| {
            let ttft = a.ttft_ms.map_or("not within it".into(), time);
            format!(
                "instance_{} ({} tokens cached, {} waiting): TTFT {ttft}",
                a.instance, a.cached_tokens, a.waiting
            )
        };
        text += &format!(
            " Largest: {} (prompt {} tokens, t={:.1} s) went to {}; on {}, {} less request-time in all.",
            decision.id,
            decision.prompt_tokens,
            decision.at_s,
            choice(&decision.chosen),
            choice(best),
            time(-best.extra_ms)
        );
    }
    Some(item(Some(id), "regret", text))
}

/// A name between the bars of a table.
fn cell(name: &str) -> String {
    visible(name).replace('|', "\\|")
}

fn worst_requests(scenarios: &[ScenarioFindings<'_>]) -> Option<FeedbackItem> {
    let findings = scenarios
        .iter()
        .min_by(|a, b| a.report.score.total_cmp(&b.report.score))?;
    let id = findings.report.id.as_str();
    let mut text = format!(
        "WORST REQUESTS [{id}] id | class | TTFT | target | instance | cached of prompt | wait"
    );
    for r in &findings.ours.worst {
        let log = findings.inspection.iter().flat_map(|w| &w.log);
        let cached = log
            .filter(|l| l.request.serial == r.serial)
            .find_map(|l| l.instances.iter().find(|i| i.id == l.chosen))
            .map_or("?".into(), |instance| instance.cached_tokens.to_string());
        let or = |ms: Option<f64>, none: &str| ms.map_or(none.to_owned(), time);
        text += &format!(
            "\n{} | {} | {} | {} | instance_{} | {cached} of {} | {}",
            cell(&r.id),
            cell(&r.class),
            or(r.ttft_ms, "never"),
            or(r.target_ms, "none"),
            r.instance,
            r.prompt_tokens,
            or(r.wait_ms, "to the end")
        );
        if let Some(prefilled) = &r.prefilled {
            text += &format!(" | {}", split_texts::of_request(prefilled));
        }
    }
    (!findings.ours.worst.is_empty()).then(|| item(Some(id), "worst_requests", text))
}

fn signals(findings: &ScenarioFindings<'_>) -> Option<FeedbackItem> {
    let signals = &findings.inspection.as_ref()?.signals;
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
    let text = format!("SIGNALS [{}] {}.", findings.report.id, said.join("; "));
    (!said.is_empty()).then(|| item(Some(&findings.report.id), "signals", text))
}

fn warning(problem: &Problem) -> FeedbackItem {
    let text = format!("WARNING {}", format::placed(problem));
    item(None, "warning", text)
}
