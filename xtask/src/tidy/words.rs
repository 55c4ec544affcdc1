//! Words of the glossary that are not to be used: xtask/tidy/words.txt.

use super::finding::{Finding, Rule};
use super::tokens::{Kind, tokens};
use super::tree::Tree;
use anyhow::{Context, bail};
use std::collections::BTreeMap;

/// What not to write, and what to write instead.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Words {
    /// Parts of words, in small letters, anywhere: `gadget` is in `GadgetArgs` and `re_gadget`.
    words: BTreeMap<String, String>,
    /// Whole names in code.
    names: BTreeMap<String, String>,
    /// What may be written nevertheless, in small letters.
    fine: Vec<String>,
}

impl Words {
    /// Reads the list: `word NOT -> INSTEAD`, `name NOT -> INSTEAD`, `fine TEXT`.
    ///
    /// # Errors
    /// When a line is none of these.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut words = Self::default();
        for line in text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (kind, rest) = line.split_once(' ').context(line.to_owned())?;
            if kind == "fine" {
                words.fine.push(rest.trim().to_lowercase());
                continue;
            }
            let (not, instead) = rest
                .split_once(" -> ")
                .with_context(|| format!("\"{line}\" does not say what to write instead"))?;
            let kinds = match kind {
                "word" => &mut words.words,
                "name" => &mut words.names,
                _ => bail!("\"{line}\": expected word, name or fine"),
            };
            for not in not.split(", ") {
                kinds.insert(not.trim().to_owned(), instead.trim().to_owned());
            }
        }
        Ok(words)
    }

    pub(crate) fn check(&self, tree: &Tree) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (path, text) in tree.files() {
            for (k, line) in text.lines().enumerate() {
                for (found, instead) in self.in_line(line) {
                    let message = format!("\"{found}\": write {instead}");
                    findings.push(Finding::new(Rule::Words, path, k + 1, message));
                }
            }
            if path.ends_with(".rs") {
                for token in tokens(text) {
                    let instead = self.names.get(token.text);
                    if let Some(instead) = instead.filter(|_| token.kind == Kind::Word) {
                        let message = format!("\"{}\": write {instead}", token.text);
                        findings.push(Finding::new(Rule::Words, path, token.line, message));
                    }
                }
            }
        }
        findings
    }

    /// The words of a line that are not to be used, with those to use.
    fn in_line(&self, line: &str) -> Vec<(String, &str)> {
        let mut found = Vec::new();
        let mut masked = None;
        for part in parts(line) {
            let small = part.to_lowercase();
            if let Some(instead) = self.words.get(&small) {
                // Rare: only now look whether it stands in something that is fine.
                let masked = masked.get_or_insert_with(|| self.mask(line));
                let begin = part.as_ptr() as usize - line.as_ptr() as usize;
                if masked.as_bytes()[begin] != b' ' {
                    found.push((part.to_owned(), instead.as_str()));
                }
            }
        }
        found
    }

    /// The line with spaces for what is fine.
    fn mask(&self, line: &str) -> String {
        let mut masked = line.to_ascii_lowercase();
        for fine in &self.fine {
            masked = masked.replace(fine.as_str(), &" ".repeat(fine.len()));
        }
        masked
    }
}

/// The words that names are made of: `maxRunning`, `MAX_RUNNING` and `max-running` are `max` and
/// `running`.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    let runs = line.split(|c: char| !c.is_ascii_alphabetic());
    runs.filter(|run| !run.is_empty()).flat_map(camel)
}

/// Splits before a large letter that follows or precedes a small one.
fn camel(run: &str) -> Vec<&str> {
    let bytes = run.as_bytes();
    let mut parts = Vec::new();
    let mut begin = 0;
    for k in 1..bytes.len() {
        let up = bytes[k].is_ascii_uppercase();
        let after_small = bytes[k - 1].is_ascii_lowercase();
        let before_small = bytes.get(k + 1).is_some_and(u8::is_ascii_lowercase);
        if up && (after_small || before_small) {
            parts.push(&run[begin..k]);
            begin = k;
        }
    }
    parts.push(&run[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<String> {
        let list = "# not these\nword gadget, gadgets -> part\nname Thing -> Item\nfine in gadget\nfine in_gadget\n";
        let words = Words::parse(list).unwrap();
        let findings = words.check(&Tree::of(&[("a.rs", line)]));
        findings.into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn words_are_found_inside_names_and_prose() {
        for line in [
            "// a Gadget.",
            "struct FirstGadget;",
            "let my_gadgets = 1;",
            "const GADGET: u8",
            "XMLGadget",
        ] {
            assert_eq!(found(line).len(), 1, "{line}");
        }
        assert!(found("// gadgetry").is_empty());
        assert!(found("in_gadget // what is in Gadget").is_empty());
        assert_eq!(found("x.in_gadget + gadget"), ["\"gadget\": write part"]);
    }

    #[test]
    fn names_count_only_as_whole_names_in_code() {
        assert_eq!(found("struct Thing;"), ["\"Thing\": write Item"]);
        assert!(found("struct MyThing; // Thing\nlet thing = \"Thing\";").is_empty());
    }

    #[test]
    fn a_list_that_says_nothing_is_an_error() {
        assert!(Words::parse("word a").is_err());
        assert!(Words::parse("noun a -> b").is_err());
        let ours = Words::parse(include_str!("../../tidy/words.txt")).unwrap();
        assert!(ours.words.len() > 20 && ours.names.contains_key("Ask"));
    }
}
