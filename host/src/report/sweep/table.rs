//! The table of a sweep for people: a line per point, the seeds summed up, the best values marked.

use super::Row;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use std::collections::BTreeMap;

const WIDTH: u16 = 100;

/// A column after the dimensions.
struct Column {
    metric: &'static str,
    title: &'static str,
    best: Best,
    show: fn(f64) -> String,
}

#[derive(Clone, Copy, PartialEq)]
enum Best {
    Highest,
    Lowest,
}

const COLUMNS: [Column; 9] = [
    column("requests_per_s", "Requests/s", Best::Highest, digits),
    column("ttft_p50_ms", "TTFT p50", Best::Lowest, digits),
    column("ttft_p99_ms", "TTFT p99", Best::Lowest, digits),
    column("tpot_mean_ms", "TPOT", Best::Lowest, digits),
    column("e2e_p99_ms", "E2E p99", Best::Lowest, digits),
    column("cache_hit_rate", "Hit rate", Best::Highest, percent),
    column("rejected", "Rejected", Best::Lowest, digits),
    column("slo_attainment", "SLO met", Best::Highest, percent),
    column("fitness", "Fitness", Best::Highest, digits),
];

const fn column(
    metric: &'static str,
    title: &'static str,
    best: Best,
    show: fn(f64) -> String,
) -> Column {
    Column {
        metric,
        title,
        best,
        show,
    }
}

/// Three digits or so: enough to choose by; the file has the rest.
fn digits(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if a < 0.9995 => format!("{x:.3}"),
        a if a < 9.995 => format!("{x:.2}"),
        a if a < 99.95 => format!("{x:.1}"),
        a if a < 9_999.5 => format!("{x:.0}"),
        a if a < 999_950.0 => format!("{:.1}k", x / 1e3),
        _ => format!("{:.1}M", x / 1e6),
    }
}

fn percent(share: f64) -> String {
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

/// A table with a line per point; several seeds show as their mean and standard deviation. With several dimensions the best
/// value is marked for each value of the first. Columns that are 0 everywhere are left out.
#[must_use]
pub fn table(dimensions: &[&str], rows: &[Row]) -> String {
    let groups: Vec<Group<'_>> = rows
        .chunk_by(|a, b| a.point() == b.point())
        .map(Group)
        .collect();
    let blocks = dimensions.len() > 1;
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|c| {
            rows.iter()
                .any(|r| r.metric(c.metric).is_some_and(|x| x != 0.0))
        })
        .collect();
    let mut lines: Vec<Vec<String>> = groups.iter().map(|g| g.0[0].point().to_vec()).collect();
    let mut marked = false;
    for column in &shown {
        let best = best(column, &groups, blocks);
        marked |= best.contains(&true);
        for ((line, group), best) in lines.iter_mut().zip(&groups).zip(&best) {
            line.push(cell(column, group, *best));
        }
    }
    let titles = dimensions.iter().copied();
    let table = layout(
        dimensions.len(),
        titles.chain(shown.iter().map(|c| c.title)).collect(),
        lines,
    );
    let seeds = groups.first().map_or(0, |g| g.0.len());
    let runs = if rows.len() == 1 { "run" } else { "runs" };
    let mut last = format!("{} {runs}; latencies in ms", rows.len());
    if seeds > 1 {
        last.push_str(&format!("; mean ±standard deviation of {seeds} seeds"));
    }
    if marked && blocks {
        last.push_str(&format!("; * best for its {}", dimensions[0]));
    } else if marked {
        last.push_str("; * best");
    }
    format!("{table}\n{last}\n")
}

/// Which groups show the best value of a column within their block. Nothing is best where all are alike.
fn best(column: &Column, groups: &[Group<'_>], blocks: bool) -> Vec<bool> {
    let means: Vec<Option<f64>> = groups
        .iter()
        .map(|g| g.spread(column.metric).map(|(mean, _)| mean))
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
        let [lowest, highest, best] = [lowest, highest, best].map(column.show);
        // What looks the same is as good.
        lowest != highest && mean.is_some_and(|mean| (column.show)(mean) == best)
    };
    groups.iter().zip(&means).map(is_best).collect()
}

fn cell(column: &Column, group: &Group<'_>, best: bool) -> String {
    let Some((mean, deviation)) = group.spread(column.metric) else {
        return "- ".into();
    };
    let mut text = (column.show)(mean);
    if let Some(deviation) = deviation {
        text.push_str(" ±");
        text.push_str((column.show)(deviation).trim_end_matches('%'));
    }
    text.push(if best { '*' } else { ' ' });
    text
}

/// Draws it. Only dimensions are broken into several lines, when the table gets too wide.
fn layout(dimensions: usize, titles: Vec<&str>, lines: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(titles)
        .add_rows(lines);
    for column in table.column_iter_mut().skip(dimensions) {
        column.set_cell_alignment(CellAlignment::Right);
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table.to_string()
}
