//! Reading the section of a hook, whose keys are those of its policies.

use super::{Section, keys};
use crate::param::Hook;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

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
