//! `windtunnel verify`: compares a simulation with what was measured.

use super::gate::GateFailed;
use super::print::present;
use clap::Args;
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_results::verify::{Recorded, compare, compare_steps, read};

/// `windtunnel verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// What was measured: results of vllm bench serve --save-detailed, rows of requests as
    /// --results-path writes them, or a log of steps
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

/// Runs the command.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    if let Some(share) = args.tolerance
        && !(share.is_finite() && share >= 0.0)
    {
        let message = format!("--tolerance must be 0 or more, found {share}");
        return Err(InputError::new(message).into());
    }
    let tolerance = args.tolerance.unwrap_or(0.0);
    let (json, text, within_tolerance) = match (read(&args.real)?, read(&args.simulated)?) {
        (Recorded::Steps(real), Recorded::Steps(simulated)) => {
            let found = compare_steps(&real, &simulated, tolerance);
            let json = serde_json::to_string_pretty(&found)?;
            (json, found.text(), found.within_tolerance)
        }
        (Recorded::Requests(real), Recorded::Requests(simulated)) => {
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
