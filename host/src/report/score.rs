//! Reports on candidates for people.

use super::table::styled;
use crate::score::Report;
use std::fmt::Write;

/// A number with its sign.
fn signed(x: f64) -> String {
    format!("{x:+.1}")
}

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

/// The whole report.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} on {} {}: score {} ({})",
        report.candidate,
        report.suite,
        report.split,
        signed(report.score),
        verdict(report)
    );
    if report.ok && report.stopped.is_none() {
        text += "0 = as good as the best tuned reference in every scenario; +1 = 1 % less cost\n";
    }
    if report.scenarios.iter().any(|s| s.metrics.is_some()) {
        let mut table = styled(&[
            "Scenario",
            "Score",
            "SLO met",
            "TTFT p50",
            "p99",
            "Hits",
            "Lost",
            "Best reference",
            "its p99",
        ]);
        for s in &report.scenarios {
            let (Some(m), Some(r)) = (&s.metrics, &s.reference_metrics) else {
                continue;
            };
            table.add_row([
                s.id.clone(),
                signed(s.score),
                format!("{:.1}%", 100.0 * m.goodput),
                format!("{:.0}", m.ttft_ms.p50),
                format!("{:.0}", m.ttft_ms.p99),
                format!("{:.0}%", 100.0 * m.hit_rate),
                (m.offered - m.completed).to_string(),
                s.best_builtin.clone().unwrap_or_default(),
                format!("{:.0}", r.ttft_ms.p99),
            ]);
        }
        let _ = writeln!(text, "{table}");
    } else if !report.scenarios.is_empty() {
        let mut table = styled(&["Scenario", "Score"]);
        for s in &report.scenarios {
            table.add_row([s.id.clone(), signed(s.score)]);
        }
        let _ = writeln!(text, "{table}");
    }
    for (kind, problems) in [("error", &report.errors), ("warning", &report.warnings)] {
        for p in problems {
            let place = match (&p.file, p.line) {
                (Some(file), Some(line)) if !p.message.contains(&format!("{file}:{line}")) => {
                    format!("{file}:{line}: ")
                }
                _ => String::new(),
            };
            let scenario = p
                .scenario
                .as_ref()
                .map_or(String::new(), |s| format!(" [{s}]"));
            let _ = writeln!(text, "{kind}{scenario}: {place}{}", p.message);
            if let Some(snippet) = &p.snippet {
                for line in snippet.lines() {
                    let _ = writeln!(text, "    {line}");
                }
            }
        }
    }
    if !report.feedback.is_empty() {
        let _ = writeln!(text, "\n{}", report.feedback.trim_end());
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
    format!("{table}\n")
}
