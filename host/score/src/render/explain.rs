//! Renders explanations of decisions.

use crate::explain::Explanation;
use crate::feedback::split_texts;
use crate::inspect::LoggedDecision;
use crate::regret::{Alternative, Counterfactual, Regret};
use std::fmt::Write;
use windtunnel_results::report::table::styled;

pub(super) const LEGEND: &str = "Below: instances as they were when the request was routed; \"saw\" is what the policy read of them. Cached: tokens of the prompt.
Age: of scraped fields. TTFT there, In all: the request's own, and the request-time of all within the window, had it been sent there.
";

/// The whole explanation.
#[must_use]
pub fn text(explained: &Explanation) -> String {
    let mut text = String::new();
    let score = explained.score.map_or(String::new(), |s| {
        format!(", where it is worst: score {s:+.1}")
    });
    let _ = writeln!(
        text,
        "{} on {} {}{score}",
        explained.candidate, explained.suite, explained.scenario
    );
    if let Some(fault) = &explained.inspection.fault {
        let _ = writeln!(text, "The run broke off: {fault}");
    }
    if let Some(splits) = &explained.inspection.splits {
        let _ = writeln!(text, "{}", split_texts::of_run(splits));
    }
    text += &regret(&explained.inspection.regret);
    if !explained.inspection.log.is_empty() {
        text += LEGEND;
    }
    for (k, logged) in explained.inspection.log.iter().enumerate() {
        let _ = writeln!(text);
        text += &decision(k + 1, logged);
    }
    text
}

fn ms(value: Option<f64>, none: &str) -> String {
    value.map_or(none.to_owned(), |v| format!("{v:.0} ms"))
}

pub(super) fn regret(regret: &Regret) -> String {
    if let Some(why) = &regret.unavailable {
        return format!("What other choices would have brought is not known: {why}\n");
    }
    format!(
        "{} decisions, spread over the run, were made otherwise and run {:.1} s ahead. Lost against the best that was tried: mean {:.0} ms of \
         request-time, p90 {:.0} ms; {:.0}% of the requests could have had their first token in half the time\n",
        regret.sampled,
        regret.window_s,
        regret.mean_ms,
        regret.p90_ms,
        100.0 * regret.half_ttft_elsewhere
    )
}

fn decision(number: usize, logged: &LoggedDecision) -> String {
    let mut text = format!("{number}. {}\n", request(logged));
    if let Some(prefilled) = &logged.request.prefilled {
        let _ = writeln!(text, "   {}", split_texts::of_request(prefilled));
    }
    let (columns, rows) = instances(logged);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut table = styled(&columns);
    table.add_rows(rows);
    let _ = writeln!(text, "{table}");
    text
}

/// A request, where it went and how it was served.
pub(super) fn request(logged: &LoggedDecision) -> String {
    let r = &logged.request;
    format!(
        "{} ({}, prompt {} tokens) came at {:.2} s, was sent to instance_{} at {:.2} s, waited {}, first token after {} (target {})",
        r.id,
        r.class,
        r.prompt_tokens,
        r.arrival_s,
        logged.chosen,
        logged.routed_s,
        ms(r.wait_ms, "to the end"),
        ms(r.ttft_ms, "never"),
        ms(r.target_ms, "none")
    )
}

/// The instances at the time of a decision: columns, and a row for each.
pub(super) fn instances(logged: &LoggedDecision) -> (Vec<String>, Vec<Vec<String>>) {
    let columns = [
        "Inst.",
        "Waiting",
        "Running",
        "In flight",
        "KV",
        "Cached",
        "Age",
    ];
    let mut columns: Vec<String> = columns.map(str::to_owned).to_vec();
    let first = logged.instances.first();
    let observed: Vec<&str> = first.map_or(Vec::new(), |s| {
        s.observed.keys().map(String::as_str).collect()
    });
    columns.extend(observed.iter().map(|name| format!("saw {name}")));
    let scores = logged.instances.iter().any(|s| s.score.is_some());
    if scores {
        columns.push("Score".to_owned());
    }
    let tried = logged.counterfactual.is_some();
    if tried {
        columns.extend(["TTFT there", "In all"].map(str::to_owned));
    }
    let mut rows = Vec::new();
    for instance in &logged.instances {
        let mark = if instance.id == logged.chosen {
            " <-"
        } else {
            ""
        };
        let mut row = vec![
            format!("{}{mark}", instance.id),
            instance.waiting.to_string(),
            instance.running.to_string(),
            instance.in_flight.to_string(),
            format!("{:.0}%", 100.0 * instance.kv),
            instance.cached_tokens.to_string(),
            ms(instance.age_ms, "-"),
        ];
        row.extend(observed.iter().map(|name| {
            let value = instance.observed.get(*name).copied().unwrap_or_default();
            // Three decimals are enough to compare.
            format!("{}", (value * 1000.0).round() / 1000.0)
        }));
        if scores {
            row.push(instance.score.map_or("-".into(), |s| format!("{s:.3}")));
        }
        if let Some(counterfactual) = &logged.counterfactual {
            row.extend(consequences(counterfactual, instance.id));
        }
        rows.push(row);
    }
    (columns, rows)
}

/// Consequences of sending a request to an instance: its time to first token, and the request-time
/// of all requests relative to the choice that was made.
fn consequences(counterfactual: &Counterfactual, instance: u32) -> [String; 2] {
    let made = counterfactual.chosen.instance == instance;
    let tried = counterfactual
        .alternatives
        .iter()
        .find(|a| a.instance == instance);
    let shown = |a: &Alternative| {
        let extra = if made {
            "0".into()
        } else {
            format!("{:+.0} ms", a.extra_ms)
        };
        [ms(a.ttft_ms, "later"), extra]
    };
    match (made, tried) {
        (true, _) => shown(&counterfactual.chosen),
        (false, Some(a)) => shown(a),
        (false, None) => ["not tried".into(), String::new()],
    }
}
