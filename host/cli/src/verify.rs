//! `windtunnel verify`: compares a simulation with what was measured.

use super::gate::GateFailed;
use super::print::present;
use clap::Args;
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_results::verify::{compare, read};

/// `windtunnel verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// What was measured: results of vllm bench serve --save-detailed, or rows of requests as
    /// --results-path writes them
    real: PathBuf,
    /// What was simulated: rows of requests as --results-path writes them
    simulated: PathBuf,
    /// Largest relative error that any request may have, 0.05 for 5 %; beyond it the exit code is 3
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
    let (real, simulated) = (read(&args.real)?, read(&args.simulated)?);
    let found = compare(&real, &simulated, args.tolerance.unwrap_or(0.0));
    if args.json {
        present(true, &(serde_json::to_string_pretty(&found)? + "\n"))?;
    } else {
        present(false, &found.text())?;
    }
    match args.tolerance {
        Some(share) if !found.within_tolerance => {
            Err(GateFailed(format!("not everything is within the tolerance of {share}")).into())
        }
        _ => Ok(()),
    }
}
