//! `windtunnel suite`: the suites that candidates are scored on.

use super::to_stdout;
use crate::report::table::styled;
use crate::score::{Split, Suite, suite_names};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

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

/// Does what is asked.
pub fn suite(command: &SuiteCommand) -> anyhow::Result<()> {
    match command {
        SuiteCommand::List(args) => list(args),
        SuiteCommand::Show(args) => show(args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let suites: Vec<Suite> = suite_names()
        .into_iter()
        .map(|name| Suite::open(name, None))
        .collect::<Result<_, _>>()?;
    let count = |s: &Suite, split| s.scenarios(split).count();
    let text = if args.json {
        let all: Vec<_> = suites
            .iter()
            .map(|s| {
                json!({
                    "name": s.file.name,
                    "version": s.file.version,
                    "description": s.file.description,
                    "hooks": s.file.hooks,
                    "scenarios": Split::ALL.map(|split| (split.name(), count(s, split))).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
                })
            })
            .collect();
        format!("{:#}\n", json!({ "suites": all }))
    } else {
        let mut table = styled(&[
            "Suite",
            "Hooks",
            "train",
            "val",
            "holdout",
            "What it is for",
        ]);
        for s in &suites {
            table.add_row([
                s.label(),
                s.file.hooks.join(", "),
                count(s, Split::Train).to_string(),
                count(s, Split::Val).to_string(),
                count(s, Split::Holdout).to_string(),
                s.file.description.clone(),
            ]);
        }
        format!("{table}\n")
    };
    to_stdout(|out| out.write_all(text.as_bytes()))
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let suite = Suite::open(&args.suite, args.traces.as_deref())?;
    let file = &suite.file;
    let objectives: Vec<_> = file
        .objectives
        .iter()
        .map(|o| (o.name(), o.weight))
        .collect();
    let text = if args.json {
        let scenarios = |split: Split| {
            let one = |s: &crate::score::suite::ScenarioKeys| json!({"id": s.id, "family": s.family, "weight": s.weight});
            let all: Vec<_> = suite.scenarios(split).map(one).collect();
            json!(all)
        };
        let doc = json!({
            "name": file.name,
            "version": file.version,
            "description": file.description,
            "hooks": file.hooks,
            "requests": file.requests,
            "seeds": file.seeds,
            "max_seeds": file.max_seeds,
            "objectives": objectives.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect::<Vec<_>>(),
            "regression_weight": file.regression_weight,
            "references": file.references.keys().collect::<Vec<_>>(),
            "scenarios": {"train": scenarios(Split::Train), "val": scenarios(Split::Val), "holdout": scenarios(Split::Holdout)},
            "digest": suite.digest(),
        });
        format!("{doc:#}\n")
    } else {
        let mut table = styled(&["Split", "Scenario", "Family", "Traffic", "Rate/s", "Weight"]);
        for split in Split::ALL {
            for s in suite.scenarios(split) {
                let traffic = s.workload.as_ref().or(s.trace.as_ref().map(|t| &t.file));
                table.add_row([
                    split.name().to_owned(),
                    s.id.clone(),
                    s.family.clone(),
                    traffic.map_or(String::new(), |p| p.display().to_string()),
                    s.rate.map_or("the spec's".into(), |r| r.to_string()),
                    s.weight.to_string(),
                ]);
            }
        }
        let objectives: Vec<String> = objectives
            .iter()
            .map(|(n, w)| format!("{w} x {n}"))
            .collect();
        let references: Vec<&str> = file.references.keys().map(String::as_str).collect();
        format!(
            "{}: {}\nA candidate may fill: {}. {} requests per scenario, {} seeds.\nCost: weighted mean of the logarithms of {}.\nMeasured against: {}.\n{table}\n",
            suite.label(),
            file.description,
            file.hooks.join(", "),
            file.requests,
            file.seeds,
            objectives.join(", "),
            references.join(", "),
        )
    };
    to_stdout(|out| out.write_all(text.as_bytes()))
}
