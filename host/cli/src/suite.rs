//! `windtunnel suite`: the suites that candidates are scored on.

use super::args::within;
use super::print::present;
use super::progress::RunsBar;
use super::score::{ScoringArgs, TIME_LIMIT, to_anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_score::certify::certify;
use windtunnel_score::render::suite as render;
use windtunnel_score::{Progress, Split, Suite, suite_names};

/// `windtunnel suite`.
#[derive(Clone, Debug, Subcommand)]
pub enum SuiteCommand {
    /// List the suites
    List(ListArgs),
    /// Show a suite: its scenarios, what counts, and what candidates are measured against
    #[command(after_help = "Examples:
  windtunnel suite show routing-mixed
  windtunnel suite show my-suite.yaml --json")]
    Show(ShowArgs),
    /// Find out whether a suite tells good policies from bad ones and leaves something to find
    #[command(after_help = "Examples:
  windtunnel suite certify routing-mixed
  windtunnel suite certify my-suite.yaml --split train --seeds 4 --json")]
    Certify(CertifyArgs),
}

/// `windtunnel suite certify`.
#[derive(Args, Clone, Debug)]
pub struct CertifyArgs {
    /// Name or file
    #[arg(value_name = "NAME|FILE.yaml")]
    suite: String,
    /// Folder with the trace files that some scenarios replay
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Only this split
    #[arg(long, value_enum)]
    split: Option<Split>,
    /// Seeds per scenario; default: four times as many as a scoring takes
    #[arg(long, value_name = "N")]
    seeds: Option<u32>,
    /// Processes at once; default: one per core
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// File with the salt that the holdout is drawn with, as for "windtunnel score"
    #[arg(long, value_name = "FILE")]
    holdout_salt_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `windtunnel suite list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `windtunnel suite show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Name or file
    #[arg(value_name = "NAME|FILE.yaml")]
    suite: String,
    /// Folder with the trace files that some scenarios replay
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn suite(command: &SuiteCommand) -> anyhow::Result<()> {
    match command {
        SuiteCommand::List(args) => list(args),
        SuiteCommand::Show(args) => show(args),
        SuiteCommand::Certify(args) => certify_suite(args),
    }
}

fn all() -> Result<Vec<Suite>, InputError> {
    let names = suite_names().into_iter();
    names.map(|name| Suite::open(name, None)).collect()
}

/// All suites: what `list --json` prints under `suites`.
///
/// # Errors
/// When a suite is wrong.
pub fn listed() -> Result<Value, InputError> {
    Ok(render::list_json(&all()?))
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let text = if args.json {
        format!("{:#}\n", json!({ "suites": listed()? }))
    } else {
        render::list(&all()?)
    };
    present(args.json, &text)
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let suite = Suite::open(&args.suite, args.traces.as_deref())?;
    let text = if args.json {
        format!("{:#}\n", render::json(&suite))
    } else {
        render::text(&suite)
    };
    present(args.json, &text)
}

fn certify_suite(args: &CertifyArgs) -> anyhow::Result<()> {
    if let Some(seeds) = args.seeds {
        within("--seeds", seeds, 1..=100)?;
    }
    let scoring = ScoringArgs {
        suite: args.suite.clone(),
        traces: args.traces.clone(),
        jobs: args.jobs,
        allow_native: false,
        time_limit: TIME_LIMIT,
        no_cache: true,
        holdout_salt_file: args.holdout_salt_file.clone(),
        train_salt: None,
    };
    let splits = args.split.map_or(Split::ALL.to_vec(), |split| vec![split]);
    let suite = scoring.suite(&splits)?;
    let bar = RunsBar::new();
    let certificate = certify(
        &scoring.scorer()?,
        &suite,
        &splits,
        args.seeds,
        &|done, of| {
            bar.show(Progress {
                what: "policies: counting",
                done,
                of,
            });
        },
    );
    bar.done();
    let certificate = certificate.map_err(to_anyhow)?;
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&certificate)?)
    } else {
        render::certificate(&certificate)
    };
    present(args.json, &text)?;
    let failing = certificate
        .scenarios
        .iter()
        .filter(|s| !s.failures.is_empty());
    match failing.count() {
        0 => Ok(()),
        n => Err(InputError::in_file(
            certificate.suite,
            format!(
                "{n} of {} scenarios do not pass",
                certificate.scenarios.len()
            ),
        )
        .into()),
    }
}
