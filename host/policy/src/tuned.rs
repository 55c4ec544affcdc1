//! Policies that are others with the values that the suites' reference policies have: they can be
//! chosen by names of their own.

use super::builtin::routing::weighted;
use super::param::Hook;
use windtunnel_base::input::InputError;

/// A policy with tuned values.
#[derive(Clone, Copy, Debug)]
pub struct Tuned {
    /// The hook it fills.
    pub hook: Hook,
    /// Its name.
    pub name: &'static str,
    /// The policy that it is.
    pub policy: &'static str,
    /// Scorers and their weights, of weighted routing.
    scorers: &'static [(&'static str, f64)],
    /// Values of parameters.
    params: &'static [(&'static str, f64)],
}

const fn scored(name: &'static str, scorers: &'static [(&'static str, f64)]) -> Tuned {
    Tuned {
        hook: Hook::Routing,
        name,
        policy: "weighted",
        scorers,
        params: &[],
    }
}

const fn valued(
    hook: Hook,
    name: &'static str,
    policy: &'static str,
    params: &'static [(&'static str, f64)],
) -> Tuned {
    Tuned {
        hook,
        name,
        policy,
        scorers: &[],
        params,
    }
}

/// All of them, by hook, then by name.
pub const ALL: &[Tuned] = &[
    valued(
        Hook::Admission,
        "gaie",
        "gaie-legacy",
        &[("queue_limit", 5.0), ("kv_limit", 0.8)],
    ),
    valued(
        Hook::Admission,
        "gaie-early",
        "gaie-legacy",
        &[("queue_limit", 1.0), ("kv_limit", 0.3)],
    ),
    valued(
        Hook::Admission,
        "tier-shed-critical",
        "tier-shed",
        &[("min_priority", 4.0), ("threshold", 120.0)],
    ),
    valued(
        Hook::Admission,
        "token-bucket-tight",
        "token-bucket",
        &[("capacity", 20_000.0), ("refill_rate", 25_000.0)],
    ),
    scored(
        "affinity-spread",
        &[
            ("prefix-affinity", 1.0),
            ("no-hit-lru", 0.5),
            ("active-requests", 2.0),
        ],
    ),
    scored(
        "gaie",
        &[
            ("prefix-affinity", 3.0),
            ("queue-depth", 2.0),
            ("kv-utilization", 2.0),
        ],
    ),
    scored(
        "gaie-active",
        &[
            ("prefix-affinity", 3.0),
            ("active-requests", 2.0),
            ("queue-depth", 2.0),
        ],
    ),
    scored(
        "llm-d-active",
        &[
            ("precise-prefix-cache", 1.0),
            ("active-requests", 1.0),
            ("kv-utilization", 1.0),
        ],
    ),
    scored(
        "precise-balance",
        &[("precise-prefix-cache", 0.25), ("load-balance", 1.0)],
    ),
    scored(
        "precise-spread",
        &[
            ("precise-prefix-cache", 2.0),
            ("no-hit-lru", 1.0),
            ("active-requests", 1.0),
        ],
    ),
    valued(
        Hook::Scale,
        "fixed-max",
        "fixed",
        &[("instances", 100_000.0)],
    ),
    valued(
        Hook::Scale,
        "keda-quick",
        "keda",
        &[
            ("cooldown_s", 30.0),
            ("down_window_s", 30.0),
            ("target", 16.0),
            ("up_instances", 10.0),
        ],
    ),
];

impl Tuned {
    /// The values that it gives to the parameters of its policy.
    ///
    /// # Errors
    /// When the policy does not have them.
    pub fn values(&self) -> Result<Vec<(String, f64)>, InputError> {
        let mut values = match self.scorers {
            [] => Vec::new(),
            scorers => weighted::scorer_params(scorers.iter().copied())?,
        };
        let params = self.params.iter();
        values.extend(params.map(|(name, value)| ((*name).to_owned(), *value)));
        Ok(values)
    }

    /// A bundle with it alone, YAML.
    #[must_use]
    pub fn bundle(&self) -> String {
        let scorers = self.scorers.iter();
        let scorers: Vec<String> = scorers
            .map(|(name, weight)| format!("{{name: {name}, weight: {weight}}}"))
            .collect();
        let params = self.params.iter();
        let params: Vec<String> = params
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let values = match scorers.is_empty() {
            true => format!("params: {{{}}}", params.join(", ")),
            false => format!("scorers: [{}]", scorers.join(", ")),
        };
        format!("{}: {{policy: {}, {values}}}\n", self.hook, self.policy)
    }

    /// What it is, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let values = self.scorers.iter().chain(self.params);
        let values: Vec<String> = values
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        format!("\"{}\" with {}.", self.policy, values.join(", "))
    }
}

/// The one of `hook` called `name`.
#[must_use]
pub fn find(hook: Hook, name: &str) -> Option<&'static Tuned> {
    of(hook).find(|tuned| tuned.name == name)
}

/// Those of `hook`.
pub fn of(hook: Hook) -> impl Iterator<Item = &'static Tuned> {
    ALL.iter().filter(move |tuned| tuned.hook == hook)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::registry::built_in;
    use crate::shipped;
    use crate::{PolicyLoader, Reference};

    #[test]
    fn each_is_a_policy_with_other_values_and_hides_none() {
        for tuned in ALL {
            let (hook, name) = (tuned.hook, tuned.name);
            assert!(built_in(hook, name).is_none() && shipped::find(hook, name).is_none());
            let load = |name: &str, own: Vec<(String, f64)>| {
                let reference = Reference::Name(name.to_owned());
                let mut loader = PolicyLoader::new(false);
                loader.load(hook, &reference, &mut |_| own.clone())
            };
            let loaded = load(name, Vec::new()).expect(name);
            assert_eq!(loaded, load(tuned.policy, tuned.values().unwrap()).unwrap());
            let bundle = Bundle::parse("b.yaml", &tuned.bundle()).expect(name);
            assert_eq!(bundle.section(hook).named(), Some(tuned.policy));
        }
    }

    #[test]
    fn a_sentence_and_a_bundle_say_policy_and_values() {
        let balance = find(Hook::Routing, "precise-balance").expect("a policy");
        assert_eq!(
            balance.sentence(),
            "\"weighted\" with precise-prefix-cache 0.25, load-balance 1."
        );
        assert_eq!(
            find(Hook::Admission, "gaie").expect("a policy").bundle(),
            "admission: {policy: gaie-legacy, params: {queue_limit: 5, kv_limit: 0.8}}\n"
        );
    }
}
