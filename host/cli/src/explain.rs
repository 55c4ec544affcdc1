//! `windtunnel explain`: explains the score of a policy by its decisions.

use super::args::within;
use super::print::present;
use super::progress::RunsBar;
use super::score::{ScoringArgs, to_anyhow};
use clap::Args;
use std::sync::Arc;
use windtunnel_score::render;
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    within("--requests", args.requests, 1..=100)?;
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
    match explained.map_err(to_anyhow)? {
        Ok(explained) if args.json => {
            present(true, &(serde_json::to_string_pretty(&explained)? + "\n"))
        }
        Ok(explained) => present(false, &render::explain::text(&explained)),
        Err(failed) if args.json => present(true, &(serde_json::to_string_pretty(&failed)? + "\n")),
        Err(failed) => present(false, &render::score::text(&failed)),
    }
}
