//! `windtunnel sweep`: a grid of runs in parallel, one table and one file out.

mod grid;
mod ledger;

use super::args::{Cli, Command, RunArgs};
use super::effects::Explicit;
use super::{say, simulate, to_stdout};
use crate::input::{InputError, Staging};
use crate::pool;
use crate::report::Results;
use crate::report::sweep::{self, Row};
use clap::{Args, FromArgMatches};
use grid::Grid;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ledger::Ledger;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

/// `windtunnel sweep`.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// A dimension: a flag of `run` and its values, KEY=V1,V2,... (semicolons between values that contain commas).
    /// bundle:KEY.KEY=V1,V2 varies a key of --policy-config. Repeat for more dimensions
    #[arg(
        long,
        value_name = "KEY=VALUES",
        required = true,
        help_heading = "Sweep"
    )]
    pub grid: Vec<String>,
    /// Seeds per cell: --seed, --seed + 1, ...
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Sweep")]
    pub seeds: u64,
    /// A row per run, in CSV. An interrupted sweep goes on where it stopped
    #[arg(long, value_name = "FILE", help_heading = "Sweep")]
    pub out: Option<PathBuf>,
    /// Runs at a time [default: the number of cores]
    #[arg(long, value_name = "N", help_heading = "Sweep")]
    pub jobs: Option<usize>,
    /// Start over instead of going on
    #[arg(long, requires = "out", help_heading = "Sweep")]
    pub fresh: bool,
    /// What all runs share.
    #[command(flatten)]
    pub run: RunArgs,
}

/// One run of the grid, ready to go.
struct Cell {
    point: grid::Point,
    run: RunArgs,
    explicit: Explicit,
}

/// Runs the grid.
pub fn sweep(args: &SweepArgs, explicit: &Explicit) -> anyhow::Result<()> {
    explicit.need(
        &[
            "results_path",
            "metrics_path",
            "trace_output",
            "decisions_path",
            "saturation_report",
            "format",
        ],
        false,
        "in a sweep, whose runs would all write there",
    )?;
    if args.seeds == 0 || args.jobs == Some(0) {
        return Err(InputError::new("--seeds and --jobs must be at least 1").into());
    }
    let grid = Grid::parse(
        &args.grid,
        args.run.common.cluster.policy_config.as_deref(),
        explicit,
    )?;
    let points = grid.points(args.run.common.seed, args.seeds);
    let base = grid::base_arguments(std::env::args().skip_while(|a| a != "sweep").skip(1));
    let cells: Vec<Cell> = points
        .into_iter()
        .map(|point| cell(&base, point))
        .collect::<Result<_, _>>()?;
    for cell in &cells {
        // A wrong value is found before the first run starts.
        simulate::prepare(&cell.run, &cell.explicit, &cell.point.bundle)
            .map_err(|e| InputError::new(format!("{}: {e}", cell.point)))?;
    }

    let columns = sweep::columns(&grid.names());
    let mut ledger = Ledger::open(args.out.as_deref(), &columns, args.fresh)?;
    let ids: Vec<String> = cells.iter().map(|c| c.point.id(&base)).collect();
    let known = ledger.known(&ids)?;
    let open: Vec<(usize, &Cell)> = cells
        .iter()
        .enumerate()
        .filter(|(k, _)| known[*k].is_none())
        .collect();
    if open.len() < cells.len() {
        say(&format!(
            "{} of {} runs are done already",
            cells.len() - open.len(),
            cells.len()
        ));
    }
    let bar = bar(open.len() as u64, args.run.common.output.quiet);
    let jobs = args.jobs.unwrap_or_else(pool::default_jobs);
    let fresh = pool::map(
        &open,
        jobs,
        |(k, cell)| run_cell(cell, &ids[*k]),
        |_, row| {
            if let Ok(row) = row {
                ledger.append(row);
            }
            bar.inc(1);
        },
    );
    bar.finish_and_clear();

    let mut rows = known;
    for ((k, _), row) in open.iter().zip(fresh) {
        rows[*k] = Some(row?);
    }
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    ledger.finish(&rows)?;
    if args.run.common.output.json {
        return to_stdout(|out| sweep::write_json(&columns, &rows, out));
    }
    to_stdout(|out| out.write_all(sweep::table(&grid.names(), &rows).as_bytes()))
}

/// Parses the command line of one run.
fn cell(base: &[String], point: grid::Point) -> Result<Cell, InputError> {
    let argv = ["windtunnel", "run"]
        .map(String::from)
        .into_iter()
        .chain(base.iter().cloned())
        .chain(point.arguments());
    let mut command = <Cli as clap::CommandFactory>::command()
        .mut_subcommand("run", |c| c.args_override_self(true));
    let wrong = |e: clap::Error| {
        let text = e.render().to_string();
        let first = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        InputError::new(format!("{point}: {first}"))
    };
    let matches = command.try_get_matches_from_mut(argv).map_err(wrong)?;
    let cli = Cli::from_arg_matches(&matches).map_err(wrong)?;
    let explicit = Explicit::of(&matches);
    match cli.command {
        Command::Run(run) => Ok(Cell {
            point,
            run: *run,
            explicit,
        }),
        _ => Err(InputError::new("a sweep varies the flags of `run`")),
    }
}

fn run_cell(cell: &Cell, id: &str) -> Result<Row, InputError> {
    let prepared = simulate::prepare(&cell.run, &cell.explicit, &cell.point.bundle)?;
    let finished = prepared.complete(&cell.run.common, &mut Staging::default(), &mut |_| ())?;
    let results = Results::with_summary(&finished.record, finished.summary, &finished.inputs);
    Ok(Row::of(id, &cell.point.values(), cell.point.seed, &results))
}

fn bar(runs: u64, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    if quiet || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template =
        "{bar:40} {percent:>3}%  {human_pos}/{human_len} runs  {elapsed} so far, {eta} left";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
