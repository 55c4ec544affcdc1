//! The table of a sweep for people: a line per point, the seeds summed up, the best values marked.

use super::{Clock, NOT_SERVED, Row};
use crate::report::width::{left_out, width};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::collections::BTreeMap;

/// Lists in dimensions are broken into lines of this length when the table gets too wide.
const LINE: usize = 24;
/// What goes first when the table gets too wide.
const LEAST_WANTED: [&str; 3] = ["ttft_p50_ms", "tpot_mean_ms", "cache_hit_rate"];
/// What goes after the deviations.
const LESS_WANTED: [&str; 4] = ["capex_usd", PER_GPU, "e2e_p99_ms", "fitness"];

/// Shown where the rows differ in their GPUs.
const PER_GPU: &str = "output_tokens_per_s_per_gpu";

/// What rows say of their machines where they differ in it, and the flag that makes it a dimension,
/// which says it already.
const MACHINES: [(&str, &str, &str); 4] = [
    ("gpu", "GPU", "hardware"),
    ("tensor_parallelism", "TP", "tp"),
    ("gpus", "GPUs", ""),
    ("latency_model", "Latency model", "latency-model"),
];

/// Writes a number with the digits that suit another, of which it is the deviation.
type Show = fn(f64, f64) -> String;

/// A column after the dimensions.
struct Column {
    metric: &'static str,
    title: &'static str,
    best: Best,
    show: Show,
}

#[derive(Clone, Copy, PartialEq)]
enum Best {
    Highest,
    Lowest,
}

static COLUMNS: [Column; 11] = [
    column("requests_per_s", "Requests/s", Best::Highest, digits),
    column(PER_GPU, "Tokens/s/GPU", Best::Highest, digits),
    column("ttft_p50_ms", "TTFT p50", Best::Lowest, digits),
    column("ttft_p99_ms", "TTFT p99", Best::Lowest, digits),
    column("tpot_mean_ms", "TPOT", Best::Lowest, digits),
    column("e2e_p99_ms", "E2E p99", Best::Lowest, digits),
    column("cache_hit_rate", "Hit rate", Best::Highest, percent),
    column(NOT_SERVED, "Not served", Best::Lowest, count),
    column("slo_attainment", "SLO met", Best::Highest, percent),
    column("fitness", "Fitness", Best::Highest, digits),
    column("capex_usd", "CapEx USD", Best::Lowest, count),
];

/// Those that are shown when they are asked for.
static MORE: [Column; 14] = [
    column("output_tokens_per_s", "Tokens/s", Best::Highest, digits),
    column("ttft_mean_ms", "TTFT mean", Best::Lowest, digits),
    column("e2e_mean_ms", "E2E mean", Best::Lowest, digits),
    column(
        "measured_requests_per_s",
        "Requests/s",
        Best::Highest,
        digits,
    ),
    column(
        "measured_output_tokens_per_s",
        "Tokens/s",
        Best::Highest,
        digits,
    ),
    column("measured_ttft_mean_ms", "TTFT mean", Best::Lowest, digits),
    column("measured_e2e_mean_ms", "E2E mean", Best::Lowest, digits),
    column("cost_usd", "USD", Best::Lowest, significant),
    column("usd_per_request", "USD/request", Best::Lowest, significant),
    column(
        "usd_per_million_output_tokens",
        "USD/M tokens",
        Best::Lowest,
        digits,
    ),
    column("busy_energy_kwh", "kWh busy", Best::Lowest, significant),
    column(
        "busy_joules_per_output_token",
        "J/token busy",
        Best::Lowest,
        digits,
    ),
    column("energy_kwh", "kWh", Best::Lowest, significant),
    column("joules_per_output_token", "J/token", Best::Lowest, digits),
];

/// Those of runs in ticks.
static TICK_COLUMNS: [Column; 7] = [
    column(
        "requests_per_1000_ticks",
        "Requests/1k",
        Best::Highest,
        digits,
    ),
    column("tokens_per_1000_ticks", "Tokens/1k", Best::Highest, digits),
    column("ttft_mean_ticks", "TTFT", Best::Lowest, digits),
    column("itl_mean_ticks", "ITL", Best::Lowest, digits),
    column("e2e_mean_ticks", "E2E", Best::Lowest, digits),
    column("final_queue", "Queue", Best::Lowest, count),
    column(NOT_SERVED, "Not served", Best::Lowest, count),
];

/// The columns that a table can have: those that it has by itself, and those to ask for.
fn of_clock(clock: Clock) -> (&'static [Column], &'static [Column]) {
    match clock {
        Clock::Real => (&COLUMNS, &MORE),
        Clock::Ticks => (&TICK_COLUMNS, &[]),
    }
}

/// The metrics that a table can show, by their names in rows.
pub fn column_names(clock: Clock) -> impl Iterator<Item = &'static str> {
    let (shown, more) = of_clock(clock);
    shown.iter().chain(more).map(|column| column.metric)
}

const fn column(metric: &'static str, title: &'static str, best: Best, show: Show) -> Column {
    Column {
        metric,
        title,
        best,
        show,
    }
}

/// Three digits or so: enough to choose by; the file has the rest.
fn digits(x: f64, like: f64) -> String {
    match like.abs() {
        0.0 if x == 0.0 => "0".into(),
        a if a < 0.9995 => format!("{x:.3}"),
        a if a < 9.995 => format!("{x:.2}"),
        a if a < 99.95 => format!("{x:.1}"),
        a if a < 9_999.5 => format!("{x:.0}"),
        a if a < 999_950.0 => format!("{:.1}k", x / 1e3),
        _ => format!("{:.1}M", x / 1e6),
    }
}

/// Three digits, however small.
fn significant(x: f64, like: f64) -> String {
    match like.abs() {
        a if a > 0.0 && a < 0.0995 => {
            let behind = (2.0 - a.log10().floor()).min(12.0) as usize;
            format!("{x:.behind$}")
        }
        _ => digits(x, like),
    }
}

fn count(n: f64, _: f64) -> String {
    format!("{n:.0}")
}

fn percent(share: f64, _: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// The runs of a point, which differ in their seed.
struct Group<'a>(&'a [Row]);

impl Group<'_> {
    fn values(&self, metric: &str) -> Vec<f64> {
        let rows = self.0.iter();
        rows.filter_map(|row| row.metric(metric)).collect()
    }

    /// Mean over the seeds, and standard deviation if there are several.
    fn spread(&self, metric: &str) -> Option<(f64, Option<f64>)> {
        let values = self.values(metric);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = || {
            let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
            (squares / (n - 1.0)).sqrt()
        };
        match values.len() {
            0 => None,
            1 => Some((mean, None)),
            _ => Some((mean, Some(deviation()))),
        }
    }

    /// What the first dimension is here: points that share it compete.
    fn block(&self, several: bool) -> Option<&str> {
        several.then(|| self.0[0].point()[0].as_str())
    }
}

/// A table with a line per point; several seeds show as their mean and standard deviation. With
/// several dimensions the best value is marked for each value of the first. Columns that are 0
/// everywhere, and what makes the table too wide, are left out. What runs were computed on is told
/// where it differs. `wanted` are the metrics to show, all of them; none = those above.
#[must_use]
pub fn table(dimensions: &[&str], rows: &[Row], wanted: &[String]) -> String {
    let groups: Vec<Group<'_>> = rows
        .chunk_by(|a, b| a.point() == b.point())
        .map(Group)
        .collect();
    let differ = |name: &str| {
        let mut values = rows.iter().map(|row| row.machine(name));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let hardware = differ("gpu") || differ("gpus");
    let matters = |c: &&Column| {
        if c.metric == PER_GPU && !hardware {
            return false;
        }
        let mut values = rows.iter().filter_map(|row| row.metric(c.metric));
        values.any(|x| x != 0.0)
    };
    let clock = rows.first().map_or(Clock::Real, |row| row.clock);
    let (columns, more) = of_clock(clock);
    let named = |name: &String| columns.iter().chain(more).find(|c| c.metric == name);
    let seeds = groups.first().map_or(0, |g| g.0.len());
    let mut drawing = Drawing {
        dimensions,
        groups,
        machines: MACHINES
            .into_iter()
            .filter(|(name, _, flag)| differ(name) && !dimensions.contains(flag))
            .map(|(name, title, _)| (name, title))
            .collect(),
        columns: match wanted {
            [] => columns.iter().filter(matters).collect(),
            _ => wanted.iter().filter_map(named).collect(),
        },
        deviations: seeds > 1,
        broken: false,
    };
    let mut hidden = Vec::new();
    if wanted.is_empty() {
        hidden = drawing.narrow();
    } else {
        drawing.broken = drawing.width() > width();
    }
    let deviation = if drawing.deviations {
        " ±standard deviation"
    } else {
        ""
    };
    let mut last = match rows.len() {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    let of_a_part = wanted.iter().any(|name| name.starts_with("measured_"));
    last.push_str(match (clock, of_a_part) {
        (Clock::Ticks, _) => "; times in ticks, means; queue at the end",
        (Clock::Real, true) => "; latencies in ms; of the time that is measured, after the warm-up",
        (Clock::Real, false) => "; latencies in ms; requests/s over the whole run, drain included",
    });
    if seeds > 1 {
        last.push_str(&format!("\nmean{deviation} of {seeds} seeds"));
    }
    let text = drawing.text();
    if text.contains('*') {
        let of = match dimensions.len() {
            2.. => format!(" for its {}", dimensions[0]),
            _ => String::new(),
        };
        last.push_str(&format!("\n* best{of}: {}", drawing.best_is()));
    }
    if let (Some(row), Clock::Real) = (rows.first(), clock) {
        let alike = |name: &str| {
            (!differ(name))
                .then(|| row.machine(name))
                .filter(|v| !v.is_empty())
        };
        let gpus = alike("gpus").zip(alike("gpu"));
        let tensor = alike("tensor_parallelism").map(|tp| format!("TP {tp}"));
        let gpus = gpus.map(|(n, gpu)| format!("{n} x {gpu}"));
        let model = alike("latency_model").map(|model| format!("latency model {model}"));
        let all: Vec<String> = gpus.into_iter().chain(tensor).chain(model).collect();
        if !all.is_empty() {
            last.push_str(&format!("\nall on {}", all.join(", ")));
        }
    }
    let hidden = left_out(&hidden);
    if !hidden.is_empty() {
        last.push_str(&format!("\n{hidden}"));
    }
    format!("{text}\n{last}\n")
}

/// What the table shows.
struct Drawing<'a> {
    dimensions: &'a [&'a str],
    groups: Vec<Group<'a>>,
    /// Column and title of what the rows' machines differ in.
    machines: Vec<(&'static str, &'static str)>,
    columns: Vec<&'static Column>,
    deviations: bool,
    /// Are lists in the dimensions broken into lines?
    broken: bool,
}

impl Drawing<'_> {
    /// Leaves things out until it fits: first columns, then the deviations, which tell what a
    /// difference is worth, then more columns. Gives the titles of the columns.
    fn narrow(&mut self) -> Vec<String> {
        let (mut first, mut then) = (LEAST_WANTED.iter(), LESS_WANTED.iter());
        let mut hidden = Vec::new();
        while self.width() > width() {
            if !std::mem::replace(&mut self.broken, true) {
                continue;
            }
            let metric = match first.next() {
                Some(metric) => metric,
                None if std::mem::replace(&mut self.deviations, false) => continue,
                None => match then.next() {
                    Some(metric) => metric,
                    None => break,
                },
            };
            let out = self.columns.iter().filter(|c| c.metric == *metric);
            hidden.extend(out.map(|column| column.title.to_owned()));
            self.columns.retain(|c| c.metric != *metric);
        }
        hidden
    }

    /// Which values of the columns are marked.
    fn best_is(&self) -> &'static str {
        let has = |best| self.columns.iter().any(|c| c.best == best);
        match (has(Best::Highest), has(Best::Lowest)) {
            (true, true) => "the highest rates and shares, the lowest of all others",
            (true, false) => "the highest",
            (false, _) => "the lowest",
        }
    }

    /// Columns of cells under their titles, the dimensions first.
    fn cells(&self) -> Vec<(String, Vec<String>)> {
        let value = |value: &str| {
            if self.broken {
                lines(value)
            } else {
                value.to_owned()
            }
        };
        let values = |k: usize| self.groups.iter().map(move |g| value(&g.0[0].point()[k]));
        let dimensions = self.dimensions.iter().enumerate();
        let machines = self.machines.iter().map(|(name, title)| {
            let cells = self.groups.iter().map(|g| g.0[0].machine(name).to_owned());
            ((*title).to_owned(), cells.collect())
        });
        let metrics = self.columns.iter().map(|column| {
            let best = best(column, &self.groups, self.dimensions.len() > 1);
            let cells = self.groups.iter().zip(best);
            let cells = cells.map(|(group, best)| cell(column, group, best, self.deviations));
            (column.title.to_owned(), cells.collect())
        });
        dimensions
            .map(|(k, name)| ((*name).to_owned(), values(k).collect()))
            .chain(machines)
            .chain(metrics)
            .collect()
    }

    fn width(&self) -> usize {
        let cells = self.cells();
        let widths = cells.iter().map(|(title, cells)| {
            let lines = cells.iter().flat_map(|cell| cell.lines()).chain([&**title]);
            lines.map(|line| line.chars().count()).max().unwrap_or(0) + 3
        });
        widths.sum::<usize>() + 1
    }

    fn text(&self) -> String {
        let columns = self.cells();
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns.iter().map(|(title, _)| title));
        for k in 0..self.groups.len() {
            table.add_row(columns.iter().map(|(_, cells)| &cells[k]));
        }
        for column in table.column_iter_mut().skip(self.dimensions.len()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// Breaks a list after its commas, and flags between them.
fn lines(list: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for item in list.split_inclusive([',', ' ']) {
        let more = item.chars().count();
        if length > 0 && length + more > LINE {
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
            length = 0;
        }
        lines.push_str(item);
        length += more;
    }
    lines
}

/// Which groups show the best value of a column within their block. Nothing is best where all are
/// alike.
fn best(column: &Column, groups: &[Group<'_>], blocks: bool) -> Vec<bool> {
    // A figure that some of a point's runs lack is of the others only: it is not compared.
    let mean = |g: &Group<'_>| {
        let everywhere = g.values(column.metric).len() == g.0.len();
        g.spread(column.metric).filter(|_| everywhere)
    };
    let means: Vec<Option<f64>> = groups
        .iter()
        .map(|g| mean(g).map(|(mean, _)| mean))
        .collect();
    let mut ranges: BTreeMap<Option<&str>, (f64, f64)> = BTreeMap::new();
    for (group, mean) in groups.iter().zip(&means) {
        if let Some(x) = *mean {
            let range = ranges.entry(group.block(blocks)).or_insert((x, x));
            *range = (range.0.min(x), range.1.max(x));
        }
    }
    let is_best = |(group, mean): (&Group<'_>, &Option<f64>)| {
        let Some(&(lowest, highest)) = ranges.get(&group.block(blocks)) else {
            return false;
        };
        let best = match column.best {
            Best::Highest => highest,
            Best::Lowest => lowest,
        };
        let show = |x| (column.show)(x, x);
        // What looks the same is as good.
        show(lowest) != show(highest) && mean.is_some_and(|mean| show(mean) == show(best))
    };
    groups.iter().zip(&means).map(is_best).collect()
}

fn cell(column: &Column, group: &Group<'_>, best: bool, deviations: bool) -> String {
    let Some((mean, deviation)) = group.spread(column.metric) else {
        return "- ".into();
    };
    let mut text = (column.show)(mean, mean);
    if let (Some(deviation), true) = (deviation, deviations) {
        text.push_str(" ±");
        text.push_str((column.show)(deviation, mean).trim_end_matches(['%', 'k', 'M']));
    }
    text.push(if best { '*' } else { ' ' });
    text
}
