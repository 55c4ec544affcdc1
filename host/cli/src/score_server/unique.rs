//! JSON in which every key of an object stands once.
//!
//! Of two equal keys readers take the first or the last, as they like, so a filter in front of the
//! server and the server could see different requests.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Any JSON; its values are dropped.
pub struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UniqueKeys, A::Error> {
        while items.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UniqueKeys, A::Error> {
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!(
                    "the key {key:?} stands there twice"
                )));
            }
            seen.insert(key);
            entries.next_value::<UniqueKeys>()?;
        }
        Ok(UniqueKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused_wherever_it_is() {
        for (text, twice) in [
            (
                r#"{"a": 1, "b": [true, null, 1.5, -2, "x", {"a": {}}]}"#,
                false,
            ),
            (r#"{"a": 1, "a": 1}"#, true),
            (r#"{"a": 1, "\u0061": 2}"#, true),
            (r#"{"p": {"x": 1, "y": 2, "x": 3}}"#, true),
            (r#"[{"c": [{"x": 1, "x": 1}]}]"#, true),
            (r#"[{"x": 1}, {"x": 1}]"#, false),
        ] {
            let found = serde_json::from_str::<UniqueKeys>(text);
            let told = found.err().map(|e| e.to_string()).unwrap_or_default();
            assert_eq!(told.contains("stands there twice"), twice, "{text}: {told}");
        }
        let deep = "[".repeat(100_000);
        assert!(serde_json::from_str::<UniqueKeys>(&deep).is_err());
    }
}
