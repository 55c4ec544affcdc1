//! No flag of the command is named below the command line.

use super::finding::{Finding, Rule};
use super::tokens::{Kind, tokens, without_tests};
use super::tree::Tree;

/// Flags in texts and comments of the sources in these folders, tests and examples left out.
pub(crate) fn check(tree: &Tree, folders: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        let below = folders
            .iter()
            .any(|folder| path.starts_with(folder.as_str()));
        if !below || !path.ends_with(".rs") || is_apart(path) {
            continue;
        }
        for token in without_tests(&tokens(text)) {
            if !matches!(token.kind, Kind::Text | Kind::Comment) {
                continue;
            }
            for (k, line) in token.text.lines().enumerate() {
                for flag in flags(line) {
                    let message = format!(
                        "{flag} is named below the command line: say what is wrong with the value, and let the \
                         command line add the flag"
                    );
                    findings.push(Finding::new(Rule::Flags, path, token.line + k, message));
                }
            }
        }
    }
    findings
}

/// Files of tests that a `#[cfg(test)] mod ...;` elsewhere includes; and examples, which are
/// programs that stand on the crate and say how they are started.
fn is_apart(path: &str) -> bool {
    let folders = ["/tests/", "/examples/"];
    folders.iter().any(|folder| path.contains(folder)) || path.ends_with("tests.rs")
}

/// Words like `--rate`. Comments of Lua (`--@param`, `-- text`) and rulers (`----`) are none.
fn flags(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.match_indices("--");
    starts.filter_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_') {
            return None;
        }
        let name = &line[at + 2..];
        let length = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let length = length.unwrap_or(name.len());
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        (begins && length > 1).then(|| &line[at..at + 2 + length])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_from_rulers_and_comments_of_lua() {
        let found: Vec<&str> =
            flags("use --rate or (`--max-len`), --@param -- text --- a--b ----x").collect();
        assert_eq!(found, ["--rate", "--max-len"]);
    }

    #[test]
    fn texts_and_comments_below_count_but_tests_and_code_do_not() {
        let text = "//! see --jobs\nfn f() { g(\"a\n --rate is 0\") }\nlet x = a --b;\n#[cfg(test)]\nmod tests { \
                    const X: &str = \"--rate\"; }";
        let files = [
            ("host/sim/src/a.rs", text),
            ("host/cli/src/a.rs", text),
            ("host/sim/src/tests.rs", text),
            ("host/sim/examples/first.rs", text),
        ];
        let found = check(&Tree::of(&files), &["host/sim/".into()]);
        let lines: Vec<usize> = found.iter().map(|f| f.line).collect();
        assert_eq!(lines, [1, 3]);
    }
}
