//! A workload as text, with a curve a terminal can show, and as a page with plots.

use comfy_table::CellAlignment;
use std::fmt::Write;
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
        s.rate_mean, s.rate_peak, s.bucket_s
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
        "\nRequests/s over time, up to {:.3}:\n{}",
        s.rate_peak,
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

/// A page of its own with the same as plots; it loads nothing.
#[must_use]
pub fn html(title: &str, s: &Summary) -> String {
    let title = escape(title);
    let sessions = if s.sessions > 0 {
        format!(" in {} sessions", count(s.sessions))
    } else {
        String::new()
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n\
         :root {{ color-scheme: light dark; }}\n\
         body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}\n\
         table {{ border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }} td, th {{ padding: .2rem .8rem; text-align: right; }}\n\
         td:first-child, th:first-child {{ text-align: left; }} tr + tr td {{ border-top: 1px solid #8884; }}\n\
         svg {{ width: 100%; height: auto; }} .bar {{ fill: #4878a8; }} .axis {{ fill: currentColor; font-size: 11px; }}\n\
         .two {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }}\n\
         </style></head><body>\n<h1>{title}</h1>\n\
         <p>{} requests{sessions} over {:.3} s; mean {:.3} requests/s, peak {:.3} in {} s; cv of gaps {}.<br>\n\
         An infinite prefix cache would hold {:.2}% of {} prompt tokens (blocks of {}).</p>\n",
        count(s.requests),
        s.span_s,
        s.rate_mean,
        s.rate_peak,
        s.bucket_s,
        s.gap_cv.map_or("-".into(), |cv| format!("{cv:.3}")),
        100.0 * s.infinite_cache_hit_rate,
        count(s.prompt_tokens_total),
        s.block_size_tokens
    );
    let label = |k: usize| format!("{:.0} s", k as f64 * s.bucket_s);
    page.push_str("<h2>Requests per second</h2>\n");
    page.push_str(&plot(&s.rates, 900, label, |x| format!("{x:.2}/s")));
    page.push_str("<div class=\"two\">\n");
    for (name, l) in [
        ("Prompt tokens", &s.prompt_tokens),
        ("Output tokens", &s.output_tokens),
    ] {
        let counts: Vec<f64> = l.histogram.iter().map(|(_, n)| *n as f64).collect();
        let label = |k: usize| {
            l.histogram
                .get(k)
                .map_or(String::new(), |(from, _)| count((*from).into()))
        };
        let _ = write!(
            page,
            "<div><h2>{name}</h2>\n{}",
            plot(&counts, 440, label, |n| count(n as u64))
        );
        let _ = writeln!(
            page,
            "<p>mean {:.1}, std dev {:.1}, min {}, p50 {}, p90 {}, p99 {}, max {}</p></div>",
            l.mean,
            l.std_dev,
            count(l.min.into()),
            count(l.p50.into()),
            count(l.p90.into()),
            count(l.p99.into()),
            count(l.max.into())
        );
    }
    page.push_str("</div>\n");
    if s.clients.len() > 1 {
        clients(&mut page, s);
    }
    page.push_str("</body></html>\n");
    page
}

/// The table of clients, where there are several.
fn clients(page: &mut String, s: &Summary) {
    page.push_str(
        "<h2>Clients</h2>\n<table><tr><th>Client<th>Requests<th>Prompt mean<th>Output mean</tr>\n",
    );
    for c in s.clients.iter().take(1000) {
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{:.1}<td>{:.1}</tr>",
            escape(&c.client),
            count(c.requests),
            c.prompt_tokens_mean,
            c.output_tokens_mean
        );
    }
    page.push_str("</table>\n");
}

/// Bars with a hint each, the first and last one labelled.
fn plot(
    values: &[f64],
    width: usize,
    label: impl Fn(usize) -> String,
    shown: impl Fn(f64) -> String,
) -> String {
    const HEIGHT: f64 = 160.0;
    let peak = values
        .iter()
        .copied()
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let step = width as f64 / values.len().max(1) as f64;
    let mut svg = format!("<svg viewBox=\"0 0 {width} 180\" role=\"img\">\n");
    for (k, value) in values.iter().enumerate() {
        let height = value / peak * HEIGHT;
        let _ = writeln!(
            svg,
            "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\"><title>{}: {}</title></rect>",
            k as f64 * step,
            HEIGHT - height,
            (step * 0.9).max(0.5),
            label(k),
            shown(*value)
        );
    }
    let last = values.len().saturating_sub(1);
    let _ = writeln!(
        svg,
        "<text class=\"axis\" x=\"0\" y=\"176\">{}</text>\n\
         <text class=\"axis\" x=\"{width}\" y=\"176\" text-anchor=\"end\">{}</text>\n\
         <text class=\"axis\" x=\"0\" y=\"10\">{}</text>\n</svg>",
        label(0),
        label(last),
        shown(peak)
    );
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
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
        let page = html("<script>", &Summary::default());
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        assert!(!page.contains("http"));
    }
}
