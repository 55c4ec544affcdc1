//! The rows of a sweep as columns with types, for programs that compute with them. A column has the
//! same type whatever is in it.

use super::{Clock, Row};
use crate::report::columns::Column;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Whole,
    /// Numbers.
    Number,
    /// Texts.
    Text,
}

/// Columns that count.
const COUNTS: [&str; 16] = [
    "seed",
    "tensor_parallelism",
    "gpus",
    "total_kv_blocks",
    "arrived",
    "completed",
    "rejected",
    "timed_out",
    "dropped",
    "preemptions",
    "capex_usd",
    "completed_tokens",
    "steps",
    "final_queue",
    "final_batch",
    "max_queue",
];

/// Columns of words, besides dimensions.
const WORDS: [&str; 4] = ["run", "gpu", "latency_model", "total_kv_blocks_source"];

/// What the column at this position of a row holds; `dimensions` says it of the varied ones.
fn kind(at: usize, name: &str, dimensions: &[Kind]) -> Kind {
    match at.checked_sub(1).and_then(|k| dimensions.get(k)) {
        Some(kind) => *kind,
        None if WORDS.contains(&name) => Kind::Text,
        None if COUNTS.contains(&name) => Kind::Whole,
        None => Kind::Number,
    }
}

fn whole(field: &str) -> Option<i64> {
    let exact = field.parse().ok();
    // Large counts are written as 1e+06.
    exact.or_else(|| {
        let number: f64 = field.parse().ok()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

fn column(kind: Kind, fields: &[&str]) -> Column {
    let fields = fields.iter();
    match kind {
        Kind::Whole => Column::Whole(fields.map(|field| whole(field)).collect()),
        Kind::Number => Column::Number(fields.map(|field| field.parse().ok()).collect()),
        Kind::Text => {
            let text = |field: &&str| (!field.is_empty()).then(|| (*field).to_owned());
            Column::Text(fields.map(text).collect())
        }
    }
}

/// The rows by column. What a dimension cannot hold makes texts of it: `10k` is no number. Counts
/// of pools that differ are absent, as they have no single value.
#[must_use]
pub fn typed(columns: &[String], rows: &[Row], dimensions: &[Kind]) -> Vec<(String, Column)> {
    let named = columns.iter().enumerate().map(|(at, name)| {
        let fields: Vec<&str> = rows.iter().map(|row| row.fields[at].as_str()).collect();
        let kind = kind(at, name, dimensions);
        let fits = match kind {
            Kind::Whole => fields.iter().all(|field| whole(field).is_some()),
            Kind::Number => fields.iter().all(|field| field.parse::<f64>().is_ok()),
            Kind::Text => true,
        };
        let varied = (1..=dimensions.len()).contains(&at);
        let kind = if varied && !fits { Kind::Text } else { kind };
        (name.clone(), column(kind, &fields))
    });
    named.collect()
}

/// A row per point: the dimensions, the number of seeds, the machines, and of each metric the mean
/// over the seeds that have it and, behind it, the standard deviation (`..._sd`), absent of a
/// single seed.
#[must_use]
pub fn by_point(columns: &[String], rows: &[Row], dimensions: &[Kind]) -> Vec<(String, Column)> {
    let clock = rows.first().map_or(Clock::Real, |row| row.clock);
    let metrics = clock.metrics().len();
    let groups: Vec<&[Row]> = rows.chunk_by(|a, b| a.point() == b.point()).collect();
    let firsts: Vec<Row> = groups.iter().map(|group| group[0].clone()).collect();
    let seed_at = 1 + dimensions.len();
    let mut cells = Vec::new();
    for (at, (name, first)) in typed(columns, &firsts, dimensions).into_iter().enumerate() {
        if at == 0 {
            continue;
        }
        if at == seed_at {
            let seeds = groups.iter().map(|group| Some(group.len() as i64));
            cells.push(("seeds".to_owned(), Column::Whole(seeds.collect())));
        } else if at < columns.len() - metrics {
            cells.push((name, first));
        } else {
            let values = |group: &&[Row]| -> Vec<f64> {
                let fields = group.iter().map(|row| row.fields[at].parse().ok());
                fields.flatten().collect()
            };
            let spreads: Vec<_> = groups.iter().map(|group| spread(&values(group))).collect();
            let means = spreads.iter().map(|(mean, _)| *mean).collect();
            let deviations = spreads.iter().map(|(_, deviation)| *deviation).collect();
            let deviation_name = format!("{name}_sd");
            cells.push((name, Column::Number(means)));
            cells.push((deviation_name, Column::Number(deviations)));
        }
    }
    cells
}

/// Mean, and standard deviation of several.
fn spread(values: &[f64]) -> (Option<f64>, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0)).sqrt();
    (
        (!values.is_empty()).then_some(mean),
        (values.len() > 1).then_some(deviation),
    )
}

#[cfg(test)]
mod tests {
    use super::super::columns as names;
    use super::*;

    fn rows(columns: &[String], points: &[(&str, &str)]) -> Vec<Row> {
        let row = |(rate, seed): &(&str, &str)| {
            let field = |name: &String| match name.as_str() {
                "run" => "id".to_owned(),
                "rate" => (*rate).to_owned(),
                "seed" => (*seed).to_owned(),
                "gpu" => "H100".to_owned(),
                "gpus" => "2".to_owned(),
                "arrived" => "1e+06".to_owned(),
                "ttft_p99_ms" => (*seed).to_owned(),
                _ => String::new(),
            };
            Row::from_fields(columns.iter().map(field).collect(), columns)
        };
        points.iter().map(row).collect()
    }

    fn of(table: &[(String, Column)], name: &str) -> Column {
        let found = table.iter().find(|(known, _)| known == name);
        found.expect("a column").1.clone()
    }

    #[test]
    fn a_column_has_its_type_whatever_is_in_it() {
        let columns = names(&["rate"], Clock::Real);
        let table = typed(&columns, &rows(&columns, &[("10", "1")]), &[Kind::Number]);
        assert_eq!(of(&table, "rate"), Column::Number(vec![Some(10.0)]));
        assert_eq!(of(&table, "seed"), Column::Whole(vec![Some(1)]));
        assert_eq!(of(&table, "arrived"), Column::Whole(vec![Some(1_000_000)]));
        assert_eq!(of(&table, "dropped"), Column::Whole(vec![None]));
        assert_eq!(of(&table, "fitness"), Column::Number(vec![None]));
        assert_eq!(of(&table, "latency_model"), Column::Text(vec![None]));
        let table = typed(&columns, &rows(&columns, &[("1k", "1")]), &[Kind::Number]);
        assert_eq!(of(&table, "rate"), Column::Text(vec![Some("1k".into())]));
        let none = typed(&columns, &[], &[Kind::Number]);
        assert_eq!(of(&none, "rate"), Column::Number(Vec::new()));
    }

    #[test]
    fn seeds_are_summed_up_by_point() {
        let columns = names(&["rate"], Clock::Real);
        let rows = rows(&columns, &[("10", "1"), ("10", "3"), ("20", "1")]);
        let table = by_point(&columns, &rows, &[Kind::Number]);
        assert_eq!(
            of(&table, "rate"),
            Column::Number(vec![Some(10.0), Some(20.0)])
        );
        assert_eq!(of(&table, "seeds"), Column::Whole(vec![Some(2), Some(1)]));
        assert_eq!(
            of(&table, "ttft_p99_ms"),
            Column::Number(vec![Some(2.0), Some(1.0)])
        );
        let sd = Column::Number(vec![Some(2f64.sqrt()), None]);
        assert_eq!(of(&table, "ttft_p99_ms_sd"), sd);
        assert_eq!(of(&table, "fitness"), Column::Number(vec![None, None]));
        assert_eq!(of(&table, "gpus"), Column::Whole(vec![Some(2), Some(2)]));
    }
}
