//! `windtunnel suite`: the suites that candidates are scored on.

use super::progress::RunsBar;
use super::score::{ScoringArgs, TIME_LIMIT, ours};
use super::to_stdout;
use crate::input::InputError;
use crate::report::table::{styled, whole};
use crate::score::certify::{Certificate, DUPLICATE, HEADROOM, SPREAD, STABILITY, certify};
use crate::score::suite::ScenarioKeys;
use crate::score::{Progress, Split, Suite, suite_names};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: Option<u32>,
    /// Processes at once; default: one per core
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
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

/// Does what is asked.
pub fn suite(command: &SuiteCommand) -> anyhow::Result<()> {
    match command {
        SuiteCommand::List(args) => list(args),
        SuiteCommand::Show(args) => show(args),
        SuiteCommand::Certify(args) => certified(args),
    }
}

fn all() -> Result<Vec<Suite>, InputError> {
    let names = suite_names().into_iter();
    names.map(|name| Suite::open(name, None)).collect()
}

fn count(suite: &Suite, split: Split) -> usize {
    suite.scenarios(split).count()
}

/// All suites: what `list --json` prints under `suites`.
///
/// # Errors
/// When a suite is wrong.
pub fn listed() -> Result<Value, InputError> {
    let one = |s: &Suite| {
        json!({
            "name": s.file.name,
            "version": s.file.version,
            "description": s.file.description,
            "hooks": s.file.hooks,
            "scenarios": Split::ALL.map(|split| (split.name(), count(s, split))).into_iter().collect::<BTreeMap<_, _>>(),
        })
    };
    Ok(all()?.iter().map(one).collect())
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let text = if args.json {
        format!("{:#}\n", json!({ "suites": listed()? }))
    } else {
        let mut table = styled(&[
            "Suite",
            "Hooks",
            "train",
            "val",
            "holdout",
            "What it is for",
        ]);
        for s in &all()? {
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

fn objectives(suite: &Suite) -> Vec<(String, f64)> {
    let objectives = suite.file.objectives.iter();
    objectives.map(|o| (o.name(), o.weight)).collect()
}

/// A suite: what `show --json` prints.
#[must_use]
pub fn shown(suite: &Suite) -> Value {
    let file = &suite.file;
    let objectives = objectives(suite);
    let scenarios = |split: Split| {
        let one = |s: &ScenarioKeys| json!({"id": s.id, "family": s.family, "weight": s.weight});
        let all: Vec<_> = suite.scenarios(split).map(one).collect();
        json!(all)
    };
    json!({
            "name": file.name,
            "version": file.version,
            "description": file.description,
            "hooks": file.hooks,
            "requests": file.requests,
            "seeds": Split::ALL.map(|split| (split.name(), file.seeds_of(split))).into_iter().collect::<BTreeMap<_, _>>(),
            "max_seeds": file.max_seeds,
            "objectives": objectives.iter().map(|(name, weight)| json!({"name": name, "weight": weight})).collect::<Vec<_>>(),
            "regression_weight": file.regression_weight,
            "references": file.references.keys().collect::<Vec<_>>(),
            "scenarios": {"train": scenarios(Split::Train), "val": scenarios(Split::Val), "holdout": scenarios(Split::Holdout)},
            "digest": suite.digest(),
    })
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let suite = Suite::open(&args.suite, args.traces.as_deref())?;
    let file = &suite.file;
    let objectives = objectives(&suite);
    let text = if args.json {
        format!("{:#}\n", shown(&suite))
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
            "{}: {}\nA candidate may fill: {}. {} requests per scenario; seeds: train {}, val and holdout {}.\nCost: weighted mean of the logarithms of {}.\nMeasured against: {}.\n{}\n",
            suite.label(),
            file.description,
            file.hooks.join(", "),
            file.requests,
            file.seeds,
            file.seeds_of(Split::Val),
            objectives.join(", "),
            references.join(", "),
            whole(table, &[1, 3]),
        )
    };
    to_stdout(|out| out.write_all(text.as_bytes()))
}

fn certified(args: &CertifyArgs) -> anyhow::Result<()> {
    let scoring = ScoringArgs {
        suite: args.suite.clone(),
        traces: args.traces.clone(),
        jobs: args.jobs,
        allow_native: false,
        time_limit: TIME_LIMIT,
        no_cache: true,
    };
    let suite = scoring.suite()?;
    let splits = args.split.map_or(Split::ALL.to_vec(), |split| vec![split]);
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
    let certificate = certificate.map_err(ours)?;
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&certificate)?)
    } else {
        certificate_table(&certificate)
    };
    to_stdout(|out| out.write_all(text.as_bytes()))?;
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

fn certificate_table(certificate: &Certificate) -> String {
    let mut table = styled(&[
        "",
        "Scenario",
        "Spread",
        "Ranks",
        "Room",
        "reached by",
        "Load",
        "Like",
        "",
    ]);
    for c in &certificate.scenarios {
        let nearest = c.nearest.as_ref();
        table.add_row([
            c.split.to_string(),
            c.id.clone(),
            format!("{:.0}", c.spread),
            c.stability.map_or(String::new(), |s| format!("{s:.2}")),
            format!("{:.1}", c.headroom),
            c.clairvoyant.clone(),
            format!("{:.2}", c.load),
            nearest.map_or(String::new(), |(_, alike)| format!("{alike:.2}")),
            if c.failures.is_empty() {
                "ok".into()
            } else {
                c.failures.join("; ")
            },
        ]);
    }
    format!(
        "{}\nSpread: worst to best reference, %. Ranks: agreement of the references' order between scorings. Room: best reference to the\n\
         best policy under exact information, % (* as shipped). Load: computing time over the time of arrivals. Like: highest rank\n\
         correlation of costs with another scenario of the split.\n\
         Asked: spread {SPREAD}, ranks {STABILITY}, room {HEADROOM}, load 0.6 to 1.1 (admission 1.1 to 2), likeness below {DUPLICATE}.\n",
        whole(table, &[1, 5])
    )
}
