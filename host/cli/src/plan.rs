//! `windtunnel plan`: the least cluster for a workload under targets, or the most load that a
//! cluster takes.

mod answer;
mod deploy;
mod files;
mod page;
mod scaled;
mod trials;

use super::args::refuse_zero;
use super::confine;
use super::effects::Explicit;
use super::plan_args::PlanArgs;
use super::print::{present, say, show_json};
use super::progress::plan_bar;
use super::sweep::{Grid, PAGE, Shared, flags_of_run};
use answer::Answer;
use clap::ArgMatches;
use std::path::{Path, PathBuf};
use trials::{Choice, Setting, Trials};
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;
use windtunnel_config::Defaults;
use windtunnel_results::conditions::Condition;
use windtunnel_sim::plan::{self, Candidate, Problem};

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
    let explicit = Explicit::of(matches);
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
        let why = "--grid autoscale: --autoscale A,B compares scaled fleets with the fixed one";
        return Err(InputError::new(why).into());
    }
    if !explicit.has("model") && !grid.varies("model") && !grid.varies_flags() {
        return Err(InputError::new("give --model MODEL, or vary it: --grid model=A,B").into());
    }
    let setting = Setting::of(args, given, &explicit, &grid, &defaults)?;
    let mut shared = Shared::of(given, &flags);
    let mut scaling = Vec::new();
    let policies = scaling_policies(args, given)?;
    if !policies.is_empty() {
        scaling = shared.take_scaling();
        scaling.retain(|flag| {
            let flag = flag.to_string_lossy();
            !flag.starts_with("--autoscale=") && !flag.starts_with("--autoscale-max=")
        });
    }
    let trials = Trials::new(&shared, &grid, &conditions, &setting, scaling, command);
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
        confine::confine(&written);
    }
    let trials = trials.resuming(args.resume.as_deref())?;
    let (choices, refused, notes) = trials.choices(args.max_gpus)?;
    for note in &notes {
        say(&format!("note: {note}"));
    }
    let bar = plan_bar(given.get_flag("quiet"));
    let problem = Problem {
        candidates: choices
            .iter()
            .map(|c: &Choice| c.candidate.clone())
            .collect::<Vec<Candidate>>(),
        seeds: args.seeds,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
        run: &|k, number, seed| trials.run(&choices[k], number, seed),
        of_loads: args.max_rate,
        progress: &|n| bar.inc(n),
    };
    let found = plan::search(&problem)?;
    let mut answer = Answer::new(&trials, &choices, &refused, &found, &conditions)?;
    let most = given.get_one("autoscale_max").copied();
    answer.scaled = scaled::compared(&answer, &policies, most, problem.jobs)?;
    bar.finish_and_clear();
    if let Some(path) = &args.out {
        write(path, &files::csv(&answer)?)?;
    }
    if let Some(path) = &html {
        write(path, page::html(&answer)?.as_bytes())?;
    }
    if let Some(path) = &args.manifest {
        write(path, manifest(&answer)?.as_bytes())?;
    }
    if given.get_flag("json") {
        let value = files::json(&answer)?;
        return show_json(|out| serde_json::to_writer_pretty(out, &value).map_err(Into::into));
    }
    present(false, &answer.text()?)
}

/// The policies that are to scale the cheapest answer.
fn scaling_policies(args: &PlanArgs, given: &ArgMatches) -> Result<Vec<String>, InputError> {
    let Some(policies) = given.get_one::<String>("autoscale") else {
        return Ok(Vec::new());
    };
    let unfit = [
        (args.max_rate, "--max-rate"),
        (args.split_pools, "--split-pools"),
        (args.survive > 0, "--survive"),
    ];
    if let Some((_, flag)) = unfit.into_iter().find(|(given, _)| *given) {
        return Err(InputError::new(format!(
            "--autoscale: not with {flag}; it compares the cheapest fleet of fixed size with scaled ones"
        )));
    }
    Ok(policies.split(',').map(str::to_owned).collect())
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
