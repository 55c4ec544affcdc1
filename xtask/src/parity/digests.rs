//! Digests of what the rows gave, one for each part, in a text file.

use super::run::Part;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const HEAD: &str =
    "# Made by `cargo xtask parity --record`; do not edit. Row, part, exit code or digest.\n";

/// Digests by row and part.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Digests(BTreeMap<String, BTreeMap<String, String>>);

/// The digest of each part; of an exit code itself.
pub(crate) fn of(parts: &[Part]) -> BTreeMap<String, String> {
    let one = |part: &Part| {
        let digest = if part.name.starts_with("exit") {
            String::from_utf8_lossy(&part.bytes).into_owned()
        } else {
            blake3::hash(&part.bytes).to_hex()[..32].to_owned()
        };
        (part.name.clone(), digest)
    };
    parts.iter().map(one).collect()
}

impl Digests {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut digests = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [row, part, digest] = fields[..] else {
                bail!("\"{line}\" is no row, part and digest");
            };
            let parts = digests.0.entry(row.to_owned()).or_default();
            parts.insert(part.to_owned(), digest.to_owned());
        }
        Ok(digests)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (row, parts) in &self.0 {
            for (part, digest) in parts {
                text += &format!("{row}\t{part}\t{digest}\n");
            }
        }
        text
    }

    /// Names of the rows, sorted.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn set(&mut self, row: String, parts: BTreeMap<String, String>) {
        self.0.insert(row, parts);
    }

    /// Says which parts of a row are not what was recorded.
    pub(crate) fn difference(&self, row: &str, parts: &[Part]) -> Option<String> {
        let Some(recorded) = self.0.get(row) else {
            return Some(format!(
                "  nothing is recorded of it: cargo xtask parity --record --only {row}"
            ));
        };
        let found = of(parts);
        let names: std::collections::BTreeSet<&String> =
            recorded.keys().chain(found.keys()).collect();
        let said: Vec<String> = names
            .into_iter()
            .filter_map(|name| match (recorded.get(name), found.get(name)) {
                (Some(a), Some(b)) if a == b => None,
                (Some(a), Some(b)) if name.starts_with("exit") => {
                    Some(format!("  {name}: {b}, recorded {a}"))
                }
                (Some(_), Some(_)) => Some(format!("  {name}: differs")),
                (Some(_), None) => Some(format!("  {name}: missing")),
                (None, _) => Some(format!("  {name}: not recorded")),
            })
            .collect();
        (!said.is_empty()).then(|| said.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Part> {
        vec![
            Part::new("exit".into(), b"0".to_vec()),
            Part::new("stdout".into(), b"text".to_vec()),
            Part::new("file a/b.csv".into(), vec![0, 255]),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut digests = Digests::default();
        digests.set("run/a".into(), of(&parts()));
        assert_eq!(Digests::parse(&digests.text()).unwrap(), digests);
        assert!(Digests::parse("run/a stdout x").is_err());
    }

    #[test]
    fn each_part_that_differs_is_named() {
        let mut digests = Digests::default();
        digests.set("run/a".into(), of(&parts()));
        assert_eq!(digests.difference("run/a", &parts()), None);
        assert!(digests.difference("run/b", &parts()).is_some());
        let mut found = parts();
        found[0].bytes = b"2".to_vec();
        found[1].bytes = b"other".to_vec();
        found[2].name = "file c".into();
        assert_eq!(
            digests.difference("run/a", &found).unwrap(),
            "  exit: 2, recorded 0\n  file a/b.csv: missing\n  file c: not recorded\n  stdout: differs"
        );
    }
}
