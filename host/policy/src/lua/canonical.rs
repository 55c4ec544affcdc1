//! What of a file's text has a part in what it does.

use super::program::Program;
use super::tokens::{symbol, tokens};
use full_moon::tokenizer::Symbol;

/// A text that two programs share exactly when they differ in spacing and comments only, as far as
/// those mean nothing: its tokens, the parameters it declares, and what it can read. Nothing else
/// of a file has a part in what it does: not its name, not the lines on which things stand, not
/// comments that direct the compiler. `None` when the text cannot be split into tokens.
#[must_use]
pub fn canonical(program: &Program) -> Option<String> {
    let text = &program.text;
    let mut canonical = String::with_capacity(text.len());
    let mut line = 0;
    for token in tokens(text)?.iter().filter(|t| !t.token_type().is_trivia()) {
        // A call's bracket on a line of its own is read as something else.
        let own_line = token.start_position().line() > line;
        if own_line && matches!(symbol(token), Some(Symbol::LeftParen)) {
            canonical.push('\n');
        }
        line = token.end_position().line();
        canonical += &token.to_string();
        canonical.push(' ');
    }
    for param in &program.declared {
        canonical += &format!("\n{param:?}");
    }
    for field in program.mentions.names() {
        canonical += "\n";
        canonical += field;
    }
    let (reads, takes) = (program.mentions.reads, &program.score_takes);
    canonical += &format!("\n{reads:?} {takes:?}");
    Some(canonical)
}
