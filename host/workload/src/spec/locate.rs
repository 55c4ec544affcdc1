//! Where in a YAML text a value stands that makes no sense.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use std::collections::BTreeMap;
use std::fmt;
use windtunnel_base::input::InputError;

/// What is wrong, and with which value: a path like `clients[2].arrival.cv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    path: String,
    message: String,
}

impl Fault {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }

    /// The same fault of a value one level up.
    pub(super) fn under(self, parent: &str) -> Self {
        let path = if self.path.is_empty() {
            parent.to_owned()
        } else {
            format!("{parent}.{}", self.path)
        };
        Self { path, ..self }
    }

    fn text(&self) -> String {
        if self.path.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.path, self.message)
        }
    }

    /// The message for a file of this text, with line and column of the value, or of the nearest
    /// thing around it.
    #[must_use]
    pub fn in_text(&self, name: impl fmt::Display, text: &str) -> InputError {
        match place(text, &self.path) {
            Some((line, column)) => InputError::at(name, line, column, self.text()),
            None => InputError::in_file(name, self.text()),
        }
    }
}

impl From<Fault> for InputError {
    fn from(fault: Fault) -> Self {
        InputError::new(fault.text())
    }
}

/// A YAML document of which only places matter.
enum Tree {
    Map(BTreeMap<String, Spanned<Tree>>),
    List(Vec<Spanned<Tree>>),
    Leaf,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tree, M::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, _>()? {
            entries.insert(key, value);
        }
        Ok(Tree::Map(entries))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Tree, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf)
    }
}

/// Line and column of the value that a path names, or of the last thing on the way there.
fn place(text: &str, path: &str) -> Option<(u64, u64)> {
    let root: Spanned<Tree> = serde_yaml::from_str(text).ok()?;
    let mut node = &root;
    for step in path.split(['.', '[']).filter(|s| !s.is_empty()) {
        let next = match (&node.value, step.strip_suffix(']')) {
            (Tree::List(items), Some(index)) => {
                index.parse::<usize>().ok().and_then(|k| items.get(k))
            }
            (Tree::Map(entries), None) => entries.get(step),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    Some((node.referenced.line(), node.referenced.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_line_and_column_of_its_value_or_of_what_is_around_it() {
        let text = "a: 1\nlist:\n  - x: {y: 5}\n  - z: 2\n";
        let at = |path: &str| Fault::new(path, "no").in_text("f", text).to_string();
        assert_eq!(at("list[0].x.y"), "f:3:12: list[0].x.y: no");
        assert_eq!(at("list[1].z"), "f:4:8: list[1].z: no");
        assert_eq!(at("list[1].missing"), "f:4:5: list[1].missing: no");
        assert_eq!(at(""), "f:1:1: no");
        assert_eq!(Fault::new("", "no").in_text("f", "{{").to_string(), "f: no");
        assert_eq!(
            Fault::new("cv", "no").under("arrival").text(),
            "arrival.cv: no"
        );
    }
}
