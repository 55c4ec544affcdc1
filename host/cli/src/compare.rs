//! `windtunnel compare`: compares policies with a baseline.

use super::command_line::command_line;
use super::gate::{self, GateFailed};
use super::output::check_path;
use super::print::present;
use super::progress::RunsBar;
use super::score::{ScoringArgs, parse_seeds, to_anyhow};
use clap::Args;
use std::path::PathBuf;
use windtunnel_base::input::{InputError, write_whole};
use windtunnel_score::compare::{ComparisonRequest, compare as run};
use windtunnel_score::render::page;
use windtunnel_score::render::score::comparison;
use windtunnel_score::{Candidate, Split};

/// `windtunnel compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// Policies as for "windtunnel score"; the first is the baseline
    #[arg(required = true, num_args = 2.., value_name = "CANDIDATE")]
    candidates: Vec<String>,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Which scenarios; of holdout only the total is told
    #[arg(long, value_enum, default_value_t = Split::Train)]
    split: Split,
    /// Random seeds per scenario: a number, or auto to add some until every difference is certain
    /// to half a point; default: the suite's
    #[arg(long, value_name = "auto|N")]
    seeds: Option<String>,
    /// Exit with code 3 if one of these is so of a policy: difference<0 (points to the baseline),
    /// difference_low<0 or difference_high<0 (the ends of its 95 % interval)
    #[arg(long, value_name = "CONDITIONS")]
    fail_if: Option<String>,
    /// Show the comparison as a page that needs nothing but itself, with the sources of scripts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    if args.scoring.no_cache {
        return Err(InputError::new("--no-cache has no effect: comparisons are not kept").into());
    }
    let names = ["difference", "difference_low", "difference_high"];
    let gate = gate::named(args.fail_if.as_deref(), &names)?;
    if let Some(path) = &args.html {
        check_path(path)?;
    }
    let request = ComparisonRequest {
        candidates: args
            .candidates
            .iter()
            .map(|name| Candidate::open(name))
            .collect::<Result<_, InputError>>()?,
        suite: args.scoring.suite(&[args.split])?,
        split: args.split,
        seeds: parse_seeds(args.seeds.as_deref())?,
    };
    let scorer = args.scoring.scorer()?;
    let bar = RunsBar::new();
    let outcome = run(scorer.runner(), &request, &|p| bar.show(p)).map_err(to_anyhow);
    bar.done();
    let outcome = outcome?;
    if let Some(path) = &args.html {
        let candidates: Vec<&Candidate> = request.candidates.iter().collect();
        let page = page::comparison(&outcome, &candidates, &command_line());
        write_whole(path, |out| out.write_all(page.as_bytes()))?;
    }
    if args.json {
        present(true, &(serde_json::to_string_pretty(&outcome)? + "\n"))?;
    } else {
        present(false, &comparison(&outcome))?;
    }
    let others = outcome
        .candidates
        .iter()
        .filter(|c| c.candidate != outcome.baseline);
    for other in others.filter(|_| !gate.is_empty()) {
        let Some(total) = &other.total else {
            let message = format!("{}: {} does not work", gate::FAIL_IF, other.candidate);
            return Err(GateFailed(message).into());
        };
        gate::check(
            &gate,
            &format!("{}: ", other.candidate),
            |condition| match condition.name() {
                "difference" => Some(total.difference),
                "difference_low" => total.ci95.map(|ends| ends[0]),
                _ => total.ci95.map(|ends| ends[1]),
            },
        )?;
    }
    Ok(())
}
