//! A calibration as people read it.

use super::compare::Metric;
use super::intervals::Interval;
use super::rank::Ranks;
use super::{Calibration, DRAWS, Throughput};
use crate::report::table::styled;
use std::fmt::Write;

/// Columns of the tables.
const WIDTH: u16 = 80;
/// The names of latencies, for people.
const NAMES: [(&str, &str); 7] = [
    ("ttft", "TTFT"),
    ("itl", "ITL"),
    ("tpot", "TPOT"),
    ("e2e", "E2E"),
    ("cold_ttft", "TTFT, first round"),
    ("warm_ttft", "TTFT, later rounds"),
    ("duration", "session"),
];

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |s| format!("{:+.1}", s * 1e2))
}

fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn of(interval: Option<Interval>, scale: f64) -> String {
    let figures = |i: Interval| {
        let digits = |x: f64| match scale {
            1.0 => format!("{x:.2}"),
            scale => format!("{:.1}", x * scale),
        };
        format!("\n{} to {}", digits(i.low), digits(i.high))
    };
    interval.map_or(String::new(), figures)
}

/// Latencies by figure: observed, simulated, error with its interval.
fn figures(metric: &Metric) -> Vec<[String; 5]> {
    let both = metric
        .real_us
        .list()
        .into_iter()
        .zip(metric.simulated_us.list());
    let rows = both.map(|((name, real), (_, simulated))| {
        let error = metric.relative_error.get(name).copied().flatten();
        let interval = metric.relative_error_interval.get(name).copied().flatten();
        [
            name.to_owned(),
            digits(real / 1e3),
            digits(simulated / 1e3),
            percent(error),
            interval.map_or("-".to_owned(), |i| {
                format!("{} to {}", percent(Some(i.low)), percent(Some(i.high)))
            }),
        ]
    });
    rows.collect()
}

/// What was compared, and how far off it is.
#[must_use]
pub fn text(found: &Calibration) -> String {
    let mut text = String::new();
    let r = &found.requests;
    let _ = write!(text, "{} requests compared", r.matched_pairs);
    for (n, what) in [
        (r.warm_up_excluded, "to warm up left out"),
        (r.unmatched_real, "only observed"),
        (r.unmatched_simulated, "only simulated"),
        (r.failed_real, "failed in reality"),
        (r.failed_simulated, "failed in simulation"),
        (r.token_mismatches, "with other numbers of tokens"),
    ] {
        if n > 0 {
            let _ = write!(text, ", {n} {what}");
        }
    }
    text.push('\n');
    let mut table = styled(&["", "ms", "observed", "simulated", "error, %", "95 %"]);
    table.set_width(WIDTH);
    for (key, name) in NAMES {
        let Some(metric) = found.metrics.get(key) else {
            continue;
        };
        for (k, row) in figures(metric).into_iter().enumerate() {
            let first = if k == 0 { name } else { "" };
            table.add_row(std::iter::once(first.to_owned()).chain(row));
        }
    }
    let _ = writeln!(text, "{table}");
    let _ = writeln!(text, "request by request");
    let mut table = styled(&["", "requests", "MAPE, %", "Pearson r", "bias", "quality"]);
    table.set_width(WIDTH);
    let groups = found.per_class.iter();
    let groups = groups.map(|(class, metrics)| (format!("{class}: "), metrics));
    let session = (String::new(), &found.per_session);
    let all = std::iter::once((String::new(), &found.metrics));
    for (group, metrics) in all.chain(groups).chain(std::iter::once(session)) {
        for (key, name) in NAMES {
            if let Some(metric) = metrics.get(key) {
                table.add_row(one_by_one(&format!("{group}{name}"), metric));
            }
        }
    }
    let _ = writeln!(text, "{table}");
    for (name, throughput) in [
        ("requests/s", found.requests_per_s),
        ("output tokens/s", found.output_tokens_per_s),
    ] {
        if let Some(t) = throughput {
            let _ = writeln!(text, "{}", per_second(name, t));
        }
    }
    for (class, g) in found.goodput.iter().flat_map(|g| &g.per_class) {
        let _ = writeln!(
            text,
            "goodput of {class}: {:.2} requests/s observed, {:.2} simulated; targets met by {:.1} % and {:.1} %",
            g.real_goodput_rps,
            g.sim_goodput_rps,
            g.real_slo_attainment * 1e2,
            g.sim_slo_attainment * 1e2
        );
    }
    let _ = writeln!(
        text,
        "intervals: bootstrap over runs of neighbouring requests, {DRAWS} samples"
    );
    text
}

fn per_second(name: &str, t: Throughput) -> String {
    format!(
        "{name}: {} observed, {} simulated ({} %)",
        digits(t.real),
        digits(t.simulated),
        percent(Some(t.relative_error))
    )
}

fn one_by_one(name: &str, m: &Metric) -> [String; 6] {
    let mape = m.mape.map_or("-".to_owned(), |m| format!("{:.1}", m * 1e2));
    let bias = match m.bias {
        super::Bias::OverPredict => "too high",
        super::Bias::UnderPredict => "too low",
        super::Bias::Neutral => "none",
    };
    [
        name.to_owned(),
        m.count.to_string(),
        format!("{mape}{}", of(m.mape_interval, 1e2)),
        format!("{:.3}{}", m.pearson_r, of(m.pearson_r_interval, 1.0)),
        bias.to_owned(),
        m.quality.word().to_owned(),
    ]
}

/// How the simulation orders runs.
#[must_use]
pub fn ranks_text(ranks: &Ranks) -> String {
    let mut text = format!("order of {} runs\n", ranks.runs.len());
    let header = [
        "",
        "in order",
        "Spearman",
        "Kendall",
        "observed",
        "simulated",
    ];
    let mut table = styled(&header);
    table.set_width(WIDTH);
    for rank in &ranks.by_figure {
        let correlation = |found: Option<f64>, interval| match found {
            Some(found) => format!("{found:.2}{}", of(interval, 1.0)),
            None => "-".to_owned(),
        };
        // The numbers of the runs, from the least figure to the largest.
        let order = |values: &[f64]| {
            let mut places: Vec<usize> = (0..values.len()).collect();
            places.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
            let numbers: Vec<String> = places.iter().map(|k| (k + 1).to_string()).collect();
            numbers.join(" ")
        };
        table.add_row([
            rank.figure.replace("requests_per_s", "requests/s"),
            format!("{} of {}", rank.in_order, rank.pairs),
            correlation(rank.spearman, rank.spearman_interval),
            correlation(rank.kendall, rank.kendall_interval),
            order(&rank.real),
            order(&rank.simulated),
        ]);
    }
    let _ = writeln!(text, "{table}");
    for (k, run) in ranks.runs.iter().enumerate() {
        let _ = writeln!(text, "{}: {run}", k + 1);
    }
    text
}
