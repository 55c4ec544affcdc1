//! The points of a sweep: every combination of the given values, times the seeds.

use crate::cli::args::Cli;
use crate::cli::effects::Explicit;
use crate::input::{InputError, unknown};
use clap::{Arg, ArgAction, CommandFactory};
use std::fmt;
use std::path::Path;

/// Flags of the sweep itself; all but the switches take a value.
const OWN: [&str; 4] = ["--grid", "--seeds", "--out", "--jobs"];
const OWN_SWITCHES: [&str; 1] = ["--fresh"];
/// Marks a key of the policy bundle.
const BUNDLE: &str = "bundle:";

/// One dimension.
#[derive(Clone, Debug)]
struct Axis {
    /// As given: a flag without dashes, or `bundle:a.b`.
    name: String,
    /// The flag takes no value of its own: `true` gives it, `false` does not.
    is_switch: bool,
    values: Vec<String>,
}

/// All dimensions.
#[derive(Clone, Debug)]
pub struct Grid {
    axes: Vec<Axis>,
}

/// One combination of values.
#[derive(Clone, Debug)]
pub struct Point {
    chosen: Vec<(Axis, usize)>,
    pub seed: u64,
    /// Changes of the policy bundle: path of keys and value.
    pub bundle: Vec<(String, String)>,
}

impl Grid {
    /// Reads the dimensions.
    ///
    /// # Errors
    /// Unknown flags, flags that are given anyway, no values, a dimension named twice.
    pub fn parse(
        given: &[String],
        bundle: Option<&Path>,
        explicit: &Explicit,
    ) -> Result<Self, InputError> {
        let mut axes: Vec<Axis> = Vec::new();
        for text in given {
            let Some((name, values)) = text.split_once('=') else {
                return Err(InputError::new(format!(
                    "--grid {text}: expected KEY=VALUE,VALUE,..."
                )));
            };
            let name = name.trim().trim_start_matches("--");
            let separator = if values.contains(';') { ';' } else { ',' };
            let values: Vec<String> = values
                .split(separator)
                .map(|v| v.trim().to_owned())
                .collect();
            if values.iter().any(String::is_empty) {
                return Err(InputError::new(format!("--grid {text}: a value is empty")));
            }
            let is_switch = match name.strip_prefix(BUNDLE) {
                Some(_) if bundle.is_none() => {
                    return Err(InputError::new(format!(
                        "--grid {name}: there is no --policy-config to vary"
                    )));
                }
                Some(_) => false,
                None => check_flag(name, &values, explicit)?,
            };
            if axes.iter().any(|axis| axis.name == name) {
                return Err(InputError::new(format!("--grid {name} is given twice")));
            }
            axes.push(Axis {
                name: name.to_owned(),
                is_switch,
                values,
            });
        }
        Ok(Self { axes })
    }

    /// Names of the dimensions.
    pub fn names(&self) -> Vec<&str> {
        self.axes.iter().map(|axis| axis.name.as_str()).collect()
    }

    /// Every combination, the last dimension varying fastest, each with `seeds` seeds from `seed` on.
    pub fn points(&self, seed: u64, seeds: u64) -> Vec<Point> {
        let mut combinations: Vec<Vec<(Axis, usize)>> = vec![Vec::new()];
        for axis in &self.axes {
            let longer = |c: &Vec<(Axis, usize)>| {
                let c = c.clone();
                (0..axis.values.len())
                    .map(move |k| c.iter().cloned().chain([(axis.clone(), k)]).collect())
                    .collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(longer).collect();
        }
        let with_seeds = |chosen: Vec<(Axis, usize)>| {
            (0..seeds).map(move |k| Point::new(chosen.clone(), seed.wrapping_add(k)))
        };
        combinations.into_iter().flat_map(with_seeds).collect()
    }
}

/// Is `name` a flag of `run` that a sweep may vary? Says whether it is a switch.
fn check_flag(name: &str, values: &[String], explicit: &Explicit) -> Result<bool, InputError> {
    let command = Cli::command();
    let run = command
        .find_subcommand("run")
        .expect("there is a run command");
    let longs = |arg: &Arg| -> Vec<String> {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long()
            .into_iter()
            .chain(aliases)
            .map(str::to_owned)
            .collect()
    };
    let Some(arg) = run
        .get_arguments()
        .find(|arg| longs(arg).iter().any(|long| long == name))
    else {
        let all: Vec<String> = run.get_arguments().flat_map(longs).collect();
        let nearest = crate::input::nearest(name, all.iter().map(String::as_str)).unwrap_or("rate");
        return Err(InputError::new(unknown(
            "flag of `run`",
            name,
            &[nearest, "... (see windtunnel run --help)"],
        )));
    };
    let id = arg.get_id().as_str();
    if id == "seed" {
        return Err(InputError::new("--grid seed: give --seeds N instead"));
    }
    if explicit.has(id) {
        return Err(InputError::new(format!(
            "--{name} is given and swept; drop one of the two"
        )));
    }
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    if is_switch && values.iter().any(|v| v != "true" && v != "false") {
        return Err(InputError::new(format!(
            "--grid {name}: a switch takes true and false"
        )));
    }
    Ok(is_switch)
}

/// The arguments after `sweep` that belong to the runs.
pub fn base_arguments(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut base = Vec::new();
    let mut skip = false;
    for argument in all {
        let own_with_value = OWN
            .iter()
            .any(|own| argument.starts_with(&format!("{own}=")));
        if std::mem::take(&mut skip) || own_with_value || OWN_SWITCHES.contains(&argument.as_str())
        {
            continue;
        }
        if OWN.contains(&argument.as_str()) {
            skip = true;
            continue;
        }
        base.push(argument);
    }
    base
}

impl Point {
    fn new(chosen: Vec<(Axis, usize)>, seed: u64) -> Self {
        let bundle = chosen
            .iter()
            .filter_map(|(axis, k)| {
                Some((
                    axis.name.strip_prefix(BUNDLE)?.to_owned(),
                    axis.values[*k].clone(),
                ))
            })
            .collect();
        Self {
            chosen,
            seed,
            bundle,
        }
    }

    /// Values in the order of the dimensions.
    pub fn values(&self) -> Vec<&str> {
        self.chosen
            .iter()
            .map(|(axis, k)| axis.values[*k].as_str())
            .collect()
    }

    /// What the command line of this run has more than the others'.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--seed={}", self.seed)];
        for (axis, k) in &self.chosen {
            let value = &axis.values[*k];
            if axis.name.starts_with(BUNDLE) {
                continue;
            }
            if !axis.is_switch {
                arguments.push(format!("--{}={value}", axis.name));
            } else if value == "true" {
                arguments.push(format!("--{}", axis.name));
            }
        }
        arguments
    }

    /// Names the run for good: the same version, arguments and values have the same name.
    pub fn id(&self, base: &[String]) -> String {
        let mut text = env!("CARGO_PKG_VERSION").to_owned();
        for part in base.iter().cloned().chain(self.arguments()) {
            text.push('\n');
            text.push_str(&part);
        }
        for (key, value) in &self.bundle {
            text.push_str(&format!("\n{BUNDLE}{key}={value}"));
        }
        format!("{:016x}", crate::workload::rng::fnv1a64(&text))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .chosen
            .iter()
            .map(|(axis, k)| format!("{}={}", axis.name, axis.values[*k]))
            .collect();
        write!(f, "{}, seed {}", parts.join(", "), self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(given: &[&str]) -> Result<Grid, InputError> {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        Grid::parse(&given, None, &Explicit::default())
    }

    #[test]
    fn the_last_dimension_varies_fastest_and_seeds_fastest_of_all() {
        let grid = grid(&[
            "rate=1,2",
            "routing-scorers=queue-depth:1;queue-depth:2,load-balance:1",
        ])
        .unwrap();
        let points: Vec<String> = grid.points(7, 2).iter().map(ToString::to_string).collect();
        assert_eq!(points.len(), 8);
        assert_eq!(points[1], "rate=1, routing-scorers=queue-depth:1, seed 8");
        assert_eq!(
            points[2],
            "rate=1, routing-scorers=queue-depth:2,load-balance:1, seed 7"
        );
        assert_eq!(points[4], "rate=2, routing-scorers=queue-depth:1, seed 7");
    }

    #[test]
    fn aliases_are_flags_and_mistakes_are_named() {
        assert!(grid(&["num-requests=1,2", "max-num-seqs=3"]).is_ok());
        let error = |given: &[&str]| grid(given).unwrap_err().to_string();
        assert!(
            error(&["raet=1"]).contains("did you mean \"rate\"?"),
            "{}",
            error(&["raet=1"])
        );
        assert_eq!(
            error(&["rate"]),
            "--grid rate: expected KEY=VALUE,VALUE,..."
        );
        assert_eq!(error(&["rate=1,,2"]), "--grid rate=1,,2: a value is empty");
        assert_eq!(error(&["rate=1", "rate=2"]), "--grid rate is given twice");
        assert_eq!(error(&["seed=1"]), "--grid seed: give --seeds N instead");
        assert_eq!(
            error(&["bundle:scheduler=sjf"]),
            "--grid bundle:scheduler: there is no --policy-config to vary"
        );
    }

    #[test]
    fn the_runs_do_not_see_the_flags_of_the_sweep() {
        let all = "--model m --grid rate=1,2 --jobs=2 --out x.csv --rate 3 --fresh --seeds 4"
            .split(' ')
            .map(String::from);
        assert_eq!(base_arguments(all), ["--model", "m", "--rate", "3"]);
    }
}
