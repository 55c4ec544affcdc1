//! Pages that need nothing but themselves: one file each, with interactive plots (Plotly, built in
//! and packed), light or dark as the reader's system is, and with a table beside each plot for
//! those who cannot see it. What is written is escaped here.

mod chart;
mod table;

pub use chart::{Axis, Chart, Dots, Estimate, Heat, Mark, Trace, Values};
pub use table::{Cell, Table, figure, three_digits};

use serde_json::Value;
use std::fmt::Write;
use windtunnel_base::input::in_html;

/// What pages look like.
pub const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The plotting library, packed with gzip, in base64.
const LIBRARY: &str = include_str!(concat!(env!("OUT_DIR"), "/plotly.js.gz.base64"));
/// Nothing is loaded from anywhere, whatever a page says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:";

/// The beginning of a page, up to its body.
#[must_use]
pub fn head(title: &str, style: &str) -> String {
    let title = in_html(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"{POLICY}\">\n<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
}

/// A page that is being written.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    lead: String,
    sections: Vec<(String, String)>,
    body: String,
    figures: Vec<Value>,
    in_plots: bool,
}

impl Page {
    /// A page with nothing but a title.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            lead: String::new(),
            sections: Vec::new(),
            body: String::new(),
            figures: Vec::new(),
            in_plots: false,
        }
    }

    /// A line below the title.
    pub fn lead(&mut self, text: &str) {
        let _ = writeln!(self.lead, "<p class=\"soft\">{}</p>", in_html(text));
    }

    /// Begins a section.
    pub fn section(&mut self, title: &str) {
        self.leave_plots();
        let id = format!("s{}", self.sections.len());
        let _ = writeln!(self.body, "<h2 id=\"{id}\">{}</h2>", in_html(title));
        self.sections.push((id, title.to_owned()));
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) {
        self.leave_plots();
        let _ = writeln!(self.body, "<p>{}</p>", in_html(text));
    }

    /// Text as it is, as a program's source.
    pub fn code(&mut self, text: &str) {
        self.leave_plots();
        // Line breaks stay: each line is made safe by itself.
        let lines: Vec<String> = text.lines().map(in_html).collect();
        let _ = writeln!(self.body, "<pre><code>{}</code></pre>", lines.join("\n"));
    }

    /// Text that the reader opens.
    pub fn folded_code(&mut self, summary: &str, text: &str) {
        self.leave_plots();
        let _ = writeln!(
            self.body,
            "<details><summary>{}</summary>",
            in_html(summary)
        );
        self.code(text);
        self.body += "</details>\n";
    }

    /// The few figures that matter most.
    pub fn tiles(&mut self, tiles: &[(String, String)]) {
        self.list("tiles", tiles);
    }

    /// Names and values.
    pub fn facts(&mut self, facts: &[(String, String)]) {
        self.list("facts", facts);
    }

    fn list(&mut self, class: &str, items: &[(String, String)]) {
        self.leave_plots();
        let _ = writeln!(self.body, "<dl class=\"{class}\">");
        for (name, value) in items {
            let (name, value) = (in_html(name), in_html(value));
            let _ = writeln!(self.body, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        self.body += "</dl>\n";
    }

    /// A table.
    pub fn table(&mut self, table: &Table) {
        self.leave_plots();
        self.body += &table.html();
    }

    /// A plot of lines or points, with its figures as a table that the reader opens.
    pub fn chart(&mut self, chart: &Chart) {
        let (data, layout) = chart.figure();
        self.plot(
            &chart.title,
            &chart.note,
            &chart.table(),
            chart.broad,
            data,
            layout,
        );
    }

    /// A heat map.
    pub fn heat(&mut self, heat: &Heat) {
        let (data, layout) = heat.figure();
        self.plot(&heat.title, &heat.note, &heat.table(), true, data, layout);
    }

    /// Figures with intervals.
    pub fn dots(&mut self, dots: &Dots) {
        let (data, layout) = dots.figure();
        self.plot(&dots.title, &dots.note, &dots.table(), true, data, layout);
    }

    fn plot(
        &mut self,
        title: &str,
        note: &str,
        table: &Table,
        broad: bool,
        data: Value,
        layout: Value,
    ) {
        if !self.in_plots {
            self.body += "<div class=\"plots\">\n";
            self.in_plots = true;
        }
        let id = format!("f{}", self.figures.len());
        let (title, note) = (in_html(title), in_html(note));
        let class = if broad { " class=\"broad\"" } else { "" };
        let _ = writeln!(
            self.body,
            "<figure{class}>\n<figcaption>{title}<span>{note}</span></figcaption>\n<div class=\"plot\" id=\"{id}\" \
             role=\"img\" aria-label=\"{title}: plot; the table below has its figures\"></div>\n\
             <details><summary>Figures of “{title}” as a table</summary>\n{}</details>\n</figure>",
            table.html()
        );
        self.figures
            .push(serde_json::json!({"id": id, "data": data, "layout": layout}));
    }

    fn leave_plots(&mut self) {
        if std::mem::take(&mut self.in_plots) {
            self.body += "</div>\n";
        }
    }

    /// The whole file.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.leave_plots();
        let mut page = head(&self.title, STYLE);
        let _ = write!(
            page,
            "<header>\n<h1>{}</h1>\n{}",
            in_html(&self.title),
            self.lead
        );
        if self.sections.len() > 1 {
            page += "<nav aria-label=\"Sections\"><ul>";
            for (id, title) in &self.sections {
                let _ = write!(page, "<li><a href=\"#{id}\">{}</a></li>", in_html(title));
            }
            page += "</ul></nav>\n";
        }
        let _ = write!(page, "</header>\n<main>\n{}</main>\n", self.body);
        if !self.figures.is_empty() {
            // No end of the element can be in it, and no comment.
            let figures = Value::from(self.figures)
                .to_string()
                .replace('<', "\\u003c");
            let _ = write!(
                page,
                "<script type=\"application/json\" id=\"figures\">{figures}</script>\n\
                 <script type=\"text/plain\" id=\"plotly\">{LIBRARY}</script>\n<script>\n{SCRIPT}</script>\n"
            );
        }
        page + "</body>\n</html>\n"
    }
}
