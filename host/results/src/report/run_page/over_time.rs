//! What a run's instances did over time, and what became of requests by the time of their arrival.

use crate::metrics::stats::percentiles;
use crate::page::{Axis, Chart, Heat, Page, Trace, figure};
use crate::report::Results;
use crate::report::time_series::{InstanceSeries, Sample, TimeSeries};

/// Intervals of lines over time, and of heat maps.
const INTERVALS: usize = 500;
const COLUMNS: usize = 250;
/// Intervals in which requests are counted by their arrival.
const ARRIVALS: i64 = 60;
/// Rows of a heat map.
const MOST_ROWS: usize = 128;

/// What is counted by the time at which requests arrived.
#[derive(Default)]
struct Arrived {
    arrivals: u64,
    completions: u64,
    ttft: Vec<f64>,
    judged: u64,
    good: u64,
}

/// Adds the section to the page of a run, where something is known of it.
pub(super) fn add(page: &mut Page, results: &Results<'_>) {
    let series = TimeSeries::of(results.record, Some(INTERVALS));
    let series = series.as_ref();
    let record = results.record;
    let ended_us = results.summary.cluster.ended_us;
    if ended_us <= 0 || (record.requests.is_empty() && series.is_none()) {
        return;
    }
    page.section("Over time");
    if let Some(series) = series {
        of_instances(page, series);
    }
    if record.requests.is_empty() {
        return;
    }
    let width_us = (ended_us / ARRIVALS + 1).max(1000);
    let mut all: Vec<Arrived> = Vec::new();
    all.resize_with((ended_us / width_us + 1) as usize, Arrived::default);
    let last = all.len() - 1;
    let bin = |us: i64| ((us / width_us).max(0) as usize).min(last);
    let targets = &results.inputs.slo_targets;
    for r in &record.requests {
        let here = &mut all[bin(r.arrival_us)];
        here.arrivals += 1;
        here.ttft.extend(r.ttft_us.map(|us| us as f64));
        let class = record.symbols.name(r.slo_class);
        if let Some(good) = targets.judge(class, r, results.inputs.targets_of_requests) {
            here.judged += 1;
            here.good += u64::from(good);
        }
        if let Some(us) = r.completion_us() {
            all[bin(us)].completions += 1;
        }
    }
    let seconds = width_us as f64 / 1e6;
    // The last interval ends with the run.
    let in_last = (ended_us - last as i64 * width_us).max(1) as f64 / 1e6;
    let length = |k: usize| if k == last { in_last } else { seconds };
    let x: Vec<f64> = (0..all.len()).map(|k| k as f64 * seconds).collect();
    let line = |name: &str, of: &dyn Fn(&Arrived, f64) -> Option<f64>| Trace {
        name: name.to_owned(),
        x: x.clone(),
        y: all
            .iter()
            .enumerate()
            .map(|(k, bin)| of(bin, length(k)))
            .collect(),
        stepped: true,
        ..Trace::default()
    };
    let bins = format!("in intervals of {} s", figure(seconds));
    page.chart(&Chart {
        title: "Requests per second".to_owned(),
        note: bins.clone(),
        x: Axis::from_zero("simulated time, s"),
        y: Axis::from_zero("requests/s"),
        traces: vec![
            line("arrived", &|b, s| Some(b.arrivals as f64 / s)),
            line("completed", &|b, s| Some(b.completions as f64 / s)),
        ],
        ..Chart::default()
    });
    let p = |b: &Arrived, p: f64| Some(percentiles(b.ttft.clone(), [p])?[0] / 1000.0);
    page.chart(&Chart {
        title: "TTFT by time of arrival".to_owned(),
        note: bins.clone(),
        x: Axis::from_zero("arrival, s"),
        y: Axis::from_zero("TTFT, ms"),
        traces: vec![
            line("p50", &|b, _| p(b, 50.0)),
            line("p99", &|b, _| p(b, 99.0)),
        ],
        ..Chart::default()
    });
    if results.goodput.is_some() {
        page.chart(&Chart {
            title: "SLO met by time of arrival".to_owned(),
            note: format!("{bins}; what did not complete missed its targets"),
            x: Axis::from_zero("arrival, s"),
            y: Axis::share("share of requests"),
            traces: vec![line("SLO met", &|b, _| {
                (b.judged > 0).then(|| b.good as f64 / b.judged as f64)
            })],
            ..Chart::default()
        });
    }
}

/// Sums over the instances, and each of them.
fn of_instances(page: &mut Page, series: &TimeSeries) {
    let several = series.instances.len() > 1;
    let seconds = series.width_us as f64 / 1e6;
    let x: Vec<f64> = (0..series.intervals())
        .map(|k| k as f64 * seconds)
        .collect();
    let bins = format!("means over intervals of {} s", figure(seconds));
    let all = if several {
        ", all instances together"
    } else {
        ""
    };
    let line = |name: &str, of: fn(&Sample) -> f64| Trace {
        name: name.to_owned(),
        x: x.clone(),
        y: series.sum(of).into_iter().map(Some).collect(),
        stepped: true,
        ..Trace::default()
    };
    let time = || Axis::from_zero("simulated time, s");
    page.chart(&Chart {
        title: "Requests in batch and queue".to_owned(),
        note: format!("{bins}{all}"),
        x: time(),
        y: Axis::from_zero("requests"),
        traces: vec![line("batch", |s| s.batch), line("wait queue", |s| s.queue)],
        ..Chart::default()
    });
    page.chart(&Chart {
        title: "Tokens per second".to_owned(),
        note: format!(
            "{bins}{all}; prompt tokens that are computed, not those from the prefix cache"
        ),
        x: time(),
        y: Axis::from_zero("tokens/s"),
        traces: vec![
            line("output", |s| s.output_tokens_per_s),
            line("prompt", |s| s.prompt_tokens_per_s),
        ],
        ..Chart::default()
    });
    page.chart(&kv_chart(series, x, &bins));
    if !several {
        return;
    }
    let Some(rows) = strips(series) else { return };
    page.heat(&rows(
        "Load of each instance",
        "requests in batch and queue",
        &|_, s| Some(s.batch + s.queue),
        false,
    ));
    page.heat(&rows(
        "KV blocks of each instance",
        "KV blocks in use",
        &|i, s| i.kv_share(s),
        true,
    ));
}

fn kv_chart(series: &TimeSeries, x: Vec<f64>, bins: &str) -> Chart {
    let several = series.instances.len() > 1;
    let shares = |k: usize| {
        let all = series.instances.iter();
        let all = all.filter_map(move |i| i.kv_share(&i.samples[k]));
        all.collect::<Vec<f64>>()
    };
    let each: Vec<Vec<f64>> = (0..series.intervals()).map(shares).collect();
    let edge = |of: fn(f64, f64) -> f64| -> Vec<Option<f64>> {
        each.iter()
            .map(|shares| shares.iter().copied().reduce(of))
            .collect()
    };
    let mean = |shares: &Vec<f64>| {
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    };
    let note = match several {
        true => {
            format!("{bins}, of all instances; the band is from the lowest to the highest instance")
        }
        false => bins.to_owned(),
    };
    Chart {
        title: "KV blocks in use".to_owned(),
        note: format!("{note}; 0 while no step runs"),
        x: Axis::from_zero("simulated time, s"),
        y: Axis {
            percent: true,
            ..Axis::from_zero("share of KV blocks")
        },
        traces: vec![Trace {
            name: if several { "mean" } else { "in use" }.to_owned(),
            x,
            y: each.iter().map(mean).collect(),
            band: several.then(|| [edge(f64::min), edge(f64::max)]),
            ..Trace::default()
        }],
        ..Chart::default()
    }
}

/// What a row of a heat map shows of an instance.
type Strip<'a> = dyn Fn(&InstanceSeries, &Sample) -> Option<f64> + 'a;

/// Makes heat maps with a row per instance.
fn strips(series: &TimeSeries) -> Option<impl Fn(&str, &str, &Strip<'_>, bool) -> Heat> {
    let columns = series.intervals().min(COLUMNS);
    let together = series.intervals().div_ceil(columns.max(1));
    if columns == 0 {
        return None;
    }
    let all = series.instances.len();
    let shown = &series.instances[..all.min(MOST_ROWS)];
    let left_out = match all - shown.len() {
        0 => String::new(),
        more => format!("; the first {MOST_ROWS} instances, {more} more are not shown"),
    };
    let seconds = (series.width_us * together as i64) as f64 / 1e6;
    Some(
        move |title: &str, unit: &str, of: &Strip<'_>, percent: bool| {
            let row = |i: &InstanceSeries| -> Vec<Option<f64>> {
                let parts = i.samples.chunks(together);
                let mean = |part: &[Sample]| {
                    let values: Option<Vec<f64>> = part.iter().map(|s| of(i, s)).collect();
                    values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
                };
                parts.map(mean).collect()
            };
            let rows: Vec<Vec<Option<f64>>> = shown.iter().map(row).collect();
            Heat {
                title: title.to_owned(),
                note: format!(
                    "{unit}, means over intervals of {} s{left_out}",
                    figure(seconds)
                ),
                x_title: "simulated time, s".to_owned(),
                x: (0..rows[0].len())
                    .map(|k| (k as f64 + 0.5) * seconds)
                    .collect(),
                names: shown.iter().map(|i| i.name.clone()).collect(),
                rows,
                unit: unit.to_owned(),
                percent,
            }
        },
    )
}
