//! The page of `windtunnel accuracy`: parity plots, errors, and how it was made, in one file that
//! needs nothing but itself.

use super::columns::{COLUMNS, peers_of};
use super::look::{MARKS, SCRIPT, STYLE, mark};
use super::plot::{Point, parity};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use windtunnel_base::input::in_html;
use windtunnel_results::page::three_digits;
use windtunnel_sim::ground_truth::{ClosedLoop, Compared, Figure, Metric, Summary, summarize};

/// What the page is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    /// The command line.
    pub command: &'a str,
    /// How it was simulated: what, and its value.
    pub made: &'a [(&'static str, String)],
    pub cases: &'a [Compared],
    pub loops: &'a [(&'a ClosedLoop, Vec<Figure>)],
    /// What was not simulated, and why.
    pub failed: &'a [(String, String)],
}

/// A case or a closed loop: something that has a mark in plots.
struct Item {
    name: String,
    strata: Vec<(&'static str, String)>,
}

/// A heading of strata, the values that there are, and which of them each item has.
struct Stratum {
    heading: &'static str,
    values: Vec<String>,
    of: Vec<usize>,
}

impl Stratum {
    /// Does it make groups that a key can name, and not nearly all one group?
    fn tells_apart(&self) -> bool {
        let largest = (0..self.values.len()).map(|k| self.of.iter().filter(|v| **v == k).count());
        let largest = largest.max().unwrap_or(0);
        (2..=MOST_FIRST).contains(&self.values.len()) && largest * 10 <= self.of.len() * 9
    }
}

/// Where a case does not have a stratum that others have.
const NONE: &str = "not told";
/// A key of more values than these is no key: then another stratum is shown first.
const MOST_FIRST: usize = 8;

/// The page.
pub(super) fn page(content: &Content<'_>) -> String {
    let items = items(content);
    let strata = strata(&items);
    let first = strata.iter().position(Stratum::tells_apart).unwrap_or(0);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>windtunnel accuracy</title>\n<style>{STYLE}</style>\n"
    );
    page +=
        "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs>\n";
    for (k, outline) in MARKS.iter().enumerate() {
        let _ = writeln!(page, "<path id=\"s{k}\" d=\"{outline}\"/>");
    }
    page += "</defs></svg>\n<main>\n<h1>How true the simulation is</h1>\n<p>Measured runs of real servers, and the same \
             runs simulated.</p>\n";
    page += &provenance(content);
    page += "<h2>Simulated over measured</h2>\n<p>On the line both are the same; within the band the simulation is at \
             most 10 % off. Both axes are logarithmic.</p>\n";
    page += &chooser(&strata, first);
    page += &plots(content, &strata[first], &items);
    page += &summary(content.cases);
    page += &case_table(content.cases);
    page += &loop_table(content.loops);
    if !content.failed.is_empty() {
        page += "<h2>Not simulated</h2>\n<ul>\n";
        for (name, why) in content.failed {
            let _ = writeln!(page, "<li>{}: {}</li>", in_html(name), in_html(why));
        }
        page += "</ul>\n";
    }
    let data: Vec<_> = strata
        .iter()
        .map(|s| json!([s.heading, s.values, s.of]))
        .collect();
    // No name in it ends the script that holds it.
    let data = json!(data).to_string().replace('<', "\\u003c");
    let _ = write!(
        page,
        "</main>\n<script>\nconst data = {data};{SCRIPT}</script>\n</html>\n"
    );
    page
}

/// Cases first, then closed loops: the numbers of points are places in this list.
fn items(content: &Content<'_>) -> Vec<Item> {
    let cases = content.cases.iter().map(|case| Item {
        name: case.case_id.clone(),
        strata: case.strata.clone(),
    });
    let loops = content.loops.iter().map(|(closed, _)| Item {
        name: closed.name(),
        strata: closed.strata(),
    });
    cases.chain(loops).collect()
}

/// The strata in the order in which they are told first.
fn strata(items: &[Item]) -> Vec<Stratum> {
    let mut headings: Vec<&'static str> = Vec::new();
    // What distinguishes deployments comes before where a case is from.
    let preferred = ["GPU", "kind", "TP"];
    let all = items.iter().flat_map(|item| &item.strata);
    let all = preferred.into_iter().chain(all.map(|(name, _)| *name));
    for heading in all {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let of_heading = |heading: &'static str| {
        let value = |item: &Item| {
            let found = item.strata.iter().find(|(name, _)| *name == heading);
            found.map_or(NONE.to_owned(), |(_, value)| value.clone())
        };
        let all: Vec<String> = items.iter().map(value).collect();
        let values: BTreeSet<&String> = all.iter().collect();
        let mut values: Vec<String> = values.into_iter().cloned().collect();
        // Numbers by their size.
        let size = |value: &String| value.parse::<f64>().unwrap_or(f64::INFINITY);
        values.sort_by(|a, b| size(a).total_cmp(&size(b)));
        let of = all
            .iter()
            .map(|v| values.iter().position(|known| known == v).unwrap_or(0))
            .collect();
        Stratum {
            heading,
            values,
            of,
        }
    };
    headings.into_iter().map(of_heading).collect()
}

/// What was run, and with what.
fn provenance(content: &Content<'_>) -> String {
    let mut text = String::from("<dl>\n<dt>Command</dt>");
    let _ = writeln!(text, "<dd><code>{}</code></dd>", in_html(content.command));
    for (what, value) in content.made {
        let _ = writeln!(text, "<dt>{what}</dt><dd>{}</dd>", in_html(value));
    }
    let (saturated, loops) = (
        content.cases.iter().filter(|case| case.saturated).count(),
        content.loops.len(),
    );
    let steady = content.cases.len() - saturated;
    let _ = writeln!(
        text,
        "<dt>Runs</dt><dd>{steady} loads of servers that kept up, {saturated} of saturated ones, {loops} closed loops; {} \
         runs not simulated</dd>\n</dl>",
        content.failed.len()
    );
    text
}

/// By what the marks differ, and what they mean.
fn chooser(strata: &[Stratum], first: usize) -> String {
    // It does nothing without the script, which enables it.
    let mut text = String::from("<p><label>Marks by <select id=\"by\" disabled>");
    for (k, stratum) in strata.iter().enumerate() {
        let selected = if k == first { " selected" } else { "" };
        let _ = write!(
            text,
            "<option{selected}>{}</option>",
            in_html(stratum.heading)
        );
    }
    text +=
        "</select></label></p>\n<ul class=\"key\" id=\"key\" aria-label=\"What the marks mean\">\n";
    for (k, value) in strata[first].values.iter().enumerate() {
        let (shape, colour) = mark(k);
        let _ = writeln!(
            text,
            "<li><svg viewBox=\"-7 -7 14 14\" aria-hidden=\"true\"><use href=\"#s{shape}\" class=\"mark \
             c{colour}\"/></svg>{}</li>",
            in_html(value)
        );
    }
    text + "</ul>\n"
}

fn plots(content: &Content<'_>, shown: &Stratum, items: &[Item]) -> String {
    let point = |item: usize, simulated: f64, measured: f64| Point {
        item,
        value: shown.of[item],
        name: items[item].name.clone(),
        measured,
        simulated,
    };
    let of_cases = |metric: Metric, saturated: bool| {
        let cases = content.cases.iter().enumerate();
        let cases = cases.filter(|(_, case)| case.saturated == saturated);
        let points = cases.filter_map(|(k, case)| {
            let both = (case.simulated.get(&metric)?, case.measured.get(&metric)?);
            Some(point(k, *both.0, *both.1))
        });
        points.collect::<Vec<_>>()
    };
    let mut groups = vec![
        ("Servers that kept up with their load", Vec::new()),
        ("Saturated servers", Vec::new()),
        ("Closed loops", Vec::new()),
    ];
    for (metric, title) in [
        (Metric::Ttft, "TTFT, mean"),
        (Metric::Tpot, "TPOT, mean"),
        (Metric::E2e, "E2E, mean"),
    ] {
        groups[0].1.push((title, "ms", of_cases(metric, false)));
    }
    let capacity = of_cases(Metric::Throughput, true);
    groups[1].1.push(("Throughput", "requests/s", capacity));
    for (name, title, unit) in [
        ("req/s", "Throughput", "requests/s"),
        ("E2E", "E2E, mean", "ms"),
        ("TTFT", "TTFT, mean", "ms"),
        ("ITL p50", "ITL, median", "ms"),
    ] {
        let loops = content.loops.iter().enumerate();
        let points = loops.filter_map(|(k, (_, figures))| {
            let figure = figures.iter().find(|figure| figure.name == name)?;
            let item = content.cases.len() + k;
            Some(point(item, figure.simulated, figure.measured))
        });
        groups[2].1.push((title, unit, points.collect()));
    }
    let mut text = String::new();
    for (g, (heading, plots)) in groups.into_iter().enumerate() {
        let drawn: String = plots
            .into_iter()
            .enumerate()
            .map(|(k, (title, unit, points))| parity(&format!("a{g}{k}"), title, unit, points))
            .collect();
        if !drawn.is_empty() {
            let _ = writeln!(
                text,
                "<h3>{heading}</h3>\n<div class=\"plots\">\n{drawn}</div>"
            );
        }
    }
    text
}

/// A table and what to know about it. It may be wider than the screen, and can be scrolled with
/// keys, too.
fn wide(title: &str, note: &str, table: &str) -> String {
    format!(
        "<h2>{title}</h2>\n<p>{note}</p>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\">\n\
         <table aria-label=\"{title}\">\n{table}</table>\n</div>\n"
    )
}

/// Median and mean of errors by stratum, and those that others published.
fn summary(cases: &[Compared]) -> String {
    let steady: Vec<&Compared> = cases.iter().filter(|case| !case.saturated).collect();
    if steady.is_empty() {
        return String::new();
    }
    let columns = COLUMNS.len() + 2;
    let mut table = String::from(
        "<thead><tr><th scope=\"col\" class=\"text\">Cases</th><th scope=\"col\">n</th>",
    );
    for (_, name) in COLUMNS {
        let _ = write!(table, "<th scope=\"col\">{name}</th>");
    }
    table += "</tr></thead>\n<tbody>\n";
    let row = |name: &str, n: usize, errors: &dyn Fn(Metric) -> Option<Summary>| {
        let mut row = format!("<tr><th scope=\"row\">{}</th><td>{n}</td>", in_html(name));
        for (metric, _) in COLUMNS {
            let both = errors(metric).map_or("-".to_owned(), |s| {
                format!("{:.1} / {:.1}", s.median, s.mean)
            });
            let _ = write!(row, "<td>{both}</td>");
        }
        row + "</tr>\n"
    };
    let ours =
        |cases: &[&Compared], metric| summarize(cases.iter().filter_map(|c| c.error(metric)));
    let group = |name: &str| {
        format!(
            "<tr><th colspan=\"{columns}\" scope=\"rowgroup\">{}</th></tr>\n",
            in_html(name)
        )
    };
    table += &row("all", steady.len(), &|metric| ours(&steady, metric));
    for (i, (heading, _)) in steady[0].strata.iter().enumerate() {
        let mut by_value: BTreeMap<&str, Vec<&Compared>> = BTreeMap::new();
        for case in &steady {
            by_value.entry(&case.strata[i].1).or_default().push(case);
        }
        if by_value.len() == 1 {
            continue;
        }
        table += &group(&format!("by {heading}"));
        for (value, cases) in by_value {
            table += &row(value, cases.len(), &|metric| ours(&cases, metric));
        }
    }
    let peers = peers_of(&steady);
    if !peers.is_empty() {
        table += &group("published by others");
    }
    for peer in &peers {
        table += &row(peer.name, peer.cases.len(), &|metric| peer.theirs(metric));
        table += &row("ours on these", peer.cases.len(), &|metric| {
            peer.ours(metric)
        });
    }
    table += "</tbody>\n";
    let note = "In %, median / mean of absolute values, of servers that kept up with their load.";
    wide("Errors", note, &table)
}

/// Three cells: simulated, measured, error.
fn cells(simulated: Option<f64>, measured: Option<f64>) -> String {
    let shown = |x: Option<f64>| x.map_or("-".to_owned(), three_digits);
    let error = simulated.zip(measured).map(|(s, m)| 100.0 * (s / m - 1.0));
    let error = error.filter(|e| e.is_finite());
    let far = if error.is_some_and(|e| e.abs() > 10.0) {
        " class=\"far\""
    } else {
        ""
    };
    format!(
        "<td>{}</td><td>{}</td><td{far}>{}</td>",
        shown(simulated),
        shown(measured),
        error.map_or("-".to_owned(), |e| format!("{e:+.1}"))
    )
}

/// The head of a table with three columns for each of these figures.
fn head(first: &str, figures: &[&str], last: Option<&str>) -> String {
    let text = |name: &str| format!("<th scope=\"col\" rowspan=\"2\" class=\"text\">{name}</th>");
    let mut head = format!("<thead><tr>{}", text(first));
    for name in figures {
        let _ = write!(head, "<th scope=\"colgroup\" colspan=\"3\">{name}</th>");
    }
    head += &last.map_or_else(String::new, text);
    head += "</tr>\n<tr>";
    for _ in figures {
        for name in ["simulated", "measured", "error, %"] {
            let _ = write!(head, "<th scope=\"col\">{name}</th>");
        }
    }
    head + "</tr></thead>\n<tbody>\n"
}

fn case_table(cases: &[Compared]) -> String {
    if cases.is_empty() {
        return String::new();
    }
    let mut table = head(
        "Case",
        &["TTFT, ms", "TPOT, ms", "E2E, ms", "Throughput, requests/s"],
        Some("Of"),
    );
    for case in cases {
        let of = case.strata.iter().filter(|(name, _)| *name != "set");
        let of = of.map(|(name, value)| format!("{name} {value}"));
        let saturated = case.saturated.then(|| "saturated".to_owned());
        let of_case: Vec<String> = saturated.into_iter().chain(of).collect();
        let _ = write!(
            table,
            "<tr><th scope=\"row\">{}</th>",
            in_html(&case.case_id)
        );
        for metric in [Metric::Ttft, Metric::Tpot, Metric::E2e] {
            let of = |figures: &windtunnel_sim::ground_truth::Figures| {
                let value = figures.get(&metric).copied();
                value.filter(|_| !case.saturated)
            };
            table += &cells(of(&case.simulated), of(&case.measured));
        }
        let of = |figures: &windtunnel_sim::ground_truth::Figures| {
            figures.get(&Metric::Throughput).copied()
        };
        table += &cells(of(&case.simulated), of(&case.measured));
        let _ = writeln!(
            table,
            "<td class=\"text\">{}</td></tr>",
            in_html(&of_case.join(", "))
        );
    }
    table += "</tbody>\n";
    let note = "Means; errors of more than 10 % are bold. Of a saturated server only the throughput says something.";
    wide("Cases", note, &table)
}

fn loop_table(loops: &[(&ClosedLoop, Vec<Figure>)]) -> String {
    let Some((_, first)) = loops.first() else {
        return String::new();
    };
    let names: Vec<&str> = first.iter().map(|figure| figure.name).collect();
    let mut table = head("Run", &names, None);
    for (closed, figures) in loops {
        let _ = write!(
            table,
            "<tr><th scope=\"row\">{}</th>",
            in_html(&closed.name())
        );
        for figure in figures {
            let known = |x: f64| Some(x).filter(|x| x.is_finite());
            table += &cells(known(figure.simulated), known(figure.measured));
        }
        table += "</tr>\n";
    }
    table += "</tbody>\n";
    let note =
        "Latencies are means in ms but for ITL p50, the median; errors of more than 10 % are bold.";
    wide("Closed loops", note, &table)
}
