//! What a rule allows for a reason: xtask/tidy/allowed.txt.

use super::finding::Finding;
use anyhow::Context;

/// Exceptions. Each must be needed.
#[derive(Debug, Default)]
pub(crate) struct Allowed(Vec<Exception>);

#[derive(Debug)]
struct Exception {
    rule: String,
    /// The file, or the beginning of files.
    files: String,
    /// What the finding's message begins with; `*` for anything.
    what: String,
}

impl Allowed {
    /// Reads the list: `RULE FILES WHAT REASON`, a line each.
    ///
    /// # Errors
    /// When an exception has no reason.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'));
        let exception = |line: &str| {
            let mut fields = line.splitn(4, ' ');
            let mut next = || fields.next().filter(|field| !field.is_empty());
            let exception = Exception {
                rule: next().context("no rule")?.to_owned(),
                files: next().context("no files")?.to_owned(),
                what: next().context("nothing is allowed")?.to_owned(),
            };
            next().with_context(|| format!("\"{line}\" gives no reason"))?;
            Ok(exception)
        };
        Ok(Self(lines.map(exception).collect::<anyhow::Result<_>>()?))
    }

    /// Removes what is allowed; gives the exceptions that allowed nothing.
    pub(crate) fn apply(&self, findings: &mut Vec<Finding>) -> Vec<String> {
        let mut needed = vec![false; self.0.len()];
        findings.retain(|finding| {
            let mut kept = true;
            for (exception, needed) in self.0.iter().zip(&mut needed) {
                let what = exception.what == "*"
                    || finding
                        .message
                        .trim_start_matches('"')
                        .starts_with(&exception.what);
                if exception.rule == finding.rule.name()
                    && finding.file.starts_with(&exception.files)
                    && what
                {
                    *needed = true;
                    kept = false;
                }
            }
            kept
        });
        let useless = self.0.iter().zip(needed).filter(|(_, needed)| !needed);
        useless
            .map(|(e, _)| format!("{} {} {}", e.rule, e.files, e.what))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::finding::Rule;

    #[test]
    fn exceptions_have_reasons_and_are_needed() {
        let allowed =
            Allowed::parse("# why\nflags a/ --jobs it has one\nwords b * data\nwords c * none\n")
                .unwrap();
        let finding = |rule, file: &str, message: &str| Finding::new(rule, file, 1, message.into());
        let mut findings = vec![
            finding(Rule::Flags, "a/x.rs", "--jobs is named"),
            finding(Rule::Flags, "a/x.rs", "--rate is named"),
            finding(Rule::Words, "b", "\"x\": write y"),
            finding(Rule::Flags, "b", "--jobs is named"),
        ];
        let useless = allowed.apply(&mut findings);
        assert_eq!(useless, ["words c *"]);
        assert_eq!(findings.len(), 2);
        assert!(Allowed::parse("flags a/ --jobs").is_err());
    }
}
