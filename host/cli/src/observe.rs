//! `windtunnel observe`: sends a workload to a live server and measures the answers.

mod asking;
mod files;
mod shown;

pub use asking::{AskArgs, LoadArgs, Seen, ask};
pub use files::stage_trace;

use super::effects::Explicit;
use super::print::{present, say};
use clap::Args;
use files::OutArgs;
use std::path::PathBuf;
use windtunnel_live::observe::{Summary, summarize};
use windtunnel_sim::RunSpec;

/// `windtunnel observe`.
#[derive(Args, Clone, Debug)]
pub struct ObserveArgs {
    /// A server with the API of OpenAI, as http://127.0.0.1:8000
    #[arg(value_name = "URL")]
    url: String,
    /// The model, as the server calls it [default: the first that it serves]
    #[arg(long, value_name = "NAME", help_heading = "Asking a server")]
    model: Option<String>,
    /// Most requests at once; others are held back, and counted [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Asking a server")]
    max_concurrency: Option<usize>,
    /// How the server is asked.
    #[command(flatten)]
    ask: AskArgs,
    /// What is sent.
    #[command(flatten)]
    load: LoadArgs,
    /// Seed of everything random in the workload
    #[arg(long, default_value_t = 42, help_heading = "Workload")]
    seed: u64,
    /// Nothing that arrives from this time on is sent, microseconds [default: none]
    #[arg(long, value_name = "US", help_heading = "Workload")]
    horizon: Option<i64>,
    /// Presets, as in defaults.yaml [default: built in]
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    defaults_filepath: Option<PathBuf>,
    /// Files.
    #[command(flatten)]
    out: OutArgs,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// No progress bar
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

/// Runs the command.
pub fn observe(args: &ObserveArgs, explicit: &Explicit) -> anyhow::Result<()> {
    let run = RunSpec {
        seed: explicit.has("seed").then_some(args.seed),
        horizon_us: args.horizon,
        defaults_filepath: args.defaults_filepath.clone(),
        ..RunSpec::default()
    };
    let run = args.load.add_to(run, explicit)?;
    let how = args.ask.at_once(args.max_concurrency);
    how.check()?;
    args.out.check(&run.files())?;
    let seen = ask(&args.url, args.model.as_deref(), &how, &run, args.quiet)?;
    let summary = summarize(&seen.observation);
    let late = lateness(&how, &summary);
    args.out.write(&seen, late.iter().cloned().collect())?;
    let text = match args.json {
        true => format!("{:#}\n", shown::json(&seen, &summary, late.is_some())?),
        false => shown::text(&seen, &summary),
    };
    present(args.json, &text)?;
    finish(&seen, &summary, late)
}

/// Says what is wrong with the observation as a whole.
fn finish(seen: &Seen, summary: &Summary, late: Option<String>) -> anyhow::Result<()> {
    if seen.observation.stopped {
        say("WARNING: the observation was stopped before everything was sent");
    }
    if let Some(failed) = first_failure(seen) {
        let others = summary.requests - summary.ok;
        say(&format!(
            "WARNING: {others} requests were not answered whole, the first one: {failed}"
        ));
    }
    match late {
        Some(why) => anyhow::bail!(why),
        None if summary.requests > 0 && summary.ok == 0 => {
            anyhow::bail!("no request was answered")
        }
        None => Ok(()),
    }
}

fn first_failure(seen: &Seen) -> Option<&str> {
    let requests = seen.observation.requests.iter();
    let mut failed = requests.filter(|o| !o.row.error.is_empty() && !o.warm_up);
    failed.next().map(|o| o.row.error.as_str())
}

/// Why the observation is not to be believed, if requests were sent too late.
pub fn lateness(ask: &AskArgs, summary: &Summary) -> Option<String> {
    let p99 = summary.lateness_ms.figure(|late| late.p99)?;
    let limit = ask.max_lateness;
    (p99 > limit).then(|| {
        format!(
            "requests were sent too late to be what the workload says: 1 % by more than {p99:.1} ms, at most \
             {limit} ms are fine (--max-lateness); is the client's machine busy?"
        )
    })
}
