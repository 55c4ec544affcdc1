//! A run as a page: its figures, distributions, what the instances did over time, and what was
//! simulated.

mod over_time;

use super::Results;
use crate::metrics::groups::Group;
use crate::metrics::slo::{Dimension, class_name};
use crate::metrics::stats::{Distribution, Spread, Weighted, percentile, percentiles};
use crate::page::{Axis, Cell, Chart, Mark, Page, Table, Trace, figure};
use serde_json::Value;
use std::collections::BTreeMap;
use windtunnel_base::record::RequestRecord;

/// Points of a distribution's line.
const POINTS: usize = 300;
/// Lines of classes in a plot; the others are in the table of classes.
const MOST_CLASSES: usize = 8;

/// The page of a run. `command` makes it again. What the instances did over time is shown where it
/// was kept, what single requests did where their records were.
#[must_use]
pub fn html(results: &Results<'_>, command: &str) -> String {
    let setup = &results.inputs.setup;
    let word = |key: &str| setup.get(key).and_then(Value::as_str);
    let mut page = Page::new(&match word("model") {
        Some(model) => format!("Simulated run of {model}"),
        None => "Simulated run".to_owned(),
    });
    for line in &results.inputs.header {
        page.lead(line);
    }
    page.section("Summary");
    summary(&mut page, results);
    distributions(&mut page, results);
    over_time::add(&mut page, results);
    instances(&mut page, results);
    made(&mut page, results, command);
    page.finish()
}

fn ms(us: f64) -> f64 {
    us / 1000.0
}

fn summary(page: &mut Page, results: &Results<'_>) {
    let s = &results.summary.cluster;
    let latency = &s.latency_ms;
    let shown =
        |x: Option<f64>, unit: &str| x.map_or("-".to_owned(), |x| format!("{} {unit}", figure(x)));
    let percent = |x: Option<f64>| x.map(|x| 100.0 * x);
    let mut tiles = vec![
        (
            "Completed of arrived".to_owned(),
            format!(
                "{} / {}",
                figure(s.completed as f64),
                figure(results.summary.arrivals as f64)
            ),
        ),
        ("Duration".to_owned(), shown(Some(s.duration_s()), "s")),
        (
            "Output throughput".to_owned(),
            shown(Some(s.tokens_per_sec()), "tok/s"),
        ),
        (
            "Request throughput".to_owned(),
            shown(Some(s.responses_per_sec()), "req/s"),
        ),
    ];
    let p99 = |spread: &Spread| spread.figure(|d| d.p99);
    tiles.push(("TTFT p99".to_owned(), shown(p99(&latency.ttft), "ms")));
    tiles.push(("TPOT p99".to_owned(), shown(p99(&latency.tpot), "ms")));
    tiles.push(("E2E p99".to_owned(), shown(p99(&latency.e2e), "ms")));
    if let Some(goodput) = &results.goodput {
        tiles.push((
            "SLO met".to_owned(),
            shown(Some(100.0 * goodput.attainment), "%"),
        ));
    }
    tiles.push((
        "KV blocks, most in use".to_owned(),
        shown(Some(100.0 * s.kv_peak_utilization), "%"),
    ));
    tiles.push(("Preemptions".to_owned(), figure(s.preemptions as f64)));
    if let Some(hits) = percent(s.cache_hit_rate) {
        tiles.push(("Prefix cache hits".to_owned(), shown(Some(hits), "%")));
    }
    page.tiles(&tiles);
    let mut table = Table::new(&["Latency, ms", "mean", "p50", "p90", "p95", "p99", "max"]);
    for (name, d) in [
        ("TTFT", &latency.ttft),
        ("ITL", &latency.itl),
        ("TPOT", &latency.tpot),
        ("E2E", &latency.e2e),
        ("Scheduling delay", &latency.scheduling_delay),
    ] {
        let of = |figure: fn(&Spread) -> f64| Cell::from(d.figure(figure));
        let cells = [
            of(|d| d.mean),
            of(|d| d.p50),
            of(|d| d.p90),
            of(|d| d.p95),
            of(|d| d.p99),
            of(|d| d.max),
        ];
        table
            .rows
            .push([vec![name.into()], cells.to_vec()].concat());
    }
    page.table(&table);
    if let Some(goodput) = &results.goodput {
        let mut head = vec!["SLO met, %", "requests", "met"];
        let gated: Vec<Dimension> = Dimension::ALL
            .into_iter()
            .filter(|d| {
                let mut classes = goodput.classes.iter();
                classes.any(|c| c.by_dimension.iter().any(|(of, _)| of == d))
            })
            .collect();
        let names: Vec<String> = gated.iter().map(|d| d.name().to_uppercase()).collect();
        head.extend(names.iter().map(String::as_str));
        let mut table = Table::new(&head);
        for c in &goodput.classes {
            let mut row = vec![
                c.class.clone().into(),
                c.arrivals.into(),
                (100.0 * c.attainment).into(),
            ];
            row.extend(gated.iter().map(|d| {
                let of = c.by_dimension.iter().find(|(of, _)| of == d);
                Cell::from(percent(of.map(|(_, share)| *share)))
            }));
            table.rows.push(row);
        }
        page.table(&table);
    }
    if results.classes.len() > 1 {
        page.table(&classes(&results.classes));
    }
}

fn classes(groups: &[Group]) -> Table {
    let mut table = Table::new(&[
        "SLO class",
        "requests",
        "completed",
        "TTFT p50, ms",
        "TTFT p99, ms",
        "TPOT p50, ms",
        "TPOT p99, ms",
        "E2E p50, ms",
        "E2E p99, ms",
    ]);
    for g in groups {
        let of = |d: &Distribution, figure: fn(&Distribution) -> f64| {
            Cell::from(d.figure(figure).map(ms))
        };
        let mut row = vec![g.name.clone().into(), g.arrivals.into(), g.completed.into()];
        for d in [&g.ttft_us, &g.itl_us, &g.e2e_us] {
            row.extend([of(d, |d| d.p50), of(d, |d| d.p99)]);
        }
        table.rows.push(row);
    }
    table
}

/// A latency of a request, microseconds.
type Latency = fn(&RequestRecord) -> Option<f64>;

const LATENCIES: [(&str, Dimension, Latency); 3] = [
    ("TTFT", Dimension::Ttft, |r| r.ttft_us.map(|us| us as f64)),
    ("TPOT", Dimension::Itl, |r| r.mean_itl_us),
    ("E2E", Dimension::E2e, |r| r.e2e_us.map(|us| us as f64)),
];

/// What each of them is.
fn meaning(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Ttft => "time to first token, from arrival",
        Dimension::Itl => "time per output token: a request's mean after the first",
        Dimension::E2e => "completed requests, from arrival to the last token",
    }
}

/// Distributions of a run's TTFT, TPOT and E2E, for pages that lay runs over each other.
#[derive(Clone, Debug)]
pub struct Distributions([Option<Trace>; LATENCIES.len()]);

impl Distributions {
    /// Of all requests of a run.
    #[must_use]
    pub fn of(results: &Results<'_>) -> Self {
        let requests = &results.record.requests;
        Self(
            LATENCIES
                .map(|(name, _, of)| distribution(name, requests.iter().filter_map(of).collect())),
        )
    }

    /// A chart for each latency with a line for each run, under its name.
    pub(super) fn charts(runs: &[(String, Self)]) -> Vec<Chart> {
        let charts = LATENCIES
            .iter()
            .enumerate()
            .map(|(k, (name, dimension, _))| {
                let traces = runs.iter().filter_map(|(run, distributions)| {
                    let trace = distributions.0[k].clone()?;
                    Some(Trace {
                        name: run.clone(),
                        ..trace
                    })
                });
                chart(name, *dimension, traces.collect(), Vec::new())
            });
        charts.filter(|chart| !chart.traces.is_empty()).collect()
    }
}

/// The cumulative distributions of a latency.
fn chart(name: &str, dimension: Dimension, traces: Vec<Trace>, marks: Vec<Mark>) -> Chart {
    Chart {
        title: format!("{name}, distribution"),
        note: meaning(dimension).to_owned(),
        x: Axis::log(&format!("{name}, ms")),
        y: Axis::share("share of requests at most so long"),
        traces,
        marks,
        broad: false,
    }
}

fn distributions(page: &mut Page, results: &Results<'_>) {
    let record = results.record;
    if record.requests.is_empty() {
        if results.summary.arrivals > 0 {
            page.section("Distributions");
            page.text("No request's record was kept, so there are no distributions.");
        }
        return;
    }
    page.section("Distributions");
    // The classes with the most requests; all others are in the line of all.
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for r in &record.requests {
        *sizes
            .entry(class_name(record.symbols.name(r.slo_class)))
            .or_default() += 1;
    }
    let mut named: Vec<(&str, usize)> = sizes.into_iter().collect();
    named.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    named.truncate(MOST_CLASSES - 1);
    for (name, dimension, of) in LATENCIES {
        let values = |class: Option<&str>| {
            let requests = record.requests.iter().filter(|r| {
                class.is_none_or(|class| class == class_name(record.symbols.name(r.slo_class)))
            });
            requests.filter_map(of).collect::<Vec<f64>>()
        };
        let mut traces = Vec::new();
        traces.extend(distribution("all", values(None)));
        if named.len() > 1 {
            for (class, _) in &named {
                traces.extend(distribution(class, values(Some(class))));
            }
        }
        if traces.is_empty() {
            continue;
        }
        let targets = &results.inputs.slo_targets;
        let mut marks: Vec<Mark> = Vec::new();
        for (class, _) in &named {
            let Some(us) = targets.target_us(class, dimension) else {
                continue;
            };
            if !marks.iter().any(|mark| mark.at == ms(us)) {
                marks.push(Mark {
                    on_x: true,
                    at: ms(us),
                    label: format!("target {} ms", figure(ms(us))),
                });
            }
        }
        page.chart(&chart(name, dimension, traces, marks));
    }
    let gaps = record.instances.iter().flat_map(|i| i.gaps.iter().copied());
    let gaps = Weighted::new(gaps.collect());
    let line = (0..=POINTS).map(|k| (percentile(&gaps, at(k)), at(k) / 100.0));
    let line: Vec<(f64, f64)> = line.collect();
    if line[POINTS].0 > 0.0 {
        page.chart(&Chart {
            title: "ITL, distribution".to_owned(),
            note: "inter-token latency: each gap between two output tokens".to_owned(),
            x: Axis::log("ITL, ms"),
            y: Axis::share("share of gaps at most so long"),
            traces: vec![Trace {
                name: "all".to_owned(),
                x: line.iter().map(|(us, _)| ms(*us)).collect(),
                y: line.iter().map(|(_, share)| Some(*share)).collect(),
                ..Trace::default()
            }],
            ..Chart::default()
        });
    }
}

/// Percent of the `k`-th point of a distribution.
fn at(k: usize) -> f64 {
    100.0 * k as f64 / POINTS as f64
}

/// The cumulative distribution of microseconds, in milliseconds.
fn distribution(name: &str, us: Vec<f64>) -> Option<Trace> {
    let values = percentiles(us, std::array::from_fn::<f64, { POINTS + 1 }, _>(at))?;
    Some(Trace {
        name: name.to_owned(),
        x: values.map(ms).to_vec(),
        y: (0..=POINTS).map(|k| Some(at(k) / 100.0)).collect(),
        ..Trace::default()
    })
}

fn instances(page: &mut Page, results: &Results<'_>) {
    let all = &results.summary.instances;
    if all.len() < 2 {
        return;
    }
    page.section("Instances");
    let mut table = Table::new(&[
        "Instance",
        "requests",
        "completed",
        "output tok/s",
        "TTFT p99, ms",
        "TPOT p99, ms",
        "E2E p99, ms",
        "mean queue",
        "KV peak, %",
        "KV mean, %",
        "preemptions",
        "prefix hits, %",
    ]);
    for s in all {
        let p99 = |d: &Spread| Cell::from(d.figure(|d| d.p99));
        table.rows.push(vec![
            s.name.clone().into(),
            s.routed.into(),
            s.completed.into(),
            s.tokens_per_sec().into(),
            p99(&s.latency_ms.ttft),
            p99(&s.latency_ms.tpot),
            p99(&s.latency_ms.e2e),
            s.mean_queue_length.into(),
            (100.0 * s.kv_peak_utilization).into(),
            s.kv_mean_utilization.map(|x| 100.0 * x).into(),
            s.preemptions.into(),
            s.cache_hit_rate.map(|x| 100.0 * x).into(),
        ]);
    }
    page.table(&table);
}

/// A fact, or those within it.
fn tell(facts: &mut Vec<(String, String)>, key: &str, value: &Value) {
    let name = key.replace('_', " ");
    match value {
        Value::Null => {}
        Value::Object(inner) => {
            for (key, value) in inner {
                tell(facts, &format!("{name}: {key}"), value);
            }
        }
        Value::String(text) => facts.push((name, text.clone())),
        other => facts.push((name, other.to_string())),
    }
}

/// What was simulated.
fn made(page: &mut Page, results: &Results<'_>, command: &str) {
    page.section("What was simulated");
    page.code(command);
    let Value::Object(setup) = &results.inputs.setup else {
        return;
    };
    let mut facts = Vec::new();
    let told = setup.iter().filter(|(key, _)| *key != "notes");
    told.for_each(|(key, value)| tell(&mut facts, key, value));
    page.facts(&facts);
    let notes = setup.get("notes").and_then(Value::as_array);
    for note in notes.into_iter().flatten().filter_map(Value::as_str) {
        page.text(&format!("Note: {note}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReportInputs;
    use super::*;
    use crate::metrics::summary::tests::{done, refused, run};

    #[test]
    fn a_page_has_the_figures_of_the_run() {
        let requests = (0..50).map(|k| done(k, k as i64 * 1000, 2000, 9000, 0));
        let mut requests: Vec<_> = requests.collect();
        requests.push(refused(50, 60_000));
        let record = run(requests, 1);
        let mut inputs = ReportInputs {
            setup: serde_json::json!({"model": "a<b>", "notes": ["mind"], "seed": 7}),
            ..ReportInputs::default()
        };
        inputs.slo_targets.set("default", Dimension::Ttft, 5000.0);
        let page = html(
            &Results::new(&record, &inputs),
            "windtunnel run --model 'a<b>'",
        );
        for text in [
            "<h1>Simulated run of a&lt;b&gt;</h1>",
            "<dd>50 / 51</dd>",
            "windtunnel run --model 'a&lt;b&gt;'",
            "Note: mind",
            "target 5 ms",
            "SLO met by time of arrival",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert!(
            !page.contains("http:") && !page.contains("https:"),
            "no address"
        );
    }

    #[test]
    fn a_distribution_ends_at_the_longest() {
        let line = distribution("a", (0..=1000).map(f64::from).collect()).unwrap();
        assert_eq!((line.x[0], line.x[POINTS]), (0.0, 1.0));
        assert_eq!(line.y[POINTS], Some(1.0));
        assert!(distribution("a", Vec::new()).is_none());
    }
}
