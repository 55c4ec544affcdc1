//! `windtunnel queue-growth`: does the queue grow with the length of a run?

use super::confine;
use super::print::present;
use clap::Args;
use std::path::PathBuf;
use windtunnel_base::input::InputError;
use windtunnel_results::metrics::ticks::TickFigures;
use windtunnel_results::report::ticks::{Grown, growth_text, growth_value};
use windtunnel_sim::{RunSpec, Simulation};

/// `windtunnel queue-growth`.
#[derive(Args, Clone, Debug)]
pub struct GrowthArgs {
    /// Runs in ticks, in files
    #[arg(required = true, value_name = "RUN")]
    files: Vec<PathBuf>,
    /// How long each is run, ticks, in this order; load and random numbers go on from one to the
    /// next
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100.0, 10_000.0],
        value_name = "TICKS,TICKS,..."
    )]
    time_limits: Vec<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs every file for every time.
pub fn queue_growth(args: &GrowthArgs) -> anyhow::Result<()> {
    let mut grown = Vec::new();
    for path in &args.files {
        let run = RunSpec::load(path)?;
        if !run.is_in_ticks() {
            let why = "its time is not in ticks (`latency_model` ticks)";
            return Err(InputError::in_file(path.display(), why).into());
        }
        if run.time_limit.is_some() {
            let why = "it says a time_limit; here --time-limits says how long it is run";
            return Err(InputError::in_file(path.display(), why).into());
        }
        if confine::has_scripts(&run) {
            confine::confine(&[]);
        }
        let limits = args.time_limits.iter().copied();
        let runs: Result<Vec<Simulation>, InputError> = limits
            .clone()
            .map(|limit| {
                let limited = RunSpec {
                    time_limit: Some(limit),
                    ..run.clone()
                };
                limited.resolve()
            })
            .collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let results = Simulation::run_in_a_row(runs?)?;
        grown.extend(limits.zip(&results).filter_map(|(time_limit, result)| {
            let inputs = result.inputs.ticks.as_ref()?;
            Some(Grown {
                name: name.clone().into_owned(),
                time_limit,
                figures: TickFigures::of(&result.record, inputs),
            })
        }));
    }
    let text = match args.json {
        true => format!("{:#}\n", growth_value(&grown)),
        false => growth_text(&grown),
    };
    present(args.json, &text)
}
