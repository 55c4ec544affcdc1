//! Reports and comparisons as pages.

use super::explain;
use crate::compare::Comparison;
use crate::explain::Explanation;
use crate::{Candidate, Report};
use std::collections::BTreeMap;
use windtunnel_results::page::{Cell, Dots, Estimate, Page, Table};

/// What scores are, for those who read none of the documents.
const SCORES: &str = "Score: 100 x mean log-ratio of costs to the best reference policy of each scenario. 0 = as good \
    as the best of them, +1 = about 1 % less cost. Bars are 95 % intervals over seeds; a single seed has none.";

/// Reports on candidates. `command` makes them again.
#[must_use]
pub fn score(reports: &[Report], candidates: &[&Candidate], command: &str) -> String {
    let names: Vec<&str> = reports.iter().map(|r| r.candidate.as_str()).collect();
    let suite = reports.first().map_or("", |r| r.suite.as_str());
    let mut page = Page::new(&format!("Score of {}", names.join(", ")));
    if let Some(report) = reports.first() {
        page.lead(&format!("Suite {suite}, split {}", report.split));
    }
    page.lead(SCORES);
    page.section("Total");
    let mut table = Table::new(&["Candidate", "score", "low", "high", "stage", "verdict"]);
    for r in reports {
        let end = |k: usize| Cell::Number(r.score_ci95.map(|ends| ends[k]));
        let verdict = match (&r.stopped, r.ok) {
            (Some(stopped), _) => format!("stopped: {}", stopped.reason),
            (None, false) => "does not work".to_owned(),
            (None, true) => "works".to_owned(),
        };
        table.rows.push(vec![
            r.candidate.clone().into(),
            r.score.into(),
            end(0),
            end(1),
            format!("{:?}", r.stage).to_lowercase().into(),
            verdict.into(),
        ]);
    }
    page.table(&table);
    for problem in reports.iter().flat_map(|r| &r.errors) {
        page.text(&format!("Error: {}", problem.message));
    }
    scenarios(&mut page, reports);
    objectives(
        &mut page,
        reports
            .iter()
            .map(|r| (r.candidate.as_str(), &r.objectives)),
    );
    for report in reports {
        if !report.feedback.is_empty() {
            page.section(&format!("Feedback on {}", report.candidate));
            page.code(&report.feedback);
        }
    }
    sources(&mut page, candidates);
    page.section("How it was made");
    page.code(command);
    page.finish()
}

fn scenarios(page: &mut Page, reports: &[Report]) {
    let mut names: Vec<String> = Vec::new();
    for s in reports.iter().flat_map(|r| &r.scenarios) {
        if !names.contains(&s.id) {
            names.push(s.id.clone());
        }
    }
    if names.is_empty() {
        return;
    }
    let of = |r: &Report| -> Vec<Option<Estimate>> {
        let estimate = |name: &String| {
            let s = r.scenarios.iter().find(|s| s.id == *name)?;
            Some(Estimate {
                value: s.score,
                interval: s.ci95,
            })
        };
        names.iter().map(estimate).collect()
    };
    page.section("Scenarios");
    page.dots(&Dots {
        title: "Score by scenario".to_owned(),
        note: "0 = the best reference policy of the scenario".to_owned(),
        x_title: "score".to_owned(),
        names: names.clone(),
        series: reports
            .iter()
            .map(|r| (r.candidate.clone(), of(r)))
            .collect(),
    });
    let mut table = Table::new(&[
        "Scenario",
        "candidate",
        "score",
        "SLO met, %",
        "TTFT p50, ms",
        "TTFT p99, ms",
        "best reference",
        "its SLO met, %",
        "its TTFT p99, ms",
    ]);
    for name in &names {
        for r in reports {
            let Some(s) = r.scenarios.iter().find(|s| s.id == *name) else {
                continue;
            };
            let (m, of_best) = (s.metrics.as_ref(), s.reference_metrics.as_ref());
            let percent = |x: Option<f64>| Cell::Number(x.map(|x| 100.0 * x));
            table.rows.push(vec![
                name.clone().into(),
                r.candidate.clone().into(),
                s.score.into(),
                percent(m.map(|m| m.goodput)),
                m.and_then(|m| m.ttft_ms.p50).into(),
                m.and_then(|m| m.ttft_ms.p99).into(),
                s.best_builtin
                    .clone()
                    .unwrap_or_else(|| "-".to_owned())
                    .into(),
                percent(of_best.map(|m| m.goodput)),
                of_best.and_then(|m| m.ttft_ms.p99).into(),
            ]);
        }
    }
    page.table(&table);
}

fn objectives<'a>(page: &mut Page, of: impl Iterator<Item = (&'a str, &'a BTreeMap<String, f64>)>) {
    let all: Vec<_> = of
        .filter(|(_, objectives)| !objectives.is_empty())
        .collect();
    let Some((_, first)) = all.first() else {
        return;
    };
    page.section("Objectives");
    let mut head = vec!["Candidate"];
    head.extend(first.keys().map(String::as_str));
    let mut table = Table::new(&head);
    table.caption = "100 x mean log-ratio, above 0 is better".to_owned();
    for (name, objectives) in &all {
        let mut row: Vec<Cell> = vec![(*name).into()];
        row.extend(first.keys().map(|key| objectives.get(key).copied().into()));
        table.rows.push(row);
    }
    page.table(&table);
}

/// What the policies are, word by word.
fn sources(page: &mut Page, candidates: &[&Candidate]) {
    let mut texts: BTreeMap<String, &str> = BTreeMap::new();
    for candidate in candidates {
        for (path, text) in &candidate.texts {
            texts.insert(path.display().to_string(), text);
        }
    }
    if texts.is_empty() {
        return;
    }
    page.section("Sources of the policies");
    for (path, text) in texts {
        page.folded_code(&path, text);
    }
}

/// An explanation of a candidate's decisions. `command` makes it again.
#[must_use]
pub fn explanation(explained: &Explanation, candidate: &Candidate, command: &str) -> String {
    let inspection = &explained.inspection;
    let mut page = Page::new(&format!(
        "{} on {}, explained",
        explained.candidate, explained.scenario
    ));
    page.lead(&match explained.score {
        Some(score) => format!(
            "Suite {}; the scenario where it is worst, with a score of {score:+.1}",
            explained.suite
        ),
        None => format!("Suite {}", explained.suite),
    });
    if let Some(fault) = &inspection.fault {
        page.text(&format!("The run broke off: {fault}"));
    }
    page.section("Decisions made otherwise");
    page.text(&explain::regret(&inspection.regret));
    let worst = &inspection.log;
    let tried = worst.iter().filter_map(|logged| {
        let counterfactual = logged.counterfactual.as_ref()?;
        let best = counterfactual.alternatives.iter();
        let best = best.map(|a| a.extra_ms).fold(0.0, f64::min);
        Some((logged.request.id.clone(), -best))
    });
    let (names, lost): (Vec<String>, Vec<f64>) = tried.unzip();
    if !names.is_empty() {
        let lost = lost.into_iter().map(|ms| {
            Some(Estimate {
                value: ms,
                interval: None,
            })
        });
        page.dots(&Dots {
            title: "Request-time lost against the best instance that was tried".to_owned(),
            note: "of the requests below; 0 = no other instance would have been better".to_owned(),
            x_title: "ms".to_owned(),
            series: vec![(explained.candidate.clone(), lost.collect())],
            names,
        });
    }
    if !worst.is_empty() {
        page.section("The requests that waited longest");
        page.text(explain::LEGEND);
    }
    for logged in worst {
        let (columns, rows) = explain::instances(logged);
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut table = Table::new(&columns);
        table.caption = explain::request(logged);
        let cells = |row: Vec<String>| row.into_iter().map(Cell::from).collect();
        table.rows = rows.into_iter().map(cells).collect();
        page.table(&table);
    }
    sources(&mut page, &[candidate]);
    page.section("How it was made");
    page.code(command);
    page.finish()
}

/// A comparison. `command` makes it again.
#[must_use]
pub fn comparison(outcome: &Comparison, candidates: &[&Candidate], command: &str) -> String {
    let names: Vec<&str> = outcome
        .candidates
        .iter()
        .map(|c| c.candidate.as_str())
        .collect();
    let mut page = Page::new(&format!("Comparison of {}", names.join(", ")));
    page.lead(&format!(
        "Suite {}, split {}, {} seeds per scenario; all differences are to {}",
        outcome.suite, outcome.split, outcome.seeds, outcome.baseline
    ));
    page.lead(
        "Difference: 100 x mean log-ratio of costs, baseline to policy. Above 0 the policy is better, +1 is about 1 % \
         less cost. Bars are 95 % intervals over seeds; a single seed has none.",
    );
    page.section("Total");
    let mut table = Table::new(&["Policy", "difference", "low", "high", "more than chance"]);
    for c in &outcome.candidates {
        let end = |k: usize| {
            let ends = c.total.as_ref().and_then(|total| total.ci95);
            Cell::Number(ends.map(|ends| ends[k]))
        };
        let certain = match (&c.total, c.ok) {
            (_, false) => "does not work",
            (Some(total), _) if total.significant => "yes",
            (Some(_), _) => "no",
            (None, _) => "-",
        };
        table.rows.push(vec![
            c.candidate.clone().into(),
            c.total.as_ref().map(|total| total.difference).into(),
            end(0),
            end(1),
            certain.into(),
        ]);
    }
    page.table(&table);
    for problem in outcome.candidates.iter().flat_map(|c| &c.errors) {
        page.text(&format!("Error: {}", problem.message));
    }
    let others: Vec<_> = outcome.candidates.iter().skip(1).collect();
    let mut rows: Vec<String> = Vec::new();
    for s in others.iter().flat_map(|c| &c.scenarios) {
        if !rows.contains(&s.id) {
            rows.push(s.id.clone());
        }
    }
    if !rows.is_empty() {
        page.section("Scenarios");
        let series = others.iter().map(|c| {
            let estimate = |name: &String| {
                let s = c.scenarios.iter().find(|s| s.id == *name)?;
                Some(Estimate {
                    value: s.difference.difference,
                    interval: s.difference.ci95,
                })
            };
            (c.candidate.clone(), rows.iter().map(estimate).collect())
        });
        page.dots(&Dots {
            title: format!("Difference to {} by scenario", outcome.baseline),
            note: "right of 0 the policy is better".to_owned(),
            x_title: "difference".to_owned(),
            series: series.collect(),
            names: rows,
        });
    }
    objectives(
        &mut page,
        outcome
            .candidates
            .iter()
            .map(|c| (c.candidate.as_str(), &c.objectives)),
    );
    sources(&mut page, candidates);
    page.section("How it was made");
    page.code(command);
    page.finish()
}
