//! Strict reading of JSON.

use serde::de::DeserializeOwned;
use windtunnel_base::input::{InputError, finite_json, unknown};

/// Parses JSON strictly; errors carry line and column, an unknown key its nearest valid name. Bare
/// `Infinity` and `NaN`, which Python writes (`time_step_limit` of Mamba models), are null.
pub(crate) fn parse_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, InputError> {
    if text.trim().is_empty() {
        return Err(InputError::in_file(
            name,
            "the file is empty; expected a JSON object",
        ));
    }
    let text = finite_json(text.as_bytes());
    serde_json::from_slice(&text).map_err(|e| json_error(name, e.line() as u64, &e))
}

/// The same of one line of a file of many.
pub(crate) fn parse_json_line<T: DeserializeOwned>(
    name: &str,
    number: u64,
    line: &str,
) -> Result<T, InputError> {
    serde_json::from_str(line).map_err(|e| json_error(name, number, &e))
}

fn json_error(name: &str, line: u64, error: &serde_json::Error) -> InputError {
    let text = error.to_string();
    // serde_json appends the position to its message; ours stands in front.
    let text = text.split(" at line ").next().unwrap_or(&text);
    let message = if text.starts_with("unknown field") {
        let mut quoted = text.split('`').skip(1).step_by(2);
        let found = quoted.next().unwrap_or_default();
        let valid: Vec<&str> = quoted.filter(|k| !k.starts_with('_')).collect();
        unknown("key", found, &valid)
    } else {
        text.to_owned()
    };
    InputError::at(name, line, error.column() as u64, message)
}
