//! JSON as Python writes it: with bare `NaN`, `Infinity` and `-Infinity`, which JSON does not have.
//! They say that there is no finite number, so they are read as `null`.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The words, and `null` in as many columns where that is possible.
const WORDS: [(&[u8], &[u8]); 3] = [
    (b"NaN", b"null"),
    (b"Infinity", b"null    "),
    (b"-Infinity", b"null     "),
];

/// Longest of the words.
const LONGEST: usize = 9;

/// Finds the words outside of strings. Places in the text stay where they are, from the next space
/// on even where `null` is longer than what it replaces.
#[derive(Debug, Default)]
struct Finder {
    in_string: bool,
    escaped: bool,
    /// Columns that a replacement took more than its word had.
    ahead: usize,
    found: bool,
}

impl Finder {
    /// Takes what it can decide of `text` (all of it, if it is the `last` part), puts it into
    /// `out` and returns how many bytes it took.
    fn pass(&mut self, text: &[u8], last: bool, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < text.len() && (last || text.len() - at >= LONGEST) {
            let byte = text[at];
            at += 1;
            if self.in_string {
                out.push(byte);
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'\n' => self.ahead = 0,
                b' ' if self.ahead > 0 && matches!(out.last(), Some(b',' | b':')) => {
                    self.ahead -= 1;
                    continue;
                }
                b'N' | b'I' | b'-' => {
                    let rest = &text[at - 1..];
                    if let Some((word, null)) = WORDS.iter().find(|(w, _)| rest.starts_with(w)) {
                        self.found = true;
                        let longer = null.len().saturating_sub(word.len());
                        if longer > 0 && out.last() == Some(&b' ') {
                            out.pop();
                        } else {
                            self.ahead += longer;
                        }
                        out.extend_from_slice(null);
                        at += word.len() - 1;
                        continue;
                    }
                }
                _ => {}
            }
            out.push(byte);
        }
        at
    }
}

/// A JSON text with `null` in place of bare `NaN`, `Infinity` and `-Infinity`. Borrowed, if there
/// are none.
#[must_use]
pub fn finite_json(text: &[u8]) -> Cow<'_, [u8]> {
    // Most texts have no such letter outside of a string, and few have one inside.
    if !text.iter().any(|b| matches!(b, b'N' | b'I')) {
        return Cow::Borrowed(text);
    }
    let mut finder = Finder::default();
    let mut out = Vec::with_capacity(text.len() + 16);
    finder.pass(text, true, &mut out);
    if finder.found {
        Cow::Owned(out)
    } else {
        Cow::Borrowed(text)
    }
}

/// Reads as [`finite_json`] does, from a file of any size.
#[derive(Debug)]
pub struct FiniteJson<R> {
    from: R,
    finder: Finder,
    raw: Vec<u8>,
    ready: Vec<u8>,
    given: usize,
    ended: bool,
    found: Arc<AtomicBool>,
}

impl<R: Read> FiniteJson<R> {
    /// Wraps a reader.
    pub fn new(from: R) -> Self {
        Self {
            from,
            finder: Finder::default(),
            raw: Vec::new(),
            ready: Vec::new(),
            given: 0,
            ended: false,
            found: Arc::default(),
        }
    }

    /// Whether a word was replaced so far; stays known when the reader is given away.
    pub fn found(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.found)
    }
}

impl<R: Read> Read for FiniteJson<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() && !(self.ended && self.raw.is_empty()) {
            if !self.ended {
                let mut part = (&mut self.from).take(1 << 16);
                self.ended = part.read_to_end(&mut self.raw)? < 1 << 16;
            }
            // The last byte stays in place: what follows it may take it back.
            let keep = self
                .ready
                .last()
                .copied()
                .filter(|b| *b == b',' || *b == b':');
            self.ready.clear();
            self.ready.extend(keep);
            self.given = self.ready.len();
            let taken = self.finder.pass(&self.raw, self.ended, &mut self.ready);
            self.raw.drain(..taken);
            self.found.fetch_or(self.finder.found, Ordering::Relaxed);
        }
        let read = (&self.ready[self.given..]).read(into)?;
        self.given += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(text: &str) -> String {
        let mut out = String::new();
        let mut reader = FiniteJson::new(text.as_bytes());
        reader.read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn bare_words_become_null_in_place_and_strings_stay() {
        for (text, expected) in [
            (r#"{"a": NaN, "b": 1}"#, r#"{"a":null, "b": 1}"#),
            (r#"{"a":NaN, "b": 1}"#, r#"{"a":null,"b": 1}"#),
            ("[NaN, NaN, 1]", "[null,null,1]"),
            ("[Infinity,-Infinity,-1]", "[null    ,null     ,-1]"),
            (
                r#"{"NaN": "Infinity \" NaN"}"#,
                r#"{"NaN": "Infinity \" NaN"}"#,
            ),
            (r#"["\\", NaN]"#, r#"["\\",null]"#),
            ("NaN", "null"),
            ("[Na]", "[Na]"),
            ("", ""),
        ] {
            let whole = finite_json(text.as_bytes());
            assert_eq!(std::str::from_utf8(&whole).unwrap(), expected, "{text}");
            assert_eq!(streamed(text), expected, "{text}");
        }
        assert!(matches!(finite_json(br#"{"NaN": 1}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn words_are_found_wherever_the_reader_is_cut() {
        for padding in (1 << 16) - 12..(1 << 16) + 2 {
            let text = format!("[\"{}\", -Infinity, NaN, 1]", "x".repeat(padding));
            let expected = text
                .replace("-Infinity", "null     ")
                .replace(" NaN", "null");
            assert_eq!(streamed(&text), expected, "{padding}");
        }
    }
}
