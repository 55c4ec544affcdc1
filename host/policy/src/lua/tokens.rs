//! The door to the parser of policy files that is not the script engine's own.
//!
//! A file is untrusted text. Luau's compiler speaks first: it bounds its recursion and never
//! panics, so what it refuses is a syntax error with its line, and the library behind this door
//! sees valid files only. What the library cannot read of those is not looked at, and that is said.

use super::finding::Finding;
use full_moon::LuaVersion;
use full_moon::tokenizer::{Lexer, LexerResult, Symbol, Token, TokenType};
use mlua::chunk::Compiler;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// The tokens of a text; `None` when it cannot be split into any.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    compiled(text).ok()?;
    lexed(text)
}

/// The tokens of a text that Luau accepts; `None` when the library cannot tell them.
pub(super) fn lexed(text: &str) -> Option<Vec<Token>> {
    match caught(|| Lexer::new(text, LuaVersion::luau()).collect())? {
        LexerResult::Ok(tokens) => Some(tokens),
        LexerResult::Fatal(_) | LexerResult::Recovered(..) => None,
    }
}

/// The symbol or word of the language that a token is, if it is one.
pub(super) fn symbol(token: &Token) -> Option<Symbol> {
    match token.token_type() {
        TokenType::Symbol { symbol } => Some(*symbol),
        _ => None,
    }
}

/// Does Luau accept the text?
///
/// # Errors
/// Luau's own words on what is wrong, with the line. It tells no column: that is 0.
pub(super) fn compiled(text: &str) -> Result<(), Finding> {
    // As where the file is run: what is folded needs no registers, of which there are 255.
    let compiler = Compiler::new().set_optimization_level(1);
    let Err(error) = compiler.compile(text) else {
        return Ok(());
    };
    let told = match &error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    // ":12: Expected identifier when parsing expression, got 'end'".
    let told = told.lines().next().unwrap_or_default();
    let place = told.trim_start_matches(':').split_once(':');
    let place = place.and_then(|(line, rest)| Some((line.trim().parse().ok()?, rest.trim())));
    let (line, message) = place.unwrap_or((1, told));
    Err(Finding {
        line,
        column: 0,
        error: true,
        message: message.to_owned(),
    })
}

/// Does `work` and gives its result; `None` if it panics, of which nothing is printed.
pub(super) fn caught<R>(work: impl FnOnce() -> R) -> Option<R> {
    static HOOK: Once = Once::new();
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    let was = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(was);
    result.ok()
}
