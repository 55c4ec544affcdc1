//! The runs of a plan: command lines of `run`, each with a size or a load of its own.

use crate::caller::Caller;
use crate::effects::Explicit;
use crate::plan_args::PlanArgs;
use crate::sweep::{Cell, Digests, Grid, Point, Shared, cell};
use clap::ArgMatches;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use windtunnel_base::input::{InputError, InputErrorKind, plain};
use windtunnel_config::Defaults;
use windtunnel_results::conditions::Condition;
use windtunnel_results::report::machines::Machine;
use windtunnel_sim::RunSpec;
use windtunnel_sim::plan::{Candidate, Trial};
use windtunnel_sim::workload::Traces;

/// Seconds in which requests come where nobody said how many: long enough for a queue that grows
/// by a few percent to be seen in percentiles.
const SECONDS: f64 = 120.0;
/// And at least so many of them.
const LEAST_REQUESTS: f64 = 1000.0;
/// One step of the ladder of loads.
const STEP: f64 = 1.02;
/// Its first load, and how many steps it has: up to 100,000.
const FIRST_LOAD: f64 = 0.1;
const STEPS: u32 = 697;

/// What varies from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nothing: instances do.
    Fixed,
    /// `--rate`.
    Rate,
    /// `--rate-scale`, of a trace.
    Scale,
}

/// What all runs share beside their flags.
#[derive(Clone, Debug)]
pub struct Setting {
    pub load: Load,
    /// Pools that prefill and decode apart are looked at.
    pub split: bool,
    pub seeds: u64,
    first_seed: u64,
    /// Instances that fail.
    pub survive: u32,
    retries: bool,
    /// The number of requests follows the rate.
    sized: bool,
    /// Requests come at random without anybody having said so.
    pub poisson: bool,
    pub rate: f64,
    rate_given: bool,
    /// What is sent is a spec, whose own seed a run without one has.
    spec: bool,
    /// Instances of the cluster whose load is looked for.
    instances: u32,
}

impl Setting {
    pub fn of(
        args: &PlanArgs,
        given: &ArgMatches,
        explicit: &Explicit,
        grid: &Grid,
        defaults: &Defaults,
    ) -> Result<Self, InputError> {
        let has = |id: &str| explicit.has(id) || grid.varies(&id.replace('_', "-"));
        let name: &String = given.get_one("workload").expect("it has a default");
        let trace = has("workload_traces_filepath")
            || has("trace_data")
            || name != "distribution" && name != "xpusim" && defaults.preset(name).is_err();
        let other = has("workload_spec") || has("reqgen_config_path") || has("concurrency");
        let at_a_rate = !trace && !other && name != "xpusim";
        let load = match (args.max_rate, trace) {
            (false, _) => Load::Fixed,
            (true, true) => Load::Scale,
            (true, false) => Load::Rate,
        };
        if args.max_rate && has("concurrency") {
            let why = "--max-rate: a closed loop of --concurrency has no rate";
            return Err(InputError::new(why));
        }
        if args.max_rate && (grid.varies("rate") || grid.varies("rate-scale")) {
            return Err(InputError::new("--grid rate: --max-rate finds it"));
        }
        Ok(Self {
            load,
            split: args.split_pools,
            seeds: args.seeds,
            first_seed: *given.get_one("seed").expect("it has a default"),
            survive: args.survive,
            retries: args.survive > 0 && !has("retries"),
            sized: at_a_rate && !has("max_prompts") && !has("duration") && !has("horizon"),
            poisson: at_a_rate && !has("arrivals") && !has("burstiness") && !has("load_generator"),
            rate: *given.get_one("rate").expect("it has a default"),
            rate_given: explicit.has("rate"),
            spec: has("workload_spec"),
            instances: *given.get_one("num_instances").expect("it has a default"),
        })
    }

    /// The load at a step of the ladder: three digits.
    pub fn load_at(&self, step: u32) -> f64 {
        let exact = FIRST_LOAD * STEP.powi(step as i32);
        let unit = 10f64.powi(exact.log10().floor() as i32 - 2);
        // Divided rather than multiplied by small units: 0.123, not 0.12300000000000001.
        (exact / unit).round() / (1.0 / unit)
    }

    fn step_of(load: f64) -> u32 {
        let steps = (load / FIRST_LOAD).ln() / STEP.ln();
        (steps.max(0.0) as u32).min(STEPS)
    }
}

/// Something to choose.
pub struct Choice<'a> {
    pub point: Point<'a>,
    /// Prefill and decode on instances of their own.
    pub split: bool,
    pub candidate: Candidate,
    /// What an instance runs on.
    pub machine: Machine,
    /// The model's full name, where it is known.
    pub model: String,
    /// What is sent, in words.
    pub workload: String,
    /// Its smallest run.
    pub spec: RunSpec,
}

impl Choice<'_> {
    /// `NAME=VALUE` for each dimension.
    pub fn name(&self, setting: &Setting) -> String {
        let mut parts = self.point.parts();
        if setting.split {
            parts.push(format!("pools={}", self.pools()));
        }
        match parts.is_empty() {
            true => "this cluster".to_owned(),
            false => parts.join(", "),
        }
    }

    /// Whether pools prefill and decode apart.
    pub fn pools(&self) -> &'static str {
        if self.split { "split" } else { "one" }
    }
}

/// Carries runs out, and remembers them.
pub struct Trials<'a> {
    shared: &'a Shared,
    grid: &'a Grid,
    conditions: &'a [Condition],
    pub setting: &'a Setting,
    command: Mutex<clap::Command>,
    caller: &'a Caller<'a>,
    traces: Traces,
    digests: Mutex<Digests>,
    known: Mutex<BTreeMap<String, Trial>>,
    file: Option<Mutex<File>>,
    /// Prefilling instances by point and instances.
    splits: Mutex<BTreeMap<(Vec<String>, u32), u32>>,
    /// When instances fail, by point and load.
    peaks: Mutex<BTreeMap<(Vec<String>, u32), f64>>,
}

/// A line of the file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Line {
    run: String,
    trial: Trial,
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Trials<'a> {
    pub fn new(
        shared: &'a Shared,
        grid: &'a Grid,
        conditions: &'a [Condition],
        setting: &'a Setting,
        command: clap::Command,
        caller: &'a Caller<'a>,
    ) -> Self {
        Self {
            shared,
            grid,
            conditions,
            setting,
            command: Mutex::new(command),
            caller,
            traces: Traces::default(),
            digests: Mutex::default(),
            known: Mutex::default(),
            file: None,
            splits: Mutex::default(),
            peaks: Mutex::default(),
        }
    }

    /// With the runs that a file remembers, which takes the new ones, too.
    pub fn resuming(mut self, path: Option<&Path>) -> Result<Self, InputError> {
        let Some(path) = path else { return Ok(self) };
        let cannot = |e: &std::io::Error| {
            InputError::in_file(
                path.display(),
                format!("cannot read and write: {}", plain(e)),
            )
        };
        let text = match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(|e| cannot(&e))?,
        };
        let mut whole = 0;
        for line in text.split_inclusive('\n') {
            // The last one may have been cut off.
            match serde_json::from_str::<Line>(line) {
                Ok(line) => held(&self.known).insert(line.run, line.trial),
                Err(_) if whole + line.len() == text.len() && !line.ends_with('\n') => break,
                Err(_) => {
                    let why = "it is there already, and not what a plan wrote";
                    return Err(InputError::in_file(path.display(), why));
                }
            };
            whole += line.len();
        }
        let file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| cannot(&e))?;
        file.set_len(whole as u64).map_err(|e| cannot(&e))?;
        self.file = Some(Mutex::new(file));
        if whole > 0 {
            (self.caller.say)(&format!(
                "{} runs are known already",
                held(&self.known).len()
            ));
        }
        Ok(self)
    }

    /// Names of the dimensions.
    pub fn names(&self) -> Vec<String> {
        self.grid.names().into_iter().map(str::to_owned).collect()
    }

    /// Do any runs have scripts that nobody trusts?
    pub fn may_have_scripts(&self) -> Result<bool, InputError> {
        let mut any = false;
        for point in self.grid.points() {
            let spec = self.cell(point, &[])?.spec;
            any |= !spec.policies.trusted && crate::confine::has_scripts(&spec);
        }
        Ok(any)
    }

    fn cell<'p>(&self, point: Point<'p>, more: &[OsString]) -> Result<Cell<'p>, InputError> {
        cell(&mut held(&self.command), self.shared, point, more)
    }

    /// What there is to choose from, what cannot be and why, and what people should know.
    #[expect(clippy::type_complexity, reason = "said once")]
    pub fn choices(
        &self,
        most_gpus: u32,
    ) -> Result<(Vec<Choice<'a>>, Vec<(String, String)>, Vec<String>), InputError> {
        let (mut choices, mut refused, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_error = None;
        for point in self.grid.points() {
            let mut fits = true;
            for split in [false, true] {
                // What does not fit in one pool does not fit in two.
                if split && !(self.setting.split && fits) {
                    continue;
                }
                let mut choice = Choice {
                    point: point.clone(),
                    split,
                    candidate: Candidate {
                        range: [1 + u32::from(split), u32::MAX],
                        start: None,
                    },
                    machine: Machine::default(),
                    model: String::new(),
                    workload: String::new(),
                    spec: RunSpec::default(),
                };
                let smallest = choice.candidate.range[0];
                let more = self.arguments(&choice, smallest, split.then_some(1), None);
                let cell = self.cell(point.clone(), &more)?;
                let resolved = cell.resolve(&cell.spec, &self.traces);
                let run = match resolved {
                    Ok(run) => run,
                    // A slip of the pen is no verdict.
                    Err(e) if e.kind() == InputErrorKind::UnknownName => return Err(e),
                    Err(e) => {
                        refused.push((choice.name(self.setting), e.to_string()));
                        first_error.get_or_insert(e);
                        fits = false;
                        continue;
                    }
                };
                for note in run.notes() {
                    if !notes.contains(note) {
                        notes.push(note.clone());
                    }
                }
                let machines = run.deployment().machines();
                choice.machine = machines.first().cloned().unwrap_or_default();
                run.model().clone_into(&mut choice.model);
                run.workload().clone_into(&mut choice.workload);
                choice.spec = cell.spec.clone();
                let gpus = choice.machine.gpus_per_instance().max(1);
                choice.candidate = match self.setting.load {
                    Load::Fixed if gpus * smallest > most_gpus => {
                        let why = format!(
                            "takes {} GPUs, and --max-gpus is {most_gpus}",
                            gpus * smallest
                        );
                        refused.push((choice.name(self.setting), why));
                        fits = false;
                        continue;
                    }
                    Load::Fixed => Candidate {
                        range: [smallest, most_gpus / gpus],
                        start: None,
                    },
                    Load::Rate => {
                        let guess = f64::from(self.setting.instances);
                        let start = if self.setting.rate_given {
                            self.setting.rate
                        } else {
                            guess
                        };
                        Candidate {
                            range: [0, STEPS],
                            start: Some(Setting::step_of(start)),
                        }
                    }
                    Load::Scale => Candidate {
                        range: [0, STEPS],
                        start: Some(Setting::step_of(1.0)),
                    },
                };
                choices.push(choice);
            }
        }
        match first_error {
            Some(e) if choices.is_empty() => Err(e),
            _ => Ok((choices, refused, notes)),
        }
    }

    /// The flags of a run beyond those of its point.
    fn arguments(
        &self,
        choice: &Choice<'_>,
        number: u32,
        prefill: Option<u32>,
        fails_at_s: Option<f64>,
    ) -> Vec<OsString> {
        let s = self.setting;
        let mut flags = Vec::new();
        let rate = match s.load {
            Load::Rate => s.load_at(number),
            Load::Fixed | Load::Scale => s.rate,
        };
        match s.load {
            Load::Fixed => flags.push(format!("--num-instances={number}")),
            Load::Rate => flags.push(format!("--rate={rate}")),
            Load::Scale => flags.push(format!("--rate-scale={}", s.load_at(number))),
        }
        if let (true, Some(prefill)) = (choice.split, prefill) {
            flags.push(format!("--prefill-instances={prefill}"));
            flags.push(format!("--decode-instances={}", number - prefill));
        }
        if s.poisson {
            flags.push("--arrivals=poisson".to_owned());
        }
        if s.sized {
            let requests = (rate * SECONDS).max(LEAST_REQUESTS).ceil();
            flags.push(format!("--max-prompts={requests}"));
        }
        if let Some(at) = fails_at_s {
            let instances = if s.load == Load::Fixed {
                number
            } else {
                s.instances
            };
            let failing = s.survive.min(instances);
            let whom: Vec<String> = (0..failing).map(|k| k.to_string()).collect();
            flags.push(format!("--event={at}:fail:{}", whom.join("+")));
            if s.retries {
                flags.push("--retries=1".to_owned());
            }
        }
        flags.into_iter().map(OsString::from).collect()
    }

    /// The command line of a choice at a number, as people type it.
    ///
    /// # Errors
    /// When the run that says when instances fail goes wrong.
    pub fn command_line(
        &self,
        choice: &Choice<'_>,
        number: u32,
        prefill: u32,
    ) -> Result<Vec<String>, InputError> {
        let fails_at_s = self.fails_at_s(choice, number)?;
        let mut own = self.arguments(choice, number, Some(prefill), fails_at_s);
        if self.setting.spec {
            own.push(format!("--seed={}", self.setting.first_seed).into());
        }
        let of_point = choice.point.arguments();
        let all = self.shared.arguments().iter().chain(&of_point).chain(&own);
        Ok(all.map(|a| a.to_string_lossy().into_owned()).collect())
    }

    /// A run of a choice with so many instances at the start, which a policy scales: `flags` say
    /// which, and up to what.
    ///
    /// # Errors
    /// When it goes wrong.
    pub fn scaled(
        &self,
        choice: &Choice<'_>,
        number: u32,
        flags: &[OsString],
        seed: u64,
    ) -> Result<Trial, InputError> {
        let mut more = self.arguments(choice, number, None, None);
        more.extend_from_slice(flags);
        self.carry_out(choice, &more, None, seed)
    }

    /// A run.
    pub fn run(&self, choice: &Choice<'_>, number: u32, seed: u64) -> Result<Trial, InputError> {
        let prefill = match choice.split {
            true => Some(self.prefill(choice, number)?),
            false => None,
        };
        self.run_with(choice, number, prefill, seed)
    }

    /// Of so many instances, how many had better prefill: those with which the limits are used
    /// least. Fewer make TTFT late, more make TPOT long, so it is looked for downhill, with the
    /// first seed.
    fn prefill(&self, choice: &Choice<'_>, number: u32) -> Result<u32, InputError> {
        let key = (choice.point.parts(), number);
        if let Some(known) = held(&self.splits).get(&key) {
            return Ok(*known);
        }
        let used = |prefill: u32| -> Result<(f64, f64), InputError> {
            let trial = self.run_with(choice, number, Some(prefill), 0)?;
            // Where requests are not served, the more is served, the better.
            let missing = trial.arrivals_per_s - trial.completed_per_s;
            Ok((trial.use_of_limits.unwrap_or(f64::INFINITY), missing))
        };
        let less =
            |a: (f64, f64), b: (f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).is_lt();
        let mut at = (number / 3).max(1);
        let mut best = used(at)?;
        let mut step = (number / 4).max(1);
        loop {
            let mut moved = false;
            for next in [at.saturating_sub(step).max(1), (at + step).min(number - 1)] {
                if next != at {
                    let there = used(next)?;
                    if less(there, best) {
                        (at, best, moved) = (next, there, true);
                        break;
                    }
                }
            }
            match (moved, step) {
                (true, _) => {}
                (false, 1) => break,
                (false, _) => step /= 2,
            }
        }
        held(&self.splits).insert(key, at);
        Ok(at)
    }

    fn run_with(
        &self,
        choice: &Choice<'_>,
        number: u32,
        prefill: Option<u32>,
        seed: u64,
    ) -> Result<Trial, InputError> {
        let fails_at_s = self.fails_at_s(choice, number)?;
        let more = self.arguments(choice, number, prefill, fails_at_s);
        self.carry_out(choice, &more, prefill, seed)
    }

    fn fails_at_s(&self, choice: &Choice<'_>, number: u32) -> Result<Option<f64>, InputError> {
        let fails = self.setting.survive > 0;
        fails.then(|| self.peak(choice, number)).transpose()
    }

    /// When most requests come: by a run in which nothing fails.
    fn peak(&self, choice: &Choice<'_>, number: u32) -> Result<f64, InputError> {
        // How many instances there are changes no arrival.
        let number = match self.setting.load {
            Load::Fixed => choice.candidate.range[1],
            Load::Rate | Load::Scale => number,
        };
        let key = (choice.point.parts(), number);
        if let Some(at) = held(&self.peaks).get(&key) {
            return Ok(*at);
        }
        let prefill = choice.split.then(|| (number / 3).max(1));
        let more = self.arguments(choice, number, prefill, None);
        let at = self.carry_out(choice, &more, prefill, 0)?.peak_s;
        held(&self.peaks).insert(key, at);
        Ok(at)
    }

    fn carry_out(
        &self,
        choice: &Choice<'_>,
        more: &[OsString],
        prefill: Option<u32>,
        seed: u64,
    ) -> Result<Trial, InputError> {
        let cell = self.cell(choice.point.clone(), more)?;
        let seed = self.setting.first_seed.wrapping_add(seed);
        let mut digests = held(&self.digests);
        let run = cell.id(seed, &mut digests)?;
        drop(digests);
        let conditions: Vec<String> = self.conditions.iter().map(ToString::to_string).collect();
        let id = format!("{run}:{}", conditions.join(","));
        if let Some(known) = held(&self.known).get(&id) {
            return Ok(known.clone());
        }
        let mut spec = cell.spec.clone();
        spec.seed = Some(seed);
        self.caller.go_on()?;
        let work = || self.caller.run(cell.resolve(&spec, &self.traces)?);
        let name = format!("{}, seed {seed}", choice.name(self.setting));
        let result = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(|e| e.about(&name))?,
            Err(_) => {
                let why = format!("{name}: the simulation broke off (see above)");
                return Err(InputError::new(why));
            }
        };
        let mut trial = Trial::of(&result, self.conditions);
        trial.prefill_instances = prefill.unwrap_or(0);
        if let Some(file) = &self.file {
            let line = Line {
                run: id.clone(),
                trial: trial.clone(),
            };
            let mut text = serde_json::to_vec(&line).unwrap_or_default();
            text.push(b'\n');
            // What was computed is of use even if the disk is full.
            let _ = held(file).write_all(&text);
        }
        held(&self.known).insert(id, trial.clone());
        Ok(trial)
    }
}
