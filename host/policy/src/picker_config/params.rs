//! The parameters of a plugin, taken one by one.

use super::file::Plugin;
use super::kinds::ANY;
use serde_json::Value;
use serde_yaml::Spanned;
use windtunnel_base::input::{InputError, unknown};

/// A place in the file.
pub(super) type Place = (u64, u64);

pub(super) fn place<T>(spanned: &Spanned<T>) -> Place {
    (spanned.referenced.line(), spanned.referenced.column())
}

/// An error at a place of the file `name`.
pub(super) fn at(name: &str, place: Place, message: String) -> InputError {
    InputError::at(name, place.0, place.1, message)
}

/// The parameters of one plugin.
pub(super) struct Params<'a> {
    file: &'a str,
    plugin: &'a Plugin,
}

impl<'a> Params<'a> {
    /// Those of a plugin that can have `known`.
    ///
    /// # Errors
    /// Another parameter, with its place.
    pub(super) fn of(
        file: &'a str,
        plugin: &'a Plugin,
        known: &[&str],
    ) -> Result<Self, InputError> {
        for (key, value) in plugin.parameters.iter().flatten() {
            if known != ANY && !known.contains(&key.as_str()) {
                let kind = format!("parameter of {}", plugin.kind.value);
                let message = if known.is_empty() {
                    format!("{} has no parameters, found \"{key}\"", plugin.kind.value)
                } else {
                    unknown(&kind, key, known)
                };
                return Err(at(file, place(value), message));
            }
        }
        Ok(Self { file, plugin })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<Value>> {
        let parameters = self.plugin.parameters.as_ref()?;
        parameters.get(key).filter(|value| !value.value.is_null())
    }

    /// An error at a parameter.
    pub(super) fn wrong(&self, key: &str, message: &str) -> InputError {
        let found = self.get(key).map_or(place(&self.plugin.kind), place);
        at(self.file, found, format!("{key}: {message}"))
    }

    /// A number from `least` to `most`.
    pub(super) fn number(
        &self,
        key: &str,
        least: f64,
        most: f64,
    ) -> Result<Option<f64>, InputError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.value.as_f64() {
            Some(x) if (least..=most).contains(&x) => Ok(Some(x)),
            _ => {
                let range = if most == f64::MAX {
                    format!("{least} or more")
                } else {
                    format!("{least} to {most}")
                };
                let message = format!("{} is not a number of {range}", value.value);
                Err(self.wrong(key, &message))
            }
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, InputError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.value.as_str() {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => Err(self.wrong(key, &format!("{} is not a text", value.value))),
        }
    }

    /// Is a parameter true?
    pub(super) fn yes(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| v.value == Value::Bool(true))
    }
}
