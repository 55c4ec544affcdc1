//! The command line: parse, dispatch, print. Prints, files and progress live here and nowhere below.

mod args;
mod compare;
mod effects;
mod models;
mod oldest;
mod output;
mod plugin;
mod policies;
mod policy;
mod progress;
mod score;
mod score_server;
mod simulate;
mod suite;
mod sweep;
mod texts;
mod workload;
mod workload_args;
mod workloads;

use crate::input::{InputError, plain};
use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches};
use std::io::{self, Write};
use std::process::ExitCode;

/// Wrong input.
const EXIT_INPUT: u8 = 2;
/// Our own failure.
const EXIT_FAILURE: u8 = 1;

/// Runs the command line and says how it went: 0 fine, 2 wrong input, 1 a failure of ours.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = Cli::from_arg_matches(&matches)
        .map_err(anyhow::Error::from)
        .and_then(|cli| {
            init_log(cli.log)?;
            dispatch(&cli, &matches)
        });
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // A reader that closes the pipe early (`| head`) has all it wants.
    if error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    {
        return ExitCode::SUCCESS;
    }
    let wrong_input = error.is::<InputError>();
    say(&format!("error: {error:#}"));
    ExitCode::from(if wrong_input {
        EXIT_INPUT
    } else {
        EXIT_FAILURE
    })
}

/// The command line. Every flag takes a negative number as its value, so that the flag can say what is wrong with it.
fn command() -> clap::Command {
    let cli = Cli::command().mut_subcommand("sweep", sweep::with_the_flags_of_run);
    cli.mut_subcommands(|sub| {
        sub.mut_args(|arg| {
            let takes_value = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes_value)
        })
    })
}

fn dispatch(cli: &Cli, matches: &clap::ArgMatches) -> anyhow::Result<()> {
    let explicit = effects::Explicit::of(matches);
    match &cli.command {
        Command::Run(run) => simulate::run(run, &explicit),
        Command::Replay(replay) => simulate::replay(replay, &explicit),
        Command::Sweep(args) => sweep::sweep(args, matches),
        Command::Workload(command) => workload::workload(command),
        Command::Models(models) => models::models(models, &explicit),
        Command::Plugin(command) => plugin::plugin(command),
        Command::Policy(command) => policy::policy(command),
        Command::Score(args) => score::score(args),
        Command::Compare(args) => compare::compare(args),
        Command::ScoreServer(args) => score_server::serve(args),
        Command::Suite(command) => suite::suite(command),
        Command::Worker(args) => score::work(args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command(), "windtunnel", &mut script);
            to_stdout(|out| out.write_all(&script))
        }
    }
}

/// Prints data on stdout.
fn to_stdout(fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    fill(&mut out).and_then(|()| out.flush()).map_err(|e| {
        if e.kind() == io::ErrorKind::BrokenPipe {
            e.into()
        } else {
            anyhow::anyhow!("cannot write to standard output: {}", plain(&e))
        }
    })
}

/// A line for people, on stderr.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn init_log(level: args::LogLevel) -> Result<(), InputError> {
    let filter = match std::env::var("WINDTUNNEL_LOG") {
        Ok(directives) => tracing_subscriber::EnvFilter::try_new(&directives).map_err(|e| {
            InputError::new(format!(
                "environment variable WINDTUNNEL_LOG=\"{directives}\": {e}"
            ))
        })?,
        Err(_) => tracing_subscriber::EnvFilter::new(level.directive()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .init();
    Ok(())
}
