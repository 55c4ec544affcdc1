//! `windtunnel verify`: compares a simulation with what was measured.

use super::gate::GateFailed;
use super::print::{present, say};
use clap::Args;
use std::io::Read;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, open_text, plain, read_text_up_to};
use windtunnel_base::measured::MeasuredRequest;
use windtunnel_config::{LoggedStep, is_step_log, parse_step_log};
use windtunnel_results::verify::{compare, compare_steps};
use windtunnel_workload::measured::{MeasuredRun, read};

/// `windtunnel verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// What was measured: results of vllm bench serve --save-detailed, GuideLLM, AIPerf or
    /// inference-perf, rows of requests as --results-path writes them, or a log of steps
    real: PathBuf,
    /// What was simulated: rows of requests as --results-path writes them, or a log of steps as
    /// --step-log writes it
    simulated: PathBuf,
    /// Largest relative error that any request, or step, may have, 0.05 for 5 %; beyond it the exit
    /// code is 3
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Largest log of steps, bytes, and enough of a file to see whether it is one.
const LARGEST: u64 = 1 << 30;
const HEAD_BYTES: u64 = 1 << 16;

/// What a file has to compare.
enum Recorded {
    /// Requests, run by run.
    Requests(Vec<MeasuredRun>),
    /// Steps.
    Steps(Vec<LoggedStep>),
}

fn recorded(path: &Path) -> Result<Recorded, InputError> {
    if has_steps(path)? {
        let text = read_text_up_to(path, LARGEST)?;
        let steps = parse_step_log(&path.display().to_string(), &text)?;
        return Ok(Recorded::Steps(steps));
    }
    read(path).map(Recorded::Requests)
}

/// Is this file a log of steps?
///
/// # Errors
/// When it cannot be read.
pub fn has_steps(path: &Path) -> Result<bool, InputError> {
    let mut head = Vec::new();
    open_text(path, LARGEST)
        .and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head))
        .map_err(|e| {
            let why = format!("cannot read: {}", plain(&e));
            InputError::in_file(path.display(), why)
        })?;
    let head = String::from_utf8_lossy(&head);
    Ok(is_step_log(head.trim_start_matches('\u{feff}')))
}

/// The requests of the only run of a file.
fn requests(runs: Vec<MeasuredRun>, path: &Path) -> Result<Vec<MeasuredRequest>, InputError> {
    let several = runs.len();
    let mut runs = runs.into_iter();
    let (Some(run), None) = (runs.next(), runs.next()) else {
        let what = format!("it has {several} runs; expected one, to compare it request by request");
        return Err(InputError::in_file(path.display(), what));
    };
    for note in &run.notes {
        say(&format!("note: {note}"));
    }
    Ok(run.requests)
}

/// Runs the command.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    if let Some(share) = args.tolerance
        && !(share.is_finite() && share >= 0.0)
    {
        let message = format!("--tolerance must be 0 or more, found {share}");
        return Err(InputError::new(message).into());
    }
    let tolerance = args.tolerance.unwrap_or(0.0);
    let (json, text, within_tolerance) = match (recorded(&args.real)?, recorded(&args.simulated)?) {
        (Recorded::Steps(real), Recorded::Steps(simulated)) => {
            let found = compare_steps(&real, &simulated, tolerance);
            let json = serde_json::to_string_pretty(&found)?;
            (json, found.text(), found.within_tolerance)
        }
        (Recorded::Requests(real), Recorded::Requests(simulated)) => {
            let real = requests(real, &args.real)?;
            let simulated = requests(simulated, &args.simulated)?;
            let found = compare(&real, &simulated, tolerance);
            let json = serde_json::to_string_pretty(&found)?;
            (json, found.text(), found.within_tolerance)
        }
        (real, _) => {
            let (log, other) = match real {
                Recorded::Steps(_) => (&args.real, &args.simulated),
                Recorded::Requests(_) => (&args.simulated, &args.real),
            };
            let why = format!(
                "it is a log of steps, and {} is not: steps are compared with steps",
                other.display()
            );
            return Err(InputError::in_file(log.display(), why).into());
        }
    };
    match args.json {
        true => present(true, &(json + "\n"))?,
        false => present(false, &text)?,
    }
    match args.tolerance {
        Some(share) if !within_tolerance => {
            Err(GateFailed(format!("not everything is within the tolerance of {share}")).into())
        }
        _ => Ok(()),
    }
}
