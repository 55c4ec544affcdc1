//! How far the steps of a simulation are from those that an engine ran: which requests each step
//! has, how many tokens of each, and how long it takes.

use super::{Differences, METRIC_STEP, difference};
use crate::report::table::styled;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use windtunnel_config::LoggedStep;

/// How a request's part in a step differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensDiffer {
    /// Only the simulation has it in this step.
    Extra,
    /// Only the real step has it.
    Missing,
    /// Both have it, with different numbers of tokens.
    Different,
}

/// The first step that has other tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepParting {
    /// Its place in its log, from 0; of the steps of one instance, where there are several.
    pub step: usize,
    /// The instance, by its name in the real log, where that names any.
    pub instance: Option<String>,
    /// The request by its name in the real log, or else in the simulation. `None` = the logs do
    /// not name requests.
    pub request: Option<String>,
    /// How it differs.
    pub how: TokensDiffer,
    /// Its tokens in the real step, or those of all; 0 = it is not there.
    pub real_tokens: u64,
    /// Its tokens in the simulated step, or those of all.
    pub simulated_tokens: u64,
}

/// Two logs of steps compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepComparison {
    /// How requests were matched: by `id`, by the `order` in which they first appear, or by
    /// nothing, where a log does not name them (`shape`): then only numbers of tokens are compared.
    pub matched_by: &'static str,
    /// Steps in the real log.
    pub real_steps: usize,
    /// Steps in the simulation.
    pub simulated_steps: usize,
    /// Steps at the same place with the same tokens of the same requests.
    pub same_steps: usize,
    /// How long those take.
    pub step_time: Option<Differences>,
    /// The first step that has other tokens.
    pub first_difference: Option<StepParting>,
    /// Largest relative error of a step's time that is fine.
    pub tolerance: f64,
    /// Does every step have the same tokens, and a time within the tolerance?
    pub within_tolerance: bool,
}

/// Compares the steps of a simulation with real ones, place by place; those of several instances
/// each with its own, in the order in which the instances first appear.
#[must_use]
pub fn compare_steps(
    real: &[LoggedStep],
    simulated: &[LoggedStep],
    tolerance: f64,
) -> StepComparison {
    let names = Names::of(real, simulated);
    let (reals, sims) = (by_instance(real), by_instance(simulated));
    let (mut same, mut times, mut first) = (0, Vec::new(), None);
    for k in 0..reals.len().max(sims.len()) {
        let (a, b) = (
            reals.get(k).map_or(&[][..], Vec::as_slice),
            sims.get(k).map_or(&[][..], Vec::as_slice),
        );
        for place in 0..a.len().max(b.len()) {
            let (real, sim) = (a.get(place).copied(), b.get(place).copied());
            match names.parting(real, sim) {
                None => {
                    same += 1;
                    times.extend(real.zip(sim).map(|(a, b)| (a.ms() * 1e3, b.ms() * 1e3)));
                }
                Some((request, how, [real_tokens, simulated_tokens])) => {
                    // The earliest of all instances.
                    let found = StepParting {
                        step: place,
                        instance: real.or(sim).and_then(|s| s.instance.clone()),
                        request,
                        how,
                        real_tokens,
                        simulated_tokens,
                    };
                    let earlier = |f: &StepParting| place < f.step;
                    if first.as_ref().is_none_or(earlier) {
                        first = Some(found);
                    }
                }
            }
        }
    }
    let step_time = difference(METRIC_STEP, &times);
    let worst = step_time.as_ref().and_then(|d| d.relative_error_max);
    StepComparison {
        matched_by: names.matched_by(),
        real_steps: real.len(),
        simulated_steps: simulated.len(),
        same_steps: same,
        within_tolerance: first.is_none() && worst.is_some_and(|w| w <= tolerance.max(0.0)),
        step_time,
        first_difference: first,
        tolerance,
    }
}

fn by_instance(steps: &[LoggedStep]) -> Vec<Vec<&LoggedStep>> {
    let mut places: HashMap<Option<&str>, usize> = HashMap::new();
    let mut all: Vec<Vec<&LoggedStep>> = Vec::new();
    for step in steps {
        let next = all.len();
        let place = *places.entry(step.instance.as_deref()).or_insert(next);
        if place == next {
            all.push(Vec::new());
        }
        all[place].push(step);
    }
    all
}

/// How requests of one log are called in the other.
enum Names<'a> {
    /// As here.
    Same,
    /// By the names in the simulation.
    Order(HashMap<&'a str, &'a str>),
    /// A log has none.
    Unknown,
}

impl<'a> Names<'a> {
    fn of(real: &'a [LoggedStep], simulated: &'a [LoggedStep]) -> Self {
        let (reals, sims) = (in_order(real), in_order(simulated));
        if reals.is_empty() || sims.is_empty() {
            return Self::Unknown;
        }
        let known: HashSet<&str> = reals.iter().copied().collect();
        match sims.iter().any(|name| known.contains(name)) {
            true => Self::Same,
            false => Self::Order(sims.into_iter().zip(reals).collect()),
        }
    }

    fn matched_by(&self) -> &'static str {
        match self {
            Self::Same => "id",
            Self::Order(_) => "order",
            Self::Unknown => "shape",
        }
    }

    /// The first request, in the order of the real batch, whose tokens differ.
    fn parting(
        &self,
        real: Option<&LoggedStep>,
        simulated: Option<&LoggedStep>,
    ) -> Option<(Option<String>, TokensDiffer, [u64; 2])> {
        if let Self::Unknown = self {
            return parting_of_shapes(real, simulated);
        }
        let mut there: BTreeMap<&str, u64> = BTreeMap::new();
        let mut order = Vec::new();
        for (step, name) in simulated
            .iter()
            .flat_map(|s| s.requests.keys().map(move |n| (s, n)))
        {
            let called = match self {
                Self::Order(names) => names.get(name.as_str()).copied().unwrap_or(name),
                _ => name.as_str(),
            };
            there.insert(called, step.tokens_of(name));
            order.push(called);
        }
        let how = |real: u64, simulated: u64| match (real, simulated) {
            (0, _) => TokensDiffer::Extra,
            (_, 0) => TokensDiffer::Missing,
            _ => TokensDiffer::Different,
        };
        for name in real.iter().flat_map(|s| s.requests.keys()) {
            let tokens = real.map_or(0, |s| s.tokens_of(name));
            let simulated = there.remove(name.as_str()).unwrap_or(0);
            if tokens != simulated {
                return Some((
                    Some(name.clone()),
                    how(tokens, simulated),
                    [tokens, simulated],
                ));
            }
        }
        let extra = order.into_iter().find(|name| there.contains_key(name))?;
        let tokens = there[extra];
        Some((Some(extra.to_owned()), TokensDiffer::Extra, [0, tokens]))
    }
}

fn parting_of_shapes(
    real: Option<&LoggedStep>,
    simulated: Option<&LoggedStep>,
) -> Option<(Option<String>, TokensDiffer, [u64; 2])> {
    let shape = |step: &LoggedStep| {
        let mut prefill = step.prefill.clone();
        prefill.sort_unstable();
        let mut decode = step.decode.clone();
        decode.sort_unstable();
        (prefill, decode)
    };
    let (a, b) = (real.map(shape), simulated.map(shape));
    let tokens = |step: Option<&LoggedStep>| step.map_or(0, LoggedStep::tokens);
    let both = [tokens(real), tokens(simulated)];
    let how = match (&a, &b) {
        (Some(a), Some(b)) if a == b => return None,
        (None, _) => TokensDiffer::Extra,
        (_, None) => TokensDiffer::Missing,
        _ => TokensDiffer::Different,
    };
    Some((None, how, both))
}

/// The requests of a log, each once, in the order in which they first appear.
fn in_order(steps: &[LoggedStep]) -> Vec<&str> {
    let mut seen = HashSet::new();
    let names = steps.iter().flat_map(|s| s.requests.keys());
    names
        .map(String::as_str)
        .filter(|name| seen.insert(*name))
        .collect()
}

impl StepComparison {
    /// The comparison for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} real steps, {} simulated, {} with the same tokens; requests matched by {}\n",
            self.real_steps, self.simulated_steps, self.same_steps, self.matched_by
        );
        if let Some(time) = &self.step_time {
            let mut columns = super::COLUMNS;
            columns[1] = "steps";
            let mut table = styled(&columns);
            table.add_row(time.cells());
            let _ = writeln!(
                text,
                "relative errors of the steps with the same tokens\n{table}"
            );
        }
        if let Some(first) = &self.first_difference {
            let instance = first.instance.as_ref();
            let instance = instance.map_or(String::new(), |name| format!(" of {name}"));
            let request = first.request.as_ref();
            let request =
                request.map_or("all requests".to_owned(), |name| format!("request {name}"));
            let how = match first.how {
                TokensDiffer::Extra => "extra",
                TokensDiffer::Missing => "missing",
                TokensDiffer::Different => "different",
            };
            let _ = writeln!(
                text,
                "first difference: step {}{instance}, {request}: {how}, real {} tokens, simulated {}",
                first.step, first.real_tokens, first.simulated_tokens
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};
    use windtunnel_config::LoggedDecode;

    fn step(us: f64, requests: Value) -> LoggedStep {
        let requests: Map<String, Value> = requests.as_object().expect("an object").clone();
        let contexts = requests.values().map(|n| LoggedDecode {
            new: n.as_u64().expect("tokens") as u32,
            context: 5,
        });
        LoggedStep {
            dur_us: Some(us),
            decode: contexts.collect(),
            requests,
            ..LoggedStep::default()
        }
    }

    #[test]
    fn the_first_step_that_differs_says_how() {
        let real = [
            step(100.0, json!({"a": 4})),
            step(100.0, json!({"a": 1, "b": 3})),
        ];
        let found = |second: Value| {
            let sim = [step(110.0, json!({"a": 4})), step(100.0, second)];
            let found = compare_steps(&real, &sim, 0.2);
            assert_eq!((found.matched_by, found.within_tolerance), ("id", false));
            let first = found.first_difference.expect("a difference");
            (
                first.step,
                first.request,
                first.how,
                first.real_tokens,
                first.simulated_tokens,
            )
        };
        let b = || Some("b".to_owned());
        assert_eq!(
            found(json!({"a": 1})),
            (1, b(), TokensDiffer::Missing, 3, 0)
        );
        assert_eq!(
            found(json!({"a": 1, "b": 2})),
            (1, b(), TokensDiffer::Different, 3, 2)
        );
        let more = found(json!({"a": 1, "b": 3, "c": 9}));
        assert_eq!(more, (1, Some("c".to_owned()), TokensDiffer::Extra, 0, 9));
    }

    #[test]
    fn names_that_differ_everywhere_are_matched_by_their_first_step() {
        let real = [
            step(100.0, json!({"cmpl-1": 4})),
            step(50.0, json!({"cmpl-1": 1, "cmpl-2": 2})),
        ];
        let sim = [
            step(105.0, json!({"request_0": 4})),
            step(50.0, json!({"request_0": 1, "request_1": 2})),
        ];
        let found = compare_steps(&real, &sim, 0.05);
        assert_eq!((found.matched_by, found.same_steps), ("order", 2));
        assert!(found.within_tolerance, "{found:?}");
        assert!(!compare_steps(&real, &sim, 0.04).within_tolerance);
        let shorter = compare_steps(&real, &sim[..1], 0.05);
        let first = shorter.first_difference.expect("a step is missing");
        assert_eq!((first.step, first.how), (1, TokensDiffer::Missing));
    }

    #[test]
    fn without_names_the_numbers_of_tokens_are_compared() {
        let bare = |us, n: u32| LoggedStep {
            dur_us: Some(us),
            prefill: vec![[n, 0]],
            ..LoggedStep::default()
        };
        let found = compare_steps(
            &[bare(9.0, 4), bare(9.0, 5)],
            &[bare(9.0, 4), bare(9.0, 6)],
            1.0,
        );
        assert_eq!((found.matched_by, found.same_steps), ("shape", 1));
        let first = found.first_difference.expect("a difference");
        assert_eq!(
            (first.request, first.real_tokens, first.simulated_tokens),
            (None, 5, 6)
        );
    }
}
