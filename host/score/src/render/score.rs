//! Renders reports on candidates.

use crate::compare::{CandidateComparison, Comparison, Difference};
use crate::feedback::signed;
use crate::report::Fresh;
use crate::{Problem, Report};
use std::fmt::Write;
use windtunnel_results::report::table::{styled, whole};
use windtunnel_results::report::width::{fit, left_out};

/// Why the score of a candidate that was stopped is not the one that it has elsewhere.
const STOPPED: &str = "Who is stopped scores below -99, behind all that went on. The score of all scenarios is that of the stage full,\n\
    which leaderboards hold: it takes candidates to the end, however bad they look\n";

fn verdict(report: &Report) -> String {
    match (&report.stopped, report.ok, report.score_ci95) {
        (Some(stopped), ..) => {
            let estimate = stopped.estimate.map_or(String::new(), |e| {
                format!("; by what was seen it would be {}", signed(e))
            });
            format!("stopped ({}){estimate}", stopped.reason)
        }
        (None, false, _) => "does not work".into(),
        (None, true, Some([low, high])) => {
            format!("95 % interval {} to {}", signed(low), signed(high))
        }
        (None, true, None) => "one seed: no interval".into(),
    }
}

/// A figure, or a dash where there is none.
fn or_dash(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A score as a ratio of costs, in words.
fn ratio(score: f64) -> String {
    let factor = (score.abs() / 100.0).exp();
    match format!("{factor:.2}") {
        same if same == "1.00" => "the same cost".to_owned(),
        times if score > 0.0 => format!("{times}x less cost"),
        times => format!("{times}x the cost"),
    }
}

/// The whole report.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} on {} {}: score {}{} ({})",
        report.candidate,
        report.suite,
        report.split,
        signed(report.score),
        if report.ok && report.stopped.is_none() {
            format!(", {}", ratio(report.score))
        } else {
            String::new()
        },
        verdict(report)
    );
    if report.ok && report.stopped.is_none() {
        text += "higher is better: 0 = as good as the best tuned reference in every scenario; +1 = 1 % less cost; TTFT in ms\n";
    }
    if report.stopped.is_some() {
        text += STOPPED;
    }
    if report.scenarios.iter().any(|s| s.metrics.is_some()) {
        let ms = |value| or_dash(value, |ms| format!("{ms:.0}"));
        let hours = |value| or_dash(value, |hours| format!("{hours:.2}"));
        let mut metrics = report.scenarios.iter().flat_map(|s| &s.metrics);
        let scaled = metrics.any(|m| m.gpu_hours.is_some());
        // What is chosen where pools are scaled are hours of GPUs, not hits.
        let (own, its) = match scaled {
            true => ("GPU-h", "its GPU-h"),
            false => ("Hits", "its p99"),
        };
        let mut table = styled(&[
            "Scenario",
            "Score",
            "SLO met",
            "TTFT p50",
            "p99",
            own,
            "Lost",
            "Best reference",
            its,
        ]);
        for s in &report.scenarios {
            let (Some(m), Some(r)) = (&s.metrics, &s.reference_metrics) else {
                continue;
            };
            let (own, its) = match scaled {
                true => (hours(m.gpu_hours), hours(r.gpu_hours)),
                false => (
                    or_dash(m.hit_rate, |rate| format!("{:.0}%", 100.0 * rate)),
                    ms(r.ttft_ms.p99),
                ),
            };
            table.add_row([
                s.id.clone(),
                signed(s.score),
                format!("{:.1}%", 100.0 * m.goodput),
                ms(m.ttft_ms.p50),
                ms(m.ttft_ms.p99),
                own,
                (m.offered - m.completed).to_string(),
                s.best_builtin.clone().unwrap_or_default(),
                its,
            ]);
        }
        let least_wanted = ["Lost", "TTFT p50", its, own, "SLO met"];
        let hidden = left_out(&fit(&mut table, &least_wanted, &[]));
        let _ = writeln!(text, "{}", whole(table, &[0, 7]));
        if !hidden.is_empty() {
            let _ = writeln!(text, "{hidden}");
        }
    } else if !report.scenarios.is_empty() {
        let mut table = styled(&["Scenario", "Score"]);
        for s in &report.scenarios {
            table.add_row([s.id.clone(), signed(s.score)]);
        }
        let _ = writeln!(text, "{table}");
    }
    text += &listed("error", &report.errors);
    text += &listed("warning", &report.warnings);
    if let Some(fresh) = &report.fresh {
        let _ = writeln!(text, "{}", on_fresh_seeds(fresh));
    }
    // Feedback says it, too.
    if let (Some(fuel), true) = (&report.fuel, report.feedback.is_empty()) {
        let _ = writeln!(text, "{}", fuel.text());
    }
    if !report.feedback.is_empty() {
        let _ = writeln!(text, "\n{}", report.feedback.trim_end());
    }
    text
}

/// How it does on seeds that it cannot know.
fn on_fresh_seeds(fresh: &Fresh) -> String {
    let spread = fresh.gain_ci95.map_or(String::new(), |[low, high]| {
        format!(", 95 % interval {} to {}", signed(low), signed(high))
    });
    let mut text = format!(
        "Fresh seeds: score {} on {} per scenario; on the seeds of train it gains {}{spread}",
        signed(fresh.score),
        fresh.seeds,
        signed(fresh.gain)
    );
    if fresh.more_than_chance {
        text = format!("warning: {text}: more than chance, so it is fitted to those seeds");
    }
    text
}

/// Problems with their places and the lines around them.
fn listed(kind: &str, problems: &[Problem]) -> String {
    let mut text = String::new();
    for p in problems {
        let scenario = p
            .scenario
            .as_ref()
            .map_or(String::new(), |s| format!(" [{s}]"));
        let _ = writeln!(text, "{kind}{scenario}: {}", p.placed());
        if let Some(snippet) = &p.snippet {
            for line in snippet.lines() {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    text
}

/// A difference with its interval, and a mark where the interval excludes 0.
fn difference(d: &Difference) -> String {
    let mark = match (d.significant, d.difference > 0.0) {
        (false, _) => "",
        (true, true) => " ▲",
        (true, false) => " ▼",
    };
    let spread = match d.ci95 {
        Some([low, high]) => format!(" ± {:.1}", (high - low) / 2.0),
        None => String::new(),
    };
    format!("{}{spread}{mark}", signed(d.difference))
}

/// Names of files without their folders, where they are unique.
fn short<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let last = |name: &&'a str| name.rsplit('/').next().unwrap_or(name);
    let alone = |short: &str| names.iter().filter(|n| last(n) == short).count() == 1;
    let all = names.iter().map(|name| (last(name), *name));
    all.map(|(short, name)| if alone(short) { short } else { name })
        .collect()
}

/// A comparison, a column for each policy after the baseline.
#[must_use]
pub fn comparison(c: &Comparison) -> String {
    let mut text = format!(
        "{} {}, {} per scenario. Costs relative to {}: higher is better, +1 = about 1 % less,\n± 95 % interval, ▲ surely better, ▼ surely worse\n",
        c.suite,
        c.split,
        if c.seeds == 1 {
            "1 seed".into()
        } else {
            format!("{} seeds", c.seeds)
        },
        c.baseline
    );
    let Some((baseline, others)) = c.candidates.split_first() else {
        return text;
    };
    let row = |name: &str, of: &dyn Fn(&CandidateComparison) -> Option<String>| -> Vec<String> {
        let cells = others
            .iter()
            .map(|s| of(s).unwrap_or_else(|| "does not work".into()));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    if baseline.ok {
        let names: Vec<&str> = others.iter().map(|s| s.candidate.as_str()).collect();
        let names = short(&names);
        let header = std::iter::once("Scenario").chain(names);
        let mut table = styled(&header.collect::<Vec<_>>());
        let first = others.iter().find(|s| !s.scenarios.is_empty());
        for (k, on) in first.iter().flat_map(|s| s.scenarios.iter().enumerate()) {
            table.add_row(row(&on.id, &|s| {
                Some(difference(&s.scenarios.get(k)?.difference))
            }));
        }
        table.add_row(row("all", &|s| s.total.as_ref().map(difference)));
        let _ = writeln!(text, "{}", whole(table, &[0]));
    }
    for candidate in &c.candidates {
        text += &listed(
            &format!("error: {}", candidate.candidate),
            &candidate.errors,
        );
    }
    text
}

/// Several reports, a line each.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let mut table = styled(&["Candidate", "Score", "", "Worst scenario", "its score"]);
    for r in reports {
        let worst = r.worst.as_ref();
        table.add_row([
            r.candidate.clone(),
            signed(r.score),
            match r.errors.first() {
                Some(error) => error.message.chars().take(80).collect(),
                None => verdict(r),
            },
            worst.map_or(String::new(), |w| w.scenario.clone()),
            worst.map_or(String::new(), |w| signed(w.score)),
        ]);
    }
    let stopped = reports.iter().any(|r| r.stopped.is_some());
    let note = if stopped { STOPPED } else { "" };
    format!("{}\n{note}", whole(table, &[3]))
}
