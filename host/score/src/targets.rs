//! Are policies told the targets that they are scored by?

use super::run::simulate;
use super::scenario::Scenario;
use super::suite::Suite;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{Admission, Admit, ClusterView, PolicyError, RequestView};
use windtunnel_policy::{Custom, Hook, PolicySpec};
use windtunnel_results::metrics::slo::{Dimension, class_name};
use windtunnel_sim::told_of_all;

/// Requests of each scenario that are looked at.
const REQUESTS: u64 = 500;

/// What admission was told of each request: its target on the time to first token, microseconds.
type Told = Arc<Mutex<HashMap<u64, i64>>>;

/// Admits all requests and notes what it is told.
struct Spy(Told);

impl Admission for Spy {
    fn admit(&mut self, request: &RequestView, _: &ClusterView<'_>) -> Result<Admit, PolicyError> {
        let mut told = self.0.lock().expect("no panic before");
        told.insert(request.serial, request.slo_ttft_us);
        Ok(Admit::Admit)
    }
}

/// The classes whose requests in a scenario are told another target than they are scored by, with
/// both: a policy can only aim at what it is told.
///
/// # Errors
/// When the scenario is wrong.
pub fn misled(suite: &Suite, id: &str, seed: u64) -> Result<Vec<String>, InputError> {
    let mut scenario = Scenario::open(suite, id, false)?;
    let requests = REQUESTS.min(suite.file.requests);
    let traffic = scenario.traffic(suite, seed, requests)?;
    let told = Told::default();
    let notes = Arc::clone(&told);
    let spy = Custom::admission("spy", move |_| Spy(Arc::clone(&notes)));
    let spec = PolicySpec {
        admission: spy.into(),
        ..PolicySpec::default()
    };
    let (record, _) = simulate(&spec, &scenario, &traffic, seed)?;
    let told = told.lock().expect("no panic before");
    let mut found = BTreeSet::new();
    for r in &record.requests {
        let Some(&told) = told.get(&r.serial) else {
            continue;
        };
        let class = class_name(record.symbols.name(r.slo_class));
        let scored = scenario.targets.target_us(class, Dimension::Ttft);
        // Times are whole microseconds: a fraction of one changes no verdict.
        if told != scored.map_or(0, |us| (us as i64).max(1)) {
            let shown = |us: f64| match us {
                0.0 => "none".to_owned(),
                us => format!("{} ms", us / 1000.0),
            };
            let (told, scored) = (shown(told as f64), shown(scored.unwrap_or(0.0)));
            found.insert(format!(
                "class {class} is told a TTFT target of {told} and scored by {scored}"
            ));
        }
    }
    // Scaling policies are told the targets of requests without a class.
    if suite.hooks.contains(&Hook::Scale) {
        let told = told_of_all(&scenario.targets);
        for (dimension, told) in Dimension::ALL.into_iter().zip(told) {
            let classes = record.requests.iter().map(|r| r.slo_class);
            let classes: BTreeSet<&str> = classes
                .map(|c| class_name(record.symbols.name(c)))
                .collect();
            let other = classes.into_iter().find(|class| {
                let scored = scenario.targets.target_us(class, dimension);
                told != scored.map_or(0, |us| (us as i64).max(1))
            });
            found.extend(other.map(|class| {
                format!(
                    "scaling policies are told another target ({}) than class {class} is scored by",
                    dimension.name()
                )
            }));
        }
    }
    Ok(found.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipped;
    use crate::suite::Split;

    #[test]
    fn the_shipped_suites_tell_every_class_the_target_that_it_is_scored_by() {
        for name in shipped::suite_names() {
            let suite = Suite::open(name, None).unwrap();
            for keys in Split::ALL.into_iter().flat_map(|s| suite.scenarios(s)) {
                let found = misled(&suite, &keys.id, keys.seed).unwrap();
                assert_eq!(found, [""; 0], "{name} {}", keys.id);
            }
        }
    }
}
