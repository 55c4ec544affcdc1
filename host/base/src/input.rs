//! Reading what people wrote, and telling them clearly what is wrong with it.
//!
//! Every message names the place (file, line, column), what was found, what was expected and the
//! nearest valid name. The command line turns an [`InputError`] into exit code 2.

mod files;

pub use files::{Staging, folder_of, identity, write_folder, write_whole};

use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

/// Wrong input: a message for a person, ready to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    place: String,
    message: String,
}

impl InputError {
    /// A message without a place in a file (a flag, a combination of flags).
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            message: message.into(),
        }
    }

    /// A message about a whole file.
    #[must_use]
    pub fn in_file(file: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            place: file.to_string(),
            message: message.into(),
        }
    }

    /// A message about a place in a file; `line` and `column` count from 1, a `column` of 0 is left
    /// out.
    #[must_use]
    pub fn at(file: impl fmt::Display, line: u64, column: u64, message: impl Into<String>) -> Self {
        let place = if column == 0 {
            format!("{file}:{line}")
        } else {
            format!("{file}:{line}:{column}")
        };
        Self {
            place,
            message: message.into(),
        }
    }
}

impl InputError {
    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.place, self.message)
        }
    }
}

impl std::error::Error for InputError {}

/// The candidate most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    ranked(name, candidates)
        .into_iter()
        .next()
        .filter(|(score, known)| *score >= 0.7 && meant(name, known))
        .map(|(_, c)| c)
}

/// All candidates, the most like `name` first; equal ones in their given order. Case does not
/// count.
pub fn ranked<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<(f64, &'a str)> {
    let name = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|c| (likeness(&name, &c.to_lowercase()), c))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

/// 0 to 1. Common beginnings count; so do slips (letters swapped, left out or doubled) in names too
/// short for that.
fn likeness(a: &str, b: &str) -> f64 {
    let slips = strsim::osa_distance(a, b);
    let slip = if slips <= 1 && a.len() > 1 { 0.9 } else { 0.0 };
    strsim::jaro_winkler(a, b).max(slip)
}

/// Could one be meant by the other? Not if more than half would have to be written anew, unless one
/// begins with the other.
fn meant(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    2 * strsim::osa_distance(&short, &long) <= long.len()
        || (short.len() > 2 && long.starts_with(&short))
}

/// `did you mean "x"?` behind `before`, if any candidate is like `name`; else nothing.
#[must_use]
pub fn hint<'a>(before: &str, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or(String::new(), |near| {
        format!("{before}did you mean \"{near}\"?")
    })
}

/// `unknown KIND "name"; did you mean "x"? valid: a, b, c`.
#[must_use]
pub fn unknown(kind: &str, name: &str, valid: &[&str]) -> String {
    let hint = hint(" ", name, valid.iter().copied());
    format!(
        "unknown {kind} \"{name}\";{hint} valid: {}",
        valid.join(", ")
    )
}

/// May stand in a name that becomes part of paths?
#[must_use]
pub fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// Can `name` be that of a file or folder, everywhere?
///
/// # Errors
/// What is expected, when it cannot.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_of_name) {
        return Err("letters, digits, \"-\", \"_\" and \".\", with no \".\" at the beginning");
    }
    Ok(())
}

/// Largest text file that is read, bytes: none that people write comes near.
const LONGEST_TEXT: u64 = 64 << 20;

/// Reads a whole text file, without a byte order mark.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is larger than 64 MiB.
pub fn read_text(path: &Path) -> Result<String, InputError> {
    let refuse = |why: &str| InputError::in_file(path.display(), format!("cannot read: {why}"));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_TEXT + 1).read_to_end(&mut bytes))
        .map_err(|e| refuse(&plain(&e)))?;
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(refuse("it is larger than 64 MiB"));
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
        // Its own words for people, without the place: ours stands in front.
        other => printable(&serde_yaml::UserMessageFormatter.format_message(other)),
    };
    InputError::at(name, line.max(1), column, message)
}

/// A third party's message on one line, without control characters.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// An I/O error in plain words, without the operating system's error number or the temporary file's
/// name.
pub fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::NotADirectory => "part of the path is not a folder".into(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        io::ErrorKind::StorageFull => "no space left on the device".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
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
    fn a_slip_of_the_pen_finds_its_name_and_noise_finds_none() {
        let names = ["fcfs", "priority-fcfs", "sjf", "least-loaded"];
        for (written, meant) in [
            ("sfj", Some("sjf")),
            ("FCFS", Some("fcfs")),
            ("leastloaded", Some("least-loaded")),
            ("priority", Some("priority-fcfs")),
            ("bogus", None),
            ("least-loaded-of-all", Some("least-loaded")),
            ("f", None),
            ("load", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
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
