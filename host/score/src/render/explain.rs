//! Explanations of decisions for people.

use crate::explain::Explanation;
use crate::regret::{Fork, Regret, Way};
use crate::watch::Logged;
use std::fmt::Write;
use windtunnel_results::report::table::styled;

const LEGEND: &str = "Below: instances as they were when the request was routed; \"saw\" is what the policy read of them. Cached: tokens of the prompt.
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
    if let Some(fault) = &explained.watched.fault {
        let _ = writeln!(text, "The run broke off: {fault}");
    }
    text += &regret(&explained.watched.regret);
    if !explained.watched.log.is_empty() {
        text += LEGEND;
    }
    for (k, logged) in explained.watched.log.iter().enumerate() {
        let _ = writeln!(text);
        text += &decision(k + 1, logged);
    }
    text
}

fn ms(value: Option<f64>, none: &str) -> String {
    value.map_or(none.to_owned(), |v| format!("{v:.0} ms"))
}

fn regret(regret: &Regret) -> String {
    if let Some(why) = &regret.none {
        return format!("What other choices would have brought is not known: {why}\n");
    }
    format!(
        "{} decisions, spread over the run, were made otherwise and run {:.1} s ahead. Lost against the best that was tried: mean {:.0} ms of \
         request-time, p90 {:.0} ms; {:.0}% of the requests could have had their first token in half the time\n",
        regret.sampled,
        regret.window_s,
        regret.mean_ms,
        regret.p90_ms,
        100.0 * regret.twice
    )
}

fn decision(number: usize, logged: &Logged) -> String {
    let mut text = String::new();
    let r = &logged.request;
    let _ = writeln!(
        text,
        "{number}. {} ({}, prompt {} tokens) came at {:.2} s, was sent to instance_{} at {:.2} s, waited {}, first token after {} (target {})",
        r.id,
        r.class,
        r.prompt_tokens,
        r.arrival_s,
        logged.chosen,
        logged.routed_s,
        ms(r.wait_ms, "to the end"),
        ms(r.ttft_ms, "never"),
        ms(r.target_ms, "none")
    );
    let mut columns = vec![
        "Inst.",
        "Waiting",
        "Running",
        "In flight",
        "KV",
        "Cached",
        "Age",
    ];
    let first = logged.instances.first();
    let saw: Vec<&str> = first.map_or(Vec::new(), |s| s.saw.keys().map(String::as_str).collect());
    let headings: Vec<String> = saw.iter().map(|name| format!("saw {name}")).collect();
    columns.extend(headings.iter().map(String::as_str));
    let scores = logged.instances.iter().any(|s| s.score.is_some());
    if scores {
        columns.push("Score");
    }
    let tried = logged.fork.is_some();
    if tried {
        columns.extend(["TTFT there", "In all"]);
    }
    let mut table = styled(&columns);
    for seen in &logged.instances {
        let mark = if seen.id == logged.chosen { " <-" } else { "" };
        let mut row = vec![
            format!("{}{mark}", seen.id),
            seen.waiting.to_string(),
            seen.running.to_string(),
            seen.in_flight.to_string(),
            format!("{:.0}%", 100.0 * seen.kv),
            seen.cached_tokens.to_string(),
            ms(seen.age_ms, "-"),
        ];
        row.extend(saw.iter().map(|name| {
            let value = seen.saw.get(*name).copied().unwrap_or_default();
            // As many digits as tell something.
            format!("{}", (value * 1000.0).round() / 1000.0)
        }));
        if scores {
            row.push(seen.score.map_or("-".into(), |s| format!("{s:.3}")));
        }
        if let Some(fork) = &logged.fork {
            row.extend(way(fork, seen.id));
        }
        table.add_row(row);
    }
    let _ = writeln!(text, "{table}");
    text
}

/// What came of sending a request to an instance: its time to first token, and the request-time of
/// all against the choice made.
fn way(fork: &Fork, instance: u32) -> [String; 2] {
    let made = fork.chosen.instance == instance;
    let tried = fork.others.iter().find(|way| way.instance == instance);
    let told = |way: &Way| {
        let extra = if made {
            "0".into()
        } else {
            format!("{:+.0} ms", way.extra_ms)
        };
        [ms(way.ttft_ms, "later"), extra]
    };
    match (made, tried) {
        (true, _) => told(&fork.chosen),
        (false, Some(way)) => told(way),
        (false, None) => ["not tried".into(), String::new()],
    }
}
