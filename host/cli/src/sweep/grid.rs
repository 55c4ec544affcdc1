//! The points of a sweep: every combination of the given values.

use crate::effects::Explicit;
use crate::scheduling_args::{SWITCHES, setting};
use crate::spelling::FILES;
use clap::{Arg, ArgAction};
use std::ffi::OsString;
use std::fmt;
use windtunnel_base::input::{InputError, amount, hint};

/// Flags of `run` without effect in a sweep, and why.
pub const WITHOUT_EFFECT: [(&[&str], &str); 5] = [
    (&FILES, "in a sweep, whose runs would all write there"),
    (
        &[
            "trace_level",
            "counterfactual_k",
            "summarize_trace",
            "detectors",
            "saturation_config",
            "saturation_final_window",
            "time_series_interval",
        ],
        "in a sweep, whose rows do not show it",
    ),
    (
        &["format"],
        "in a sweep; it prints a table, or JSON with --json",
    ),
    (
        &["spec", "dump_spec"],
        "in a sweep, which varies the flags of a run",
    ),
    (&["json", "quiet", "fail_if"], "as a dimension"),
];

/// Marks a key of the policy bundle.
const BUNDLE: &str = "bundle:";

/// The dimension whose values are flags that go together.
const FLAGS: &str = "flags";

/// What a dimension varies.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// A flag of `run`.
    Flag {
        /// Its main name, without dashes.
        long: String,
        /// It takes no value of its own: `true` gives it, `false` does not.
        is_switch: bool,
    },
    /// A path of keys in the policy bundle.
    Bundle(String),
    /// Several flags at once.
    Flags,
}

/// One dimension.
#[derive(Clone, Debug)]
struct Axis {
    /// As given: a flag without dashes, or `bundle:a.b`.
    name: String,
    key: Key,
    values: Vec<String>,
}

/// All dimensions.
#[derive(Clone, Debug)]
pub struct Grid {
    axes: Vec<Axis>,
}

/// One combination of values.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    axes: &'a [Axis],
    /// Index of the value on each axis.
    chosen: Vec<usize>,
}

impl Grid {
    /// Reads the dimensions. `flags` are those of `run`, `explicit` says which of them all runs
    /// share.
    ///
    /// # Errors
    /// Unknown flags, flags that are given anyway or cannot be seen in a row, no values, anything
    /// given twice.
    pub fn parse(given: &[String], flags: &[Arg], explicit: &Explicit) -> Result<Self, InputError> {
        let mut axes: Vec<Axis> = Vec::new();
        for text in given {
            let axis = Axis::parse(text, flags)?;
            if let Key::Flag { long, .. } = &axis.key
                && [Some(long), opposite(long).as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|flag| explicit.has(&flag.replace('-', "_")))
            {
                return Err(InputError::new(format!(
                    "--{long} is given and swept; drop one of the two"
                )));
            }
            if axes.iter().any(|other| other.key == axis.key) {
                return Err(InputError::new(format!(
                    "--grid {} is given twice",
                    axis.name
                )));
            }
            axes.push(axis);
        }
        let grid = Self { axes };
        let bundle = explicit.has("policy_config") || grid.varies("policy-config");
        let mut keys = grid.axes.iter().filter(|a| matches!(a.key, Key::Bundle(_)));
        match keys.next() {
            Some(axis) if !bundle => Err(InputError::new(format!(
                "--grid {}: there is no --policy-config to vary",
                axis.name
            ))),
            _ => Ok(grid),
        }
    }

    /// Is this flag of `run` a dimension?
    pub fn varies(&self, flag: &str) -> bool {
        let is_it = |axis: &Axis| matches!(&axis.key, Key::Flag { long, .. } if long == flag);
        self.axes.iter().any(is_it)
    }

    /// Is a dimension of several flags at once?
    pub fn varies_flags(&self) -> bool {
        self.axes.iter().any(|axis| axis.key == Key::Flags)
    }

    /// Names of the dimensions, as given.
    pub fn names(&self) -> Vec<&str> {
        self.axes.iter().map(|axis| axis.name.as_str()).collect()
    }

    /// Positions of the dimensions that vary the policy bundle.
    pub fn bundle_axes(&self) -> impl Iterator<Item = usize> {
        let is_key = |(k, axis): (usize, &Axis)| matches!(axis.key, Key::Bundle(_)).then_some(k);
        self.axes.iter().enumerate().filter_map(is_key)
    }

    /// How many combinations there are; `None` = more than can be counted.
    pub fn size(&self) -> Option<u64> {
        let lengths = self.axes.iter().map(|axis| axis.values.len() as u64);
        lengths.into_iter().try_fold(1, u64::checked_mul)
    }

    /// Every combination, the last dimension varying fastest.
    pub fn points(&self) -> Vec<Point<'_>> {
        let mut all: Vec<Vec<usize>> = vec![Vec::new()];
        for axis in &self.axes {
            let longer =
                |c: Vec<usize>| (0..axis.values.len()).map(move |k| [c.as_slice(), &[k]].concat());
            all = all.into_iter().flat_map(longer).collect();
        }
        let point = |chosen| Point {
            axes: &self.axes,
            chosen,
        };
        all.into_iter().map(point).collect()
    }
}

impl Axis {
    fn parse(text: &str, flags: &[Arg]) -> Result<Self, InputError> {
        let Some((name, values)) = text.split_once('=') else {
            return Err(InputError::new(format!(
                "--grid {text}: expected KEY=VALUE,VALUE,..."
            )));
        };
        let name = name.trim().trim_start_matches("--");
        let separator = match values.contains(';') || name == FLAGS {
            true => ';',
            false => ',',
        };
        // One behind the last value makes a list of it, if it contains commas.
        let values = values.strip_suffix(';').unwrap_or(values);
        let values: Vec<String> = values
            .split(separator)
            .map(|v| v.trim().to_owned())
            .collect();
        let values = match &values[..] {
            [range] => stepped(range)
                .map_err(|why| InputError::new(format!("--grid {text}: {why}")))?
                .unwrap_or(values),
            _ => values,
        };
        if values.iter().any(String::is_empty) {
            return Err(InputError::new(format!("--grid {text}: a value is empty")));
        }
        if let Some(k) = (1..values.len()).find(|&k| values[..k].contains(&values[k])) {
            return Err(InputError::new(format!(
                "--grid {name}: the value {} is given twice",
                values[k]
            )));
        }
        let key = match name.strip_prefix(BUNDLE) {
            Some(keys) if keys.split('.').any(str::is_empty) => {
                return Err(InputError::new(format!(
                    "--grid {name}: expected bundle:KEY.KEY"
                )));
            }
            Some(keys) => Key::Bundle(keys.to_owned()),
            None if name == FLAGS => {
                for typed in values.iter().flat_map(|value| together(value)) {
                    let typed = typed.to_string_lossy();
                    let name = typed.split('=').next().unwrap_or_default();
                    flag(name.trim_start_matches('-'), &[], flags)?;
                }
                Key::Flags
            }
            None => flag(name, &values, flags)?,
        };
        Ok(Self {
            name: name.to_owned(),
            key,
            values,
        })
    }
}

/// The flag that turns off what `--long` turns on, or the other way round; `None` = it is off where
/// it is not typed.
fn opposite(long: &str) -> Option<String> {
    let id = long.replace('-', "_");
    match long.strip_prefix("no-") {
        Some(on) if setting(&id) != id => Some(on.to_owned()),
        _ => SWITCHES
            .contains(&id.as_str())
            .then(|| format!("no-{long}")),
    }
}

/// Most values of a range.
const MOST_STEPS: f64 = 10_000.0;

/// The values of `FROM:TO:STEP`; `None` if it is something else.
fn stepped(text: &str) -> Result<Option<Vec<String>>, String> {
    let numbers: Option<Vec<f64>> = text.split(':').map(amount).collect();
    let Some([from, to, step]) = numbers.as_deref() else {
        return Ok(None);
    };
    // A step may be a little short of the end, by rounding.
    let steps = ((to - from) / step + 1e-9).floor();
    if !(0.0..MOST_STEPS).contains(&steps) {
        return Err(
            "expected FROM:TO:STEP, upwards with a step above 0, or downwards with one below"
                .to_owned(),
        );
    }
    // As many digits as were typed: 0.3, not 0.30000000000000004.
    let digits = |n: &str| match n.split_once('.') {
        Some((_, behind)) if behind.bytes().all(|b| b.is_ascii_digit()) => behind.len(),
        _ => 0,
    };
    let digits = text.split(':').map(digits).max().unwrap_or(0);
    let value = |k: u32| {
        let value = f64::from(k).mul_add(*step, *from);
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    Ok(Some((0..=steps as u32).map(value).collect()))
}

/// Several flags as they are typed, each with its value.
fn together(text: &str) -> Vec<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    for word in text.split_whitespace() {
        match flags.last_mut() {
            Some(flag) if !word.starts_with("--") && !flag.to_string_lossy().contains('=') => {
                flag.push("=");
                flag.push(word);
            }
            _ => flags.push(word.into()),
        }
    }
    flags
}

/// The names of a flag, the main one first.
fn names(arg: &Arg) -> Vec<String> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let all = arg.get_long().into_iter().chain(aliases);
    all.map(str::to_owned).collect()
}

/// The flag of `run` that a dimension varies.
fn flag(name: &str, values: &[String], flags: &[Arg]) -> Result<Key, InputError> {
    let Some(arg) = flags.iter().find(|a| names(a).iter().any(|n| n == name)) else {
        let all: Vec<String> = flags.iter().flat_map(names).collect();
        let hint = hint(" ", name, all.iter().map(String::as_str));
        return Err(InputError::new(format!(
            "--grid: unknown flag of `run` \"{name}\";{hint} `windtunnel run --help` lists them"
        )));
    };
    let id = arg.get_id().as_str();
    if id == "seed" {
        return Err(InputError::new("--grid seed: give --seeds N instead"));
    }
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(ids, _)| ids.contains(&id)) {
        return Err(InputError::new(format!("--{name} has no effect {why}")));
    }
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    if is_switch && values.iter().any(|v| v != "true" && v != "false") {
        return Err(InputError::new(format!(
            "--grid {name}: a switch takes true and false"
        )));
    }
    Ok(Key::Flag {
        long: names(arg).swap_remove(0),
        is_switch,
    })
}

impl Point<'_> {
    fn pairs(&self) -> impl Iterator<Item = (&Axis, &str)> {
        let value = |(axis, k): (_, &usize)| {
            let axis: &Axis = axis;
            (axis, axis.values[*k].as_str())
        };
        self.axes.iter().zip(&self.chosen).map(value)
    }

    /// `NAME=VALUE` for each dimension.
    pub fn parts(&self) -> Vec<String> {
        let pairs = self.pairs();
        pairs
            .map(|(axis, value)| format!("{}={value}", axis.name))
            .collect()
    }

    /// Values in the order of the dimensions.
    pub fn values(&self) -> Vec<&str> {
        self.pairs().map(|(_, value)| value).collect()
    }

    /// Flags that the runs of this point have beyond those that all share.
    pub fn arguments(&self) -> Vec<OsString> {
        let arguments = |(axis, value): (&Axis, &str)| match &axis.key {
            Key::Flag {
                long,
                is_switch: false,
            } => vec![format!("--{long}={value}").into()],
            Key::Flag { long, .. } if value == "true" => vec![format!("--{long}").into()],
            Key::Flag { long, .. } => {
                let opposite = opposite(long);
                opposite.iter().map(|f| format!("--{f}").into()).collect()
            }
            Key::Bundle(_) => Vec::new(),
            Key::Flags => together(value),
        };
        self.pairs().flat_map(arguments).collect()
    }

    /// Changes of the policy bundle: path of keys and value.
    pub fn bundle(&self) -> Vec<(String, String)> {
        let patch = |(axis, value): (&Axis, &str)| match &axis.key {
            Key::Bundle(keys) => Some((keys.clone(), value.to_owned())),
            Key::Flag { .. } | Key::Flags => None,
        };
        self.pairs().filter_map(patch).collect()
    }

    /// The index of its first twin, the point that has the first value on this axis, in the order
    /// of [`points`](Grid::points).
    pub fn twin(&self, axis: usize) -> usize {
        let fold = |at: usize, (k, (a, chosen)): (usize, (&Axis, &usize))| {
            at * a.values.len() + if k == axis { 0 } else { *chosen }
        };
        let digits = self.axes.iter().zip(&self.chosen).enumerate();
        digits.fold(0, fold)
    }
}

impl fmt::Display for Point<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(given: &[&str]) -> Result<Grid, InputError> {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        Grid::parse(&given, &super::super::flags_of_run(), &Explicit::default())
    }

    #[test]
    fn the_last_dimension_varies_fastest() {
        let grid = grid(&[
            "rate=1,2",
            "--routing-scorers=queue-depth:1;queue-depth:2,load-balance:1",
            "dp=1,2",
        ])
        .unwrap();
        let points = grid.points();
        assert_eq!(grid.size(), Some(8));
        let names: Vec<String> = points.iter().map(ToString::to_string).collect();
        assert_eq!(names[1], "rate=1, routing-scorers=queue-depth:1, dp=2");
        assert_eq!(
            names[2],
            "rate=1, routing-scorers=queue-depth:2,load-balance:1, dp=1"
        );
        assert_eq!(names[4], "rate=2, routing-scorers=queue-depth:1, dp=1");
        assert_eq!([0, 1, 2].map(|axis| points[7].twin(axis)), [3, 5, 6]);
    }

    #[test]
    fn flags_are_named_by_their_main_names_and_switches_come_bare() {
        let grid = grid(&["num-requests=7", "summary-only=false,true"]).unwrap();
        let arguments = |k: usize| grid.points()[k].arguments();
        assert_eq!(arguments(0), ["--max-prompts=7"]);
        assert_eq!(arguments(1), ["--max-prompts=7", "--summary-only"]);
    }

    #[test]
    fn ranges_are_values() {
        let values = |text: &str| grid(&[text]).map(|grid| grid.axes[0].values.clone());
        assert_eq!(
            values("rate=10:50:10").unwrap(),
            ["10", "20", "30", "40", "50"]
        );
        assert_eq!(
            values("rate=0.1:0.5:0.1").unwrap(),
            ["0.1", "0.2", "0.3", "0.4", "0.5"]
        );
        assert_eq!(values("dp=4:1:-2").unwrap(), ["4", "2"]);
        assert_eq!(
            values("num-requests=1k:2.5k:500").unwrap(),
            ["1000", "1500", "2000", "2500"]
        );
        assert_eq!(
            values("routing-scorers=queue-depth:1,load-balance:1;").unwrap(),
            ["queue-depth:1,load-balance:1"]
        );
        assert_eq!(
            values("routing-scorers=queue-depth:1").unwrap(),
            ["queue-depth:1"]
        );
        let error = values("rate=10:50:-1").unwrap_err().to_string();
        assert!(error.contains("expected FROM:TO:STEP"), "{error}");
        assert!(values("rate=1:9:0").is_err());
    }

    #[test]
    fn flags_that_go_together_are_a_dimension() {
        let grid = grid(&["flags=--tp 8 --xpu=a,b;--disaggregated --tp 4"]).unwrap();
        let arguments = |k: usize| grid.points()[k].arguments();
        assert_eq!(arguments(0), ["--tp=8", "--xpu=a,b"]);
        assert_eq!(arguments(1), ["--disaggregated", "--tp=4"]);
        let error = |given: &str| super::tests::grid(&[given]).unwrap_err().to_string();
        assert!(error("flags=--seed 3").contains("give --seeds N instead"));
        assert!(error("flags=--results-path x.csv").contains("has no effect"));
        assert!(error("flags=--tpp 3").contains("unknown flag"));
    }

    #[test]
    fn false_of_a_pair_is_its_other_flag() {
        let grid = grid(&[
            "async-scheduling=true,false",
            "no-enable-prefix-caching=false",
        ])
        .unwrap();
        let arguments = |k: usize| grid.points()[k].arguments();
        assert_eq!(
            arguments(0),
            ["--async-scheduling", "--enable-prefix-caching"]
        );
        assert_eq!(
            arguments(1),
            ["--no-async-scheduling", "--enable-prefix-caching"]
        );
    }

    #[test]
    fn aliases_are_flags_and_mistakes_are_named() {
        let error = |given: &[&str]| grid(given).unwrap_err().to_string();
        assert_eq!(
            error(&["raet=1"]),
            "--grid: unknown flag of `run` \"raet\"; did you mean \"rate\"? `windtunnel run --help` lists them"
        );
        assert_eq!(
            error(&["rate"]),
            "--grid rate: expected KEY=VALUE,VALUE,..."
        );
        assert_eq!(error(&["rate=1,,2"]), "--grid rate=1,,2: a value is empty");
        assert_eq!(
            error(&["rate=1,2,1"]),
            "--grid rate: the value 1 is given twice"
        );
        assert_eq!(
            error(&["max-num-seqs=1", "max-num-running-reqs=2"]),
            "--grid max-num-running-reqs is given twice"
        );
        assert_eq!(error(&["seed=1"]), "--grid seed: give --seeds N instead");
        assert_eq!(
            error(&["bundle:scheduler=sjf"]),
            "--grid bundle:scheduler: there is no --policy-config to vary"
        );
        assert_eq!(
            error(&["bundle:=1"]),
            "--grid bundle:: expected bundle:KEY.KEY"
        );
    }
}
