//! `windtunnel score`, and the flags that all commands share which score candidates.

use super::args::{refuse_zero, within};
use super::candidate_text::CandidateText;
use super::command_line::command_line;
use super::gate::{self, GateFailed};
use super::output::check_path;
use super::print::{present, say};
use super::progress::RunsBar;
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use windtunnel_base::input::{InputError, write_whole};
use windtunnel_results::conditions::Condition;
use windtunnel_score::plan::selected_scenarios;
use windtunnel_score::render::page;
use windtunnel_score::render::score::{table, text};
use windtunnel_score::salt::SaltSource;
use windtunnel_score::sandbox::Sandbox;
use windtunnel_score::scenario;
use windtunnel_score::{
    Candidate, LastStage, Problem, ProblemKind, Report, ScoreRequest, Scorer, ScoringError, Seeds,
    Settings, Split, Suite, worker,
};

pub use windtunnel_score::runner::TIME_LIMIT;

/// Flags about where and how candidates are scored.
#[derive(Args, Clone, Debug)]
pub struct ScoringArgs {
    /// Suite: a name ("windtunnel suite list" shows them) or a file
    #[arg(long, default_value = "routing-mixed", value_name = "NAME|FILE.yaml")]
    pub suite: String,
    /// Folder with the trace files that some scenarios of the suite replay; without it they are
    /// left out
    #[arg(long, value_name = "DIR")]
    pub traces: Option<PathBuf>,
    /// Processes at once; default: one per core
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Let compiled plugins run, in a sandbox
    #[arg(long)]
    pub allow_native: bool,
    /// Longest time for a candidate's process to make one run
    #[arg(long, value_name = "SECONDS", default_value_t = TIME_LIMIT)]
    pub time_limit: u64,
    /// Neither use nor keep earlier reports
    #[arg(long)]
    pub no_cache: bool,
    /// File with the salt that the holdout is drawn with; default: what the variable
    /// WINDTUNNEL_HOLDOUT_SALT_FILE names, else a salt of this machine's own
    #[arg(long, value_name = "FILE")]
    pub holdout_salt_file: Option<PathBuf>,
    /// Draw the seeds of train and val from this text, another one for each search; default: the
    /// seeds of the suite, which everybody knows
    #[arg(long, value_name = "TEXT")]
    pub train_salt: Option<String>,
}

/// Where the salt of the holdout comes from, if `given` is the file that was named.
#[must_use]
pub fn holdout_salt_source(given: Option<&Path>) -> SaltSource {
    let var = std::env::var_os("WINDTUNNEL_HOLDOUT_SALT_FILE").filter(|v| !v.is_empty());
    match given.map(Path::to_owned).or(var.map(PathBuf::from)) {
        Some(file) => SaltSource::File(file),
        None => SaltSource::ThisMachine(cache_folder()),
    }
}

/// Refuses salts that nothing is drawn with.
///
/// # Errors
/// When one is given and its splits are not scored; or that of a search is empty.
pub fn check_salts(
    holdout_salt_file: bool,
    train_salt: Option<&str>,
    splits: &[Split],
) -> Result<(), InputError> {
    let useless = |setting: &str, what: &str| {
        let message = format!("`{setting}` does nothing here: {what}; drop it");
        Err(InputError::new(message))
    };
    if holdout_salt_file && !splits.contains(&Split::Holdout) {
        return useless("holdout_salt_file", "the holdout is not scored");
    }
    match train_salt {
        Some(_) if splits.iter().all(|s| *s == Split::Holdout) => {
            useless("train_salt", "neither train nor val is scored")
        }
        Some("") => Err(InputError::new("`train_salt` is empty; expected a text")),
        _ => Ok(()),
    }
}

impl ScoringArgs {
    /// Opens the suite to score some of its splits; says what is to know of it.
    pub fn suite(&self, splits: &[Split]) -> Result<Arc<Suite>, InputError> {
        let salt_file = self.holdout_salt_file.as_deref();
        let train_salt = self.train_salt.as_deref();
        check_salts(salt_file.is_some(), train_salt, splits)?;
        let mut suite = Suite::open(&self.suite, self.traces.as_deref())?;
        suite.holdout_salt_source = holdout_salt_source(salt_file);
        suite.train_salt.clone_from(&self.train_salt);
        // Looking takes longer than a cached score, and a test holds that shipped suites have none.
        if !suite.is_shipped() {
            for note in scenario::notes(&suite)? {
                say(&format!("note: {note}"));
            }
        }
        Ok(Arc::new(suite))
    }

    /// A scorer with the settings of the flags.
    pub fn scorer(&self) -> anyhow::Result<Scorer> {
        Ok(Scorer::new(Settings {
            jobs: jobs(self.jobs)?,
            allow_native: self.allow_native,
            cache: cache_folder(),
            reuse_reports: !self.no_cache,
            time_limit: time_limit(self.time_limit)?,
            ..Settings::for_this_host()?
        }))
    }
}

/// Number of worker processes.
///
/// # Errors
/// When it is 0.
pub fn jobs(given: Option<usize>) -> Result<usize, InputError> {
    refuse_zero(&[("--jobs", given == Some(0))])?;
    Ok(given.unwrap_or_else(windtunnel_base::parallel::default_jobs))
}

/// Longest time for a run.
///
/// # Errors
/// When it is 0, or more than a day.
pub fn time_limit(seconds: u64) -> Result<Duration, InputError> {
    match seconds {
        1..=86_400 => Ok(Duration::from_secs(seconds)),
        other => Err(InputError::new(format!(
            "--time-limit is {other}; expected 1 to 86400 seconds"
        ))),
    }
}

/// Folder in which reports and results of references are cached.
#[must_use]
pub fn cache_folder() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    if let Some(own) = var("WINDTUNNEL_CACHE_DIR") {
        return Some(own.into());
    }
    let base = var("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(var("HOME")?).join(".cache")))?;
    Some(base.join("windtunnel"))
}

/// `windtunnel score`.
#[derive(Args, Clone, Debug)]
pub struct ScoreArgs {
    /// Policy name, FILE.lua, FILE.so[:name], bundle FILE.yaml, or a folder: with policies.yaml or
    /// files called after hooks (routing.lua, ...) it is one candidate, else each of its scripts
    /// is. Several are scored one by one; - takes JSON lines from standard input, all of them
    /// before it begins (score-server answers one by one): {"candidate": "Lua text" or {"routing":
    /// "Lua text", ...}}, and if you like "id", "scenarios", "params"
    #[arg(required = true, value_name = "CANDIDATE")]
    candidates: Vec<String>,
    /// Print a JSON line for each candidate, in order, however many there are
    #[arg(long)]
    batch: bool,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Which scenarios: train tells everything, val only scores, holdout only the total
    #[arg(long, value_enum, default_value_t = Split::Train)]
    split: Split,
    /// How far to go: auto stops at what cannot get good
    #[arg(long, value_enum, default_value_t = LastStage::Auto)]
    stage: LastStage,
    /// Random seeds per scenario: a number, or auto to add some until the score is certain to half
    /// a point; default: the suite's
    #[arg(long, value_name = "auto|N")]
    seeds: Option<String>,
    /// Only this scenario; may be given several times
    #[arg(long = "scenario", value_name = "ID")]
    scenarios: Vec<String>,
    /// Score to beat: a candidate that most probably does not is stopped early
    #[arg(long, value_name = "SCORE")]
    incumbent: Option<f64>,
    /// Compare the score on train with one on so many seeds per scenario that no candidate can
    /// know, and warn where it is higher by more than chance. That takes as long as the seeds do
    #[arg(long, value_name = "N")]
    fresh_seeds: Option<u32>,
    /// Exit with code 3 if one of these is so: score<0, or score_low<0 and score_high<0 for the
    /// ends of its 95 % interval. A candidate that is broken fails, too
    #[arg(long, value_name = "CONDITIONS")]
    fail_if: Option<String>,
    /// Show the scores as a page that needs nothing but itself, with the sources of scripts
    #[arg(long, value_name = "FILE", conflicts_with = "batch")]
    html: Option<PathBuf>,
    /// Print JSON: the whole report, with several candidates a line for each
    #[arg(long)]
    json: bool,
}

/// A line of standard input.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Name in the report.
    #[serde(default)]
    id: Option<serde_json::Value>,
    /// Lua text, or Lua texts by hook.
    candidate: CandidateText,
    /// Only these scenarios.
    #[serde(default)]
    scenarios: Option<Vec<String>>,
    /// Values of parameters.
    #[serde(default)]
    params: BTreeMap<String, f64>,
}

impl Line {
    fn read(bytes: &[u8], number: u64) -> Result<Self, InputError> {
        let at =
            |column: usize, message: String| InputError::at(INPUT, number, column as u64, message);
        let text = std::str::from_utf8(bytes)
            .map_err(|e| at(e.valid_up_to() + 1, "a byte that is no UTF-8".into()))?;
        serde_json::from_str(text).map_err(|e| {
            // Its line number counts from this line: the caller's is given instead.
            let message = e.to_string();
            let message = message
                .rsplit_once(" at line ")
                .map_or(&*message, |(said, _)| said);
            at(e.column(), message.to_owned())
        })
    }

    fn candidate(&self, number: u64) -> Candidate {
        let name = match &self.id {
            Some(serde_json::Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
            None => format!("candidate-{number}"),
        };
        let mut candidate = self.candidate.clone().candidate(&name);
        candidate.params.clone_from(&self.params);
        candidate
    }
}

/// Reads `auto` or a number of seeds.
///
/// # Errors
/// When it is neither.
pub fn parse_seeds(text: Option<&str>) -> Result<Seeds, InputError> {
    match text {
        None => Ok(Seeds::Suite),
        Some("auto") => Ok(Seeds::Auto),
        Some(text) => match text.parse() {
            Ok(n @ 1..=1000) => Ok(Seeds::Fixed(n)),
            _ => Err(InputError::new(format!(
                "--seeds is \"{text}\"; expected auto, or 1 to 1000"
            ))),
        },
    }
}

impl ScoreArgs {
    /// Refuses flags without effect.
    fn check(&self) -> Result<(), InputError> {
        let useless = |flag: &str, why: &str| {
            Err(InputError::new(format!(
                "{flag} does nothing here: {why}; drop it"
            )))
        };
        let early = matches!(self.stage, LastStage::Smoke | LastStage::Quick);
        let until = format!("--stage {:?}", self.stage).to_lowercase();
        if self.stage == LastStage::Smoke && !self.scenarios.is_empty() {
            return useless("--scenario", "the first run is the same for all of them");
        }
        if let Some(path) = &self.html {
            if self.candidates.iter().any(|c| c == "-") {
                return useless(
                    "--html",
                    "candidates of standard input are answered in lines",
                );
            }
            check_path(path)?;
        }
        if early && self.seeds.is_some() {
            return useless("--seeds", &format!("{until} takes one"));
        }
        if let Some(seeds) = self.fresh_seeds {
            within("--fresh-seeds", seeds, 2..=100)?;
            if self.split != Split::Train {
                let split = self.split;
                return useless("--fresh-seeds", &format!("of {split} only scores are told"));
            }
            if early {
                return useless("--fresh-seeds", &format!("{until} ends early"));
            }
        }
        if let Some(score) = self.incumbent {
            if !score.is_finite() {
                return Err(InputError::new(format!(
                    "--incumbent is {score}; expected a number"
                )));
            }
            let automatic = self.seeds.as_deref() == Some("auto");
            if early {
                return useless("--incumbent", &format!("{until} ends early anyhow"));
            }
            if self.stage == LastStage::Full && !automatic {
                return useless("--incumbent", &format!("{until} runs everything"));
            }
            if self.split != Split::Train && !automatic {
                let split = self.split;
                return useless("--incumbent", &format!("--split {split} is run in full"));
            }
        }
        Ok(())
    }
}

impl ScoreArgs {
    /// Writes the page, if one is wanted.
    fn write_page(&self, reports: &[Report], requests: &[ScoreRequest]) -> anyhow::Result<()> {
        let Some(path) = &self.html else {
            return Ok(());
        };
        let candidates: Vec<&Candidate> = requests.iter().map(|r| &r.candidate).collect();
        let page = page::score(reports, &candidates, &command_line());
        write_whole(path, |out| out.write_all(page.as_bytes()))?;
        Ok(())
    }
}

/// Runs the command.
pub fn score(args: &ScoreArgs) -> anyhow::Result<()> {
    args.check()?;
    let gate = gate::named(
        args.fail_if.as_deref(),
        &["score", "score_low", "score_high"],
    )?;
    let mut splits = vec![args.split];
    // Fresh seeds are drawn as the holdout's are.
    splits.extend(args.fresh_seeds.map(|_| Split::Holdout));
    let suite = args.scoring.suite(&splits)?;
    let request = |candidate: Candidate| -> Result<ScoreRequest, InputError> {
        Ok(ScoreRequest {
            split: args.split,
            last_stage: args.stage,
            seeds: parse_seeds(args.seeds.as_deref())?,
            scenarios: (!args.scenarios.is_empty()).then(|| args.scenarios.clone()),
            incumbent: args.incumbent,
            fresh_seeds: args.fresh_seeds.unwrap_or(0),
            ..ScoreRequest::new(candidate, Arc::clone(&suite))
        })
    };
    let scorer = args.scoring.scorer()?;
    if args.candidates.iter().any(|c| c == "-") {
        if args.candidates.len() > 1 {
            return Err(InputError::new(
                "- takes all candidates from standard input; drop the others",
            )
            .into());
        }
        return check_gate(&gate, &lines(&scorer, &request)?);
    }
    let mut requests: Vec<ScoreRequest> = Vec::new();
    for name in &args.candidates {
        for candidate in Candidate::open_all(name)? {
            requests.push(request(candidate)?);
        }
    }
    if let ([request], false) = (&requests[..], args.batch) {
        let bar = RunsBar::new();
        let report = scorer.score(request, &|p| bar.show(p)).map_err(to_anyhow);
        bar.done();
        let report = report?;
        args.write_page(std::slice::from_ref(&report), &requests)?;
        if args.json {
            present(true, &(serde_json::to_string_pretty(&report)? + "\n"))?;
        } else {
            present(false, &text(&report))?;
        }
        return check_gate(&gate, &[report]);
    }
    if args.json || args.batch {
        let reports = batch(&scorer, &requests)?;
        args.write_page(&reports, &requests)?;
        return check_gate(&gate, &reports);
    }
    let reports = scorer
        .score_batch(&requests, &mut |_, _| {})
        .map_err(to_anyhow)?;
    args.write_page(&reports, &requests)?;
    present(false, &table(&reports))?;
    check_gate(&gate, &reports)
}

/// Fails where `--fail-if` is so of a candidate, or one is broken.
fn check_gate(gate: &[Condition], reports: &[Report]) -> anyhow::Result<()> {
    for report in reports.iter().filter(|_| !gate.is_empty()) {
        let name = &report.candidate;
        if !report.ok {
            return Err(GateFailed(format!("{}: {name} does not work", gate::FAIL_IF)).into());
        }
        gate::check(gate, &format!("{name}: "), |condition| {
            match condition.name() {
                "score" => Some(report.score),
                "score_low" => report.score_ci95.map(|ends| ends[0]),
                _ => report.score_ci95.map(|ends| ends[1]),
            }
        })?;
    }
    Ok(())
}

/// An error with its cause: wrong input stays an [`InputError`], which has an exit code of its own.
#[must_use]
pub fn to_anyhow(error: ScoringError) -> anyhow::Error {
    match error {
        ScoringError::Input(e) => e.into(),
        other => other.into(),
    }
}

/// Scores candidates and prints a line for each, in order, as soon as it and all before it are
/// done.
fn batch(scorer: &Scorer, requests: &[ScoreRequest]) -> anyhow::Result<Vec<Report>> {
    let mut waiting: BTreeMap<usize, String> = BTreeMap::new();
    let mut next = 0;
    let mut outcome = Ok(());
    let mut done = |k: usize, report: &Report| {
        let line = serde_json::to_string(report).unwrap_or_default();
        waiting.insert(k, line);
        while let Some(line) = waiting.remove(&next) {
            next += 1;
            if outcome.is_ok() {
                outcome = present(true, &(line + "\n"));
            }
        }
    };
    let reports = scorer.score_batch(requests, &mut done).map_err(to_anyhow)?;
    outcome.map(|()| reports)
}

/// The name of standard input in messages.
const INPUT: &str = "standard input";

/// Scores the candidates of standard input. A malformed line gets a report, too, and there is an
/// error at the end.
fn lines(
    scorer: &Scorer,
    request: &dyn Fn(Candidate) -> Result<ScoreRequest, InputError>,
) -> anyhow::Result<Vec<Report>> {
    let mut requests = Vec::new();
    let mut wrong: Vec<InputError> = Vec::new();
    for (k, bytes) in std::io::stdin().lock().split(b'\n').enumerate() {
        let bytes =
            bytes.map_err(|e| InputError::in_file(INPUT, windtunnel_base::input::plain(&e)))?;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let number = k as u64 + 1;
        let (line, error) = match Line::read(&bytes, number) {
            Ok(line) => (line, None),
            Err(e) => (Line::default(), Some(e)),
        };
        let mut one = request(line.candidate(number))?;
        let all = one.scenarios.clone();
        one.scenarios = line.scenarios.or(one.scenarios);
        let error = error.or_else(|| {
            let unknown = selected_scenarios(&one).err()?;
            Some(InputError::at(INPUT, number, 1, unknown.to_string()))
        });
        if let Some(error) = error {
            one.scenarios = all;
            one.candidate.flaw = Some(Box::new(Problem {
                line: Some(number),
                ..Problem::new(ProblemKind::Policy, INPUT, error.to_string())
            }));
            wrong.push(error);
        }
        requests.push(one);
    }
    if requests.is_empty() {
        say("no candidates on standard input");
    }
    let reports = batch(scorer, &requests)?;
    match &wrong[..] {
        [] => Ok(reports),
        [one] => Err(InputError::new(one.to_string()).into()),
        [first, ..] => {
            let message = format!(
                "{} of {} lines are no candidates; the first: {first}",
                wrong.len(),
                requests.len()
            );
            Err(InputError::new(message).into())
        }
    }
}

/// `windtunnel worker`: a process in which candidates run.
#[derive(Args, Clone, Debug)]
pub struct WorkerArgs {
    /// A file or folder that may be read
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// Compiled plugins will run here
    #[arg(long)]
    native: bool,
    /// The process that it ends with
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
}

/// Answers jobs until standard input ends.
pub fn work(args: &WorkerArgs) -> anyhow::Result<()> {
    Ok(worker::serve(&Sandbox {
        native: args.native,
        parent: args.parent,
        read: args.read.clone(),
    })?)
}
