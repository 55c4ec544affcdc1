//! The report on a candidate. Its JSON has a version and a published schema
//! (`docs/reference/score.schema.json`).

use super::fuel::Fuel;
use super::run::{InstanceShare, Metrics};
use super::suite::Split;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::fault::RunFault;
use windtunnel_base::input::{InputError, InputErrorKind};

/// Texts of scripts by path.
pub type Scripts = BTreeMap<PathBuf, String>;

/// Name and version of the report's form.
pub const SCHEMA: &str = "windtunnel.score/1";
/// The score of a candidate that does not work.
pub const FAILED: f64 = -100.0;
/// The least score of one that does.
pub const LEAST: f64 = -99.0;

/// Most problems in a report.
const MOST_PROBLEMS: usize = 5;
/// Longest text of a problem, characters.
const LONGEST_MESSAGE: usize = 1000;

/// How far a candidate was taken.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its text was looked at.
    Lint,
    /// It ran on small clusters in which every hook has to work.
    Smoke,
    /// It ran some scenarios with a part of the requests.
    Quick,
    /// It ran everything.
    Full,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProblemKind {
    /// The script cannot be read.
    Syntax,
    /// Something in the script can only fail.
    Lint,
    /// The candidate cannot be made: a name, a file or a parameter is wrong, or a script fails when
    /// it is loaded.
    Policy,
    /// It failed while it worked.
    Runtime,
    /// It exceeded its instructions, memory or time.
    Limit,
    /// It decides otherwise on the same traffic when it runs again, in another process.
    Nondeterministic,
    /// It took its process down.
    Crash,
    /// Compiled plugins are not allowed here.
    Native,
    /// The engine's books do not balance: a mistake of ours, or of a plugin that reaches around its
    /// hook.
    Invariant,
}

impl ProblemKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Lint => "lint",
            Self::Policy => "policy",
            Self::Runtime => "runtime",
            Self::Limit => "limit",
            Self::Nondeterministic => "nondeterministic",
            Self::Crash => "crash",
            Self::Native => "native",
            Self::Invariant => "invariant",
        }
    }
}

/// Something that went wrong, or that a candidate is warned of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// Script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// What it is.
    pub message: String,
    /// The hook that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The request at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What would probably be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The lines around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

/// The schema of a report, as JSON text.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Report).to_value();
    format!("{schema:#}\n")
}

impl Report {
    /// Replaces control characters in its texts: they may hold names that a candidate's process has
    /// written, and are printed on terminals.
    pub fn sanitize(&mut self) {
        let items = self.feedback_items.iter_mut().map(|item| &mut item.text);
        for text in items.chain([&mut self.feedback]) {
            let control = |c: char| c.is_control() && c != '\n' && c != '\t';
            if text.contains(control) {
                *text = text.replace(control, " ");
            }
        }
    }
}

impl Problem {
    /// A problem of a file.
    #[must_use]
    pub fn new(kind: ProblemKind, file: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            file: (!file.is_empty()).then(|| file.to_owned()),
            line: None,
            column: None,
            message: message.into(),
            hook: None,
            scenario: None,
            request: None,
            hint: None,
            snippet: None,
        }
    }

    /// The fault that ended a run of a candidate with these scripts.
    #[must_use]
    pub fn of_fault(fault: &RunFault, texts: &Scripts) -> Self {
        let kind = match fault {
            RunFault::Policy { .. } => ProblemKind::Runtime,
            RunFault::Limit { .. } => ProblemKind::Limit,
            RunFault::Invariant(_) => ProblemKind::Invariant,
        };
        let problem = Self::new(kind, "", fault.to_string());
        let Some((hook, request, source)) = fault.policy() else {
            return problem;
        };
        let problem = Self {
            hook: Some(hook.name().to_owned()),
            request: request.map(str::to_owned),
            ..problem
        };
        let line = source.line.map(u64::from);
        problem
            .with_hint()
            .placed_at(source.file.as_deref(), line, None, texts)
    }

    /// An error that keeps a candidate with these scripts from being loaded; `kind` unless it
    /// exceeded a limit.
    #[must_use]
    pub fn of_error(kind: ProblemKind, error: &InputError, texts: &Scripts) -> Self {
        let kind = if error.kind() == InputErrorKind::OverLimit {
            ProblemKind::Limit
        } else {
            kind
        };
        Self::new(kind, "", error.to_string())
            .with_hint()
            .placed_at(error.file(), error.line(), error.column(), texts)
    }

    /// With its place and the lines around it, if that is in one of the scripts: other files are
    /// not the candidate's.
    fn placed_at(
        self,
        file: Option<&str>,
        line: Option<u64>,
        column: Option<u64>,
        texts: &Scripts,
    ) -> Self {
        let Some(file) = file.filter(|file| texts.contains_key(Path::new(file))) else {
            return self;
        };
        let problem = Self {
            file: Some(file.to_owned()),
            line,
            column,
            ..self
        };
        match line {
            Some(line) => problem.with_snippet(texts, line),
            None => problem,
        }
    }

    /// Its place and its message; the place only if the message does not name it.
    #[must_use]
    pub fn placed(&self) -> String {
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            (Some(file), None) => file.clone(),
            (None, _) => String::new(),
        };
        if self.message.contains(&place) {
            self.message.clone()
        } else {
            format!("{place}: {}", self.message)
        }
    }

    /// With what its message says would probably be right.
    #[must_use]
    pub fn with_hint(mut self) -> Self {
        if let Some((_, hint)) = self.message.split_once("did you mean ") {
            let name = hint.split('?').next().unwrap_or(hint);
            self.hint = Some(format!("did you mean {name}?"));
        }
        self
    }

    /// Cuts long texts and replaces control characters: a candidate's process may write anything,
    /// and problems are printed on terminals.
    pub fn sanitize(&mut self) {
        let sanitize = |text: &mut String, most: usize, lines: bool| {
            let fine = |c: char| !c.is_control() || (lines && c == '\n') || c == '\t';
            if text.chars().count() > most {
                *text = text.chars().take(most).chain("...".chars()).collect();
            }
            if !text.chars().all(fine) {
                *text = text
                    .chars()
                    .map(|c| if fine(c) { c } else { ' ' })
                    .collect();
            }
        };
        sanitize(&mut self.message, LONGEST_MESSAGE, false);
        let others = [
            &mut self.file,
            &mut self.hook,
            &mut self.scenario,
            &mut self.request,
            &mut self.hint,
        ];
        for text in others.into_iter().flatten() {
            sanitize(text, LONGEST_MESSAGE, false);
        }
        if let Some(text) = &mut self.snippet {
            sanitize(text, LONGEST_MESSAGE, true);
        }
    }

    /// With the lines around `line` of its file.
    #[must_use]
    pub fn with_snippet(mut self, texts: &Scripts, line: u64) -> Self {
        let file = self.file.as_deref().unwrap_or_default();
        if let Some(text) = texts.get(Path::new(file)) {
            let from = line.saturating_sub(2) as usize;
            let lines = text.lines().enumerate().skip(from).take(3);
            let shown: Vec<String> = lines
                .map(|(i, text)| {
                    let text: String = text.chars().take(160).collect();
                    format!("{}: {text}", i + 1)
                })
                .collect();
            self.snippet = (!shown.is_empty()).then(|| shown.join("\n"));
        }
        self
    }
}

/// The first few problems that differ in kind, line or hook.
#[must_use]
pub fn distinct_problems(problems: Vec<Problem>) -> Vec<Problem> {
    let mut distinct: Vec<Problem> = Vec::new();
    for problem in problems {
        let same =
            |e: &Problem| (e.kind, e.line, &e.hook) == (problem.kind, problem.line, &problem.hook);
        if !distinct.iter().any(same) {
            distinct.push(problem);
        }
    }
    distinct.truncate(MOST_PROBLEMS);
    distinct
}

/// Why a candidate was not taken further.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stopped {
    /// In words.
    pub reason: String,
    /// What its score would be by what was seen; none when it did not compete yet.
    pub estimate: Option<f64>,
}

/// A candidate in one scenario. In `val`, only `id` and `score` are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioReport {
    /// Its name.
    pub id: String,
    /// What kind of traffic it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// 100 x mean log-ratio of costs, best reference to candidate: above 0 it is better than the
    /// best.
    pub score: f64,
    /// 95 % confidence interval over seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci95: Option<[f64; 2]>,
    /// The reference policy that is best here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_builtin: Option<String>,
    /// 100 x mean log-ratio by objective.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objectives: BTreeMap<String, f64>,
    /// The candidate's figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Those of the best reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_metrics: Option<Metrics>,
    /// The candidate's instances, at the first seed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<InstanceShare>,
}

/// What the scores are relative to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Versus {
    /// `best_builtin`: the best tuned reference policy, scenario by scenario.
    pub reference: String,
    /// Its name by scenario; train only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub per_scenario_best: BTreeMap<String, String>,
}

/// The scenario in which the candidate is worst.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worst {
    /// Its name.
    pub scenario: String,
    /// The score there.
    pub score: f64,
}

/// Broken invariants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invariants {
    /// In words; empty when all is well.
    pub violations: Vec<String>,
}

/// Something worth knowing for the next attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeedbackItem {
    /// The scenario it is about; none = all of them.
    pub scenario: Option<String>,
    /// What kind of observation it is.
    pub kind: String,
    /// In words.
    pub text: String,
}

/// What the report is of: equal keys have equal scores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// Fingerprint of the candidate; empty for compiled plugins.
    pub candidate: String,
    /// Fingerprint of the suite.
    pub suite: String,
    /// Version of the program and of its results.
    pub engine: String,
    /// Fingerprint of the fate of every request of every run.
    pub runs: String,
    /// Fingerprint of every routing decision and of what became of every request in the first
    /// runs: candidates with equal ones are most likely the same policy in other words.
    #[serde(default)]
    pub behaviour: String,
    /// Hash of the salt that the seeds of the holdout were drawn with: scores with different ones
    /// do not compare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout_salt: Option<String>,
    /// What a search drew its seeds from; none for those of the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_salt: Option<String>,
}

/// A candidate on fresh seeds of the same scenarios: the seeds of a suite are known to everybody,
/// and a policy may have them by heart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fresh {
    /// Fresh seeds per scenario.
    pub seeds: u32,
    /// The score on them.
    pub score: f64,
    /// How much higher the mean over scenarios is on the seeds that are known.
    pub gain: f64,
    /// Its 95 % confidence interval.
    pub gain_ci95: Option<[f64; 2]>,
    /// The interval excludes 0: what it gains, it owes to the seeds.
    pub more_than_chance: bool,
}

/// The report on a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Form of the report: `windtunnel.score/1`.
    pub schema: String,
    /// Did the candidate work?
    pub ok: bool,
    /// 100 x mean log-ratio of costs, best reference to candidate, minus the penalty for losses. 0
    /// = as good as the best of the tuned references in every scenario; -100 = it does not work; at
    /// least -99 if it works; below -99, by what was seen, if it was stopped.
    pub score: f64,
    /// 95 % confidence interval over seeds.
    pub score_ci95: Option<[f64; 2]>,
    /// How far it was taken.
    pub stage: Stage,
    /// Why it was not taken further.
    pub stopped: Option<Stopped>,
    /// Suite and its version.
    pub suite: String,
    /// Which scenarios.
    pub split: Split,
    /// The candidate's name.
    pub candidate: String,
    /// 100 x mean log-ratio by objective: higher is better.
    pub objectives: BTreeMap<String, f64>,
    /// Where it is worst.
    pub worst: Option<Worst>,
    /// Scenarios in which it loses more than 1 point.
    pub regressions: Vec<String>,
    /// What the scores are relative to.
    pub vs: Versus,
    /// By scenario.
    pub scenarios: Vec<ScenarioReport>,
    /// Numbers that tell candidates apart, taken on a first run that is the same for all
    /// (`docs/reference/feedback.md`).
    pub features: BTreeMap<String, f64>,
    /// How it does on seeds that it cannot know, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<Fresh>,
    /// What its scripts used of their limits, in the runs that worked; none without scripts.
    /// Outside of train rounded up to one digit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<Fuel>,
    /// What went wrong.
    pub errors: Vec<Problem>,
    /// What a look at the scripts found that is worth a thought.
    pub warnings: Vec<Problem>,
    /// Broken invariants.
    pub invariants: Invariants,
    /// For the author of the next attempt, most useful first, at most 1,500 tokens.
    pub feedback: String,
    /// The same in pieces.
    pub feedback_items: Vec<FeedbackItem>,
    /// What it is a report of.
    pub key: Key,
    /// How long it took, by the clock of the machine; no part of any score.
    pub wall_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::fault::PolicyCall;
    use windtunnel_base::hook::Hook;
    use windtunnel_plugin_api::PolicyError;

    fn texts() -> Scripts {
        let text = "one\ntwo\nthree\nfour\n";
        Scripts::from([("p.lua".into(), text.into())])
    }

    #[test]
    fn a_fault_becomes_a_problem_with_hook_request_and_place() {
        let error = PolicyError::at("p.lua", 3, "no field \"a\"; did you mean \"b\"? valid: b");
        let request = || Some("request_7".to_owned());
        let decision = PolicyCall::Decision;
        let fault = RunFault::failed(Hook::Routing, decision, request(), &error);
        let problem = Problem::of_fault(&fault, &texts());
        assert_eq!(problem.kind, ProblemKind::Runtime);
        assert_eq!(problem.message, fault.to_string());
        assert_eq!(problem.hook.as_deref(), Some("routing"));
        assert_eq!(problem.request.as_deref(), Some("request_7"));
        assert_eq!(
            (problem.file.as_deref(), problem.line),
            (Some("p.lua"), Some(3))
        );
        assert_eq!(problem.hint.as_deref(), Some("did you mean \"b\"?"));
        assert_eq!(
            problem.snippet.as_deref(),
            Some("2: two\n3: three\n4: four")
        );

        let fault = RunFault::failed(Hook::Scheduler, decision, None, &error.over_limit());
        let problem = Problem::of_fault(&fault, &texts());
        assert_eq!((problem.kind, problem.request), (ProblemKind::Limit, None));
        let fault = RunFault::Invariant("2 is not 3".into());
        let problem = Problem::of_fault(&fault, &texts());
        assert_eq!((problem.kind, problem.hook), (ProblemKind::Invariant, None));
    }

    #[test]
    fn text_that_a_candidate_writes_into_its_errors_decides_nothing() {
        let claim = "the scheduler failed on request_1: q.lua:1: the policy exceeded its budget";
        let fault = RunFault::failed(
            Hook::Routing,
            PolicyCall::Tick,
            None,
            &PolicyError::at("p.lua", 4, claim),
        );
        let problem = Problem::of_fault(&fault, &texts());
        assert_eq!(problem.kind, ProblemKind::Runtime);
        assert_eq!(
            (problem.hook.as_deref(), problem.request),
            (Some("routing"), None)
        );
        assert_eq!(
            (problem.file.as_deref(), problem.line),
            (Some("p.lua"), Some(4))
        );
    }

    #[test]
    fn an_error_has_a_place_only_in_scripts_of_the_candidate() {
        let at = |file: &str| InputError::at(file, 2, 5, "wrong");
        let problem = Problem::of_error(ProblemKind::Syntax, &at("p.lua"), &texts());
        assert_eq!(
            (problem.kind, problem.line, problem.column),
            (ProblemKind::Syntax, Some(2), Some(5))
        );
        assert!(
            problem
                .snippet
                .is_some_and(|s| s.starts_with("1: one\n2: two"))
        );
        let problem = Problem::of_error(ProblemKind::Syntax, &at("other.yaml"), &texts());
        assert_eq!((problem.file, problem.line), (None, None));
        assert_eq!(problem.message, "other.yaml:2:5: wrong");
        let limit = PolicyError::new("p.lua: too long").located("p.lua", None);
        let limit = InputError::from(limit.over_limit());
        let problem = Problem::of_error(ProblemKind::Policy, &limit, &texts());
        assert_eq!((problem.kind, problem.line), (ProblemKind::Limit, None));
    }
}
