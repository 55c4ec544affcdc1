//! Rules about lines: how many a file has, how wide comments are, and no paths of a machine.

use super::finding::{Finding, Rule};
use super::tree::Tree;

/// Most lines of a source file.
const LINES: usize = 600;

/// Most characters of a comment's line.
const WIDTH: usize = 100;

/// Where people's own files lie on their machines.
const FOLDERS: [&str; 6] = [
    "/home/",
    "/root/",
    "/tmp/",
    "/work/",
    "/Users/",
    "C:\\Users\\",
];

/// Files with more lines than can be overlooked.
pub(crate) fn length(tree: &Tree) -> Vec<Finding> {
    let sources = tree.files().filter(|(path, _)| is_source(path));
    let lines = sources.map(|(path, text)| (path, text.lines().count()));
    lines
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| {
            let message = format!("{lines} lines, at most {LINES}: split it");
            Finding::new(Rule::Length, path, LINES + 1, message)
        })
        .collect()
}

fn is_source(path: &str) -> bool {
    ["rs", "lua", "luau", "py", "c", "h"].contains(&end(path))
}

fn end(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, end)| end)
}

/// Lines of comments that are too wide. A single long word, like an address, may be as long as it
/// is.
pub(crate) fn width(tree: &Tree) -> Vec<Finding> {
    each_line(tree, |path, line| {
        let text = line.trim_start();
        let marks: &[&str] = match end(path) {
            "rs" | "c" | "h" => &["//", "/*", "* "],
            "lua" | "luau" => &["--"],
            "py" | "toml" | "yaml" | "sh" => &["#"],
            _ => &[],
        };
        let width = line.chars().count();
        let wide = width > WIDTH && marks.iter().any(|mark| text.starts_with(mark));
        (wide && text.split_whitespace().count() > 2).then(|| {
            let message = format!("a comment of {width} columns, at most {WIDTH}: break the line");
            (Rule::Width, message)
        })
    })
}

/// Paths of somebody's machine.
pub(crate) fn paths(tree: &Tree) -> Vec<Finding> {
    each_line(tree, |_, line| {
        let folder = FOLDERS.iter().find(|folder| has_path(line, folder))?;
        let message =
            format!("a path of one machine ({folder}...): write it relative to something");
        Some((Rule::Paths, message))
    })
}

/// Does a path begin with the folder? Not where it is a part of a longer path.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-./}~*".contains(c))
    })
}

/// What a rule says of lines, line by line.
fn each_line(tree: &Tree, rule: impl Fn(&str, &str) -> Option<(Rule, String)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for (k, line) in text.lines().enumerate() {
            if let Some((rule, message)) = rule(path, line) {
                findings.push(Finding::new(rule, path, k + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found_but_not_long_documents() {
        let (fine, long) = ("x\n".repeat(600), "x\n".repeat(601));
        let tree = Tree::of(&[("a.rs", &fine), ("b.rs", &long), ("c.md", &long)]);
        let found = length(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), found[0].line), ("b.rs", 601));
    }

    #[test]
    fn wide_comments_are_found_but_not_wide_code_or_addresses() {
        let words = "wide ".repeat(20);
        let source = format!(
            "    /// {words}\nlet x = \"{words}\";\n// {}\n// é{}",
            "w".repeat(120),
            "é".repeat(90)
        );
        let script = format!("-- {words}\n");
        let tree = Tree::of(&[("a.rs", &source), ("b.lua", &script), ("c.md", &words)]);
        let places: Vec<_> = width(&tree).into_iter().map(|f| (f.file, f.line)).collect();
        assert_eq!(places, [("a.rs".to_owned(), 1), ("b.lua".to_owned(), 1)]);
    }

    #[test]
    fn paths_of_a_machine_are_found_but_not_parts_of_other_paths() {
        let text = "see /tmp/x\nhttp://x.org/home/a\n../work/a\n\"/home/me\"\n{row}/tmp/a\n";
        let lines: Vec<usize> = paths(&Tree::of(&[("a.md", text)]))
            .iter()
            .map(|f| f.line)
            .collect();
        assert_eq!(lines, [1, 4]);
    }
}
