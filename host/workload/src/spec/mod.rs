//! Workload specs: YAML files that say who sends what, when.
//!
//! [`read`] checks a file and names every mistake with its place; [`Opened::source`] generates its
//! requests.

mod compile;
pub mod compose;
mod deal;
mod foreign;
mod generate;
mod groups;
mod inference_perf;
mod lanes;
mod locate;
mod parts;
mod plan;
mod planned;
mod rates;
pub mod reference;
pub mod scenarios;
mod servegen;
pub mod types;

pub use generate::{Bounds, Generator, Pauses};
pub use locate::Fault;
pub use types::WorkloadSpec;

use crate::import::RowErrors;
use planned::{Plan, Traffic};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{self, InputError};

/// A spec that is known to make sense.
#[derive(Debug)]
pub struct Opened {
    /// As it was written.
    pub spec: WorkloadSpec,
    plan: Plan,
}

/// What is changed in a spec before it is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Aggregate rate, requests per second.
    pub rate: Option<f64>,
    /// Factor on all rates: the aggregate one, or those of single windows, spikes and stages.
    pub rate_scale: Option<f64>,
}

impl Changes {
    fn apply(self, spec: &mut WorkloadSpec) -> Result<(), Fault> {
        if let Some(rate) = self.rate {
            if spec.aggregate_rate == 0.0 {
                let message = "there is no aggregate_rate that a rate could replace; its windows say their own";
                return Err(Fault::new("", message));
            }
            spec.aggregate_rate = rate;
        }
        match self.rate_scale {
            Some(factor) => scale_rates(spec, factor),
            None => Ok(()),
        }
    }
}

/// Makes requests come so many times as fast.
fn scale_rates(spec: &mut WorkloadSpec, factor: f64) -> Result<(), Fault> {
    if spec.servegen_data.is_some() {
        let message = "its rates are those of the data; expected a spec without servegen_data \
                       where rates are scaled";
        return Err(Fault::new("servegen_data", message));
    }
    if spec.aggregate_rate > 0.0 {
        // Windows say shares of it.
        spec.aggregate_rate *= factor;
        return Ok(());
    }
    spec.trace_rates_mut().for_each(|rate| *rate *= factor);
    let stages = spec.inference_perf.iter_mut().flat_map(|p| &mut p.stages);
    stages.for_each(|stage| stage.rate *= factor);
    Ok(())
}

/// Reads a spec, changes it, and checks it.
///
/// # Errors
/// When it cannot be read, has unknown keys, or makes no sense; the message names the place.
pub fn read(path: &Path, changes: Changes) -> Result<Opened, InputError> {
    parse(
        path,
        &input::read_text_up_to(path, input::LARGEST_SPEC)?,
        changes,
    )
}

/// As [`read`], of a text that is at hand; `path` is its name in messages and says where files are
/// that it names.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str, changes: Changes) -> Result<Opened, InputError> {
    let folder = input::folder_of(path);
    if foreign::is_inference_perf(text) {
        let name = path.display().to_string();
        let (mut spec, notes) = foreign::inference_perf(&name, text)?;
        let changed = changes.apply(&mut spec).and_then(|()| open(spec, folder));
        let mut opened =
            changed.map_err(|f| InputError::in_file(name, InputError::from(f).message()))?;
        opened.plan.notes.extend(notes);
        return Ok(opened);
    }
    let mut spec: WorkloadSpec = input::parse_yaml(path.display(), text)?;
    let changed = changes.apply(&mut spec);
    changed.map_err(|f| f.in_text(path.display(), text))?;
    open(spec, folder).map_err(|f| f.in_text(path.display(), text))
}

/// Checks a spec; `folder` is where files that it names are.
///
/// # Errors
/// When it makes no sense.
pub fn open(spec: WorkloadSpec, folder: &Path) -> Result<Opened, Fault> {
    let plan = plan::plan(&spec, folder)?;
    Ok(Opened { spec, plan })
}

/// Files and folders that the spec `path` names: weights of empirical distributions, ServeGen data.
///
/// # Errors
/// When the spec cannot be read, or has unknown keys.
pub fn named(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    let text = input::read_text_up_to(path, input::LARGEST_SPEC)?;
    if foreign::is_inference_perf(&text) {
        return Ok(Vec::new());
    }
    let spec: WorkloadSpec = input::parse_yaml(path.display(), &text)?;
    let mut named: Vec<&str> = Vec::new();
    let all = serde_json::to_value(&spec).unwrap_or_default();
    files_in(&all, &mut named);
    named.extend(spec.servegen_data.iter().map(|data| data.path.as_str()));
    let folder = input::folder_of(path);
    Ok(named.into_iter().map(|name| folder.join(name)).collect())
}

/// What stands under a key `file`, wherever.
fn files_in<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
    if let Some(file) = value.get("file").and_then(|f| f.as_str()) {
        found.push(file);
    }
    let (object, array) = (value.as_object(), value.as_array());
    let inner = object.into_iter().flat_map(|o| o.values());
    inner
        .chain(array.into_iter().flatten())
        .for_each(|value| files_in(value, found));
}

/// A folder of ServeGen data, from `from_s` to `to_s` seconds, which becomes time 0.
///
/// # Errors
/// When a file cannot be read, or a row makes no sense and `errors` is strict.
pub fn servegen(
    folder: &Path,
    from_s: i64,
    to_s: Option<i64>,
    errors: &mut RowErrors,
    seed: u64,
) -> Result<(Generator, Vec<String>), InputError> {
    let span = servegen::Span {
        start_s: from_s,
        end_s: to_s,
        ..servegen::Span::default()
    };
    let mut loaded = servegen::load(folder, span, errors)?;
    plan::name_streams(&mut loaded.clients);
    let plan = Plan {
        clients: loaded.clients,
        notes: Vec::new(),
    };
    let bounds = Bounds {
        seed,
        horizon_us: i64::MAX,
        num_requests: None,
        timeout_us: None,
        pauses: Pauses::default(),
    };
    Ok((Generator::new(plan, bounds), loaded.notes))
}

/// Is this a folder of ServeGen data?
#[must_use]
pub fn is_servegen(path: &Path) -> bool {
    servegen::is_folder(path)
}

impl Opened {
    /// What a person should know about it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.plan.notes
    }

    /// The spec with its clients spelled out, by today's names.
    #[must_use]
    pub fn expanded(&self) -> WorkloadSpec {
        let mut spec = self.spec.clone();
        let today = |class: &mut String| match class.as_str() {
            "realtime" => *class = "critical".into(),
            "interactive" => *class = "standard".into(),
            _ => {}
        };
        spec.clients
            .iter_mut()
            .for_each(|c| today(&mut c.slo_class));
        spec.cohorts
            .iter_mut()
            .for_each(|c| today(&mut c.slo_class));
        spec.version = "2".into();
        // Cohorts that share an aggregate rate cannot stand beside clients with rates of their own.
        if let (Some(perf), true) = (&spec.inference_perf, spec.cohorts.is_empty())
            && let Ok(clients) = inference_perf::clients(perf)
        {
            (spec.clients, spec.inference_perf, spec.aggregate_rate) = (clients, None, 0.0);
        }
        spec
    }

    /// The SLO classes of its requests; an empty one for none.
    #[must_use]
    pub fn classes(&self) -> BTreeSet<String> {
        let clients = self.plan.clients.iter();
        clients.map(|c| c.kind.slo_class.clone()).collect()
    }

    /// The tenants of its requests; an empty one for none.
    #[must_use]
    pub fn tenants(&self) -> BTreeSet<String> {
        let clients = self.plan.clients.iter();
        clients.map(|c| c.kind.tenant.clone()).collect()
    }

    /// Clients in all, members of cohorts included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.plan.clients.len()
    }

    /// Does it end by itself?
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.plan.clients.iter().all(|c| match &c.traffic {
            Traffic::Steady { windows, .. } => {
                !windows.is_empty() || c.kind.session.is_some_and(|s| s.once)
            }
            Traffic::Windows(_) => true,
            Traffic::Users { .. } => false,
        })
    }

    /// Its requests within bounds.
    ///
    /// # Errors
    /// When nothing bounds them, or a bound makes no sense.
    pub fn source(self, bounds: Bounds) -> Result<Generator, InputError> {
        if bounds.horizon_us <= 0 {
            let message = format!(
                "the horizon is {}; expected microseconds above 0",
                bounds.horizon_us
            );
            return Err(InputError::new(message));
        }
        if bounds.num_requests.is_none() && bounds.horizon_us == i64::MAX && !self.is_bounded() {
            return Err(InputError::new(
                "the workload never ends: give it num_requests or horizon, or `num_requests` or `horizon`",
            ));
        }
        Ok(Generator::new(self.plan, bounds))
    }
}

#[cfg(test)]
mod tests;
