//! The tokens of a policy file: what can be said of it at no risk, as nothing recurses.

use full_moon::LuaVersion;
use full_moon::tokenizer::{Lexer, LexerResult, Token};

/// The tokens of a text; `None` when it cannot be split into any.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    match Lexer::new(text, LuaVersion::luau()).collect() {
        LexerResult::Ok(tokens) => Some(tokens),
        LexerResult::Fatal(_) | LexerResult::Recovered(..) => None,
    }
}
