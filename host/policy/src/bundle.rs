//! The YAML policy bundle: which policies a run uses, in one file. The configuration of llm-d's
//! endpoint picker is read as one.
//!
//! Keys that the reference simulator has for parameters are understood beside `params`, in both of
//! its forms: scorers (2026-08) and two weights (2026-02). Which there are is said by the built-in
//! policies ([`bundle_keys`](super::builtin::policy::BuiltIn::bundle_keys)).

mod section;

use super::loader::PolicyLoader;
use super::param::{Hook, Param};
use super::picker_config::{self, Picker};
use super::reference::Reference;
use super::registry::{built_ins, names, unknown_policy};
use super::spec::PolicySpec;
pub use section::{Params, ScorerEntry, Section};
use section::{SectionOf, keys};
use serde::Deserialize;
use serde::Deserializer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, LARGEST_SPEC, parse_yaml, read_text_up_to};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_config::autoscale::AutoscaleSpec;
use windtunnel_config::flow_control::FlowControlSpec;
use windtunnel_config::pool::PoolSpec;

/// A bundle as written; every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bundle {
    /// Admission.
    #[serde(deserialize_with = "admission")]
    pub admission: Section,
    /// Routing.
    #[serde(deserialize_with = "routing")]
    pub routing: Section,
    /// Routing to instances that prefill, where some do that for others; as `routing` if not named.
    #[serde(deserialize_with = "routing")]
    pub prefill_routing: Section,
    /// The same to instances that decode.
    #[serde(deserialize_with = "routing")]
    pub decode_routing: Section,
    /// Priority.
    #[serde(deserialize_with = "priority")]
    pub priority: Section,
    /// Scheduler: a section as the others have, or a name alone, as in the reference.
    #[serde(deserialize_with = "scheduler")]
    pub scheduler: Section,
    /// Preemption.
    #[serde(deserialize_with = "preemption")]
    pub preemption: Section,
    /// Disaggregation.
    #[serde(deserialize_with = "disaggregation")]
    pub disaggregation: Section,
    /// Batching.
    #[serde(deserialize_with = "batching")]
    pub batching: Section,
    /// Dispatch, where a gateway holds requests.
    #[serde(deserialize_with = "dispatch")]
    pub dispatch: Section,
    /// Scale, where pools are scaled.
    #[serde(deserialize_with = "scale")]
    pub scale: Section,
    /// A gateway that holds requests back; what the run itself says of it counts more.
    pub flow_control: FlowControlSpec,
    /// Pools that a policy scales; what the run itself says of it counts more.
    pub autoscale: AutoscaleSpec,
    /// Share of the cluster's request slots by tenant, 0..=1.
    pub tenant_budgets: BTreeMap<String, f64>,
    /// The cluster's pools; none = those of the run. Beyond the reference, as for other GPUs beside
    /// each other.
    pub pools: Vec<PoolSpec>,
    /// The folder of its file: relative paths in it start there.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What a person should know of how the file was read.
    #[serde(skip)]
    pub notes: Vec<String>,
}

fn admission<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Admission)
}

fn routing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Routing)
}

fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Priority)
}

fn scheduler<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    deserializer.deserialize_any(SectionOf(Hook::Scheduler))
}

fn preemption<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Preemption)
}

fn disaggregation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Disaggregation)
}

fn batching<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Batching)
}

fn dispatch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Dispatch)
}

fn scale<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Section, D::Error> {
    section(deserializer, Hook::Scale)
}

fn section<'de, D: Deserializer<'de>>(deserializer: D, hook: Hook) -> Result<Section, D::Error> {
    deserializer.deserialize_struct("Section", keys(hook), SectionOf(hook))
}

impl From<Picker> for Bundle {
    fn from(picker: Picker) -> Self {
        let scorers = picker.scorers.into_iter();
        let admission = picker.gaie_legacy.map(|params| Section {
            policy: Some("gaie-legacy".into()),
            params,
            ..Section::default()
        });
        Self {
            admission: admission.unwrap_or_default(),
            routing: Section {
                policy: Some("weighted".into()),
                scorers: scorers
                    .map(|(name, weight)| ScorerEntry { name, weight })
                    .collect(),
                params: picker.weighted,
                ..Section::default()
            },
            notes: picker.notes,
            ..Self::default()
        }
    }
}

/// The parameter of a built-in policy for `hook` that `key` stands for.
fn param_of(hook: Hook, key: &str) -> Option<&'static Param> {
    built_ins(hook).iter().find_map(|policy| {
        let (_, param) = policy.bundle_keys.iter().find(|(known, _)| *known == key)?;
        policy.params.iter().find(|known| known.name == *param)
    })
}

impl Bundle {
    /// Reads and checks a bundle file.
    ///
    /// # Errors
    /// Unknown keys, unknown policies, values out of range: each names file and place or key.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::parse(
            &path.display().to_string(),
            &read_text_up_to(path, LARGEST_SPEC)?,
        )
    }

    /// Parses and checks a bundle; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let mut bundle: Self = match picker_config::read(name, text) {
            Some(picker) => picker?.into(),
            None => parse_yaml(name, text)?,
        };
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
    pub fn check(&self) -> Result<(), (String, String)> {
        for (key, hook, section) in self.sections() {
            if let Some(name) = section.named()
                && let Reference::Name(name) = Reference::parse(name)
                && !names(hook).contains(&name.as_str())
            {
                let key = match hook {
                    Hook::Scheduler => key.to_owned(),
                    _ => format!("{key}.policy"),
                };
                return Err((key, unknown_policy(hook, &name).to_string()));
            }
        }
        for (key_of_section, hook, section) in self.sections() {
            for (key, value) in &section.settings {
                let fits = param_of(hook, key).map_or(Ok(()), |param| param.allows(*value));
                let wrong = |expected| {
                    (
                        format!("{key_of_section}.{key}"),
                        format!("{value} is not {expected}"),
                    )
                };
                fits.map_err(wrong)?;
            }
            for policy in built_ins(hook) {
                let values = section.reference_values(policy);
                let values =
                    values.map_err(|e| (format!("{key_of_section}.scorers"), e.to_string()))?;
                let together = policy.values(&values);
                together.map_err(|e| (key_of_section.to_owned(), e.to_string()))?;
            }
        }
        self.slo_priorities()
            .map_err(|e| ("admission.slo_priorities".to_owned(), e.to_string()))?;
        let shares = self.tenant_budgets.values();
        match shares.copied().find(|share| !(0.0..=1.0).contains(share)) {
            Some(share) => Err((
                "tenant_budgets".to_owned(),
                format!("{share} is not a share of 0 to 1"),
            )),
            None => Ok(()),
        }
    }

    /// What it says of a hook.
    #[must_use]
    pub fn section(&self, hook: Hook) -> &Section {
        match hook {
            Hook::Admission => &self.admission,
            Hook::Routing => &self.routing,
            Hook::Priority => &self.priority,
            Hook::Scheduler => &self.scheduler,
            Hook::Preemption => &self.preemption,
            Hook::Disaggregation => &self.disaggregation,
            Hook::Batching => &self.batching,
            Hook::Dispatch => &self.dispatch,
            Hook::Scale => &self.scale,
        }
    }

    /// The parameters of a hook's policy.
    pub fn params_mut(&mut self, hook: Hook) -> &mut Params {
        match hook {
            Hook::Admission => &mut self.admission.params,
            Hook::Routing => &mut self.routing.params,
            Hook::Priority => &mut self.priority.params,
            Hook::Scheduler => &mut self.scheduler.params,
            Hook::Preemption => &mut self.preemption.params,
            Hook::Disaggregation => &mut self.disaggregation.params,
            Hook::Batching => &mut self.batching.params,
            Hook::Dispatch => &mut self.dispatch.params,
            Hook::Scale => &mut self.scale.params,
        }
    }

    /// What it says, with the keys that say it, and of which hook.
    fn sections(&self) -> impl Iterator<Item = (&'static str, Hook, &Section)> {
        let hooks = Hook::ALL.into_iter();
        let hooks = hooks.map(|hook| (hook.name(), hook, self.section(hook)));
        hooks.chain([
            ("prefill_routing", Hook::Routing, &self.prefill_routing),
            ("decode_routing", Hook::Routing, &self.decode_routing),
        ])
    }

    /// The policies that it names, by hook, as written. There may be several for routing: one for
    /// each stage.
    pub fn named(&self) -> impl Iterator<Item = (Hook, &str)> {
        let all = self.sections();
        all.filter_map(|(_, hook, section)| Some((hook, section.named()?)))
    }

    /// Puts into `spec` what of `policies`, which are [its own](Self::policies), it names; gives
    /// the hooks.
    pub fn fill(&self, spec: &mut PolicySpec, policies: &PolicySpec) -> Vec<Hook> {
        let named = |hook: &Hook| self.named().any(|(of, _)| of == *hook);
        let hooks: Vec<Hook> = Hook::ALL.into_iter().filter(named).collect();
        for hook in &hooks {
            if self.section(*hook).named().is_some() {
                spec.take(*hook, policies);
            }
        }
        for (stage, own) in [
            (&mut spec.prefill_routing, &policies.prefill_routing),
            (&mut spec.decode_routing, &policies.decode_routing),
        ] {
            if own.is_some() {
                stage.clone_from(own);
            }
        }
        hooks
    }

    /// The policies it names, ready to be made; hooks it leaves out are filled as by default.
    ///
    /// # Errors
    /// When a policy is unknown, its file cannot be read, or a value does not fit.
    pub fn policies(&self, loader: &mut PolicyLoader) -> Result<PolicySpec, InputError> {
        let budgets = self.tenant_budgets.iter();
        let mut spec = PolicySpec {
            tenant_budgets: budgets.map(|(t, share)| (t.clone(), *share)).collect(),
            slo_priorities: self.slo_priorities()?,
            ..PolicySpec::default()
        };
        let mut load = |hook: Hook, section: &Section| {
            let reference = section.reference(hook).from_folder(&self.folder);
            let mut values = section.values_for(hook, &reference)?;
            values.extend(section.params.iter().map(|(n, v)| (n.clone(), *v)));
            loader.load(hook, &reference, &mut |_| values.clone())
        };
        for hook in Hook::ALL {
            spec.set(hook, load(hook, self.section(hook))?);
        }
        for (stage, section) in [
            (&mut spec.prefill_routing, &self.prefill_routing),
            (&mut spec.decode_routing, &self.decode_routing),
        ] {
            if section.named().is_some() {
                *stage = Some(load(Hook::Routing, section)?);
            }
        }
        Ok(spec)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choice;

    fn error(text: &str) -> String {
        Bundle::parse("p.yaml", text).unwrap_err().to_string()
    }

    /// The values of the policy that a bundle's routing section names.
    fn routing(text: &str) -> Vec<(&'static str, f64)> {
        let bundle = Bundle::parse("p", text).expect("a bundle");
        let spec = bundle.policies(&mut PolicyLoader::new(false));
        match spec.expect("policies").routing {
            Choice::BuiltIn { values, .. } => values.named().filter(|(_, v)| *v > 0.0).collect(),
            policy => panic!("{policy:?}"),
        }
    }

    #[test]
    fn both_key_sets_are_understood() {
        let old = "routing: {policy: weighted, cache_weight: 0.6, load_weight: 0.4}\n";
        assert_eq!(routing(old), [("cache_weight", 0.6), ("load_weight", 0.4)]);
        let new = "routing:\n  policy: weighted\n  scorers: [{name: queue-depth, weight: 2}, {name: no-hit-lru, weight: 1}]\nscheduler: sjf\n";
        assert_eq!(routing(new), [("queue_depth", 2.0), ("no_hit_lru", 1.0)]);
        // Of an empty key, the default counts; parameters by name count more than keys.
        let both = "routing: {policy: weighted, cache_weight: , load_weight: 1, params: {load_weight: 3}}\n";
        assert_eq!(routing(both), [("load_weight", 3.0)]);
    }

    #[test]
    fn keys_count_for_the_policy_whose_they_are() {
        let min_priority = |text: &str, name: &str| {
            let bundle = Bundle::parse("p", text).expect("a bundle");
            let reference = Reference::Name(name.into());
            let values = bundle.admission.values_for(Hook::Admission, &reference);
            let choice = Choice::built_in(Hook::Admission, name, &values.expect("values"));
            match choice.expect("a policy") {
                Choice::BuiltIn { values, .. } => values.get("min_priority"),
                policy => panic!("{policy:?}"),
            }
        };
        // The reference has another default where a bundle names the policy.
        assert_eq!(
            min_priority("admission: {policy: tier-shed}\n", "tier-shed"),
            3.0
        );
        assert_eq!(min_priority("scheduler: sjf\n", "tier-shed"), 0.0);
        let elsewhere = "admission: {policy: token-bucket, tier_shed_min_priority: 2, token_bucket_capacity: 5}\n";
        assert_eq!(min_priority(elsewhere, "tier-shed"), 2.0);
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
        for (text, message) in [
            (
                "admission: {token_bucket_capacity: 0}\n",
                "admission.token_bucket_capacity: 0 is not a number above 0",
            ),
            (
                "admission: {tier_shed_threshold: 1.5}\n",
                "admission.tier_shed_threshold: 1.5 is not a whole number",
            ),
            (
                "routing: {cache_weight: -1}\n",
                "routing.cache_weight: -1 is not 0 or more",
            ),
            (
                "routing: {cache_weight: 1, scorers: [{name: queue-depth, weight: 1}]}\n",
                "routing: give scorers or cache_weight and load_weight, not both",
            ),
        ] {
            assert_eq!(error(text), format!("p.yaml: {message}"));
        }
        let twice = "routing: {policy: weighted, policy: weighted}\n";
        assert!(error(twice).starts_with("p.yaml:1:"), "{}", error(twice));
        assert!(error("routing: weighted\n").starts_with("p.yaml:1:10: "));
        assert!(error("tenant_budgets: {a: .nan}\n").contains("tenant_budgets"));
        assert!(
            error("routing: {scorers: [{name: queue-depth, weight: -1}]}\n")
                .contains("must be a positive")
        );
        assert!(error("scheduler: [\n").starts_with("p.yaml:"));
    }
}
