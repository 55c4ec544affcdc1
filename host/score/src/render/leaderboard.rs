//! Renders leaderboards: a table, Markdown, and an HTML page in one file.

use crate::feedback::signed;
use crate::leaderboard::Row;
use crate::{Split, Suite};
use std::fmt::Write;
use windtunnel_base::input::{in_html, visible};
use windtunnel_results::report::table::{styled, whole};
use windtunnel_results::report::width::{fit, left_out};

/// Why a score may differ from that of `windtunnel score`.
const FULL: &str = "Entries are scored to the end (the stage full), however bad they look; \"windtunnel score\" stops what is far behind earlier, with a score below -99, unless it is asked for that stage.";

/// What the numbers mean.
fn legend(suite: &Suite) -> String {
    let losses = match suite.file.regression_weight {
        0.0 => String::new(),
        weight => format!(
            ", in which losses beyond a point weigh {} times as much",
            1.0 + weight
        ),
    };
    format!(
        "Score: 100 x mean log-ratio of costs to the best reference policy of each scenario{losses}; 0 = as good as the best of them everywhere, higher is better. \
         ± 95 % interval over seeds. Gap: train - val, ± 95 % interval over their scenarios; ! = more than chance. {FULL}"
    )
}

fn with_half((value, half): (f64, Option<f64>)) -> String {
    match half {
        Some(half) => format!("{} ± {half:.1}", signed(value)),
        None => signed(value),
    }
}

fn score(row: &Row, split: Split) -> String {
    row.scores.get(&split).map_or("-".into(), |s| with_half(*s))
}

fn gap(row: &Row) -> String {
    let mark = if row.overfit { " !" } else { "" };
    row.gap
        .map_or("-".into(), |gap| format!("{}{mark}", with_half(gap)))
}

/// Who and what with, in a few words.
fn origin(row: &Row) -> String {
    let o = &row.origin;
    let words = [
        o.framework.clone(),
        o.author.as_ref().map(|a| format!("by {a}")),
        o.iterations.map(|n| format!("{n} iterations")),
        o.cost.map(|c| format!("${c:.2}")),
        o.note.clone(),
        row.stale.then(|| "of another version of the suite".into()),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The splits in the order of the columns: what decides first.
fn splits(by: Split) -> Vec<Split> {
    let others = [Split::Holdout, Split::Val, Split::Train];
    let rest = others.into_iter().filter(|s| *s != by);
    std::iter::once(by).chain(rest).collect()
}

fn header(by: Split) -> Vec<String> {
    let columns = ["#", "Entry"].map(str::to_owned).into_iter();
    let scores = splits(by).into_iter().map(|s| s.name().to_owned());
    let last = ["Gap", "From"].map(str::to_owned);
    columns.chain(scores).chain(last).collect()
}

fn cells(k: usize, row: &Row, by: Split) -> Vec<String> {
    let mut cells = vec![(k + 1).to_string(), row.name.clone()];
    cells.extend(splits(by).into_iter().map(|s| score(row, s)));
    cells.extend([gap(row), origin(row)]);
    cells
}

/// The leaderboard for a terminal.
#[must_use]
pub fn table(suite: &Suite, rows: &[Row], by: Split) -> String {
    let header = header(by);
    let mut table = styled(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for (k, row) in rows.iter().enumerate() {
        table.add_row(cells(k, row, by));
    }
    let last = splits(by).pop().map_or("", Split::name);
    let hidden = left_out(&fit(&mut table, &["From", "Gap", last], &["From"]));
    let hidden = match hidden.is_empty() {
        true => hidden,
        false => hidden + "\n",
    };
    let scores: Vec<usize> = (0..header.len() - 1).collect();
    format!(
        "{}, by {by}, higher is better\n{}\n{hidden}{}\n{}\n",
        suite.label(),
        whole(table, &scores),
        salts(rows),
        FULL.replacen("; ", ";\n", 1)
    )
}

/// With which salt the holdout was drawn, and whether scores on it compare.
fn salts(rows: &[Row]) -> String {
    let known = rows.iter().filter_map(|r| r.holdout_salt.as_deref());
    let all: std::collections::BTreeSet<&str> = known.collect();
    let names = || all.iter().copied().collect::<Vec<_>>().join(", ");
    match all.len() {
        0 => "No salt is known of the holdout.".into(),
        1 => format!("Hash of the holdout's salt: {}.", names()),
        _ => format!(
            "Holdouts drawn with different salts do not compare; renew the entries. Their hashes: {}.",
            names()
        ),
    }
}

/// The leaderboard as Markdown.
#[must_use]
pub fn markdown(suite: &Suite, rows: &[Row], by: Split) -> String {
    let mut text = format!(
        "# Leaderboard of {}\n\n{}.\n\n",
        suite.label(),
        visible(&suite.file.description.replace('\n', " "))
    );
    let line = |cells: &[String]| {
        // Names are text, neither cells nor pages.
        let safe = cells
            .iter()
            .map(|c| c.replace('\n', " "))
            .map(|c| visible(&c).replace('|', "\\|").replace('<', "&lt;"));
        format!("| {} |\n", safe.collect::<Vec<_>>().join(" | "))
    };
    let header = header(by);
    text += &line(&header);
    text += &line(&header.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
    for (k, row) in rows.iter().enumerate() {
        text += &line(&cells(k, row, by));
    }
    let _ = writeln!(text, "\n{} {}", legend(suite), salts(rows));
    text
}

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --good: 0, 114, 178; --bad: 213, 94, 0; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; } p { max-width: 48rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } th:nth-child(-n+2), td:nth-child(-n+2), .from { text-align: left; }
.from { white-space: normal; min-width: 10rem; } .reference td:nth-child(2) { font-style: italic; } .half { opacity: .65; font-size: .85em; }
.flag { color: rgb(var(--bad)); font-weight: 700; } .heat td { text-align: center; } .heat th { font-weight: 400; font-size: .8em; }
.heat th { text-align: center !important; vertical-align: bottom; } .heat th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.heat td:first-child, .heat th:first-child { text-align: left; position: sticky; left: 0; background: Canvas; } .heat td:nth-child(2) { text-align: center; }
";

/// A score as a cell.
fn cell(value: Option<(f64, Option<f64>)>, flag: bool) -> String {
    let Some((value, half)) = value else {
        return "<td>-</td>".into();
    };
    let half = half.map_or(String::new(), |h| {
        format!(" <span class=\"half\">± {h:.1}</span>")
    });
    let flag = if flag {
        " <span class=\"flag\" title=\"more than chance\">!</span>"
    } else {
        ""
    };
    format!("<td>{}{half}{flag}</td>", signed(value))
}

/// The leaderboard as a page.
#[must_use]
pub fn html(suite: &Suite, rows: &[Row], by: Split) -> String {
    let label = in_html(&suite.label());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>Leaderboard of {label}</title>\n<style>{STYLE}</style>\n<h1>Leaderboard of {label}</h1>\n<p>{}. Ordered by {by}. References are in italics.</p>\n<div class=\"wide\"><table>\n<tr>",
        in_html(&suite.file.description)
    );
    for (k, name) in header(by).iter().enumerate() {
        let class = if k == 6 { " class=\"from\"" } else { "" };
        let _ = write!(page, "<th{class}>{name}</th>");
    }
    page += "</tr>\n";
    for (k, row) in rows.iter().enumerate() {
        let class = if row.reference {
            " class=\"reference\""
        } else {
            ""
        };
        let _ = write!(
            page,
            "<tr{class}><td>{}</td><td>{}</td>",
            k + 1,
            in_html(&row.name)
        );
        for split in splits(by) {
            page += &cell(row.scores.get(&split).copied(), false);
        }
        page += &cell(row.gap, row.overfit);
        let _ = writeln!(
            page,
            "<td class=\"from\">{}</td></tr>",
            in_html(&origin(row))
        );
    }
    let _ = writeln!(
        page,
        "</table></div>\n<p>{} {}</p>",
        legend(suite),
        in_html(&salts(rows))
    );
    page += &heat(rows);
    page += "</html>\n";
    page
}

/// Scores of the train scenarios, in colours.
fn heat(rows: &[Row]) -> String {
    let Some(first) = rows.iter().find(|r| !r.stale && !r.scenarios.is_empty()) else {
        return String::new();
    };
    let mut text = String::from(
        "<h2>Where each is good: train scenarios</h2>\n<div class=\"wide\"><table class=\"heat\">\n<tr><th></th>",
    );
    for (id, _) in &first.scenarios {
        let _ = write!(text, "<th><span>{}</span></th>", in_html(id));
    }
    text += "</tr>\n";
    for row in rows.iter().filter(|r| !r.stale) {
        let _ = write!(text, "<tr><td>{}</td>", in_html(&row.name));
        for (_, score) in &row.scenarios {
            let colour = if *score >= 0.0 { "--good" } else { "--bad" };
            // A candidate that does not work has -100; what is as good has none.
            let strength = (score.abs() / 100.0).sqrt().min(1.0) * 0.7;
            let _ = write!(
                text,
                "<td style=\"background: rgba(var({colour}), {strength:.2})\">{score:+.0}</td>"
            );
        }
        text += "</tr>\n";
    }
    text + "</table></div>\n"
}
