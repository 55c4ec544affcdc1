//! `windtunnel profile`: makes a table of step times, of a log of steps or of what a live server
//! shows to its clients.

mod live;
mod measured;
mod observed;
mod recipe;

use super::output::check_path;
use super::print::{present, say};
use clap::Args;
use measured::{MeasuredArgs, Measurement};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, read_text_up_to, write_whole};
use windtunnel_config::{
    FitQuality, LoggedStep, ProfileLimits, Provenance, StepProfile, StepTimes, parse_step_log,
};
use windtunnel_engine::latency::{FittedSteps, MeasuredStep, StepAggregates, StepItem, fit_steps};

/// Largest log, bytes.
const LARGEST: u64 = 4 << 30;

/// `windtunnel profile`.
#[derive(Args, Clone, Debug)]
pub struct ProfileArgs {
    /// A server with the API of OpenAI, as http://127.0.0.1:8000
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// A log of steps, as JSON lines; repeat it for several
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    step_log: Vec<PathBuf>,
    /// Where the table goes
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: live::ServerArgs,
    #[command(flatten)]
    measured: MeasuredArgs,
}

/// Runs the command.
pub fn profile(args: &ProfileArgs) -> anyhow::Result<()> {
    args.measured.check()?;
    check_path(&args.out)?;
    let mut measured = args.measured.clone();
    let measurement = match &args.url {
        Some(url) => live::measure(url, &args.server, &mut measured)?,
        None => {
            if args.step_log.is_empty() {
                let message = "there is nothing to measure: expected a URL, or --step-log FILE";
                return Err(InputError::new(message).into());
            }
            args.server.refuse_without_url()?;
            of_logs(&args.step_log, &args.out)?
        }
    };
    let fitted =
        fit_steps(&measurement.steps).map_err(|e| match (args.step_log.as_slice(), &args.url) {
            ([log, ..], _) => InputError::in_file(log.display(), e.message().to_owned()),
            _ => e,
        })?;
    let limits = ProfileLimits {
        block_size: measured.block_size,
        num_gpu_blocks: measured.num_gpu_blocks,
        num_watermark_blocks: None,
        max_num_batched_tokens: measured.max_num_batched_tokens,
        max_model_len: measured.max_model_len,
        max_num_seqs: measured.max_num_seqs,
    };
    let times = StepTimes::Table(fitted.table.clone());
    let profile = StepProfile {
        model: measured.model,
        device: measured.device,
        dtype: measured.dtype,
        tensor: measured.tp,
        engine: measured.engine,
        request_overhead_ms: measurement.request_overhead_ms,
        provenance: Provenance {
            made_by: Some(format!("windtunnel {}", env!("CARGO_PKG_VERSION"))),
            sources: measurement.sources,
            fit: Some(fitted.quality),
        },
        ..StepProfile::of(&args.out.display().to_string(), limits, times)
    };
    let Some(table) = profile.table_text() else {
        anyhow::bail!("a fitted profile has no table");
    };
    write_whole(&args.out, |out| out.write_all(table.as_bytes()))?;
    for note in measurement.notes.iter().chain(&fitted.notes) {
        say(&format!("note: {note}"));
    }
    let text = match args.json {
        true => format!("{:#}\n", as_json(&profile, &fitted)),
        false => as_text(&profile, &fitted),
    };
    present(args.json, &text)
}

/// The steps of logs.
fn of_logs(paths: &[PathBuf], out: &Path) -> Result<Measurement, InputError> {
    let (mut steps, mut sources) = (Vec::new(), BTreeMap::new());
    let mut graphs = (0, 0);
    for path in paths {
        if path == out {
            let why = "it would be overwritten, but the steps are read from it";
            return Err(InputError::in_file(path.display(), why));
        }
        let text = read_text_up_to(path, LARGEST)?;
        let log = parse_step_log(&path.display().to_string(), &text)?;
        let hash = blake3::hash(text.as_bytes()).to_hex();
        sources.insert(path.display().to_string(), format!("blake3:{hash}"));
        let decodes = log.iter().filter(|s| s.prefill.is_empty());
        for graph in decodes.filter_map(|step| step.graph) {
            graphs.0 += u64::from(graph);
            graphs.1 += 1;
        }
        steps.extend(log.iter().map(measured_step));
    }
    let mut notes = Vec::new();
    if 0 < graphs.0 && graphs.0 < graphs.1 {
        notes.push(format!(
            "{} of {} steps that only decode replayed a CUDA graph, the others did not: the table has one time for both",
            graphs.0, graphs.1
        ));
    }
    Ok(Measurement {
        steps,
        request_overhead_ms: 0.0,
        sources,
        notes,
    })
}

fn measured_step(step: &LoggedStep) -> MeasuredStep {
    let mut work = StepAggregates::default();
    for [new_tokens, context] in &step.prefill {
        work.add(StepItem {
            new_tokens: *new_tokens,
            context: *context,
            prompt_tokens: new_tokens.saturating_add(*context),
            is_prefill: true,
        });
    }
    for decode in &step.decode {
        work.add(StepItem {
            new_tokens: decode.new,
            context: decode.context,
            prompt_tokens: decode.context,
            is_prefill: false,
        });
    }
    MeasuredStep {
        work,
        ms: step.ms(),
    }
}

/// Most prefill tokens, decodes and KV tokens that the table has times for.
fn reach(fitted: &FittedSteps) -> [u64; 3] {
    let rows = &fitted.table.rows;
    let most = |of: fn(&windtunnel_config::StepRow) -> u64| rows.iter().map(of).max().unwrap_or(0);
    [
        most(|r| r.prefill_tokens),
        most(|r| r.decode_seqs),
        most(|r| r.kv_tokens),
    ]
}

fn as_json(profile: &StepProfile, fitted: &FittedSteps) -> serde_json::Value {
    let [prefill, decodes, kv] = reach(fitted);
    let kinds = fitted.by_kind.iter().map(|(kind, q)| {
        let value =
            json!({"steps": q.steps, "error_median": q.error_median, "error_p90": q.error_p90});
        (kind.name().to_owned(), value)
    });
    json!({
        "profile": profile.file,
        "rows": fitted.table.rows.len(),
        "overlap": fitted.table.overlap,
        "request_overhead_ms": profile.request_overhead_ms,
        "reach": {"prefill_tokens": prefill, "decode_seqs": decodes, "kv_tokens": kv},
        "fit": fitted.quality,
        "fit_by_kind": kinds.collect::<serde_json::Map<_, _>>(),
    })
}

fn as_text(profile: &StepProfile, fitted: &FittedSteps) -> String {
    let mut text = String::new();
    let [prefill, decodes, kv] = reach(fitted);
    let FitQuality {
        steps,
        error_median,
        error_p90,
        held_back_steps,
        held_back_error_median,
        held_back_error_p90,
    } = fitted.quality;
    let _ = writeln!(
        text,
        "{}: {} rows of {steps} steps, up to {prefill} prefill tokens, {decodes} decodes, {kv} KV tokens",
        profile.file,
        fitted.table.rows.len(),
    );
    if profile.request_overhead_ms > 0.0 {
        let _ = writeln!(
            text,
            "before its steps a request takes {:.3} ms",
            profile.request_overhead_ms
        );
    }
    let percent = |share: f64| format!("{:.2} %", share * 1e2);
    let mut table = windtunnel_results::report::table::styled(&["", "steps", "median", "p90"]);
    for (kind, q) in &fitted.by_kind {
        table.add_row([
            kind.name().to_owned(),
            q.steps.to_string(),
            percent(q.error_median),
            percent(q.error_p90),
        ]);
    }
    table.add_row([
        "all".to_owned(),
        steps.to_string(),
        percent(error_median),
        percent(error_p90),
    ]);
    if let (Some(held), Some(median), Some(p90)) =
        (held_back_steps, held_back_error_median, held_back_error_p90)
    {
        table.add_row([
            "held back".to_owned(),
            held.to_string(),
            percent(median),
            percent(p90),
        ]);
    }
    let _ = writeln!(text, "relative errors of the table\n{table}");
    text
}
