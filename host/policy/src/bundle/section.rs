//! What a bundle says of one hook, and reading it: its keys are those of the hook's policies.

use super::super::builtin::policy::BuiltIn;
use super::super::builtin::routing::weighted;
use super::super::param::Hook;
use super::super::reference::Reference;
use super::super::registry::{built_in, built_ins, default_policy};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use windtunnel_base::input::InputError;

/// Values of a policy's parameters by name.
pub type Params = BTreeMap<String, f64>;

/// What a bundle says of one hook.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Policy name or file.
    pub policy: Option<String>,
    /// Scorers of weighted routing. In `routing` only.
    pub scorers: Vec<ScorerEntry>,
    /// Values by the reference's keys, such as `token_bucket_capacity`. They count for the built-in
    /// policy whose key it is, whether or not the section names it.
    pub settings: Vec<(&'static str, f64)>,
    /// Priority by class name, -100..=100. In `admission` only.
    pub slo_priorities: BTreeMap<String, i32>,
    /// Time by which requests of a class are to leave a gateway, microseconds, by class name. In
    /// `admission` only.
    pub slo_targets: BTreeMap<String, i64>,
    /// Values of the parameters of the policy that the section names.
    pub params: Params,
}

/// One scorer of weighted routing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerEntry {
    /// Scorer name.
    pub name: String,
    /// Relative weight, above 0.
    pub weight: f64,
}

/// The keys of a hook's section.
pub(super) fn keys(hook: Hook) -> &'static [&'static str] {
    static KEYS: OnceLock<[Vec<&'static str>; 9]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        Hook::ALL.map(|hook| {
            let mut keys = vec!["policy"];
            if hook == Hook::Routing {
                keys.push("scorers");
            }
            let settings = built_ins(hook).iter().flat_map(|p| p.bundle_keys);
            keys.extend(settings.map(|(key, _)| key));
            if hook == Hook::Admission {
                keys.extend(["slo_priorities", "slo_targets"]);
            }
            keys.push("params");
            keys
        })
    });
    &keys[hook as usize]
}

/// Reads the section of a hook.
pub(super) struct SectionOf(pub(super) Hook);

impl<'de> Visitor<'de> for SectionOf {
    type Value = Section;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Hook::Scheduler => "the name of a scheduler, or a section with policy and params",
            _ => "a section with policy and params",
        })
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Section, E> {
        if self.0 != Hook::Scheduler {
            return Err(E::invalid_type(serde::de::Unexpected::Str(name), &self));
        }
        Ok(Section {
            policy: Some(name.to_owned()),
            ..Section::default()
        })
    }

    fn visit_unit<E>(self) -> Result<Section, E> {
        Ok(Section::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Section, A::Error> {
        let mut section = Section::default();
        let mut read: Vec<&str> = Vec::new();
        while let Some(key) = map.next_key_seed(KeyOf(self.0))? {
            if read.contains(&key) {
                return Err(A::Error::duplicate_field(key));
            }
            read.push(key);
            match key {
                "policy" => section.policy = map.next_value()?,
                "scorers" => section.scorers = map.next_value()?,
                "slo_priorities" => section.slo_priorities = map.next_value()?,
                "slo_targets" => section.slo_targets = map.next_value()?,
                "params" => section.params = map.next_value()?,
                key => {
                    let value: Option<f64> = map.next_value()?;
                    section.settings.extend(value.map(|value| (key, value)));
                }
            }
        }
        Ok(section)
    }
}

/// Reads a key of the section of a hook.
struct KeyOf(Hook);

impl<'de> DeserializeSeed<'de> for KeyOf {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeyOf {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, found: &str) -> Result<Self::Value, E> {
        let keys = keys(self.0);
        let known = keys.iter().find(|key| **key == found);
        known.copied().ok_or_else(|| E::unknown_field(found, keys))
    }
}

impl Section {
    /// What fills the hook: the policy it names, else the default.
    #[must_use]
    pub fn reference(&self, hook: Hook) -> Reference {
        Reference::parse(self.named().unwrap_or(default_policy(hook).name))
    }

    /// The policy it names, as written.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.policy.as_deref().filter(|name| !name.is_empty())
    }

    /// The values that the reference's keys give to the parameters of a built-in policy.
    ///
    /// # Errors
    /// Unknown or repeated scorers, bad weights.
    pub fn reference_values(&self, policy: &BuiltIn) -> Result<Vec<(String, f64)>, InputError> {
        let mut values: Vec<(String, f64)> = Vec::new();
        if self.named() == Some(policy.name) {
            let defaults = policy.bundle_defaults.iter();
            values.extend(defaults.map(|(param, value)| ((*param).to_owned(), *value)));
        }
        if !self.scorers.is_empty() && *policy == weighted::POLICY {
            let scorers = self.scorers.iter().map(|s| (s.name.as_str(), s.weight));
            values.extend(weighted::scorer_params(scorers)?);
        }
        for (key, value) in &self.settings {
            let known = policy.bundle_keys.iter().find(|(known, _)| known == key);
            values.extend(known.map(|(_, param)| ((*param).to_owned(), *value)));
        }
        Ok(values)
    }

    /// Values for the parameters of what `reference` names, by the reference's keys: what is not
    /// built in has none.
    ///
    /// # Errors
    /// Unknown or repeated scorers, bad weights.
    pub fn values_for(
        &self,
        hook: Hook,
        reference: &Reference,
    ) -> Result<Vec<(String, f64)>, InputError> {
        match reference {
            Reference::Name(name) => {
                built_in(hook, name).map_or(Ok(Vec::new()), |policy| self.reference_values(policy))
            }
            Reference::Script(_) | Reference::Plugin(..) => Ok(Vec::new()),
        }
    }
}
