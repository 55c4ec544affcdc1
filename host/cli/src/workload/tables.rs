//! A workload as text, with a curve a terminal can show, and as a page with plots.

use comfy_table::CellAlignment;
use std::fmt::Write;
use windtunnel_results::page::{Axis, Cell, Chart, Page, Table, Trace, figure};
use windtunnel_results::report::table::styled;
use windtunnel_workload::summary::{Lengths, Summary};

/// Columns of a terminal's curve.
const COLUMNS: usize = 72;
/// Clients in the table.
const MOST_CLIENTS: usize = 12;

/// The summary as text: `title` is its first line.
#[must_use]
pub fn text(title: &str, s: &Summary) -> String {
    let mut text = format!("{title}\n\n");
    let sessions = match s.sessions {
        0 => String::new(),
        n => format!(" in {} sessions", count(n)),
    };
    let _ = writeln!(
        text,
        "Requests:   {}{sessions} over {:.3} s",
        count(s.requests),
        s.span_s
    );
    let _ = writeln!(
        text,
        "Rate:       mean {:.3} requests/s, peak {:.3} in {} s",
        s.rate_mean, s.rate_peak, s.peak_s
    );
    let burstiness = s.gap_cv.map_or("-".into(), |cv| format!("{cv:.3}"));
    let _ = writeln!(
        text,
        "Burstiness: cv of gaps {burstiness} (0 = regular, 1 = Poisson)"
    );
    let _ = writeln!(
        text,
        "Sharing:    an infinite prefix cache would hold {:.2}% of {} prompt tokens (blocks of {})",
        100.0 * s.infinite_cache_hit_rate,
        count(s.prompt_tokens_total),
        s.block_size_tokens
    );
    let _ = writeln!(
        text,
        "\nRequests/s over time, up to {:.3} in {} s:\n{}",
        s.rates.iter().copied().fold(0.0, f64::max),
        s.bucket_s,
        sparkline(&s.rates)
    );
    let mut table = styled(&[
        "Tokens", "mean", "std dev", "min", "p50", "p90", "p99", "max",
    ]);
    for (name, l) in [("prompt", &s.prompt_tokens), ("output", &s.output_tokens)] {
        table.add_row([
            name.to_owned(),
            format!("{:.1}", l.mean),
            format!("{:.1}", l.std_dev),
            count(l.min.into()),
            count(l.p50.into()),
            count(l.p90.into()),
            count(l.p99.into()),
            count(l.max.into()),
        ]);
    }
    right(&mut table, 1..8);
    let _ = writeln!(text, "\n{table}");
    text.push_str(&histograms(s));
    if s.clients.len() > 1 {
        let mut table = styled(&["Client", "Requests", "Share", "Prompt mean", "Output mean"]);
        for c in s.clients.iter().take(MOST_CLIENTS) {
            table.add_row([
                if c.client.is_empty() {
                    "-".into()
                } else {
                    c.client.clone()
                },
                count(c.requests),
                format!("{:.1}%", 100.0 * c.requests as f64 / s.requests as f64),
                format!("{:.1}", c.prompt_tokens_mean),
                format!("{:.1}", c.output_tokens_mean),
            ]);
        }
        right(&mut table, 1..5);
        let _ = writeln!(text, "\n{table}");
        if s.clients.len() > MOST_CLIENTS {
            let _ = writeln!(text, "and {} more clients", s.clients.len() - MOST_CLIENTS);
        }
    }
    text
}

fn right(table: &mut comfy_table::Table, columns: std::ops::Range<usize>) {
    for k in columns {
        if let Some(column) = table.column_mut(k) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn count(n: u64) -> String {
    let plain = n.to_string();
    let mut grouped = String::new();
    for (k, c) in plain.chars().enumerate() {
        if k > 0 && (plain.len() - k).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

/// A curve of eight levels; neighbouring values are averaged to fit.
#[must_use]
pub fn sparkline(values: &[f64]) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let peak = values.iter().copied().fold(0.0, f64::max);
    let columns = values.len().min(COLUMNS);
    let column = |k: usize| {
        let part = &values[k * values.len() / columns..((k + 1) * values.len() / columns).max(1)];
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let level = if peak > 0.0 {
            (mean / peak * 8.0).ceil() as usize
        } else {
            0
        };
        LEVELS[level.min(8)]
    };
    (0..columns).map(column).collect()
}

/// Both histograms side by side.
fn histograms(s: &Summary) -> String {
    const WIDTH: usize = 30;
    let bars = |l: &Lengths| -> Vec<String> {
        let peak = l
            .histogram
            .iter()
            .map(|(_, n)| *n)
            .max()
            .unwrap_or(1)
            .max(1);
        let bar = |(from, n): &(u32, u64)| {
            let long = ((*n as f64 / peak as f64) * WIDTH as f64).ceil() as usize;
            format!("{:>8} {}", count((*from).into()), "█".repeat(long))
        };
        l.histogram.iter().map(bar).collect()
    };
    let (prompts, outputs) = (bars(&s.prompt_tokens), bars(&s.output_tokens));
    let mut text = format!(
        "\n{:<42}{}\n",
        "  Prompt tokens, from", "  Output tokens, from"
    );
    for k in 0..prompts.len().max(outputs.len()) {
        let left = prompts.get(k).map_or("", String::as_str);
        let right = outputs.get(k).map_or("", String::as_str);
        let _ = writeln!(text, "{}", format!("{left:<42}{right}").trim_end());
    }
    text
}

/// Clients in the page.
const CLIENTS_OF_PAGE: usize = 1000;

/// A page of its own with the same as plots; it loads nothing.
#[must_use]
pub fn html(title: &str, s: &Summary) -> String {
    let mut page = Page::new(title);
    let sessions = match s.sessions {
        0 => String::new(),
        n => format!(" in {} sessions", count(n)),
    };
    page.lead(&format!(
        "{} requests{sessions} over {:.3} s",
        count(s.requests),
        s.span_s
    ));
    page.section("Summary");
    let tile = |name: &str, value: String| (name.to_owned(), value);
    page.tiles(&[
        tile("Requests", count(s.requests)),
        tile("Mean rate", format!("{} req/s", figure(s.rate_mean))),
        tile(
            &format!("Peak over {} s", figure(s.peak_s)),
            format!("{} req/s", figure(s.rate_peak)),
        ),
        tile(
            "CV of gaps (1 = Poisson)",
            s.gap_cv.map_or("-".into(), figure),
        ),
        tile("Prompt tokens", count(s.prompt_tokens_total)),
        tile("Output tokens", count(s.output_tokens_total)),
        tile(
            "Infinite prefix cache, hits",
            format!("{} %", figure(100.0 * s.infinite_cache_hit_rate)),
        ),
    ]);
    let mut table = Table::new(&[
        "Tokens", "mean", "std dev", "min", "p50", "p90", "p99", "max",
    ]);
    for (name, l) in [("prompt", &s.prompt_tokens), ("output", &s.output_tokens)] {
        let whole = |n: u32| Cell::from(u64::from(n));
        table.rows.push(vec![
            name.into(),
            l.mean.into(),
            l.std_dev.into(),
            whole(l.min),
            whole(l.p50),
            whole(l.p90),
            whole(l.p99),
            whole(l.max),
        ]);
    }
    page.table(&table);
    page.section("Arrivals");
    page.chart(&Chart {
        title: "Requests per second".to_owned(),
        note: format!("in intervals of {} s", figure(s.bucket_s)),
        x: Axis::from_zero("time, s"),
        y: Axis::from_zero("requests/s"),
        traces: vec![Trace {
            name: "arrived".to_owned(),
            x: (0..s.rates.len()).map(|k| k as f64 * s.bucket_s).collect(),
            y: s.rates.iter().copied().map(Some).collect(),
            stepped: true,
            ..Trace::default()
        }],
        broad: true,
        ..Chart::default()
    });
    page.section("Lengths");
    for (name, l) in [
        ("Prompt tokens", &s.prompt_tokens),
        ("Output tokens", &s.output_tokens),
    ] {
        page.chart(&lengths(name, l));
    }
    if s.clients.len() > 1 {
        page.section("Clients");
        page.table(&clients(s));
    }
    page.finish()
}

/// A histogram of lengths. Its bins go from a power of two to just below the next one.
fn lengths(name: &str, l: &Lengths) -> Chart {
    let bin = |(from, _): &(u32, u64)| match from {
        0 | 1 => from.to_string(),
        from => format!(
            "{}–{}",
            count((*from).into()),
            count(u64::from(*from) * 2 - 1)
        ),
    };
    Chart {
        title: name.to_owned(),
        note: "each bin ends where the next power of two begins".to_owned(),
        x: Axis {
            names: l.histogram.iter().map(bin).collect(),
            ..Axis::new("tokens")
        },
        y: Axis::from_zero("requests"),
        traces: vec![Trace {
            name: "requests".to_owned(),
            x: (0..l.histogram.len()).map(|k| k as f64).collect(),
            y: l.histogram.iter().map(|(_, n)| Some(*n as f64)).collect(),
            bars: true,
            ..Trace::default()
        }],
        ..Chart::default()
    }
}

/// The table of clients, where there are several.
fn clients(s: &Summary) -> Table {
    let mut table = Table::new(&["Client", "requests", "prompt mean", "output mean"]);
    for c in s.clients.iter().take(CLIENTS_OF_PAGE) {
        table.rows.push(vec![
            c.client.clone().into(),
            c.requests.into(),
            c.prompt_tokens_mean.into(),
            c.output_tokens_mean.into(),
        ]);
    }
    if let more @ 1.. = s.clients.len().saturating_sub(CLIENTS_OF_PAGE) {
        table.caption = format!("and {more} more clients");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_shows_its_peak_and_its_gaps() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0]), " ▁▄█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0.0]), " ");
        assert_eq!(sparkline(&vec![1.0; 300]).chars().count(), COLUMNS);
    }

    #[test]
    fn names_cannot_break_the_page() {
        let page = html("<b>x", &Summary::default());
        assert!(page.contains("&lt;b&gt;x") && !page.contains("<b>x"));
        assert!(!page.contains("http:") && !page.contains("https:"));
    }
}
