//! Reading text files and YAML.

use super::error::{InputError, plain, size};
use super::names::unknown;
use super::open::{open_text, packed_otherwise};
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Largest text file that is read, bytes: none that people write comes near.
const LONGEST_TEXT: u64 = 64 << 20;

/// A number within a text whose parts mean something each.
///
/// # Errors
/// When it is none of its type.
pub fn number<T: FromStr>(text: &str) -> Result<T, InputError> {
    let wrong = || InputError::new(format!("\"{text}\" is no number"));
    text.parse().map_err(|_| wrong())
}

/// Reads a whole text file, without a byte order mark. UTF-16 with such a mark, gzip and zstd are
/// recognised.
///
/// # Errors
/// When it cannot be read, is no text or no file, or is larger than 64 MiB.
pub fn read_text(path: &Path) -> Result<String, InputError> {
    read_text_up_to(path, LONGEST_TEXT)
}

/// As [`read_text`], of at most `most` bytes.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_up_to(path: &Path, most: u64) -> Result<String, InputError> {
    let refuse = |why: &str| InputError::in_file(path.display(), format!("cannot read: {why}"));
    let mut bytes = Vec::new();
    open_text(path, most)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|e| refuse(&plain(&e)))?;
    if let Some(kind) = packed_otherwise(&bytes) {
        return Err(refuse(&format!("it is {kind}; unpack it first")));
    }
    if bytes.len() as u64 > most {
        return Err(refuse(&format!("it is larger than {}", size(most))));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text"))?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Parses YAML strictly: unknown keys, duplicate keys and wrong types are errors with line and
/// column. `name` is what the message calls the text (a file name).
///
/// # Errors
/// When the text is not a `T`.
pub fn parse_yaml<T: DeserializeOwned>(
    name: impl fmt::Display,
    text: &str,
) -> Result<T, InputError> {
    if text
        .lines()
        .all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l.trim() == "---")
    {
        return Err(InputError::in_file(
            name,
            "the file is empty; expected YAML keys",
        ));
    }
    serde_yaml::from_str_with_options(text, serde_yaml::options! { strict_booleans: true })
        .map_err(|e| yaml_error(&name, &e))
}

fn yaml_error(name: &impl fmt::Display, error: &serde_yaml::Error) -> InputError {
    use serde_yaml::{Error, MessageFormatter};
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((1, 0), |l| (l.line(), l.column()));
    let message = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown("key", field, expected),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        Error::Unexpected { expected, .. } if *expected == "mapping start" => {
            "expected keys with values, such as \"key: value\"".to_owned()
        }
        Error::Unexpected { expected, .. } if *expected == "sequence start" => {
            "expected a list, such as \"[a, b]\"".to_owned()
        }
        Error::Unexpected { expected, .. } if *expected == "string scalar" => {
            "expected a single text".to_owned()
        }
        // Its own wording, without the place: ours is put in front.
        other => printable(&serde_yaml::UserMessageFormatter.format_message(other)),
    };
    InputError::at(name, line.max(1), column, message)
}

/// Whether a key says what its absence says, so that it need not be written.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A third party's message on one line, without control characters. Names are quoted as in our own
/// messages: backticks are for settings of a run.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '`' => '"',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only its name matters")]
        threshold: f64,
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_key() {
        let error = parse_yaml::<Sample>("a.yaml", "treshold: 1\n")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a.yaml:1:1: unknown key \"treshold\"; did you mean \"threshold\"? valid: threshold"
        );
    }

    #[test]
    fn a_wrong_type_and_broken_yaml_name_their_place() {
        let error = parse_yaml::<Sample>("a.yaml", "threshold: many\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("a.yaml:1:12: "), "{error}");
        let error = parse_yaml::<Sample>("a.yaml", "threshold: [1\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("a.yaml:"), "{error}");
        let error = parse_yaml::<Sample>("a.yaml", "# nothing\n")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "a.yaml: the file is empty; expected YAML keys");
    }

    #[test]
    fn a_text_is_read_without_its_byte_order_mark_and_not_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        std::fs::write(&path, "\u{feff}threshold: 1\n").unwrap();
        assert_eq!(read_text(&path).unwrap(), "threshold: 1\n");
        std::fs::write(&path, b"\xff").unwrap();
        let error = read_text(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("cannot read: it is not UTF-8 text"),
            "{error}"
        );
        std::fs::File::create(&path)
            .unwrap()
            .set_len(LONGEST_TEXT + 1)
            .unwrap();
        let error = read_text(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("cannot read: it is larger than 64 MiB"),
            "{error}"
        );
    }
}
