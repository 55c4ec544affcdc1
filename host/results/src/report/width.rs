//! How wide tables for people may be, and what goes when they are too wide.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Columns where nobody says how many there are.
const USUAL: usize = 100;
/// The least that a table is made for.
const LEAST: usize = 40;
/// What a column whose text may be broken needs at least.
const BROKEN: usize = 14;

static WIDTH: AtomicUsize = AtomicUsize::new(USUAL);

/// Says how wide tables may be, in columns of a terminal; `None` = as wide as what is in them. For
/// the whole process: people read on one terminal.
pub fn set_width(columns: Option<usize>) {
    let width = columns.map_or(usize::MAX, |n| n.max(LEAST));
    WIDTH.store(width, Ordering::Relaxed);
}

/// How wide tables may be.
#[must_use]
pub fn width() -> usize {
    WIDTH.load(Ordering::Relaxed)
}

/// A table in the house's style, as wide as it may be.
pub fn styled(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    if let Ok(width) = u16::try_from(width()) {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    table
}

/// The table with these columns as wide as what is in them: names are not cut.
pub fn whole(mut table: Table, columns: &[usize]) -> Table {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// Hides columns until the table fits, of `least_wanted` one after the other; gives their titles.
/// Texts in columns of `broken` may be broken into lines.
pub fn fit(table: &mut Table, least_wanted: &[&str], broken: &[&str]) -> Vec<String> {
    let titles: Vec<String> = table.header().map_or(Vec::new(), |header| {
        header.cell_iter().map(|cell| cell.content()).collect()
    });
    let mut widths: Vec<usize> = table
        .column_max_content_widths()
        .into_iter()
        .map(usize::from)
        .collect();
    for (width, title) in widths.iter_mut().zip(&titles) {
        if broken.contains(&title.as_str()) {
            *width = (*width).min(BROKEN);
        }
    }
    let mut hidden = Vec::new();
    let mut wanted = least_wanted.iter();
    // A column has a blank on each side, and a line behind it.
    while widths.iter().map(|w| w + 3).sum::<usize>() + 1 > width() {
        let Some(title) = wanted.next() else { break };
        let Some(at) = titles.iter().position(|known| known == title) else {
            continue;
        };
        if let Some(column) = table.column_mut(at) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
        // Neither blanks nor a line.
        widths[at] = 0;
        hidden.push((*title).to_owned());
    }
    hidden
}

/// What to say of columns that are not shown; empty if all are.
#[must_use]
pub fn left_out(titles: &[String]) -> String {
    match titles {
        [] => String::new(),
        _ => format!("too narrow for: {} (`wide` shows all)", titles.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_importance_until_the_table_fits() {
        let titles = ["Name", "Important", "Less", "Least"];
        let made = |cell: &str| {
            let mut table = styled(&titles);
            table.add_row([cell; 4]);
            table
        };
        let mut narrow = made("1234");
        assert_eq!(fit(&mut narrow, &["Least", "Less"], &[]), [""; 0]);
        let long = "x".repeat(25);
        let mut wide = made(&long);
        assert_eq!(fit(&mut wide, &["Least", "Less"], &[]), ["Least"]);
        let text = wide.to_string();
        assert!(text.contains("Less") && !text.contains("Least"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        // What may be broken needs no room.
        let mut broken = made(&long);
        let broken = fit(&mut broken, &["Least", "Less"], &["Name", "Important"]);
        assert_eq!(broken, [""; 0]);
        assert_eq!(left_out(&[]), "");
        assert_eq!(
            left_out(&["A".to_owned(), "B".to_owned()]),
            "too narrow for: A, B (`wide` shows all)"
        );
    }
}
