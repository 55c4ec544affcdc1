//! A sweep as a page: every metric over one dimension, a line for each value of the others, the
//! seeds as a band.

use super::super::run_page::Distributions;
use super::{Clock, Row};
use crate::page::{Axis, Chart, Mark, Page, Table, Trace, figure};
use std::collections::BTreeSet;

/// Lines in a plot.
pub const MOST_LINES: usize = 16;
/// Share of requests that must meet their targets up to the knee.
const KNEE: f64 = 0.9;

/// What is shown of each run: metric, title, unit, and whether its axis is logarithmic.
const SHOWN: [(&str, &str, &str, bool); 12] = [
    ("ttft_p50_ms", "TTFT p50", "ms", true),
    ("ttft_p99_ms", "TTFT p99", "ms", true),
    ("tpot_mean_ms", "TPOT mean", "ms", true),
    ("tpot_p99_ms", "TPOT p99", "ms", true),
    ("e2e_p50_ms", "E2E p50", "ms", true),
    ("e2e_p99_ms", "E2E p99", "ms", true),
    (
        "output_tokens_per_s",
        "Output throughput",
        "tokens/s",
        false,
    ),
    ("requests_per_s", "Request throughput", "requests/s", false),
    ("slo_attainment", "SLO met", "share of requests", false),
    ("goodput_rps", "Goodput", "requests/s within SLO", false),
    (
        "cache_hit_rate",
        "Prefix cache hits",
        "share of tokens",
        false,
    ),
    (
        "kv_peak_utilization",
        "KV blocks, most in use",
        "share",
        false,
    ),
];

/// The same for runs in ticks.
const SHOWN_IN_TICKS: [(&str, &str, &str, bool); 6] = [
    ("ttft_mean_ticks", "TTFT mean", "ticks", true),
    ("itl_mean_ticks", "ITL mean", "ticks", true),
    ("e2e_mean_ticks", "E2E mean", "ticks", true),
    (
        "tokens_per_1000_ticks",
        "Output throughput",
        "tokens/1000 ticks",
        false,
    ),
    (
        "requests_per_1000_ticks",
        "Request throughput",
        "requests/1000 ticks",
        false,
    ),
    ("max_queue", "Longest queue", "requests", false),
];

/// A point of the grid: its values, and the rows of its seeds.
struct Point<'a> {
    values: &'a [String],
    rows: Vec<&'a Row>,
}

/// The page of a sweep over these dimensions. `distributions` are those of one run of each point,
/// by its name, as far as there are any. `command` makes the page again.
#[must_use]
pub fn html(
    dimensions: &[&str],
    clock: Clock,
    rows: &[Row],
    distributions: &[(String, Distributions)],
    command: &str,
) -> String {
    let mut page = Page::new(&format!("Sweep over {}", dimensions.join(", ")));
    let mut points: Vec<Point<'_>> = Vec::new();
    for row in rows {
        let values = &row.fields[1..=dimensions.len()];
        match points.iter_mut().find(|point| point.values == values) {
            Some(point) => point.rows.push(row),
            None => points.push(Point {
                values,
                rows: vec![row],
            }),
        }
    }
    let seeds = points.iter().map(|p| p.rows.len()).max().unwrap_or(0);
    page.lead(&format!(
        "{} points, {} runs{}",
        points.len(),
        rows.len(),
        match seeds {
            0 | 1 => String::new(),
            n => format!(
                ", up to {n} seeds each: lines are means over seeds, bands from the lowest to the highest"
            ),
        }
    ));
    let along = along(dimensions, &points);
    let (names, x) = places(along, &points);
    let mut lines: Vec<(String, Vec<usize>)> = Vec::new();
    for (k, point) in points.iter().enumerate() {
        let others = (0..dimensions.len()).filter(|d| *d != along);
        let name: Vec<String> = others
            .map(|d| format!("{} {}", dimensions[d], point.values[d]))
            .collect();
        let name = name.join(", ");
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, of)) => of.push(k),
            None => lines.push((name, vec![k])),
        }
    }
    for (_, of) in &mut lines {
        of.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
    }
    let shown = &lines[..lines.len().min(MOST_LINES)];
    if shown.len() < lines.len() {
        page.text(&format!(
            "Plots show the first {MOST_LINES} of {} lines; the table has all points.",
            lines.len()
        ));
    }
    let axis = || Axis {
        names: names.clone(),
        ..Axis::new(dimensions.get(along).copied().unwrap_or("point"))
    };
    let knees: Vec<Mark> = knees(shown, &points, &x, &names);
    page.section("Metrics");
    let metrics: &[_] = match clock {
        Clock::Real => &SHOWN,
        Clock::Ticks => &SHOWN_IN_TICKS,
    };
    for &(metric, title, unit, log) in metrics {
        let traces: Vec<Trace> = shown
            .iter()
            .filter_map(|(name, of)| trace(name, of, metric, &points, &x))
            .collect();
        if traces.is_empty() {
            continue;
        }
        let is_share = unit.starts_with("share");
        let positive = traces
            .iter()
            .all(|t| t.y.iter().flatten().all(|value| *value > 0.0));
        let y = match (is_share, log && positive) {
            (true, _) => Axis::share(unit),
            (false, true) => Axis::log(&format!("{title}, {unit}")),
            (false, false) => Axis::from_zero(&format!("{title}, {unit}")),
        };
        let marks = match metric {
            "slo_attainment" | "goodput_rps" | "ttft_p99_ms" => knees.clone(),
            _ => Vec::new(),
        };
        let note = match marks.is_empty() {
            true => String::new(),
            false => format!(
                "knee: the last value up to which at least {} % of requests met their SLOs",
                figure(100.0 * KNEE)
            ),
        };
        page.chart(&Chart {
            title: title.to_owned(),
            note,
            x: axis(),
            y,
            traces,
            marks,
            broad: false,
        });
    }
    let charts = Distributions::charts(distributions);
    if !charts.is_empty() {
        page.section("Distributions of the first seed");
        for chart in charts {
            page.chart(&chart);
        }
    }
    page.section("Points");
    page.table(&table(dimensions, &points, metrics));
    page.section("How it was made");
    page.code(command);
    page.finish()
}

/// The dimension that plots go along: the rate if it varies, else the one with the most numbers,
/// else the one with the most values.
fn along(dimensions: &[&str], points: &[Point<'_>]) -> usize {
    let values = |d: usize| {
        let all = points.iter().map(|p| p.values[d].as_str());
        all.collect::<BTreeSet<&str>>()
    };
    let weight = |d: usize| {
        let values = values(d);
        let numbers = values.iter().all(|v| v.parse::<f64>().is_ok());
        let is_rate = dimensions[d] == "rate";
        (
            values.len() > 1,
            numbers && is_rate,
            numbers,
            values.len(),
            std::cmp::Reverse(d),
        )
    };
    (0..dimensions.len())
        .max_by_key(|d| weight(*d))
        .unwrap_or(0)
}

/// Where each point is, and what places are called where their values are no numbers.
fn places(along: usize, points: &[Point<'_>]) -> (Vec<String>, Vec<f64>) {
    let value = |p: &Point<'_>| p.values.get(along).cloned().unwrap_or_default();
    let numbers: Option<Vec<f64>> = points.iter().map(|p| value(p).parse().ok()).collect();
    if let Some(numbers) = numbers.filter(|all| all.iter().all(|x| x.is_finite())) {
        return (Vec::new(), numbers);
    }
    let mut names: Vec<String> = Vec::new();
    let mut x = Vec::new();
    for point in points {
        let name = value(point);
        let at = names.iter().position(|known| *known == name);
        x.push(at.unwrap_or(names.len()) as f64);
        if at.is_none() {
            names.push(name);
        }
    }
    (names, x)
}

fn values(point: &Point<'_>, metric: &str) -> Vec<f64> {
    let values = point.rows.iter().filter_map(|row| row.metric(metric));
    values.collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// A line; `None` if none of its points has the metric.
fn trace(name: &str, of: &[usize], metric: &str, points: &[Point<'_>], x: &[f64]) -> Option<Trace> {
    let all: Vec<Vec<f64>> = of.iter().map(|k| values(&points[*k], metric)).collect();
    if all.iter().all(Vec::is_empty) {
        return None;
    }
    let edge = |of: fn(f64, f64) -> f64| -> Vec<Option<f64>> {
        all.iter()
            .map(|values| values.iter().copied().reduce(of))
            .collect()
    };
    Some(Trace {
        name: name.to_owned(),
        x: of.iter().map(|k| x[*k]).collect(),
        y: all.iter().map(|values| mean(values)).collect(),
        band: all
            .iter()
            .any(|values| values.len() > 1)
            .then(|| [edge(f64::min), edge(f64::max)]),
        stepped: false,
        marked: true,
        bars: false,
    })
}

/// Of each line the last place before the SLOs are missed, where there are SLOs and the place is a
/// number.
fn knees(
    lines: &[(String, Vec<usize>)],
    points: &[Point<'_>],
    x: &[f64],
    names: &[String],
) -> Vec<Mark> {
    if !names.is_empty() {
        return Vec::new();
    }
    let mut marks: Vec<Mark> = Vec::new();
    for (name, of) in lines {
        let met = |k: &&usize| mean(&values(&points[**k], "slo_attainment")).map(|m| m >= KNEE);
        let within: Vec<&usize> = of.iter().take_while(|k| met(k) == Some(true)).collect();
        let Some(last) = within.last() else {
            continue;
        };
        let at = x[**last];
        // Where the last one that was tried is still good, the knee is somewhere beyond it.
        let sign = if within.len() == of.len() { "≥ " } else { "" };
        let label = match name.is_empty() {
            true => format!("knee {sign}{}", figure(at)),
            false => format!("{name}: {sign}{}", figure(at)),
        };
        match marks.iter_mut().find(|mark| mark.at == at) {
            Some(mark) => mark.label = format!("{}<br>{label}", mark.label),
            None => marks.push(Mark {
                on_x: true,
                at,
                label,
            }),
        }
    }
    marks
}

fn table(dimensions: &[&str], points: &[Point<'_>], metrics: &[(&str, &str, &str, bool)]) -> Table {
    let metrics: Vec<_> = metrics
        .iter()
        .filter(|(metric, ..)| points.iter().any(|p| !values(p, metric).is_empty()))
        .collect();
    let mut table = Table::new(&[]);
    table.head = vec![dimensions.join(", "), "runs".to_owned()];
    table.head.extend(
        metrics
            .iter()
            .map(|(_, title, unit, _)| format!("{title}, {unit}")),
    );
    for point in points {
        let mut row = vec![
            point.values.join(", ").into(),
            (point.rows.len() as u64).into(),
        ];
        row.extend(
            metrics
                .iter()
                .map(|(metric, ..)| mean(&values(point, metric)).into()),
        );
        table.rows.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::columns;
    use super::*;

    fn row(policy: &str, rate: &str, seed: u64, ttft: f64, met: f64) -> Row {
        let columns = columns(&["routing-policy", "rate"], Clock::Real);
        let field = |name: &String| match name.as_str() {
            "run" => format!("{policy}{rate}{seed}"),
            "routing-policy" => policy.to_owned(),
            "rate" => rate.to_owned(),
            "seed" => seed.to_string(),
            "ttft_p99_ms" => ttft.to_string(),
            "slo_attainment" => met.to_string(),
            _ => String::new(),
        };
        Row::from_fields(columns.iter().map(field).collect(), &columns)
    }

    #[test]
    fn lines_go_along_the_rate_and_end_at_their_knees() {
        let rows = [
            row("a", "20", 1, 30.0, 0.5),
            row("a", "10", 1, 10.0, 1.0),
            row("a", "10", 2, 20.0, 0.9),
            row("b", "10", 1, 11.0, 0.95),
            row("b", "20", 1, 12.0, 0.91),
        ];
        let page = html(
            &["routing-policy", "rate"],
            Clock::Real,
            &rows,
            &[],
            "windtunnel sweep",
        );
        // Means over seeds, in order of the rate.
        assert!(
            page.contains(r#""x":[10.0,20.0],"y":[15.0,30.0]"#),
            "{page}"
        );
        assert!(page.contains("routing-policy a: 10") && page.contains("routing-policy b: ≥ 20"));
        assert!(page.contains("5 runs, up to 2 seeds each"));
        assert!(page.contains("<td data-value=\"15\">15</td>"), "{page}");
    }

    #[test]
    fn values_that_are_no_numbers_are_named() {
        let rows = [row("a", "x", 1, 1.0, 1.0), row("b", "x", 1, 2.0, 1.0)];
        let page = html(&["routing-policy", "rate"], Clock::Real, &rows, &[], "c");
        assert!(page.contains(r#""ticktext":["a","b"]"#), "{page}");
        assert!(!page.contains("knee"));
    }
}
