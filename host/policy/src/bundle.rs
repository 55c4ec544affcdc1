//! The YAML policy bundle: which policies a run uses, in one file.
//!
//! Both key sets of the reference are understood: scorers (2026-08) and the two-weight form
//! (2026-02).

use super::external::{names, unknown_policy};
use super::spec::check_scorers;
use super::{AdmissionSpec, Choice, Hook, Opener, PolicySpec, Reference, RoutingSpec, ScorerKind};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, parse_yaml, read_text};
use windtunnel_base::slo_priority::SloPriorities;

/// Values of a policy's parameters by name.
pub type Params = BTreeMap<String, f64>;

/// A bundle as written; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bundle {
    /// Admission.
    pub admission: AdmissionKeys,
    /// Routing.
    pub routing: RoutingKeys,
    /// Priority.
    pub priority: PolicyKey,
    /// Scheduler: its name, or a section as the others have.
    pub scheduler: SchedulerKey,
    /// Preemption.
    pub preemption: PolicyKey,
    /// Share of the cluster's request slots by tenant, 0..=1.
    pub tenant_budgets: BTreeMap<String, f64>,
    /// The folder of its file: relative paths in it start there.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Keys under `admission`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionKeys {
    /// Policy name.
    pub policy: Option<String>,
    /// Tokens.
    pub token_bucket_capacity: Option<f64>,
    /// Tokens per second.
    pub token_bucket_refill_rate: Option<f64>,
    /// Effective load.
    pub tier_shed_threshold: Option<i64>,
    /// Class priority.
    pub tier_shed_min_priority: Option<i32>,
    /// Queue depth.
    pub gaie_qd_threshold: Option<f64>,
    /// KV utilisation, 0..=1.
    pub gaie_kv_threshold: Option<f64>,
    /// Priority by class name, -100..=100.
    pub slo_priorities: BTreeMap<String, i32>,
    /// Of a policy from a file.
    pub params: Params,
}

/// Keys under `routing`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingKeys {
    /// Policy name.
    pub policy: Option<String>,
    /// Scorers of weighted routing.
    pub scorers: Vec<ScorerEntry>,
    /// Two-weight form: weight of free KV blocks.
    pub cache_weight: Option<f64>,
    /// Two-weight form: weight of queue depth.
    pub load_weight: Option<f64>,
    /// Of a policy from a file.
    pub params: Params,
}

impl RoutingKeys {
    /// The scorers, checked.
    ///
    /// # Errors
    /// Unknown or repeated names, bad weights.
    pub fn scorers(&self) -> Result<Vec<(ScorerKind, f64)>, InputError> {
        check_scorers(self.scorers.iter().map(|s| (s.name.as_str(), s.weight)))
    }
}

/// One scorer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerEntry {
    /// Scorer name.
    pub name: String,
    /// Relative weight, above 0.
    pub weight: f64,
}

/// A section that only names a policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyKey {
    /// Policy name or file.
    pub policy: Option<String>,
    /// Of a policy from a file.
    pub params: Params,
}

/// A [`PolicyKey`] that may be written as a name alone, as the reference does.
#[derive(Clone, Debug, Default)]
pub struct SchedulerKey(pub PolicyKey);

impl<'de> Deserialize<'de> for SchedulerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrSection;

        impl<'de> Visitor<'de> for NameOrSection {
            type Value = SchedulerKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a scheduler, or a section with policy and params")
            }

            fn visit_str<E>(self, name: &str) -> Result<SchedulerKey, E> {
                Ok(SchedulerKey(PolicyKey {
                    policy: Some(name.to_owned()),
                    params: Params::new(),
                }))
            }

            fn visit_unit<E>(self) -> Result<SchedulerKey, E> {
                Ok(SchedulerKey::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SchedulerKey, A::Error> {
                PolicyKey::deserialize(MapAccessDeserializer::new(map)).map(SchedulerKey)
            }
        }

        deserializer.deserialize_any(NameOrSection)
    }
}

impl Bundle {
    /// Reads and checks a bundle file.
    ///
    /// # Errors
    /// Unknown keys, unknown policies, values out of range: each names file and place or key.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// Parses and checks a bundle; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let mut bundle: Self = parse_yaml(name, text)?;
        bundle.folder = Path::new(name)
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default();
        bundle
            .check()
            .map_err(|(key, message)| InputError::in_file(name, format!("{key}: {message}")))?;
        Ok(bundle)
    }

    /// Checks names and numbers; an error is the key and what is wrong.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (hook, name) in self.named() {
            if let Reference::Name(name) = Reference::parse(name)
                && !names(hook).contains(&name.as_str())
            {
                let key = match hook {
                    Hook::Admission => "admission.policy",
                    Hook::Routing => "routing.policy",
                    Hook::Priority => "priority.policy",
                    Hook::Scheduler => "scheduler",
                    Hook::Preemption => "preemption.policy",
                };
                return Err((key, unknown_policy(hook, &name)));
            }
        }

        let number = |key, value: Option<f64>, fine: fn(f64) -> bool, expected: &str| match value {
            Some(x) if !(x.is_finite() && fine(x)) => Err((key, format!("{x} is not {expected}"))),
            _ => Ok(()),
        };
        let a = &self.admission;
        let positive = |x| x > 0.0;
        number(
            "admission.token_bucket_capacity",
            a.token_bucket_capacity,
            positive,
            "a positive number of tokens",
        )?;
        number(
            "admission.token_bucket_refill_rate",
            a.token_bucket_refill_rate,
            positive,
            "a positive rate in tokens/s",
        )?;
        number(
            "admission.gaie_qd_threshold",
            a.gaie_qd_threshold,
            positive,
            "a positive queue depth",
        )?;
        number(
            "admission.gaie_kv_threshold",
            a.gaie_kv_threshold,
            |x| x > 0.0 && x <= 1.0,
            "above 0 and at most 1",
        )?;
        if a.tier_shed_threshold.is_some_and(|t| t < 0) {
            return Err((
                "admission.tier_shed_threshold",
                "must not be negative".into(),
            ));
        }
        let not_negative = |x| x >= 0.0;
        number(
            "routing.cache_weight",
            self.routing.cache_weight,
            not_negative,
            "a weight of 0 or more",
        )?;
        number(
            "routing.load_weight",
            self.routing.load_weight,
            not_negative,
            "a weight of 0 or more",
        )?;
        if !self.routing.scorers.is_empty() {
            self.routing
                .scorers()
                .map_err(|e| ("routing.scorers", e.to_string()))?;
            if self.routing.cache_weight.is_some() || self.routing.load_weight.is_some() {
                return Err((
                    "routing",
                    "give scorers or cache_weight and load_weight, not both".into(),
                ));
            }
        }
        self.slo_priorities()
            .map_err(|e| ("admission.slo_priorities", e.to_string()))?;
        for share in self.tenant_budgets.values() {
            number(
                "tenant_budgets",
                Some(*share),
                |x| (0.0..=1.0).contains(&x),
                "a share of 0 to 1",
            )?;
        }
        Ok(())
    }

    /// The policies that it names, by hook, as written.
    pub fn named(&self) -> impl Iterator<Item = (Hook, &str)> {
        let names = [
            (Hook::Admission, &self.admission.policy),
            (Hook::Routing, &self.routing.policy),
            (Hook::Priority, &self.priority.policy),
            (Hook::Scheduler, &self.scheduler.0.policy),
            (Hook::Preemption, &self.preemption.policy),
        ];
        names.into_iter().filter_map(|(hook, name)| {
            let name = name.as_deref().filter(|name| !name.is_empty());
            Some((hook, name?))
        })
    }

    /// The parameters of a hook's policy.
    pub fn params_mut(&mut self, hook: Hook) -> &mut Params {
        match hook {
            Hook::Admission => &mut self.admission.params,
            Hook::Routing => &mut self.routing.params,
            Hook::Priority => &mut self.priority.params,
            Hook::Scheduler => &mut self.scheduler.0.params,
            Hook::Preemption => &mut self.preemption.params,
        }
    }

    /// The policies it names, opened; hooks it leaves out are filled as by default.
    ///
    /// # Errors
    /// When a policy is unknown, its file cannot be read, or a value does not fit.
    pub fn policies(&self, opener: &mut Opener) -> Result<PolicySpec, InputError> {
        let default = PolicySpec::default();
        let mut open = |hook: Hook, policy: &Option<String>, params: &Params, usual: &str| {
            let name = policy.as_deref().filter(|name| !name.is_empty());
            let reference = Reference::parse(name.unwrap_or(usual)).from_folder(&self.folder);
            let values = || params.iter().map(|(n, v)| (n.clone(), *v)).collect();
            let choice = opener.open(hook, &reference, &mut |_| values())?;
            match &choice {
                Choice::Named(name) if !params.is_empty() => Err(no_params(hook, name)),
                _ => Ok(choice),
            }
        };
        let (admission, routing) = (&self.admission, &self.routing);
        let keys = &self.scheduler.0;
        Ok(PolicySpec {
            admission: AdmissionSpec::of(
                open(
                    Hook::Admission,
                    &admission.policy,
                    &admission.params,
                    default.admission.name(),
                )?,
                admission,
            ),
            tenant_budgets: self
                .tenant_budgets
                .iter()
                .map(|(tenant, share)| (tenant.clone(), *share))
                .collect(),
            routing: RoutingSpec::of(
                open(
                    Hook::Routing,
                    &routing.policy,
                    &routing.params,
                    default.routing.name(),
                )?,
                routing,
            )?,
            priority: open(
                Hook::Priority,
                &self.priority.policy,
                &self.priority.params,
                default.priority.name(),
            )?,
            scheduler: open(
                Hook::Scheduler,
                &keys.policy,
                &keys.params,
                default.scheduler.name(),
            )?,
            preemption: open(
                Hook::Preemption,
                &self.preemption.policy,
                &self.preemption.params,
                default.preemption.name(),
            )?,
            slo_priorities: self.slo_priorities()?,
        })
    }

    /// The default class priorities with the bundle's changes.
    ///
    /// # Errors
    /// A priority out of range.
    pub fn slo_priorities(&self) -> Result<SloPriorities, InputError> {
        let mut priorities = SloPriorities::default();
        for (class, &priority) in &self.admission.slo_priorities {
            priorities.set(class, priority)?;
        }
        Ok(priorities)
    }
}

/// Parameters for a policy that declares none.
pub fn no_params(hook: Hook, name: &str) -> InputError {
    InputError::new(format!(
        "{hook}.params: the built-in {} \"{name}\" takes none; they belong to policies from files",
        hook.kind()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Bundle::parse("p.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn both_key_sets_are_understood() {
        let old = Bundle::parse(
            "p",
            "routing: {policy: weighted, cache_weight: 0.6, load_weight: 0.4}\n",
        )
        .unwrap();
        assert_eq!(old.routing.cache_weight, Some(0.6));
        let new = "routing:\n  policy: weighted\n  scorers: [{name: queue-depth, weight: 2}]\nscheduler: sjf\n";
        let new = Bundle::parse("p", new).unwrap();
        assert_eq!(
            new.routing.scorers().unwrap(),
            [(ScorerKind::QueueDepth, 2.0)]
        );
    }

    #[test]
    fn mistakes_name_the_place_and_the_nearest_name() {
        assert_eq!(
            error("routing:\n  polcy: weighted\n"),
            "p.yaml:2:3: unknown key \"polcy\"; did you mean \"policy\"? valid: policy, scorers, cache_weight, load_weight, params"
        );
        assert!(
            error("routing: {policy: least-load}\n").contains("did you mean \"least-loaded\"?")
        );
        assert!(
            error("admission: {gaie_kv_threshold: 1.5}\n")
                .starts_with("p.yaml: admission.gaie_kv_threshold: 1.5 is not")
        );
        assert!(error("tenant_budgets: {a: .nan}\n").contains("tenant_budgets"));
        assert!(
            error("routing: {scorers: [{name: queue-depth, weight: -1}]}\n")
                .contains("must be a positive")
        );
        assert!(error("scheduler: [\n").starts_with("p.yaml:"));
    }
}
