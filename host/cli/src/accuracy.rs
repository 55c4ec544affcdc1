//! `windtunnel accuracy`: simulates measured runs of real servers and says how far off it is.

mod columns;
mod look;
mod page;
mod plot;

use super::args::{LatencyName, RulesName};
use super::command_line::command_line;
use super::print::{present, say};
use super::progress::bar_over_runs;
use super::spec::{latency_model, rules};
use clap::Args;
use columns::{COLUMNS, peers_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, write_whole};
use windtunnel_base::parallel;
use windtunnel_score::RESULTS_VERSION;
use windtunnel_sim::RulesSpec;
use windtunnel_sim::ground_truth::{
    ClosedLoop, Compared, Figure, GroundTruth, METRICS, Metric, Options, Summary, summarize,
};

/// `windtunnel accuracy`.
#[derive(Args, Clone, Debug)]
pub struct AccuracyArgs {
    /// Folder of ground truth: cases/SET/EXPERIMENT/stage*.json, and files of requests they name
    folder: PathBuf,
    /// Step-time model
    #[arg(long, value_enum, default_value_t = LatencyName::KernelTables, value_name = "MODEL")]
    latency_model: LatencyName,
    /// Whose rules the engine follows: auto (those of the step-time model), vllm or blis
    #[arg(long, value_enum, default_value = "auto")]
    rules: RulesName,
    /// Only experiments whose SET/EXPERIMENT contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Models, coefficients and hardware in place of the built-in ones
    #[arg(long, value_name = "FILE")]
    defaults_filepath: Option<PathBuf>,
    /// Measured kernels of the GPU in place of the built-in ones
    #[arg(long, value_name = "FILE")]
    kernel_tables: Option<PathBuf>,
    /// Moves the random numbers of arrivals that were not recorded
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads [default: one per core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Write a line per case
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a page with parity plots and the errors of each case; it needs nothing but itself
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn accuracy(args: &AccuracyArgs) -> anyhow::Result<()> {
    let loops = ClosedLoop::load(&args.folder)?;
    let truth = if loops.is_empty() || args.folder.join("cases").is_dir() {
        GroundTruth::load(&args.folder)?
    } else {
        GroundTruth::default()
    };
    let wanted = args.only.as_deref().unwrap_or("");
    let experiments: Vec<_> = truth
        .experiments
        .into_iter()
        .filter(|e| e.name().contains(wanted))
        .collect();
    let loops: Vec<ClosedLoop> = loops
        .into_iter()
        .filter(|closed| closed.name().contains(wanted))
        .collect();
    if experiments.is_empty() && loops.is_empty() {
        let message = format!("--only: no run's name contains \"{wanted}\"");
        return Err(InputError::new(message).into());
    }
    let options = Options {
        latency_model: Some(latency_model(args.latency_model).to_owned()),
        rules: rules(args.rules),
        defaults_filepath: args.defaults_filepath.clone(),
        kernel_tables: args.kernel_tables.clone(),
        seed: args.seed,
    };
    let bar = bar_over_runs((experiments.len() + loops.len()) as u64, false);
    let jobs = args.jobs.unwrap_or_else(parallel::default_jobs);
    let results = parallel::map(
        &experiments,
        jobs,
        |experiment| experiment.compare(&options),
        |_, _| bar.inc(1),
    );
    let closed = parallel::map(
        &loops,
        jobs,
        |closed| closed.compare(&options),
        |_, _| bar.inc(1),
    );
    bar.finish_and_clear();
    let mut cases = Vec::new();
    let mut failed = Vec::new();
    for (experiment, result) in experiments.iter().zip(results) {
        match result {
            Ok(compared) => cases.extend(compared),
            Err(error) => failed.push((experiment.name().to_owned(), error.to_string())),
        }
    }
    let mut compared_loops = Vec::new();
    for (closed, result) in loops.iter().zip(closed) {
        match result {
            Ok(figures) => compared_loops.push((closed, figures)),
            Err(error) => failed.push((closed.name(), error.to_string())),
        }
    }
    for (name, error) in &failed {
        say(&format!("not simulated: {name}: {error}"));
    }
    if cases.is_empty() && compared_loops.is_empty() {
        return Err(InputError::new("no run could be simulated").into());
    }
    if let Some(path) = &args.csv {
        let text = lines(&cases);
        write_whole(path, |out| out.write_all(text.as_bytes()))?;
    }
    if let Some(path) = &args.html {
        let text = page::page(&page::Content {
            command: &command_line(),
            made: &made_with(&options, &args.folder),
            cases: &cases,
            loops: &compared_loops,
            failed: &failed,
        });
        write_whole(path, |out| out.write_all(text.as_bytes()))?;
    }
    if args.json {
        return present(true, &json(&cases, &compared_loops, &failed));
    }
    let mut text = tables(&cases, failed.len(), &options);
    text += &loops_table(&compared_loops);
    present(false, &text)
}

/// What runs were simulated with: what, and its value.
fn made_with(options: &Options, folder: &Path) -> Vec<(&'static str, String)> {
    let file = |path: &Option<PathBuf>| {
        path.as_ref()
            .map_or("built in".to_owned(), |path| path.display().to_string())
    };
    let rules = match options.rules {
        RulesSpec::Auto => "those of the step-time model",
        RulesSpec::Vllm => "vllm",
        RulesSpec::Blis => "blis",
    };
    let version = env!("CARGO_PKG_VERSION");
    vec![
        (
            "Version",
            format!("windtunnel {version}, results {RESULTS_VERSION}"),
        ),
        (
            "Step-time model",
            options.latency_model.clone().unwrap_or("auto".to_owned()),
        ),
        ("Rules", rules.to_owned()),
        ("Models and figures", file(&options.defaults_filepath)),
        ("Measured kernels", file(&options.kernel_tables)),
        ("Seed of what was not recorded", options.seed.to_string()),
        ("Ground truth", folder.display().to_string()),
    ]
}

fn tables(cases: &[Compared], failed: usize, options: &Options) -> String {
    let model = options.latency_model.as_deref().unwrap_or("auto");
    let mut text = format!(
        "latency model {model}: {} cases, {failed} runs not simulated\n\
         errors in %, median / mean of absolute values\n",
        cases.len()
    );
    let (behind, steady): (Vec<&Compared>, Vec<&Compared>) =
        cases.iter().partition(|case| case.saturated);
    if !steady.is_empty() {
        text += &heading("not saturated");
        text += &row("all", &steady);
        let headings: Vec<&str> = steady[0].strata.iter().map(|(name, _)| *name).collect();
        for (i, heading_of) in headings.into_iter().enumerate() {
            let mut strata: BTreeMap<&str, Vec<&Compared>> = BTreeMap::new();
            for case in &steady {
                strata.entry(&case.strata[i].1).or_default().push(case);
            }
            if strata.len() == 1 {
                continue;
            }
            text += &heading(&format!("by {heading_of}"));
            for (name, cases) in strata {
                text += &row(name, &cases);
            }
        }
        text += &peers(&steady);
    }
    if !behind.is_empty() {
        text += "\nsaturated: requests per second, simulated and measured\n";
        for case in behind {
            let of = |figures: &windtunnel_sim::ground_truth::Figures| {
                let rate = figures.get(&Metric::Throughput);
                rate.map_or("-".to_owned(), |rate| format!("{rate:.2}"))
            };
            text += &format!(
                "  {:<56} {:>7} {:>7}  {}\n",
                shortened(&case.case_id, 56),
                of(&case.simulated),
                of(&case.measured),
                case.error(Metric::Throughput)
                    .map_or(String::new(), |error| format!("{error:+.1} %"))
            );
        }
    }
    text
}

fn heading(title: &str) -> String {
    let mut line = format!("\n{:<24} {:>3}", shortened(title, 24), "n");
    for (_, name) in COLUMNS {
        line += &format!(" {name:>9}");
    }
    line + "\n"
}

fn row(name: &str, cases: &[&Compared]) -> String {
    let errors = |metric| summarize(cases.iter().filter_map(|case| case.error(metric)));
    line(name, cases.len(), errors)
}

fn line(name: &str, n: usize, errors: impl Fn(Metric) -> Option<Summary>) -> String {
    let mut line = format!("{:<24} {n:>3}", shortened(name, 24));
    for (metric, _) in COLUMNS {
        line += &cell(errors(metric));
    }
    line + "\n"
}

/// Median and mean of errors, nine letters and one before.
fn cell(errors: Option<Summary>) -> String {
    let both = errors.map_or("-".to_owned(), |s| {
        format!("{}/{}", percent(s.median), percent(s.mean))
    });
    format!(" {both:>9}")
}

/// A tenth of a percent where errors are so small that it says something.
fn percent(error: f64) -> String {
    if error < 99.95 {
        format!("{error:.1}")
    } else {
        format!("{error:.0}")
    }
}

/// What other simulators published, and ours on the same cases.
fn peers(cases: &[&Compared]) -> String {
    let peers = peers_of(cases);
    if peers.is_empty() {
        return String::new();
    }
    let mut text = heading("published by others");
    for peer in peers {
        let n = peer.cases.len();
        text += &line(peer.name, n, |metric| peer.theirs(metric));
        text += &line("  ours on these", n, |metric| peer.ours(metric));
    }
    text
}

/// A line per case.
fn lines(cases: &[Compared]) -> String {
    let mut text = String::from("case");
    for (name, _) in cases.first().map_or(&[][..], |case| &case.strata) {
        text += &format!(",{}", name.to_lowercase());
    }
    text += ",saturated,sent,finished";
    let metrics: Vec<Metric> = METRICS.into_iter().chain([Metric::Throughput]).collect();
    for metric in &metrics {
        let name = metric.name();
        text += &format!(",{name}_simulated,{name}_measured,{name}_error_percent");
    }
    text.push('\n');
    for case in cases {
        text += &case.case_id;
        for (_, value) in &case.strata {
            text += &format!(",{}", value.replace(',', ";"));
        }
        let (sent, finished) = (case.sent, case.finished);
        text += &format!(",{},{sent},{finished}", case.saturated);
        for metric in &metrics {
            let figure = |value: Option<&f64>| value.map_or(String::new(), |v| format!("{v:.4}"));
            let error = case.error(*metric);
            text += &format!(
                ",{},{},{}",
                figure(case.simulated.get(metric)),
                figure(case.measured.get(metric)),
                error.map_or(String::new(), |e| format!("{e:.2}"))
            );
        }
        text.push('\n');
    }
    text
}

/// Errors of closed loops by deployment.
fn loops_table(loops: &[(&ClosedLoop, Vec<Figure>)]) -> String {
    let Some((_, first)) = loops.first() else {
        return String::new();
    };
    let mut text = format!("\n{:<24} {:>3}", "closed loops", "n");
    for figure in first {
        text += &format!(" {:>9}", figure.name);
    }
    text.push('\n');
    let mut by_deployment: BTreeMap<String, Vec<&Vec<Figure>>> = BTreeMap::new();
    for (closed, figures) in loops {
        let all = by_deployment.entry(String::new()).or_default();
        all.push(figures);
        let own = by_deployment.entry(closed.deployment()).or_default();
        own.push(figures);
    }
    for (name, runs) in by_deployment {
        let name = if name.is_empty() { "all" } else { &name };
        text += &format!("{:<24} {:>3}", shortened(name, 24), runs.len());
        for i in 0..first.len() {
            let errors = summarize(runs.iter().map(|figures| figures[i].error()));
            text += &cell(errors);
        }
        text.push('\n');
    }
    text
}

fn json(
    cases: &[Compared],
    loops: &[(&ClosedLoop, Vec<Figure>)],
    failed: &[(String, String)],
) -> String {
    let figures = |figures: &windtunnel_sim::ground_truth::Figures| {
        let all = figures
            .iter()
            .map(|(m, v)| (m.name().to_owned(), (*v).into()));
        serde_json::Value::Object(all.collect())
    };
    let case = |case: &Compared| {
        let strata = case.strata.iter();
        let strata = strata.map(|(name, value)| ((*name).to_owned(), value.clone().into()));
        let errors = METRICS.into_iter().chain([Metric::Throughput]);
        let errors = errors.filter_map(|m| Some((m.name().to_owned(), case.error(m)?.into())));
        serde_json::json!({
            "case": case.case_id,
            "strata": serde_json::Value::Object(strata.collect()),
            "saturated": case.saturated,
            "sent": case.sent,
            "finished": case.finished,
            "measured_ms": figures(&case.measured),
            "simulated_ms": figures(&case.simulated),
            "error_percent": serde_json::Value::Object(errors.collect()),
        })
    };
    let closed = |(closed, figures): &(&ClosedLoop, Vec<Figure>)| {
        let of = |figure: &Figure| {
            let value = serde_json::json!({
                "simulated": figure.simulated,
                "measured": figure.measured,
                "error_percent": figure.error(),
            });
            (figure.name.to_owned(), value)
        };
        serde_json::json!({
            "run": closed.name(),
            "figures": serde_json::Value::Object(figures.iter().map(of).collect()),
        })
    };
    let steady = || cases.iter().filter(|case| !case.saturated);
    let all = METRICS.into_iter().filter_map(|metric| {
        let s = summarize(steady().filter_map(|case| case.error(metric)))?;
        let summary = serde_json::json!({"cases": s.cases, "median": s.median, "mean": s.mean});
        Some((metric.name().to_owned(), summary))
    });
    let value = serde_json::json!({
        "error_percent": serde_json::Value::Object(all.collect()),
        "cases": cases.iter().map(case).collect::<Vec<_>>(),
        "closed_loops": loops.iter().map(closed).collect::<Vec<_>>(),
        "not_simulated": failed
            .iter()
            .map(|(name, why)| serde_json::json!({"experiment": name, "because": why}))
            .collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

/// The text, or its end where it is too long: names differ there.
fn shortened(text: &str, width: usize) -> String {
    let letters = text.chars().count();
    if letters <= width {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(letters - width + 2).collect();
    format!("..{tail}")
}
