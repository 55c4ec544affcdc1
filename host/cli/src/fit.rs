//! `windtunnel fit`: calibrates the step-time model `kernel-tables` to measured runs of a server.

use super::args::{EngineArgs, LatencyName, ModelArgs};
use super::effects::Explicit;
use super::output::check_path;
use super::print::{present, say};
use super::progress::bar_over_runs;
use super::spec::{self, rules};
use super::verify::has_steps;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, read_bytes, write_whole};
use windtunnel_base::parallel;
use windtunnel_config::{Holdout, PARAMETERS};
use windtunnel_results::report::table::styled;
use windtunnel_sim::RunSpec;
use windtunnel_sim::fit::{FitRequest, Fitted, Load, LoadErrors, MetricErrors, fit as search};
use windtunnel_workload::measured::{Replay, read};

/// Largest file of measurements, bytes.
const LARGEST: u64 = 8 << 30;

/// Columns of the tables.
const WIDTH: u16 = 80;

/// Errors of means that repeated measurements of one server differ by, percent.
const REPEATABLE_TTFT: f64 = 4.0;
const REPEATABLE_E2E: f64 = 1.5;

/// `windtunnel fit`.
#[derive(Args, Clone, Debug)]
pub struct FitArgs {
    /// What was measured, a file per load: results of vllm bench serve --save-detailed, GuideLLM,
    /// AIPerf (profile_export.jsonl) or inference-perf (per_request_lifecycle_metrics.json), or
    /// rows of requests as --results-path writes them
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<PathBuf>,
    /// Where the calibration goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Model and hardware.
    #[command(flatten)]
    model: ModelArgs,
    /// Serving engine.
    #[command(flatten)]
    engine: EngineArgs,
}

/// Runs the command.
pub fn fit(args: &FitArgs, explicit: &Explicit) -> anyhow::Result<()> {
    let fits = matches!(
        args.model.latency_model,
        LatencyName::Auto | LatencyName::KernelTables
    );
    explicit.reject_unless(&["latency_model"], fits, "here: a fit is of kernel-tables")?;
    explicit.reject_unless(
        &["calibration"],
        false,
        "here: a fit begins with the shipped figures",
    )?;
    explicit.reject_unless(
        &["gpu_power", "gpu_price"],
        false,
        "here: a fit is of times",
    )?;
    check_path(&args.out)?;
    let mut runs = Vec::new();
    for path in &args.traces {
        if *path == args.out {
            let why = "it would be overwritten, but the requests are read from it";
            return Err(InputError::in_file(path.display(), why).into());
        }
        runs.extend(replays(path)?);
    }
    let mut pool = spec::of_pool(&args.model, &args.engine, explicit);
    pool.latency.model = Some("kernel-tables".to_owned());
    let request = FitRequest {
        spec: RunSpec {
            rules: rules(args.engine.rules),
            pools: vec![pool],
            ..spec::of_model(&args.model)
        },
        runs,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
        made_by: format!("windtunnel {}", env!("CARGO_PKG_VERSION")),
    };
    let bar = bar_over_runs(0, false);
    let fitted = search(&request, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let text = fitted.calibration.to_yaml()?;
    write_whole(&args.out, |out| out.write_all(text.as_bytes()))?;
    for note in &fitted.notes {
        say(&format!("note: {note}"));
    }
    let Holdout {
        improved, before, ..
    } = fitted.calibration.holdout;
    if !improved {
        let close = before.ttft_percent <= REPEATABLE_TTFT && before.e2e_percent <= REPEATABLE_E2E;
        let why = match close {
            true => "the shipped figures are as close as one measurement is to the next",
            false => "the shipped figures do as well",
        };
        say(&format!(
            "WARNING: this calibration does not make the simulation truer on the requests that were held out: {} is \
             written, but {why}",
            args.out.display()
        ));
    }
    let text = match args.json {
        true => format!("{:#}\n", as_json(&fitted)),
        false => as_text(&fitted, &args.out),
    };
    present(args.json, &text)
}

/// The runs of a file, each with the file's hash.
fn replays(path: &Path) -> Result<Vec<(Replay, String)>, InputError> {
    if has_steps(path)? {
        let why = "it is a log of steps, of which `windtunnel profile --step-log` makes a table; \
                   expected measured requests";
        return Err(InputError::in_file(path.display(), why));
    }
    let bytes = read_bytes(path, LARGEST).map_err(|e| {
        let why = format!("cannot read: {}", windtunnel_base::input::plain(&e));
        InputError::in_file(path.display(), why)
    })?;
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let runs = read(path)?
        .into_iter()
        .map(|run| Ok((run.replay()?, hash.clone())));
    runs.collect()
}

fn as_json(fitted: &Fitted) -> Value {
    let metric = |e: MetricErrors| {
        json!({
            "of_mean_percent": e.of_mean,
            "of_requests_median_percent": e.median,
            "of_requests_mean_percent": e.mean,
        })
    };
    let errors = |e: &LoadErrors| json!({"ttft": metric(e.ttft), "tpot": e.tpot.map(metric), "e2e": metric(e.e2e)});
    let loads = fitted.loads.iter().map(|(load, [before, after])| {
        json!({
            "file": load.name,
            "requests": load.requests(),
            "held_out": load.held_out().len(),
            "rate_rps": load.rate_rps(),
            "mean_running": load.mean_running(),
            "has_gaps": load.has_gaps(),
            "holdout": {"shipped": errors(before), "calibrated": errors(after)},
        })
    });
    json!({
        "calibration": fitted.calibration,
        "loads": loads.collect::<Vec<_>>(),
        "notes": fitted.notes,
        "simulations": fitted.simulations,
    })
}

fn as_text(fitted: &Fitted, out: &Path) -> String {
    let mut text = String::new();
    let calibration = &fitted.calibration;
    let (seen, held_out) = fitted.loads.iter().fold((0, 0), |(a, b), (load, _)| {
        let out = load.held_out().len();
        (a + load.requests() - out, b + out)
    });
    let _ = writeln!(
        text,
        "{}: {} on {} x {}, {}; fitted to {seen} requests, {held_out} held out",
        out.display(),
        calibration.model,
        calibration.tp,
        calibration.gpu,
        calibration.engine
    );
    let mut table = styled(&["", "shipped", "fitted", "95 % interval", "told?"]);
    table.set_width(WIDTH);
    for parameter in &PARAMETERS {
        let Some(found) = calibration.parameters.get(parameter.name) else {
            continue;
        };
        table.add_row([
            format!("{}\n{}", parameter.name, parameter.what),
            figure(found.shipped),
            figure(found.value),
            format!("{} to {}", figure(found.low), figure(found.high)),
            if found.identified { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let _ = writeln!(text, "{table}");
    let _ = writeln!(
        text,
        "errors on held-out requests, shipped -> calibrated, %"
    );
    let mut table = styled(&["", "TTFT", "TPOT", "E2E"]);
    table.set_width(WIDTH);
    for (load, both) in &fitted.loads {
        for row in rows(load, both) {
            table.add_row(row);
        }
    }
    let _ = writeln!(text, "{table}");
    text
}

/// The errors of a load: of the mean, and below it of single requests.
fn rows(load: &Load, [before, after]: &[LoadErrors; 2]) -> [[String; 4]; 4] {
    let row = |name: &str, cell: fn(MetricErrors) -> String| {
        let both = |before: MetricErrors, after: MetricErrors| {
            format!("{} -> {}", cell(before), cell(after))
        };
        let tpot = before.tpot.zip(after.tpot);
        [
            format!("  {name}"),
            both(before.ttft, after.ttft),
            tpot.map_or("-".to_owned(), |(before, after)| both(before, after)),
            both(before.e2e, after.e2e),
        ]
    };
    let name = Path::new(&load.name).file_name();
    let name = name.map_or(load.name.as_str().into(), |name| name.to_string_lossy());
    let rate = format!("{:.2} req/s", load.rate_rps());
    [
        [name.into_owned(), rate, String::new(), String::new()],
        row("of the mean", |e| format!("{:+.1}", e.of_mean)),
        row("of requests, median", |e| format!("{:.1}", e.median)),
        row("of requests, mean", |e| format!("{:.1}", e.mean)),
    ]
}

/// Three digits.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
