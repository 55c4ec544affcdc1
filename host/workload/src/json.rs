//! JSON files as a whole, with errors that name file, line and column.

use super::table::open_file;
use serde::de::DeserializeOwned;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::Ordering;
use windtunnel_base::input::{FiniteJson, InputError};

/// What an error of a text says in which a word of Python was replaced.
pub(crate) const REPLACED: &str = " (NaN and Infinity are read as null)";

/// Reads a file that holds one value; `what` it should be is told when it is none.
///
/// # Errors
/// When it cannot be read, or is no such value.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, InputError> {
    let text = FiniteJson::new(open_file(path)?);
    let found = text.found();
    serde_json::from_reader(BufReader::new(text))
        .map_err(|e| wrong(path, what, &e, found.load(Ordering::Relaxed)))
}

/// Reads a file that holds any number of values, one after the other.
///
/// # Errors
/// As [`read_json`].
pub(crate) fn read_json_values<T: DeserializeOwned>(
    path: &Path,
    what: &str,
) -> Result<Vec<T>, InputError> {
    let text = FiniteJson::new(open_file(path)?);
    let found = text.found();
    serde_json::Deserializer::from_reader(BufReader::new(text))
        .into_iter()
        .map(|value| value.map_err(|e| wrong(path, what, &e, found.load(Ordering::Relaxed))))
        .collect()
}

fn wrong(path: &Path, what: &str, error: &serde_json::Error, replaced: bool) -> InputError {
    let name = path.display();
    let replaced = if replaced { REPLACED } else { "" };
    if error.is_io() {
        return InputError::in_file(name, format!("cannot read: {error}"));
    }
    let message = format!("this is no {what}: {}{replaced}", without_place(error));
    InputError::at(name, error.line() as u64, error.column() as u64, message)
}

/// The message of an error of serde_json, which appends the place.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_python_where_a_number_is_needed_is_an_error_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        std::fs::write(&path, "[1.5,\n 2.5, NaN, 3]").unwrap();
        assert_eq!(
            read_json::<Vec<Option<f64>>>(&path, "list").unwrap(),
            [Some(1.5), Some(2.5), None, Some(3.0)]
        );
        let error = read_json::<Vec<f64>>(&path, "list").unwrap_err();
        assert_eq!((error.line(), error.column()), (Some(2), Some(9)));
        assert_eq!(
            error.message(),
            "this is no list: invalid type: null, expected f64 (NaN and Infinity are read as null)"
        );
    }
}
