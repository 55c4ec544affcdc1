//! The runs of a sweep: command lines made of what all share and what a point adds, checked, and
//! named for good.

use super::grid::{Grid, Point};
use crate::commands::{Cli, Command};
use crate::effects::Explicit;
use crate::print::first_paragraph;
use crate::scheduling_args::setting;
use crate::spec;
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, open_regular, plain};
use windtunnel_policy::PolicySpec;
use windtunnel_results::report::machines::{Machine, differences};
use windtunnel_sim::workload::Traces;
use windtunnel_sim::{Resolver, RunSpec, Simulation};

/// The flags that all runs share.
pub struct Shared {
    /// `--flag=value`, by main name, in the order of the help: however they were typed, they read
    /// the same.
    arguments: Vec<OsString>,
    ids: Vec<String>,
}

/// All runs of a point; they differ in their seed.
pub struct Cell<'a> {
    pub point: Point<'a>,
    pub spec: RunSpec,
    /// Flags that all cells share: they may be without effect in some.
    excused: Vec<String>,
    /// What its runs' names are made of, without seed and files.
    identity: String,
}

impl Shared {
    /// Reads them off the sweep's command line. What only concerns output is no part of a run.
    pub fn of(given: &ArgMatches, flags: &[Arg]) -> Self {
        let mut shared = Self {
            arguments: Vec::new(),
            ids: Vec::new(),
        };
        for arg in flags {
            let id = arg.get_id().as_str();
            let typed = given.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
            if !typed || ["json", "quiet", "seed", "fail_if", "html"].contains(&id) {
                continue;
            }
            let mut argument = OsString::from(format!("--{}", arg.get_long().unwrap_or(id)));
            if !matches!(arg.get_action(), ArgAction::SetTrue) {
                argument.push("=");
                let values: Vec<_> = given.get_raw(id).into_iter().flatten().collect();
                argument.push(values.join(",".as_ref()));
            }
            shared.arguments.push(argument);
            shared.ids.push(setting(id).to_owned());
        }
        shared
    }

    /// Takes out what is only for pools that a policy scales: flags that begin so, and the
    /// parameters of that policy.
    pub fn take_scaling(&mut self) -> Vec<OsString> {
        let mut taken = Vec::new();
        let mut kept = Self {
            arguments: Vec::new(),
            ids: Vec::new(),
        };
        for (argument, id) in self.arguments.drain(..).zip(self.ids.drain(..)) {
            let text = argument.to_string_lossy();
            if text.starts_with("--autoscale") || text.starts_with("--node-pool") {
                taken.push(argument);
                continue;
            }
            let Some(params) = text.strip_prefix("--policy-param=") else {
                kept.arguments.push(argument);
                kept.ids.push(id);
                continue;
            };
            let scaling = |param: &&str| param.starts_with("scale.");
            let (own, others): (Vec<&str>, Vec<&str>) = params.split(',').partition(scaling);
            let flag =
                |params: &[&str]| OsString::from(format!("--policy-param={}", params.join(",")));
            if !own.is_empty() {
                taken.push(flag(&own));
            }
            if !others.is_empty() {
                kept.arguments.push(flag(&others));
                kept.ids.push(id);
            }
        }
        *self = kept;
        taken
    }

    /// As they are typed, `--flag=value`.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

/// The command lines of all points, parsed by `command`.
///
/// # Errors
/// When one is wrong in itself.
pub fn cells<'a>(
    grid: &'a Grid,
    shared: &Shared,
    mut command: clap::Command,
) -> Result<Vec<Cell<'a>>, InputError> {
    let cell = |point| cell(&mut command, shared, point, &[]);
    grid.points().into_iter().map(cell).collect()
}

/// The runs of a point, with `more` flags that neither it nor all runs have.
///
/// # Errors
/// When their command line is wrong in itself.
pub fn cell<'a>(
    command: &mut clap::Command,
    shared: &Shared,
    point: Point<'a>,
    more: &[OsString],
) -> Result<Cell<'a>, InputError> {
    let mut arguments = shared.arguments.clone();
    arguments.extend(point.arguments());
    arguments.extend_from_slice(more);
    let argv = ["windtunnel", "run"].map(OsString::from).into_iter();
    let wrong = |e: clap::Error| InputError::new(format!("{point}: {}", first_paragraph(&e)));
    let matches = command
        .try_get_matches_from_mut(argv.chain(arguments.iter().cloned()))
        .map_err(wrong)?;
    let args = match Cli::from_arg_matches(&matches).map_err(wrong)?.command {
        Command::Run(run) => *run,
        _ => return Err(InputError::new("a sweep varies the flags of `run`")),
    };
    let bundle = point.bundle();
    // Sorted: it does not matter whether a flag is shared or varied.
    arguments.sort();
    let patches = bundle.iter().map(|(k, v)| format!("bundle:{k}={v}"));
    let identity: Vec<String> = [env!("CARGO_PKG_VERSION").to_owned()]
        .into_iter()
        .chain(arguments.iter().map(|a| a.to_string_lossy().into_owned()))
        .chain(patches)
        .collect();
    let explicit = Explicit::of(&matches);
    let mut spec = spec::of_run(&args, &explicit, &bundle)?;
    // The runs of a sweep differ in their seeds, whatever a workload spec says.
    spec.seed = Some(args.common.seed);
    Ok(Cell {
        point,
        spec,
        excused: shared.ids.clone(),
        identity: identity.join("\n"),
    })
}

impl Cell<'_> {
    /// Resolves a run of this point.
    pub fn resolve(&self, spec: &RunSpec, traces: &Traces) -> Result<Simulation, InputError> {
        let resolver = Resolver {
            excused: &self.excused,
            traces: Some(traces),
            ..Resolver::default()
        };
        resolver.resolve(spec)
    }

    /// Names a run for good: same version, flags, seed and bytes of all input files, same name.
    pub fn id(&self, seed: u64, digests: &mut Digests) -> Result<String, InputError> {
        let mut text = format!("{}\n{seed}", self.identity);
        for file in self.spec.files() {
            text.push_str(&format!("\n{:016x}", digests.of(&file)?));
        }
        Ok(format!("{:016x}", windtunnel_base::rng::fnv1a64(&text)))
    }
}

/// Finds every mistake before the first run starts, and gives what people should know about the
/// runs.
///
/// # Errors
/// When a run cannot be done, or a flag or key changes no run.
pub fn check(
    grid: &Grid,
    cells: &[Cell<'_>],
    shared: &Shared,
    traces: &Traces,
) -> Result<Vec<String>, InputError> {
    let mut notes = BTreeSet::new();
    let mut machines = Vec::new();
    let mut runs = Vec::new();
    for cell in cells {
        let run = cell
            .resolve(&cell.spec, traces)
            .map_err(|e| e.about(&cell.point))?;
        notes.extend(run.notes().cloned());
        let label = cell.point.parts();
        let of_run = run.deployment().machines().iter();
        machines.extend(of_run.map(|m| (label.clone(), m.clone())));
        let idle = shared.ids.iter().map(|id| run.given().idle(id));
        runs.push((run.policies().clone(), idle.collect::<Vec<_>>()));
    }
    // A shared flag may be idle in some runs, not in all.
    for k in 0..shared.ids.len() {
        let reasons: Vec<_> = runs.iter().map_while(|(_, idle)| idle[k].clone()).collect();
        if let (Some(reason), true) = (reasons.first(), reasons.len() == cells.len()) {
            return Err(reason.clone());
        }
    }
    let policies: Vec<PolicySpec> = runs.into_iter().map(|(policies, _)| policies).collect();
    bundle_keys_matter(grid, cells, &policies)?;
    let machines: Vec<(Vec<String>, &Machine)> =
        machines.iter().map(|(l, m)| (l.clone(), m)).collect();
    Ok(notes.into_iter().chain(differences(&machines)).collect())
}

/// A key of the bundle that a flag overrides, or that the policy does not read, would give the same
/// runs again.
fn bundle_keys_matter(
    grid: &Grid,
    cells: &[Cell<'_>],
    policies: &[PolicySpec],
) -> Result<(), InputError> {
    for axis in grid.bundle_axes() {
        let same = |(k, cell): (usize, &Cell<'_>)| policies[k] == policies[cell.point.twin(axis)];
        let several = cells
            .iter()
            .enumerate()
            .any(|(k, c)| c.point.twin(axis) != k);
        if several && cells.iter().enumerate().all(same) {
            return Err(InputError::new(format!(
                "--grid {} has no effect: a flag overrides it, or the chosen policy does not read it",
                grid.names()[axis]
            )));
        }
    }
    Ok(())
}

/// Digests of files' bytes, each file read once.
#[derive(Default)]
pub struct Digests(BTreeMap<PathBuf, u64>);

impl Digests {
    fn of(&mut self, path: &Path) -> Result<u64, InputError> {
        if let Some(known) = self.0.get(path) {
            return Ok(*known);
        }
        let digest = digest(path).map_err(|e| {
            InputError::in_file(path.display(), format!("cannot read: {}", plain(&e)))
        })?;
        self.0.insert(path.to_owned(), digest);
        Ok(digest)
    }

    /// The files that the runs read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }
}

fn digest(path: &Path) -> io::Result<u64> {
    let mut file = open_regular(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut hash = windtunnel_base::rng::Fnv1a64::default();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.value()),
            n => hash.add(&buffer[..n]),
        }
    }
}
