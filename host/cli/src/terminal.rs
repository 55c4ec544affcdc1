//! What standard output and standard error are: how wide, and whether they show colours.

use std::io::{self, IsTerminal};
use windtunnel_results::report::width::set_width;

/// Marks of colours.
const RESET: &str = "\u{1b}[0m";
const GREEN: &str = "\u{1b}[1;32m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";

/// Lets tables be as wide as the terminal: as `COLUMNS` says, else as it is itself; on something
/// else as usual. With `wide`, as wide as what is in them.
pub fn fit_tables(wide: bool) {
    if wide {
        return set_width(None);
    }
    let said = std::env::var("COLUMNS").ok();
    let said = said.and_then(|columns| columns.trim().parse().ok());
    let own = || {
        let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
        io::stdout().is_terminal().then_some(width.0.into())
    };
    if let Some(columns) = said.filter(|n| *n > 0).or_else(own) {
        set_width(Some(columns));
    }
}

/// Are colours wanted there? `NO_COLOR`, if it says anything, means none.
fn shows_colours(there: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    there.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb")
}

/// A line for people on stderr, its first word in colour if that says how bad it is.
pub fn toned(line: &str) -> String {
    match shows_colours(&io::stderr()) {
        true => in_tone(line),
        false => line.to_owned(),
    }
}

fn in_tone(line: &str) -> String {
    for (word, colour) in [("error:", RED), ("warning:", YELLOW), ("note:", YELLOW)] {
        if let Some(rest) = line.strip_prefix(word) {
            return format!("{colour}{word}{RESET}{rest}");
        }
    }
    line.to_owned()
}

/// A text for people on stdout: cells of tables that are marked as best, errors and warnings in
/// colour.
pub fn painted(text: &str) -> String {
    match shows_colours(&io::stdout()) {
        true => text.split_inclusive('\n').map(line_in_colour).collect(),
        false => text.to_owned(),
    }
}

fn line_in_colour(line: &str) -> String {
    let is_row = line.starts_with('│');
    if !is_row {
        return in_tone(line);
    }
    let cells = line.split_inclusive(['│', '┆']);
    let cells = cells.map(|cell| {
        let border = cell
            .trim_end()
            .chars()
            .next_back()
            .filter(|c| "│┆".contains(*c));
        let inner = border.map_or(cell, |c| cell.trim_end().trim_end_matches(c));
        let value = inner.trim();
        let colour = match value.chars().next_back() {
            Some('*' | '▲') if value.len() > 1 => GREEN,
            Some('▼') => RED,
            _ => return cell.to_owned(),
        };
        cell.replacen(value, &format!("{colour}{value}{RESET}"), 1)
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_cells_and_bad_news_have_colours() {
        assert_eq!(
            line_in_colour("│ a  ┆ 12.5* ┆ 3 │\n"),
            format!("│ a  ┆ {GREEN}12.5*{RESET} ┆ 3 │\n")
        );
        assert_eq!(
            line_in_colour("│ x ┆ -3.0 ± 1.0 ▼ │"),
            format!("│ x ┆ {RED}-3.0 ± 1.0 ▼{RESET} │")
        );
        assert_eq!(
            line_in_colour("warning: * best\n"),
            format!("{YELLOW}warning:{RESET} * best\n")
        );
        assert_eq!(line_in_colour("plain * text\n"), "plain * text\n");
        assert_eq!(in_tone("error: no"), format!("{RED}error:{RESET} no"));
    }
}
