//! Tables of pages.

use std::fmt::Write;
use windtunnel_base::input::in_html;

/// What a cell shows.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A figure, to three digits or as a whole number; the exact one is the cell's `data-value`.
    /// `None` = there is none.
    Number(Option<f64>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        Self::Number(number)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(Some(number as f64))
    }
}

/// A table whose first column names its rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it is of; may be empty.
    pub caption: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows, each as long as the head.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        Self {
            caption: String::new(),
            head: head.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// As HTML. A wide one scrolls by itself, with the keyboard, too.
    #[must_use]
    pub fn html(&self) -> String {
        let mut text = String::from("<div class=\"wide\" tabindex=\"0\"><table>");
        if !self.caption.is_empty() {
            let _ = write!(text, "<caption>{}</caption>", in_html(&self.caption));
        }
        text += "<thead><tr>";
        for (k, name) in self.head.iter().enumerate() {
            let class = if k == 0 { " class=\"text\"" } else { "" };
            let _ = write!(text, "<th scope=\"col\"{class}>{}</th>", in_html(name));
        }
        text += "</tr></thead>\n<tbody>\n";
        for row in &self.rows {
            text += "<tr>";
            for (k, cell) in row.iter().enumerate() {
                let shown = match cell {
                    Cell::Text(text) => in_html(text),
                    Cell::Number(number) => number.map_or("-".to_owned(), figure),
                };
                let _ = match (k, cell) {
                    (0, _) => write!(text, "<th scope=\"row\">{shown}</th>"),
                    (_, Cell::Text(_)) => write!(text, "<td class=\"text\">{shown}</td>"),
                    (_, Cell::Number(Some(x))) => {
                        write!(text, "<td data-value=\"{x}\">{shown}</td>")
                    }
                    (_, Cell::Number(None)) => write!(text, "<td>-</td>"),
                };
            }
            text += "</tr>\n";
        }
        text + "</tbody></table></div>\n"
    }
}

/// A figure to three digits, without zeros at the end.
#[must_use]
pub fn three_digits(x: f64) -> String {
    if !x.is_finite() {
        return "-".to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let behind = (2 - x.abs().log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{x:.behind$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The same as people read it: from 1000 on with commas.
#[must_use]
pub fn figure(x: f64) -> String {
    let text = three_digits(x);
    if !x.is_finite() {
        return text;
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let mut grouped = String::from(sign);
    let whole = digits.find('.').unwrap_or(digits.len());
    for (k, c) in digits.chars().enumerate() {
        if k > 0 && k < whole && (whole - k).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown = [0.0, 0.123_45, 12.345, 1234.5, 1_234_567.0, -0.5, f64::NAN].map(figure);
        assert_eq!(
            shown,
            ["0", "0.123", "12.3", "1,234", "1,234,567", "-0.5", "-"]
        );
    }

    #[test]
    fn names_cannot_break_a_table() {
        let mut table = Table::new(&["<b>", "n"]);
        table.rows.push(vec!["a<i>".into(), 1.25.into()]);
        table.rows.push(vec!["b".into(), Cell::Number(None)]);
        let html = table.html();
        assert!(
            html.contains("<th scope=\"row\">a&lt;i&gt;</th><td data-value=\"1.25\">1.25</td>")
        );
        assert!(
            html.contains("&lt;b&gt;") && html.contains("<td>-</td>"),
            "{html}"
        );
    }
}
