//! The command line: parse, dispatch, print. Prints, files and progress live here and nowhere
//! below.

mod accuracy;
mod api_key;
mod args;
mod autoscale_args;
mod calibrate;
mod caller;
pub mod calls;
mod candidate_text;
mod command_line;
mod commands;
mod compare;
mod completions;
mod confine;
mod disaggregation_args;
mod doctor;
mod effects;
mod emulate;
mod endings;
mod evolve;
mod explain;
mod fit;
mod flow_control_args;
mod gate;
mod help;
mod leaderboard;
mod legacy;
mod live;
mod manual;
mod models;
mod node_args;
mod numbers;
mod observe;
mod output;
mod plan;
mod plan_args;
mod plugin;
mod policy;
mod print;
mod profile;
mod progress;
mod queue_growth;
mod resimulate;
mod scheduling_args;
mod score;
mod score_server;
mod simulate;
mod spec;
mod spelling;
mod suite;
mod sweep;
mod tables;
mod terminal;
mod tier_args;
mod tune;
mod verify;
mod workload;
mod workload_args;
mod xpusim_args;

use clap::{CommandFactory, FromArgMatches};
use commands::{Cli, Command, LogLevel};
use gate::GateFailed;
use print::{say, to_stdout};
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use windtunnel_base::input::InputError;

/// Wrong input.
const EXIT_INPUT: u8 = 2;
/// A figure is beyond what was asked for.
const EXIT_GATE: u8 = 3;
/// Our own failure.
const EXIT_FAILURE: u8 = 1;
/// Stack of a command where that of the main thread is smaller, bytes.
#[cfg(unix)]
const STACK: usize = 8 << 20;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // A small stack is a limit of the one who starts this, and no reason to die without a word.
    #[cfg(unix)]
    if windtunnel_score::sandbox::stack_is_low() {
        let roomy = std::thread::Builder::new().stack_size(STACK);
        let done = roomy.spawn(|| run(std::env::args_os()));
        if let Ok(Ok(code)) = done.map(std::thread::JoinHandle::join) {
            return ExitCode::from(code);
        }
        return ExitCode::from(EXIT_FAILURE);
    }
    ExitCode::from(run(std::env::args_os()))
}

/// Runs a command line, the program's name first, and says how it went: 0 fine, 2 wrong input, 3 a
/// figure beyond its limit, 1 a failure of ours.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match completions::answered(command, &arguments) {
        Ok(true) => return 0,
        Ok(false) => {}
        Err(error) => {
            say(&format!("error: {error}"));
            return EXIT_INPUT;
        }
    }
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        // Help, the version, or what is wrong with a flag: clap knows where it goes.
        Err(message) => {
            print::say_of_flags(&message);
            return if message.use_stderr() { EXIT_INPUT } else { 0 };
        }
    };
    let outcome = Cli::from_arg_matches(&matches)
        .map_err(anyhow::Error::from)
        .and_then(|cli| {
            init_log(cli.log)?;
            terminal::fit_tables(cli.wide);
            dispatch(&cli, &matches)
        });
    let Err(error) = outcome else {
        return 0;
    };
    // A reader that closes the pipe early (`| head`) has all it wants.
    if error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    {
        return 0;
    }
    let (wrong_input, gate) = (error.is::<InputError>(), error.is::<GateFailed>());
    say(&format!("error: {error:#}"));
    if wrong_input {
        EXIT_INPUT
    } else if gate {
        EXIT_GATE
    } else {
        EXIT_FAILURE
    }
}

/// The command line. Every flag takes a negative number as its value, so that the flag can say what
/// is wrong with it, and numbers and times as people write them.
#[must_use]
pub fn command() -> clap::Command {
    let cli = Cli::command()
        .mut_subcommand("sweep", sweep::with_the_flags_of_run)
        .mut_subcommand("plan", sweep::with_the_flags_of_run);
    help::with_short_help(cli).mut_subcommands(with_negative_numbers)
}

fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let takes_value = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes_value)
    });
    numbers::with_numbers(command).mut_subcommands(with_negative_numbers)
}

fn dispatch(cli: &Cli, matches: &clap::ArgMatches) -> anyhow::Result<()> {
    let explicit = effects::Explicit::of(matches);
    match &cli.command {
        Command::Run(run) => simulate::run(run, &explicit),
        Command::Replay(replay) => simulate::replay(replay, &explicit),
        Command::QueueGrowth(args) => queue_growth::queue_growth(args),
        Command::Sweep(args) => sweep::sweep(args, matches, command()),
        Command::Plan(args) => plan::plan(args, matches, command()),
        Command::Workload(command) => workload::workload(command),
        Command::Models(models) => models::models(models, &explicit),
        Command::Plugin(command) => plugin::plugin(command),
        Command::Policy(command) => policy::policy(command),
        Command::Score(args) => score::score(args),
        Command::Explain(args) => explain::explain(args),
        Command::Compare(args) => compare::compare(args),
        Command::Tables(command) => tables::tables(command),
        Command::Accuracy(args) => accuracy::accuracy(args),
        Command::Verify(args) => verify::verify(args),
        Command::Calibrate(args) => calibrate::calibrate(args, &explicit),
        Command::Observe(args) => observe::observe(args, &explicit),
        Command::Profile(args) => profile::profile(args),
        Command::Fit(args) => fit::fit(args, &explicit),
        Command::Leaderboard(command) => leaderboard::leaderboard(command),
        Command::Tune(args) => tune::tune(args),
        Command::ScoreServer(args) => score_server::serve(args),
        Command::Live(args) => live::live(args),
        Command::ReplayDecisions(args) => live::replay_decisions(args),
        Command::Emulate(args) => emulate::emulate(args, &explicit),
        Command::Suite(command) => suite::suite(command),
        Command::Evolve(command) => evolve::evolve(command),
        Command::Worker(args) => score::work(args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Man(args) => manual::write(args, command()),
        Command::Completions { shell } => {
            let script = completions::script(*shell)?;
            to_stdout(|out| out.write_all(&script))
        }
    }
}

fn init_log(level: LogLevel) -> Result<(), InputError> {
    let filter = match std::env::var("WINDTUNNEL_LOG") {
        Ok(directives) => directives.parse::<Targets>().map_err(|e| {
            InputError::new(format!(
                "environment variable WINDTUNNEL_LOG=\"{directives}\": {e}"
            ))
        })?,
        Err(_) => Targets::new().with_default(level.filter()),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| print::LogLines)
        .with_ansi(false)
        .without_time()
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .init();
    Ok(())
}
