//! What decides otherwise when it runs again has no score: the next one would be another.

use super::candidate::{Body, Candidate};
use super::protocol::RunKey;
use super::report::{Problem, ProblemKind};
use super::run::RunSummary;
use super::suite::Suite;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::{Reference, lua};

impl Candidate {
    /// Whether what it decides may depend on where its process has put it in memory: its runs are
    /// made twice. What the suite brings along counts: files that its references and its own
    /// policies name.
    #[must_use]
    pub fn may_follow_addresses(&self, suite: &Suite) -> bool {
        let of_suite = match &self.body {
            Body::Reference(name) => suite.file.references.get(name),
            _ => None,
        };
        let names_file = |bundle: &Bundle| {
            let mut named = bundle.named();
            named.any(|(_, name)| !matches!(Reference::parse(name), Reference::Name(_)))
        };
        self.is_native()
            || of_suite.is_some_and(names_file)
            || names_file(&suite.file.policies)
            || self.texts.values().any(|t| lua::may_follow_addresses(t))
    }
}

/// Compares runs with those of the same keys in other processes, and the problems of these. What
/// came out otherwise is a problem, and has no result.
pub(super) fn compare(
    run_keys: &[RunKey],
    once: &mut [Option<RunSummary>],
    (twice, again): (&[Option<RunSummary>], &[Problem]),
    native: bool,
) -> Vec<Problem> {
    let mut found = Vec::new();
    let pairs = once.iter_mut().zip(twice);
    for (key, (once, twice)) in run_keys.iter().zip(pairs) {
        let problems = again.iter();
        let mut here = problems.filter(|p| p.scenario.as_ref() == Some(&key.scenario));
        let what = match (&once, twice, here.next()) {
            (Some(once), Some(twice), _) if once.digest != twice.digest => {
                "it decides otherwise the second time".to_owned()
            }
            (Some(_), None, Some(problem)) => {
                format!("it fails the second time ({})", problem.message)
            }
            // The same, or not made because another one failed.
            _ => continue,
        };
        *once = None;
        let why = if native {
            "a policy may depend on what it is told and on nothing else: no addresses, clocks, threads, or random numbers of its own"
        } else {
            "it goes over a table whose keys are tables or functions, in the order in which they lie in memory; use numbers or names as \
             keys, such as inst.index, or an array"
        };
        let message = format!("run twice, in processes of its own, {what}: {why}");
        found.push(Problem {
            scenario: Some(key.scenario.clone()),
            ..Problem::new(ProblemKind::Nondeterministic, "", message)
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Metrics;

    fn runs(digests: &[&str]) -> Vec<Option<RunSummary>> {
        let summary = |digest: &&str| RunSummary {
            logs: Vec::new(),
            metrics: Metrics::default(),
            instances: Vec::new(),
            digest: (*digest).to_owned(),
            fuel: None,
            facts: Default::default(),
        };
        let made = |d: &&str| (!d.is_empty()).then(|| summary(d));
        digests.iter().map(made).collect()
    }

    #[test]
    fn runs_that_come_out_otherwise_are_problems_of_their_scenarios() {
        let key = |scenario: &str| RunKey {
            scenario: scenario.into(),
            ..RunKey::default()
        };
        let keys = [key("a"), key("b"), key("c"), key("d")];
        let mut once = runs(&["1", "2", "3", "4"]);
        let problem = Problem {
            scenario: Some("c".into()),
            ..Problem::new(ProblemKind::Runtime, "", "attempt to index nil")
        };
        let twice = runs(&["1", "9", "", ""]);
        let problems = compare(&keys, &mut once, (&twice, &[problem]), false);
        let found = problems.iter();
        let found: Vec<_> = found.map(|p| (p.kind, p.scenario.as_deref())).collect();
        let nondeterministic = ProblemKind::Nondeterministic;
        assert_eq!(
            found,
            [(nondeterministic, Some("b")), (nondeterministic, Some("c"))]
        );
        assert!(problems[1].message.contains("attempt to index nil"));
        let left: Vec<bool> = once.iter().map(Option::is_some).collect();
        assert_eq!(left, [true, false, false, true], "d was not run again");
    }
}
