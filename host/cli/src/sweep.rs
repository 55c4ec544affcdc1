//! `windtunnel sweep`: a grid of runs in parallel, one table and one file out.

mod grid;
mod ledger;
mod runs;

use super::args::{SweepArgs, refuse_zero};
use super::caller::Caller;
use super::confine;
use super::effects::Explicit;
use super::gate;
use super::output::check_path;
use super::print::{present, show_json};
use super::progress::bar_over_runs;
use super::workload_args::RunArgs;
use clap::{Arg, ArgMatches, Args};
use grid::WITHOUT_EFFECT;
pub use grid::{Grid, Point};
use ledger::{Ledger, Place};
pub use runs::{Cell, Digests, Shared, cell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windtunnel_base::input::{InputError, write_whole};
use windtunnel_base::parallel;
use windtunnel_results::conditions::Condition;
use windtunnel_results::report::run_page::Distributions;
use windtunnel_results::report::sweep::{self, Clock, Row};
use windtunnel_sim::workload::Traces;

/// The flag of a run that is the sweep's own: one page shows all of its runs.
pub const PAGE: &str = "html";

/// More is a slip of the pen.
const MOST_RUNS: u64 = 1_000_000;

/// The flags of `run`.
pub fn flags_of_run() -> Vec<Arg> {
    let run = RunArgs::augment_args(clap::Command::new("run"));
    run.get_arguments().cloned().collect()
}

/// Adds the flags of `run` to the command, those that make sense. The model may be a dimension, so
/// it is not required here.
pub fn with_the_flags_of_run(sweep: clap::Command) -> clap::Command {
    let hide = |arg: Arg| {
        let id = arg.get_id().as_str();
        let without_effect = WITHOUT_EFFECT[..4].iter().any(|(ids, _)| ids.contains(&id));
        if without_effect && id != PAGE {
            arg.hide(true)
        } else {
            arg
        }
    };
    let about = sweep.get_about().cloned().unwrap_or_default();
    RunArgs::augment_args(sweep)
        .about(about)
        .mut_arg("model", |arg| arg.required(false))
        .mut_args(hide)
}

/// Refuses what says nothing to many runs, but for `but`.
pub fn refuse_without_effect(explicit: &Explicit, but: &[&str]) -> Result<(), InputError> {
    for (ids, why) in &WITHOUT_EFFECT[..4] {
        let ids: Vec<&str> = ids.iter().copied().filter(|id| !but.contains(id)).collect();
        explicit.reject_unless(&ids, false, why)?;
    }
    Ok(())
}

/// Flags whose value is a name: a list of names is meant to be varied.
const NAMES: [&str; 9] = [
    "model",
    "hardware",
    "workload",
    "workload_spec",
    "routing_policy",
    "admission_policy",
    "scheduler",
    "priority_policy",
    "preemption_policy",
];

/// Refuses a list where all runs share one name.
pub fn refuse_lists(given: &ArgMatches) -> Result<(), InputError> {
    for id in NAMES {
        let values = given.get_raw(id).into_iter().flatten();
        for value in values.map(|value| value.to_string_lossy()) {
            if value.contains(',') && !Path::new(&*value).exists() {
                let flag = id.replace('_', "-");
                return Err(InputError::new(format!(
                    "--{flag} {value}: all runs share it; to vary it, write --grid {flag}={value}"
                )));
            }
        }
    }
    Ok(())
}

/// A run to be done.
struct Run<'a> {
    cell: &'a Cell<'a>,
    seed: u64,
    id: String,
}

/// The rows of a sweep, and what they are of.
#[derive(Debug)]
pub struct Swept {
    /// The dimensions.
    pub names: Vec<String>,
    /// In what times are.
    pub clock: Clock,
    /// Names of what a row has.
    pub columns: Vec<String>,
    /// A row per run, by point, then by seed.
    pub rows: Vec<Row>,
    /// Distributions of the first seed of each point, by its name, if there are few enough to be
    /// seen.
    pub distributions: Vec<(String, Distributions)>,
    /// How many runs the sweep has in all.
    pub of: usize,
    /// Whether they are in the file that was asked for.
    saved: Result<(), InputError>,
}

/// Which of a sweep's runs are done elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Share {
    /// Only these runs, by their position among the rows; `None` = all.
    pub only: Option<Range<usize>>,
    /// Rows that others have made.
    pub made: Vec<Vec<String>>,
}

/// Runs the grid. `command` parses the command line of each run.
pub fn sweep(args: &SweepArgs, matches: &ArgMatches, command: clap::Command) -> anyhow::Result<()> {
    let Some((_, given)) = matches.subcommand() else {
        return Ok(());
    };
    let fails: Option<&String> = given.get_one("fail_if");
    let gate = gate(fails.map(String::as_str))?;
    let caller = Caller::of_this_process();
    let swept = swept(args, matches, command, &caller, Share::default())?;
    let page: Option<&PathBuf> = given.get_one(PAGE);
    let paged = page.map_or(Ok(()), |path| {
        let page = swept.page(&caller.call);
        write_whole(path, |out| out.write_all(page.as_bytes()))
    });
    let names: Vec<&str> = swept.names.iter().map(String::as_str).collect();
    let rows = &swept.rows;
    // What was computed is shown even if the disk is full.
    let printed = if given.get_flag("json") {
        show_json(|out| sweep::write_json(&swept.columns, rows, out))
    } else {
        present(false, &sweep::table(&names, rows, &args.columns))
    };
    swept.saved?;
    paged?;
    printed?;
    for row in rows {
        gate::check(&gate, &format!("{}: ", row.name(&names)), |c| {
            row.metric(c.metric()?)
        })?;
    }
    Ok(())
}

impl Swept {
    /// All of it as a page; `call` makes it again.
    pub fn page(&self, call: &str) -> String {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        sweep::html(&names, self.clock, &self.rows, &self.distributions, call)
    }

    /// The same, if the rows are in the file that was asked for.
    ///
    /// # Errors
    /// When they are not.
    pub fn once_saved(self) -> Result<Self, InputError> {
        match self.saved {
            Ok(()) => Ok(self),
            Err(e) => Err(e),
        }
    }
}

/// Carries out the runs of a grid.
///
/// # Errors
/// On wrong input, and when runs fail.
pub fn swept(
    args: &SweepArgs,
    matches: &ArgMatches,
    command: clap::Command,
    caller: &Caller<'_>,
    share: Share,
) -> anyhow::Result<Swept> {
    let explicit = Explicit::of(matches);
    let Some((_, given)) = matches.subcommand() else {
        return Err(InputError::new("a sweep has flags").into());
    };
    refuse_without_effect(&explicit, &[PAGE])?;
    refuse_lists(given)?;
    let page: Option<&PathBuf> = given.get_one(PAGE);
    if let Some(page) = page {
        check_path(page)?;
    }
    let flags = flags_of_run();
    let grid = Grid::parse(&args.grid, &flags, &explicit)?;
    check_size(args, &grid)?;
    let shared = Shared::of(given, &flags);
    let cells = runs::cells(&grid, &shared, command)?;
    let clock = clock(&cells)?;
    let known: Vec<&str> = sweep::column_names(clock).collect();
    if let Some(other) = args.columns.iter().find(|c| !known.contains(&c.as_str())) {
        return Err(InputError::unknown("--columns", other, &known).into());
    }
    let names_a_model = explicit.has("model") || grid.varies("model") || grid.varies_flags();
    if clock == Clock::Real && !names_a_model {
        return Err(InputError::new("give --model MODEL, or vary it: --grid model=A,B").into());
    }
    let unknown = |cell: &Cell<'_>| !cell.spec.policies.trusted && confine::has_scripts(&cell.spec);
    if cells.iter().any(unknown) {
        let mut written = args.out.as_deref().map_or(Vec::new(), ledger::files);
        written.extend(page.cloned());
        (caller.confine)(&written);
    }
    let traces = Traces::default();
    let notes = runs::check(&grid, &cells, &shared, &traces)?;

    let mut digests = Digests::default();
    let first = given.get_one("seed").copied().unwrap_or_default();
    let mut all = all_runs(&cells, first, args.seeds, &mut digests)?;
    let columns = sweep::columns(&grid.names(), clock);
    let of = all.len();
    if let Some(only) = share.only {
        let end = only.end.min(all.len());
        all = all.drain(only.start.min(end)..end).collect();
    }
    let mut ledger = match &args.out {
        Some(out) => {
            let ids: BTreeSet<&str> = all.iter().map(|run| run.id.as_str()).collect();
            let fresh = args.fresh;
            let inputs: Vec<PathBuf> = digests.files().cloned().collect();
            Some(Ledger::open(
                &Place { out, fresh },
                &columns,
                &ids,
                &inputs,
            )?)
        }
        None => None,
    };
    for note in notes {
        (caller.say)(&format!("note: {note}"));
    }
    let made = share.made.into_iter();
    let made: Vec<Row> = made.map(|row| Row::from_fields(row, &columns)).collect();
    let seen = clock == Clock::Real && cells.len() <= sweep::MOST_LINES;
    let work = Work {
        all: &all,
        shapes: seen.then(Shapes::default),
        first,
        jobs: args.jobs.unwrap_or_else(parallel::default_jobs),
        traces: &traces,
        made: made.iter().map(|row| (row.id(), row)).collect(),
        caller,
        quiet: given.get_flag("quiet"),
    };
    let rows = work.carry_out(ledger.as_mut())?;
    let saved = ledger.map_or(Ok(()), |ledger| ledger.finish(&rows));
    let distributions = work.distributions(page.is_some())?;
    Ok(Swept {
        distributions,
        names: grid.names().into_iter().map(str::to_owned).collect(),
        clock,
        columns,
        rows,
        of,
        saved,
    })
}

/// The conditions of `--fail-if`, on metrics of rows.
fn gate(given: Option<&str>) -> Result<Vec<Condition>, InputError> {
    let conditions = gate::of_a_run(given)?;
    match conditions.iter().find(|c| c.metric().is_none()) {
        Some(other) => Err(InputError::new(format!(
            "{} {other}: the rows of a sweep have metrics as ttft_p99_ms, e2e_mean_ms and slo_attainment",
            gate::FAIL_IF
        ))),
        None => Ok(conditions),
    }
}

/// In what the times of all runs are.
fn clock(cells: &[Cell<'_>]) -> Result<Clock, InputError> {
    let in_ticks = |cell: &&Cell<'_>| cell.spec.is_in_ticks();
    match cells.iter().filter(in_ticks).count() {
        0 => Ok(Clock::Real),
        n if n == cells.len() => Ok(Clock::Ticks),
        _ => Err(InputError::new(
            "some runs have real step times and others ticks; one table cannot compare them",
        )),
    }
}

fn check_size(args: &SweepArgs, grid: &Grid) -> Result<(), InputError> {
    refuse_zero(&[
        ("--seeds", args.seeds == 0),
        ("--jobs", args.jobs == Some(0)),
    ])?;
    match grid.size().and_then(|n| n.checked_mul(args.seeds)) {
        Some(..=MOST_RUNS) => Ok(()),
        _ => Err(InputError::new(format!(
            "the sweep would have more than {MOST_RUNS} runs"
        ))),
    }
}

/// The runs in the order of their rows: by point, then by seed.
fn all_runs<'a>(
    cells: &'a [Cell<'a>],
    first: u64,
    seeds: u64,
    digests: &mut Digests,
) -> Result<Vec<Run<'a>>, InputError> {
    let Some(end) = first.checked_add(seeds) else {
        return Err(InputError::new(format!(
            "there are no {seeds} seeds from --seed {first} on"
        )));
    };
    let mut runs = Vec::new();
    for cell in cells {
        for seed in first..end {
            let id = cell.id(seed, digests)?;
            runs.push(Run { cell, seed, id });
        }
    }
    Ok(runs)
}

/// What runs say when they are over, each once.
type RunNotes = Mutex<BTreeSet<String>>;

/// Distributions of runs, by their ids.
type Shapes = Mutex<BTreeMap<String, Distributions>>;

/// The runs to be done, and with what.
struct Work<'a> {
    all: &'a [Run<'a>],
    /// Distributions of the first seeds, if they are to be kept.
    shapes: Option<Shapes>,
    /// The first seed.
    first: u64,
    jobs: usize,
    traces: &'a Traces,
    /// Rows that others have made, by the run's name.
    made: BTreeMap<&'a str, &'a Row>,
    caller: &'a Caller<'a>,
    quiet: bool,
}

impl Work<'_> {
    /// Does the runs whose rows are not known yet; gives all rows.
    fn carry_out(&self, mut ledger: Option<&mut Ledger>) -> anyhow::Result<Vec<Row>> {
        let Self { all, caller, .. } = self;
        let saved = |run: &Run<'_>| ledger.as_ref().and_then(|l| l.known(&run.id));
        let mut rows: Vec<Option<Row>> = all.iter().map(saved).collect();
        let done = rows.iter().flatten().count();
        if done > 0 {
            (caller.say)(&format!("{done} of {} runs are done already", all.len()));
        }
        for (row, run) in rows.iter_mut().zip(*all) {
            if row.is_none() {
                *row = self.made.get(run.id.as_str()).copied().cloned();
            }
        }
        let open: Vec<usize> = (0..all.len()).filter(|k| rows[*k].is_none()).collect();
        let bar = bar_over_runs(open.len() as u64, self.quiet);
        let notes = RunNotes::default();
        let fresh = parallel::map(
            &open,
            self.jobs,
            |k| self.simulate(&all[*k], &notes),
            |_, row| {
                if let (Ok(row), Some(ledger)) = (row, &mut ledger) {
                    ledger.append(row);
                }
                bar.inc(1);
            },
        );
        bar.finish_and_clear();
        caller.go_on()?;
        for note in notes.into_inner().unwrap_or_else(PoisonError::into_inner) {
            (caller.say)(&format!("note: {note}"));
        }
        let mut failures = Vec::new();
        for (k, row) in open.iter().zip(fresh) {
            match row {
                Ok(row) => rows[*k] = Some(row),
                Err(e) => failures.push(e),
            }
        }
        let others = ledger.map(|ledger| ledger.unfinished());
        match failures.len() {
            0 => Ok(rows.into_iter().flatten().collect()),
            n => Err(self.failed(failures.swap_remove(0), n, others)),
        }
    }

    /// The distributions of each point's first seed, by the point's name. Runs whose rows came from
    /// elsewhere are carried out again for them if `all` are wanted.
    fn distributions(&self, all: bool) -> anyhow::Result<Vec<(String, Distributions)>> {
        let Some(shapes) = &self.shapes else {
            return Ok(Vec::new());
        };
        let held = || shapes.lock().unwrap_or_else(PoisonError::into_inner);
        let of_points: Vec<&Run<'_>> = (self.all.iter())
            .filter(|run| run.seed == self.first)
            .collect();
        if all {
            let known: BTreeSet<String> = held().keys().cloned().collect();
            let missing = of_points.iter().filter(|run| !known.contains(&run.id));
            let missing: Vec<&Run<'_>> = missing.copied().collect();
            let notes = RunNotes::default();
            let again = parallel::map(
                &missing,
                self.jobs,
                |run| self.simulate(run, &notes),
                |_, _| (),
            );
            again.into_iter().collect::<anyhow::Result<Vec<Row>>>()?;
        }
        let mut shapes = held();
        let named = of_points.iter().filter_map(|run| {
            let name = run.cell.point.to_string();
            Some((name, shapes.remove(&run.id)?))
        });
        Ok(named.collect())
    }

    /// Says that runs failed, and where the rows of the others are.
    fn failed(&self, first: anyhow::Error, n: usize, others: Option<&Path>) -> anyhow::Error {
        let rest = others.map_or(String::new(), |path| {
            format!("; the rows of the others are in {}", path.display())
        });
        let of = self.all.len();
        (self.caller.say)(&format!("{n} of {of} runs failed{rest}"));
        first
    }

    /// Simulates a run. If the engine panics, the other runs go on.
    fn simulate(&self, run: &Run<'_>, notes: &RunNotes) -> anyhow::Result<Row> {
        let name = format!("{}, seed {}", run.cell.point, run.seed);
        guarded(&name, || {
            self.caller.go_on()?;
            let cell = run.cell;
            let mut spec = cell.spec.clone();
            spec.seed = Some(run.seed);
            let result = self.caller.run(cell.resolve(&spec, self.traces)?)?;
            let mut said = notes.lock().unwrap_or_else(PoisonError::into_inner);
            said.extend(result.notes.iter().cloned());
            drop(said);
            if let Some(shapes) = self.shapes.as_ref().filter(|_| run.seed == self.first) {
                let shape = Distributions::of(&result.results());
                let mut shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner);
                shapes.insert(run.id.clone(), shape);
            }
            let values = cell.point.values();
            Ok(Row::of(&run.id, &values, run.seed, &result.results()))
        })
    }
}

fn guarded<R>(name: &str, work: impl FnOnce() -> Result<R, InputError>) -> anyhow::Result<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(e)) => Err(e.about(name).into()),
        Err(_) => Err(anyhow::anyhow!(
            "{name}: the simulation broke off (see above)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_breaks_off_is_named_and_is_our_fault() {
        let broken: anyhow::Result<()> = guarded("rate=1, seed 2", || panic!("on purpose"));
        let error = broken.unwrap_err();
        assert!(!error.is::<InputError>());
        assert!(error.to_string().starts_with("rate=1, seed 2: "), "{error}");
        let wrong: anyhow::Result<()> = guarded("rate=1, seed 2", || Err(InputError::new("no")));
        let error = wrong.unwrap_err();
        assert!(error.is::<InputError>());
        assert_eq!(error.to_string(), "rate=1, seed 2: no");
    }
}
