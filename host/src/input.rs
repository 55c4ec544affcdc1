//! Reading what people wrote, and telling them clearly what is wrong with it.
//!
//! Every message names the place (file, line, column), what was found, what was expected and the nearest valid name. The
//! command line turns an [`InputError`] into exit code 2.

use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Write};
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

    /// A message about a place in a file; `line` and `column` count from 1, a `column` of 0 is left out.
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
        .filter(|(score, _)| *score >= 0.6)
        .map(|(_, c)| c)
}

/// All candidates, the most like `name` first; equal ones in their given order. Case does not count.
pub fn ranked<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Vec<(f64, &'a str)> {
    let name = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&name, &c.to_lowercase()), c))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

/// `unknown KIND "name"; did you mean "x"? valid: a, b, c`.
#[must_use]
pub fn unknown(kind: &str, name: &str, valid: &[&str]) -> String {
    let hint = nearest(name, valid.iter().copied())
        .map_or(String::new(), |n| format!(" did you mean \"{n}\"?"));
    format!(
        "unknown {kind} \"{name}\";{hint} valid: {}",
        valid.join(", ")
    )
}

/// Reads a whole text file.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, InputError> {
    std::fs::read_to_string(path)
        .map_err(|e| InputError::in_file(path.display(), format!("cannot read: {}", plain(&e))))
}

/// Parses YAML strictly: unknown keys, duplicate keys and wrong types are errors with line and column. `name` is what
/// the message calls the text (a file name).
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
    use serde_yaml::Error;
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((1, 0), |l| (l.line(), l.column()));
    let message = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown("key", field, expected),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        other => other.render_with_options(
            serde_yaml::render_options! { snippets: serde_yaml::SnippetMode::Off },
        ),
    };
    InputError::at(name, line.max(1), column, message)
}

/// Writes a file whole or not at all: into a temporary file beside it, then renamed.
///
/// # Errors
/// When `fill` fails or the file cannot be written; nothing is left behind then.
pub fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), InputError> {
    let refuse =
        |e: &io::Error| InputError::in_file(path.display(), format!("cannot write: {}", plain(e)));
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| refuse(&e))?;
    {
        let mut out = io::BufWriter::new(file.as_file_mut());
        fill(&mut out)
            .and_then(|()| out.flush())
            .map_err(|e| refuse(&e))?;
    }
    file.persist(path).map_err(|e| refuse(&e.error))?;
    Ok(())
}

/// An I/O error without the operating system's error number or the temporary file's name.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
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
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        write_whole(&path, |_| Err(io::Error::other("disk full"))).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        write_whole(&path, |w| w.write_all(b"{}")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
        let error = write_whole(&dir.path().join("none/x"), |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such file or folder"), "{error}");
    }
}
