//! Texts that a program holds in memory and that are read as if they were files: scripts and
//! tables that were never written to a disk.

use crate::rng::Fnv1a64;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Texts by name, and how many hold each.
type Texts = BTreeMap<PathBuf, (Arc<[u8]>, usize)>;

static TEXTS: RwLock<Texts> = RwLock::new(BTreeMap::new());

/// A text that can be read under its name, in this process, as long as this is there.
///
/// The name tells texts apart, so that what is named after it (a run, a row) stays the same from
/// one process to the next.
#[derive(Debug)]
pub struct InMemory {
    name: PathBuf,
}

impl InMemory {
    /// Holds `text` under a name made of `stem`, a hash of the text, and `ending`:
    /// `policy@9e3779b97f4a7c15.lua`.
    #[must_use]
    pub fn new(stem: &str, ending: &str, text: Vec<u8>) -> Self {
        let mut hash = Fnv1a64::default();
        hash.add(&text);
        let mut texts = TEXTS.write().unwrap_or_else(PoisonError::into_inner);
        // Unlike texts of one hash get unlike names.
        let names = (0..).map(|again: u64| {
            let number = hash.value().wrapping_add(again);
            PathBuf::from(format!("{stem}@{number:016x}.{ending}"))
        });
        for name in names {
            match texts.get_mut(&name) {
                Some((held, _)) if **held != *text => continue,
                Some((_, holders)) => *holders += 1,
                None => drop(texts.insert(name.clone(), (text.into(), 1))),
            }
            return Self { name };
        }
        unreachable!("there are more names than texts")
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let mut texts = TEXTS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, holders)) = texts.get_mut(&self.name) {
            *holders -= 1;
            if *holders == 0 {
                texts.remove(&self.name);
            }
        }
    }
}

/// The text of this name.
pub(super) fn text_of(path: &Path) -> Option<Arc<[u8]>> {
    let texts = TEXTS.read().unwrap_or_else(PoisonError::into_inner);
    texts.get(path).map(|(text, _)| Arc::clone(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::read_text;

    #[test]
    fn a_text_is_a_file_as_long_as_somebody_holds_it() {
        let one = InMemory::new("policy", "lua", b"return {}".to_vec());
        let same = InMemory::new("policy", "lua", b"return {}".to_vec());
        let other = InMemory::new("policy", "lua", b"return 1".to_vec());
        assert_eq!(one.name(), same.name());
        assert_ne!(one.name(), other.name());
        let name = one.name().to_owned();
        drop(one);
        assert_eq!(read_text(&name).unwrap(), "return {}");
        drop(same);
        let gone = read_text(&name).unwrap_err();
        assert!(gone.message().starts_with("cannot read: "), "{gone}");
    }
}
