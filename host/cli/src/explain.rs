//! `windtunnel explain`: explains the score of a policy by its decisions.

use super::args::within;
use super::command_line::command_line;
use super::output::check_path;
use super::print::present;
use super::progress::RunsBar;
use super::score::{ScoringArgs, to_anyhow};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use windtunnel_base::input::write_whole;
use windtunnel_score::render::{self, page};
use windtunnel_score::{Candidate, LastStage, ScoreRequest, Split};

/// `windtunnel explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A policy as "windtunnel score" takes it
    #[arg(value_name = "CANDIDATE")]
    candidate: String,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// The scenario, of the train split; default: the one in which the policy is worst
    #[arg(long, value_name = "ID")]
    scenario: Option<String>,
    /// How many requests: those that waited longest for their first token
    #[arg(long, value_name = "N", default_value_t = 5)]
    requests: u32,
    /// Show it as a page that needs nothing but itself, with the sources of scripts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    within("--requests", args.requests, 1..=100)?;
    if let Some(path) = &args.html {
        check_path(path)?;
    }
    let request = ScoreRequest {
        last_stage: LastStage::Full,
        scenarios: args.scenario.clone().map(|id| vec![id]),
        ..ScoreRequest::new(
            Candidate::open(&args.candidate)?,
            Arc::clone(&args.scoring.suite(&[Split::Train])?),
        )
    };
    let scorer = args.scoring.scorer()?;
    let bar = RunsBar::new();
    let explained = scorer.explain(&request, args.requests, &|p| bar.show(p));
    bar.done();
    let explained = explained.map_err(to_anyhow)?;
    if let (Some(path), Ok(explained)) = (&args.html, &explained) {
        let page = page::explanation(explained, &request.candidate, &command_line());
        write_whole(path, |out| out.write_all(page.as_bytes()))?;
    }
    match explained {
        Ok(explained) if args.json => {
            present(true, &(serde_json::to_string_pretty(&explained)? + "\n"))
        }
        Ok(explained) => present(false, &render::explain::text(&explained)),
        Err(failed) if args.json => present(true, &(serde_json::to_string_pretty(&failed)? + "\n")),
        Err(failed) => present(false, &render::score::text(&failed)),
    }
}
