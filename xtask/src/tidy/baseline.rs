//! Findings that were there when a rule was made. Their number may only shrink.

use super::finding::Finding;
use anyhow::Context;
use std::collections::BTreeMap;

const HEAD: &str = "# Findings that were there before their rule, rule by rule and file by file: they may only become fewer.\n\
                    # `cargo xtask tidy --renew` writes this file again when the total of no rule grows.\n";

/// Findings by rule and file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Baseline(BTreeMap<(String, String), usize>);

impl Baseline {
    pub(crate) fn of(findings: &[Finding]) -> Self {
        let mut counts = BTreeMap::new();
        for finding in findings {
            let key = (finding.rule.name().to_owned(), finding.file.clone());
            *counts.entry(key).or_default() += 1;
        }
        Self(counts)
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut counts = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(' ').collect();
            let [rule, file, count] = fields[..] else {
                anyhow::bail!("\"{line}\" is no rule, file and count");
            };
            let count = count.parse().with_context(|| line.to_owned())?;
            counts.insert((rule.to_owned(), file.to_owned()), count);
        }
        Ok(Self(counts))
    }

    pub(crate) fn text(&self) -> String {
        let lines = self.0.iter();
        let lines = lines.map(|((rule, file), count)| format!("{rule} {file} {count}\n"));
        HEAD.to_owned() + &lines.collect::<String>()
    }

    /// Findings of a rule in all files.
    fn totals(&self) -> BTreeMap<&str, usize> {
        let mut totals = BTreeMap::new();
        for ((rule, _), count) in &self.0 {
            *totals.entry(rule.as_str()).or_default() += count;
        }
        totals
    }

    /// The rules of which there is more than in an older baseline: rule, now, before.
    pub(crate) fn grown<'a>(&'a self, older: &Self) -> Vec<(&'a str, usize, usize)> {
        let before = older.totals();
        let totals = self.totals().into_iter();
        totals
            .map(|(rule, now)| (rule, now, before.get(rule).copied().unwrap_or(0)))
            .filter(|(_, now, before)| now > before)
            .collect()
    }

    /// What is wrong with the findings: those of a rule in a file of which there are more than
    /// allowed, and entries that allow more than there is.
    pub(crate) fn compare<'a>(&self, findings: &'a [Finding]) -> (Vec<&'a Finding>, Vec<String>) {
        let found = Self::of(findings);
        let allowed = |key: &(String, String)| self.0.get(key).copied().unwrap_or(0);
        let too_many = findings.iter().filter(|finding| {
            let key = (finding.rule.name().to_owned(), finding.file.clone());
            found.0[&key] > allowed(&key)
        });
        let too_large = self.0.iter().filter_map(|(key, &count)| {
            let there = found.0.get(key).copied().unwrap_or(0);
            let (rule, file) = key;
            (there < count).then(|| format!("{rule} {file} {count}: there are only {there}"))
        });
        (too_many.collect(), too_large.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::finding::Rule;

    fn finding(rule: Rule, file: &str) -> Finding {
        Finding::new(rule, file, 1, String::new())
    }

    #[test]
    fn more_than_before_is_shown_and_less_must_be_written_down() {
        let findings = [
            finding(Rule::Words, "a"),
            finding(Rule::Words, "a"),
            finding(Rule::Length, "b"),
        ];
        let baseline = Baseline::of(&findings);
        assert_eq!(Baseline::parse(&baseline.text()).unwrap(), baseline);
        assert_eq!(baseline.compare(&findings), (vec![], vec![]));

        let (too_many, too_large) = baseline.compare(&findings[1..]);
        assert!(too_many.is_empty());
        assert_eq!(too_large, ["words a 2: there are only 1"]);

        let mut more = findings.to_vec();
        more.push(finding(Rule::Words, "a"));
        more.push(finding(Rule::Words, "new"));
        let (too_many, too_large) = baseline.compare(&more);
        // Which of them is the new one cannot be told: all of the file.
        assert_eq!(too_many.len(), 4);
        assert!(too_large.is_empty());
    }

    #[test]
    fn findings_may_move_but_not_grow() {
        let before = Baseline::of(&[finding(Rule::Words, "a"), finding(Rule::Words, "b")]);
        let moved = Baseline::of(&[finding(Rule::Words, "c"), finding(Rule::Words, "c")]);
        assert!(moved.grown(&before).is_empty());
        let grown = Baseline::of(&[finding(Rule::Words, "c"), finding(Rule::Length, "c")]);
        assert_eq!(grown.grown(&before), [("length", 1, 0)]);
    }
}
