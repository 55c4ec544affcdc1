//! Commands as functions, for programs that have the simulator in their own process (the Python
//! module).

use super::args::CommonArgs;
use super::commands::{Cli, Command};
use super::effects::Explicit;
use super::simulate::{self, Prepared};
use super::{command, first_paragraph, output};
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};
use std::ffi::OsString;
use windtunnel_base::input::{InputError, Staging, unknown};
use windtunnel_base::record::RunRecord;
use windtunnel_engine::cluster::Progress;
use windtunnel_results::report::{Results, json};

pub use super::args::named;
pub use super::policy::hook;
pub use super::score::{cache_folder, jobs, parse_seeds as seeds, time_limit, to_anyhow};
pub use super::suite::listed as suites;
pub use windtunnel_score::render::suite::json as suite;

/// A command that simulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// `windtunnel run`.
    Run,
    /// `windtunnel replay`.
    Replay,
}

impl Simulation {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Replay => "replay",
        }
    }
}

/// What is given to a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A flag without a value is given, or is not.
    Switch(bool),
    /// A value.
    One(String),
    /// A list: a flag that may be repeated is, others take it with commas.
    Many(Vec<String>),
}

/// What a simulation found out.
#[derive(Debug)]
pub struct ComparedRuns {
    /// What the command prints with `--json`.
    pub report: serde_json::Value,
    /// What the command says on stderr before it starts.
    pub notes: Vec<String>,
    /// Every request's record; none with `--summary-only`.
    pub record: RunRecord,
}

/// Flags about standard output, which there is none of here.
const PRINTING: [&str; 3] = ["format", "json", "quiet"];

/// Does what the command does with these flags, except print. Flags go by their long names, with
/// dashes or underscores; the replayed trace by the name `trace`. `progress` is called now and
/// then, also before the first event.
///
/// # Errors
/// As the command: [`InputError`] for what the user can change.
pub fn simulate(
    simulation: Simulation,
    flags: &[(String, Value)],
    progress: &mut dyn FnMut(Progress),
) -> anyhow::Result<ComparedRuns> {
    let (cli, explicit) = parse(simulation, flags)?;
    let (prepared, common) = match &cli.command {
        Command::Run(args) => (simulate::prepare(args, &explicit, &[], None)?, &args.common),
        Command::Replay(args) => (simulate::prepare_replay(args, &explicit)?, &args.common),
        _ => anyhow::bail!("{} simulates nothing", simulation.name()),
    };
    Ok(fly(prepared, common, progress)?)
}

fn fly(
    prepared: Prepared,
    common: &CommonArgs,
    progress: &mut dyn FnMut(Progress),
) -> Result<ComparedRuns, InputError> {
    let notes = prepared.notes().cloned().collect();
    progress(Progress::default());
    let mut files = Staging::default();
    let finished = prepared.complete(common, &mut files, progress)?;
    let results =
        Results::with_summary(&finished.record, finished.summary.clone(), &finished.inputs);
    output::write_files(&finished, &results, common, files)?;
    Ok(ComparedRuns {
        report: json::value(&results),
        notes,
        record: finished.record,
    })
}

fn parse(simulation: Simulation, flags: &[(String, Value)]) -> Result<(Cli, Explicit), InputError> {
    let mut command = command();
    command.build();
    let known = command
        .find_subcommand(simulation.name())
        .map_or_else(Vec::new, |sub| sub.get_arguments().cloned().collect());
    let mut arguments = vec![
        OsString::from("windtunnel"),
        OsString::from(simulation.name()),
    ];
    let mut positional = Vec::new();
    for (name, value) in flags {
        let arg = find(&known, name)?;
        if PRINTING.contains(&arg.get_id().as_str()) {
            return Err(InputError::new(format!(
                "\"{name}\" has no effect where the results are returned"
            )));
        }
        match arg.get_long() {
            Some(long) => arguments.extend(typed(name, long, arg.get_action(), value)?),
            None => positional.extend(values(value)),
        }
    }
    if !positional.is_empty() {
        arguments.push("--".into());
        arguments.extend(positional);
    }
    let wrong = |e: clap::Error| InputError::new(first_paragraph(&e));
    let matches: ArgMatches = command.try_get_matches_from_mut(arguments).map_err(wrong)?;
    let cli = Cli::from_arg_matches(&matches).map_err(wrong)?;
    Ok((cli, Explicit::of(&matches)))
}

fn find<'a>(known: &'a [Arg], name: &str) -> Result<&'a Arg, InputError> {
    let wanted = name.replace('_', "-");
    let is_it = |arg: &&Arg| match arg.get_long() {
        Some(long) => {
            long == wanted
                || arg
                    .get_all_aliases()
                    .is_some_and(|all| all.contains(&wanted.as_str()))
        }
        None => arg.get_id().as_str() == name,
    };
    known.iter().find(is_it).ok_or_else(|| {
        let valid: Vec<String> = known
            .iter()
            .filter(|arg| !PRINTING.contains(&arg.get_id().as_str()))
            .map(|arg| arg.get_long().unwrap_or(arg.get_id().as_str()))
            .filter(|name| !["help", "version", "log"].contains(name))
            .map(|name| name.replace('-', "_"))
            .collect();
        let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
        InputError::new(unknown("flag", name, &valid))
    })
}

/// A flag as it is typed.
fn typed(
    name: &str,
    long: &str,
    action: &ArgAction,
    value: &Value,
) -> Result<Vec<OsString>, InputError> {
    let refuse = |expected: &str, found: &str| {
        Err(InputError::new(format!(
            "\"{name}\" is {found}; expected {expected}"
        )))
    };
    match (action.takes_values(), value) {
        (false, Value::Switch(true)) => Ok(vec![format!("--{long}").into()]),
        (false, Value::Switch(false)) => Ok(Vec::new()),
        (false, Value::One(_) | Value::Many(_)) => refuse("true or false", "given a value"),
        (true, Value::Switch(_)) => refuse("a value", "true or false"),
        (true, Value::One(value)) => Ok(vec![format!("--{long}={value}").into()]),
        (true, Value::Many(all)) if matches!(action, ArgAction::Append) => Ok(all
            .iter()
            .map(|value| format!("--{long}={value}").into())
            .collect()),
        (true, Value::Many(all)) => Ok(vec![format!("--{long}={}", all.join(",")).into()]),
    }
}

fn values(value: &Value) -> Vec<OsString> {
    match value {
        Value::Switch(_) => Vec::new(),
        Value::One(value) => vec![value.into()],
        Value::Many(all) => all.iter().map(OsString::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> (String, Value) {
        (name.into(), Value::One(value.into()))
    }

    fn refused(flags: &[(String, Value)]) -> String {
        let error = simulate(Simulation::Run, flags, &mut |_| ()).expect_err("refused");
        assert!(error.is::<InputError>(), "{error}");
        error.to_string()
    }

    #[test]
    fn a_run_is_what_the_command_prints() {
        let flags = [
            one("model", "llama-3.1-8b-instruct"),
            one("num_requests", "30"),
            one("num-instances", "2"),
            ("trusted".into(), Value::Switch(false)),
        ];
        let mut calls = 0;
        let flown = simulate(Simulation::Run, &flags, &mut |_| calls += 1).expect("a run");
        assert_eq!(flown.report["completed_requests"], 30);
        assert_eq!(flown.record.requests.len(), 30);
        assert!(calls >= 2);
    }

    #[test]
    fn lists_are_repeated_or_joined() {
        let many = Value::Many(vec!["a".into(), "b".into()]);
        let typed = |action| typed("x", "x", &action, &many).expect("fine");
        assert_eq!(typed(ArgAction::Append), ["--x=a", "--x=b"]);
        assert_eq!(typed(ArgAction::Set), ["--x=a,b"]);
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        let model = one("model", "llama-3.1-8b-instruct");
        insta::assert_snapshot!(
            refused(&[model.clone(), one("json", "true")]),
            @r#""json" has no effect where the results are returned"#
        );
        insta::assert_snapshot!(
            refused(&[model.clone(), one("trusted", "yes")]),
            @r#""trusted" is given a value; expected true or false"#
        );
        insta::assert_snapshot!(
            refused(&[model.clone(), ("rate".into(), Value::Switch(true))]),
            @r#""rate" is true or false; expected a value"#
        );
        assert!(
            refused(&[model, one("rat", "2")])
                .starts_with(r#"unknown flag "rat"; did you mean "rate"?"#)
        );
        insta::assert_snapshot!(refused(&[]), @"the following required arguments were not provided: --model <MODEL>");
    }
}
