//! No circles between the files of a crate.

use super::finding::{Finding, Rule};
use super::modules::{Module, modules};
use super::tree::Tree;
use std::collections::{BTreeMap, VecDeque};

/// A finding for each file that imports itself through others, in the crates of these folders.
pub(crate) fn check(tree: &Tree, folders: &[String]) -> Vec<Finding> {
    let roots = |folder: &String| {
        ["lib.rs", "main.rs"].map(|name| match folder.as_str() {
            "" => format!("src/{name}"),
            folder => format!("{folder}/src/{name}"),
        })
    };
    let roots = folders.iter().flat_map(roots);
    let there = roots.filter(|root| tree.text(root).is_some());
    there
        .flat_map(|root| circles(&modules(tree, &root)))
        .collect()
}

type Imports<'a> = BTreeMap<&'a str, &'a BTreeMap<String, usize>>;

fn circles(modules: &[Module]) -> Vec<Finding> {
    let imports: Imports = modules
        .iter()
        .map(|m| (m.file.as_str(), &m.imports))
        .collect();
    let ways = imports.keys().filter_map(|file| shortest(&imports, file));
    ways.map(|circle| finding(&imports, &circle)).collect()
}

fn finding(imports: &Imports, circle: &[&str]) -> Finding {
    let steps: Vec<String> = circle
        .iter()
        .zip(circle.iter().cycle().skip(1))
        .map(|(from, to)| format!("{from}:{} imports {to}", imports[from][*to]))
        .collect();
    let message = format!(
        "a circle: {}; move what they share into a file below both",
        steps.join(", ")
    );
    let first = circle[0];
    let line = imports[first][*circle.get(1).unwrap_or(&first)];
    Finding::new(Rule::Circles, first, line, message)
}

fn next<'a>(imports: &Imports<'a>, from: &str) -> impl Iterator<Item = &'a str> {
    let found = imports.get(from).copied();
    found
        .into_iter()
        .flat_map(|imports| imports.keys().map(String::as_str))
}

/// The shortest way from a file back to it.
fn shortest<'a>(imports: &Imports<'a>, from: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(file) = open.pop_front() {
        for to in next(imports, file) {
            if to == from {
                let mut way = vec![file];
                while let Some(&earlier) = before.get(way[way.len() - 1]) {
                    way.push(earlier);
                }
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(to) {
                before.insert(to, file);
                open.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let findings = check(&Tree::of(files), &["c".into()]);
        findings.into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn a_circle_is_shown_with_its_lines() {
        let found = messages(&[
            ("c/src/lib.rs", "mod a; mod b; mod d;"),
            ("c/src/a.rs", "\nuse crate::b::X;"),
            ("c/src/b.rs", "use crate::d;\nuse crate::a::Y;"),
            ("c/src/d.rs", "use crate::b;"),
        ]);
        let end = "; move what they share into a file below both";
        let expected = [
            "a circle: c/src/a.rs:2 imports c/src/b.rs, c/src/b.rs:2 imports c/src/a.rs",
            "a circle: c/src/b.rs:2 imports c/src/a.rs, c/src/a.rs:2 imports c/src/b.rs",
            "a circle: c/src/d.rs:1 imports c/src/b.rs, c/src/b.rs:1 imports c/src/d.rs",
        ];
        assert_eq!(found, expected.map(|circle| format!("{circle}{end}")));
    }

    #[test]
    fn parents_that_only_pass_on_are_in_no_circle() {
        let files = [
            ("c/src/lib.rs", "mod a;"),
            (
                "c/src/a/mod.rs",
                "mod x; mod y; pub use x::X; pub use y::Y;",
            ),
            ("c/src/a/x.rs", "use super::Y;"),
            ("c/src/a/y.rs", "use std::fmt;"),
        ];
        assert!(messages(&files).is_empty());
        // But a parent that uses its child, which uses the parent, is.
        let files = [
            ("c/src/lib.rs", "mod a;"),
            ("c/src/a/mod.rs", "mod x; use x::X; struct Own;"),
            ("c/src/a/x.rs", "use super::Own;"),
        ];
        assert_eq!(messages(&files).len(), 2);
    }
}
