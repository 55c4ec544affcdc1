//! `windtunnel plan`: the least cluster for a workload under targets, or the most load that a
//! cluster takes.

mod answer;
mod deploy;
mod files;
mod page;
mod scaled;
mod scaling;
mod trials;

use super::args::refuse_zero;
use super::caller::Caller;
use super::effects::Explicit;
use super::plan_args::PlanArgs;
use super::print::{present, show_json};
use super::progress::plan_bar;
use super::sweep::{Grid, PAGE, Shared, flags_of_run};
pub use answer::Answer;
use clap::ArgMatches;
use scaling::Scaling;
use std::path::{Path, PathBuf};
use trials::{Choice, Load, Setting, Trials};
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;
use windtunnel_config::Defaults;
use windtunnel_results::conditions::Condition;
use windtunnel_sim::plan::{self, Candidate, Problem, Trial};

/// Flags of `run` that a plan sets by itself, and what to say of them.
const OWN: [(&[&str], &str); 3] = [
    (
        &["num_instances"],
        "in a plan, which finds it; --max-gpus says how many there may be",
    ),
    (
        &[
            "prefill_instances",
            "decode_instances",
            "prefill_decode_instances",
        ],
        "in a plan, which finds them; --split-pools looks at pools that prefill and decode apart",
    ),
    (
        &["scale"],
        "in a plan, whose clusters keep their size; --autoscale compares them with scaled ones",
    ),
];

/// Finds the plan. `command` parses the command line of each run.
pub fn plan(args: &PlanArgs, matches: &ArgMatches, command: clap::Command) -> anyhow::Result<()> {
    let Some((_, given)) = matches.subcommand() else {
        return Ok(());
    };
    let caller = Caller::of_this_process();
    planned(args, matches, command, &caller, |answer| {
        if let Some(path) = &args.out {
            write(path, &files::csv(answer)?)?;
        }
        if let Some(path) = given.get_one::<PathBuf>(PAGE) {
            write(path, page::html(answer, &caller.call)?.as_bytes())?;
        }
        if let Some(path) = &args.manifest {
            write(path, manifest(answer)?.as_bytes())?;
        }
        if given.get_flag("json") {
            let value = files::json(answer)?;
            return show_json(|out| serde_json::to_writer_pretty(out, &value).map_err(Into::into));
        }
        present(false, &answer.text()?)
    })
}

/// What a plan says, whole.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What the command prints with `--json`.
    pub json: serde_json::Value,
    /// What it prints without.
    pub text: String,
    /// All of it as a page.
    pub page: String,
    /// The first answer as Kubernetes objects, where there is one of a cluster.
    pub manifest: Option<String>,
    /// What the number of an answer is: `instances`, `requests_per_s`, `rate_scale`.
    pub unit: &'static str,
    /// What was varied.
    pub dimensions: Vec<String>,
    /// The figures that targets are about.
    pub figures: Vec<String>,
}

impl Planned {
    /// Of an answer; `call` makes it again.
    pub fn of(answer: &Answer<'_>, call: &str) -> anyhow::Result<Self> {
        let cluster = answer.trials.setting.load == Load::Fixed && !answer.fits.is_empty();
        Ok(Self {
            json: files::json(answer)?,
            text: answer.text()?,
            page: page::html(answer, call)?,
            manifest: cluster.then(|| manifest(answer)).transpose()?,
            unit: files::unit(answer.trials.setting),
            dimensions: answer.names.clone(),
            figures: answer
                .conditions
                .iter()
                .map(|c| c.name().to_owned())
                .collect(),
        })
    }
}

/// Searches, and gives what `tell` makes of the answer.
///
/// # Errors
/// On wrong input, and when no run can be made.
pub fn planned<R>(
    args: &PlanArgs,
    matches: &ArgMatches,
    command: clap::Command,
    caller: &Caller<'_>,
    tell: impl FnOnce(&Answer<'_>) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    searching(args, matches, command, caller, |search| {
        let quiet = matches
            .subcommand()
            .is_some_and(|(_, given)| given.get_flag("quiet"));
        let bar = plan_bar(quiet);
        let here = |k: usize, number, seed| search.run(k, number, seed);
        let problem = Problem {
            candidates: search
                .choices
                .iter()
                .map(|c: &Choice<'_>| c.candidate.clone())
                .collect::<Vec<Candidate>>(),
            seeds: args.seeds,
            jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
            run: caller.elsewhere.unwrap_or(&here),
            of_loads: args.max_rate,
            progress: &|n| bar.inc(n),
        };
        let found = plan::search(&problem)?;
        let Search {
            trials,
            choices,
            refused,
            conditions,
            scaling,
        } = search;
        let mut answer = Answer::new(trials, choices, refused, &found, conditions)?;
        answer.scaled = scaling::compared(&answer, scaling, problem.jobs)?;
        bar.finish_and_clear();
        caller.go_on()?;
        tell(&answer)
    })
}

/// A plan before its search.
pub struct Search<'a> {
    trials: &'a Trials<'a>,
    choices: &'a [Choice<'a>],
    refused: &'a [(String, String)],
    conditions: &'a [Condition],
    scaling: &'a Scaling,
}

impl Search<'_> {
    /// The run of a choice, by its position, at a size or a load, with a seed from 0 on.
    ///
    /// # Errors
    /// When there is no such choice, or its run goes wrong.
    pub fn run(&self, choice: usize, number: u32, seed: u64) -> Result<Trial, InputError> {
        let none = || InputError::new(format!("the plan has no choice {choice}"));
        let choice = self.choices.get(choice).ok_or_else(none)?;
        self.trials.run(choice, number, seed)
    }
}

/// Finds out what there is to choose from, and gives what `then` makes of it.
///
/// # Errors
/// On wrong input.
pub fn searching<R>(
    args: &PlanArgs,
    matches: &ArgMatches,
    command: clap::Command,
    caller: &Caller<'_>,
    then: impl FnOnce(&Search<'_>) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let explicit = Explicit::of(matches);
    let Some((_, given)) = matches.subcommand() else {
        return Err(InputError::new("a plan has flags").into());
    };
    refuse_zero(&[
        ("--seeds", args.seeds == 0),
        ("--jobs", args.jobs == Some(0)),
        ("--max-gpus", args.max_gpus == 0),
    ])?;
    super::sweep::refuse_without_effect(&explicit, &[PAGE])?;
    super::sweep::refuse_lists(given)?;
    for (ids, why) in OWN {
        explicit.reject_unless(ids, args.max_rate, why)?;
    }
    let conditions = Condition::parse_all("--slo", &args.slo)?;
    let flags = flags_of_run();
    let defaults = super::spec::defaults_of(given)?;
    let axes = axes(args, &explicit, &defaults);
    let grid = Grid::parse(&axes, &flags, &explicit)?;
    if grid.size().is_none_or(|n| n > MOST_POINTS) {
        let message = format!("the plan would have more than {MOST_POINTS} things to choose from");
        return Err(InputError::new(message).into());
    }
    if grid.varies("num-instances") && !args.max_rate {
        return Err(InputError::new("--grid num-instances: a plan finds it").into());
    }
    if grid.varies("autoscale") {
        let why = "--grid autoscale: --autoscale A,B compares scaled clusters with the fixed one";
        return Err(InputError::new(why).into());
    }
    if !explicit.has("model") && !grid.varies("model") && !grid.varies_flags() {
        return Err(InputError::new("give --model MODEL, or vary it: --grid model=A,B").into());
    }
    let setting = Setting::of(args, given, &explicit, &grid, &defaults)?;
    let mut shared = Shared::of(given, &flags);
    let scaling = Scaling::of(args, given, &mut shared)?;
    let trials = Trials::new(&shared, &grid, &conditions, &setting, command, caller);
    let html: Option<PathBuf> = given.get_one(PAGE).cloned();
    let written: Vec<PathBuf> = [&args.resume, &args.out, &args.manifest, &html]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    for path in &written {
        super::output::check_path(path)?;
    }
    if trials.may_have_scripts()? {
        (caller.confine)(&written);
    }
    let trials = trials.resuming(args.resume.as_deref())?;
    let (choices, refused, notes) = trials.choices(args.max_gpus)?;
    for note in &notes {
        (caller.say)(&format!("note: {note}"));
    }
    then(&Search {
        trials: &trials,
        choices: &choices,
        refused: &refused,
        conditions: &conditions,
        scaling: &scaling,
    })
}

/// The first answer as Kubernetes objects.
fn manifest(answer: &Answer<'_>) -> Result<String, InputError> {
    let Some(best) = answer.fits.first() else {
        let why = "--manifest: nothing meets the targets, so there is nothing to run";
        return Err(InputError::new(why));
    };
    let targets: Vec<String> = answer.conditions.iter().map(ToString::to_string).collect();
    let name = best.choice.name(answer.trials.setting);
    let heading = format!(
        "{name}, as found by windtunnel plan for {}",
        targets.join(", ")
    );
    deploy::manifest(best.choice, &best.roles(), &heading)
}

/// More is a slip of the pen.
const MOST_POINTS: u64 = 10_000;

fn write(path: &Path, bytes: &[u8]) -> Result<(), InputError> {
    windtunnel_base::input::write_whole(path, |out| out.write_all(bytes))
}

/// The dimensions: those that were given, and those that a cluster is chosen by.
fn axes(args: &PlanArgs, explicit: &Explicit, defaults: &Defaults) -> Vec<String> {
    let mut axes = Vec::new();
    let named = |key: &str| {
        let is_it = |text: &String| {
            let name = text.trim_start_matches("--");
            name.starts_with("flags=") || name.split('=').next() == Some(key)
        };
        explicit.has(key) || args.grid.iter().any(is_it)
    };
    if !args.max_rate {
        if !named("hardware") && !named("xpu") {
            let priced = defaults.hardware.priced();
            axes.push(format!("hardware={}", priced.join(",")));
        }
        if !named("tp") {
            axes.push("tp=1,2,4,8".to_owned());
        }
    }
    axes.extend(args.grid.iter().cloned());
    axes
}
