//! Texts of others as they are shown: what a terminal would obey or hide is written out.
//!
//! Names, paths and messages of scripts come from files that nobody has looked at. An escape
//! sequence in one of them would colour, erase or retitle a terminal, a line break would forge a
//! line of a log, and a mark of writing direction would show a text as another.

use std::borrow::Cow;

/// Is this a character that is obeyed rather than shown: a control character, or a mark that
/// changes lines or the direction of writing?
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn written_out(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let hidden = |c: char| is_hidden(c) && !kept(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A text on one line: hidden characters, line breaks and tabs among them, are written as in
/// `\u{1b}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    written_out(text, |_| false)
}

/// As [`visible`], of a message: a line break stays where the next line is indented, as those of
/// long messages are. What a name brings along forges no line of its own.
#[must_use]
pub fn visible_message(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let parts: Vec<Cow<'_, str>> = text.split("\n  ").map(visible).collect();
    Cow::Owned(parts.join("\n  "))
}

/// As [`visible`], of a text whose line breaks and tabs are our own.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| c == '\n' || c == '\t')
}

/// A text within a page: nothing in it is markup, and hidden characters are written out, too.
#[must_use]
pub fn in_html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in visible_lines(text).chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        let text = "a\u{1b}[31mb\r\n\tc\u{9b}d\u{202e}e\u{2066}f\u{7f}\0 é 漢 👍";
        assert_eq!(
            visible(text),
            "a\\u{1b}[31mb\\r\\n\\tc\\u{9b}d\\u{202e}e\\u{2066}f\\u{7f}\\u{0} é 漢 👍"
        );
        assert!(visible_lines(text).contains("\\r\n\tc"));
        assert_eq!(
            visible_message("it differs:\n  a\u{1b}\nerror: b"),
            "it differs:\n  a\\u{1b}\\nerror: b"
        );
        let plain = "├─ naïve · 1.5 → 2\n";
        assert!(matches!(visible_lines(plain), Cow::Borrowed(_)));
    }
}
