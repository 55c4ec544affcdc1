//! What scripts print while a run goes on.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most lines that are kept.
const MOST_LINES: u64 = 100_000;
/// Most bytes that are kept.
const MOST_BYTES: usize = 16 << 20;

/// What the scripts of a run print, in the order in which they do. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct ScriptLog(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    /// Lines are kept, not only counted.
    kept: bool,
    printed: u64,
    /// How many of them are in `text`.
    written: u64,
    text: String,
    /// The file that printed first.
    first: String,
}

impl ScriptLog {
    /// A log that keeps lines, or one that only counts them.
    #[must_use]
    pub fn new(kept: bool) -> Self {
        let log = Self::default();
        log.lines().kept = kept;
        log
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all lines.
    pub fn clear(&self) {
        let mut lines = self.lines();
        *lines = Lines {
            kept: lines.kept,
            ..Lines::default()
        };
    }

    /// Adds a line that the file `name` prints. Of very many, only the first are kept.
    pub(super) fn print(&self, name: &str, line: &str) {
        let lines = &mut *self.lines();
        if lines.printed == 0 {
            name.clone_into(&mut lines.first);
        }
        lines.printed += 1;
        let room = lines.written + 1 == lines.printed
            && lines.written < MOST_LINES
            && lines.text.len() + line.len() < MOST_BYTES;
        if lines.kept && room {
            lines.written += 1;
            let _ = writeln!(lines.text, "{name}: {line}");
        }
    }

    /// What was printed, a line each, `FILE: text`; where lines were left out, the last one says
    /// how many.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.lines();
        let mut text = lines.text.clone();
        if lines.kept && lines.printed > lines.written {
            let more = lines.printed - lines.written;
            let _ = writeln!(text, "... {more} more lines were printed and not kept");
        }
        text
    }

    /// How many lines were printed by a log that does not keep them, and the file that began.
    #[must_use]
    pub fn unkept(&self) -> Option<(u64, String)> {
        let lines = self.lines();
        (lines.printed > 0 && !lines.kept).then(|| (lines.printed, lines.first.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_in_order_up_to_a_bound() {
        let log = ScriptLog::new(true);
        log.print("a.lua", "one");
        log.print("b.lua", "two");
        assert_eq!(log.text(), "a.lua: one\nb.lua: two\n");
        log.clear();
        for k in 0..MOST_LINES + 5 {
            log.print("a.lua", &k.to_string());
        }
        let text = log.text();
        assert_eq!(text.lines().count() as u64, MOST_LINES + 1);
        assert!(text.ends_with("... 5 more lines were printed and not kept\n"));
        assert_eq!(log.unkept(), None);
        log.clear();
        // Once one is left out, none is kept: the log has no holes.
        log.print("a.lua", &"x".repeat(MOST_BYTES));
        log.print("a.lua", "short");
        assert_eq!(log.text(), "... 2 more lines were printed and not kept\n");
    }

    #[test]
    fn without_a_reader_lines_are_counted() {
        let log = ScriptLog::new(false);
        assert_eq!(log.unkept(), None);
        log.print("b.lua", "one");
        log.print("a.lua", "two");
        assert_eq!(log.unkept(), Some((2, "b.lua".to_owned())));
        assert_eq!(log.text(), "");
    }
}
