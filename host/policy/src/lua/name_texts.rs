//! Whether a file handles names as texts, and which.
//!
//! Views number names. A file that compares them with texts (`req.slo_class == "critical"`), or
//! looks them up in tables by text, gets the text itself wherever the name stands in the file;
//! every other name stays a number, which equals none of its texts. A file without such texts gets
//! numbers only, as does one that reads columns.

use super::fields;
use full_moon::tokenizer::{InterpolatedStringKind, Symbol, Token, TokenType};
use std::collections::BTreeSet;

/// Names that `type` gives.
const TYPES: [&str; 10] = [
    "boolean", "buffer", "function", "nil", "number", "string", "table", "thread", "userdata",
    "vector",
];

/// Functions whose texts are no names: `string.format` among them.
const SPEAKING: [&str; 6] = ["assert", "column", "error", "format", "hash", "symbol"];

/// The texts of a file that can be names; empty for a file that has no use for names as texts.
pub(super) fn of(tokens: &[Token]) -> BTreeSet<String> {
    let tokens: Vec<&Token> = tokens
        .iter()
        .filter(|t| !t.token_type().is_trivia())
        .collect();
    let mut scan = Scan {
        tokens: &tokens,
        open: Vec::new(),
        answer: None,
        names_read: false,
        names_index: false,
        constants: false,
        compared: false,
        used: false,
        symbols: false,
        columns: false,
        texts: BTreeSet::new(),
    };
    for at in 0..tokens.len() {
        scan.take(at);
    }
    let evidence = scan.compared
        || (!scan.symbols && scan.used)
        || (!scan.symbols && scan.constants && scan.names_index);
    if scan.names_read && evidence && !scan.columns {
        scan.texts
    } else {
        BTreeSet::new()
    }
}

fn symbol(token: &Token) -> Option<Symbol> {
    match token.token_type() {
        TokenType::Symbol { symbol } => Some(*symbol),
        _ => None,
    }
}

fn identifier(token: &Token) -> Option<&str> {
    match token.token_type() {
        TokenType::Identifier { identifier } => Some(identifier.as_str()),
        _ => None,
    }
}

fn literal(token: &Token) -> Option<&str> {
    match token.token_type() {
        TokenType::StringLiteral { literal, .. } => Some(literal.as_str()),
        TokenType::InterpolatedString {
            literal,
            kind: InterpolatedStringKind::Simple,
        } => Some(literal.as_str()),
        _ => None,
    }
}

/// A bracket that is open.
struct Open {
    bracket: Symbol,
    /// Its place among the tokens.
    at: usize,
    /// A call of a function whose texts are no names.
    speaks: bool,
    /// A table that the file or a function returns.
    returned: bool,
}

struct Scan<'a> {
    tokens: &'a [&'a Token],
    open: Vec<Open>,
    /// How many brackets were open at a `return` whose values are being read.
    answer: Option<usize>,
    /// Some view's name is read.
    names_read: bool,
    /// Something that can be a name stands in square brackets.
    names_index: bool,
    /// A table of constants with words as keys.
    constants: bool,
    /// A text is compared with something.
    compared: bool,
    /// A text is used in some other way that can lead to a comparison.
    used: bool,
    /// `symbol` is called.
    symbols: bool,
    /// Columns are read.
    columns: bool,
    texts: BTreeSet<String>,
}

impl Scan<'_> {
    fn symbol_at(&self, at: usize) -> Option<Symbol> {
        self.tokens.get(at).and_then(|token| symbol(token))
    }

    fn before(&self, at: usize) -> Option<Symbol> {
        at.checked_sub(1).and_then(|at| self.symbol_at(at))
    }

    fn identifier_at(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).and_then(|token| identifier(token))
    }

    fn take(&mut self, at: usize) {
        use Symbol as S;
        let token = self.tokens[at];
        if let Some(text) = literal(token) {
            self.text(at, text);
        } else if let Some(name) = identifier(token) {
            self.name(at, name);
        }
        match symbol(token) {
            Some(bracket @ (S::LeftParen | S::LeftBrace | S::LeftBracket)) => {
                let callee = at.checked_sub(1).and_then(|k| self.identifier_at(k));
                self.open.push(Open {
                    bracket,
                    at,
                    speaks: bracket == S::LeftParen
                        && callee.is_some_and(|f| SPEAKING.contains(&f)),
                    returned: self.before(at) == Some(S::Return),
                });
            }
            Some(S::RightParen | S::RightBrace | S::RightBracket) => {
                let closed = self.open.pop();
                if let Some(open) = closed.filter(|open| open.bracket == S::LeftBracket) {
                    self.index(open.at, at);
                }
            }
            Some(S::Return) => self.answer = Some(self.open.len()),
            Some(S::End | S::Else | S::ElseIf | S::Until) => self.answer = None,
            _ => {}
        }
    }

    fn name(&mut self, at: usize, name: &str) {
        let after_dot = self.before(at) == Some(Symbol::Dot);
        if after_dot && fields::is_name(name) {
            self.names_read = true;
        }
        if !after_dot {
            self.symbols |= name == "symbol";
            self.columns |= name == "column" || name == "route_columns";
        }
        if self.symbol_at(at + 1) != Some(Symbol::Equal) {
            return;
        }
        // `table.word = ...` and `{ word = ... }`.
        let in_table = self
            .open
            .last()
            .is_some_and(|open| open.bracket == Symbol::LeftBrace);
        if after_dot || in_table {
            self.texts.insert(name.to_owned());
        }
        let returned = self.open.last().is_some_and(|open| open.returned);
        if in_table && !returned && self.constant(at + 2) {
            self.constants = true;
        }
    }

    /// Does a value that can stand in a table of constants begin here?
    fn constant(&self, at: usize) -> bool {
        use Symbol as S;
        let Some(token) = self.tokens.get(at) else {
            return false;
        };
        match token.token_type() {
            TokenType::Number { .. } | TokenType::StringLiteral { .. } => true,
            TokenType::Identifier { identifier } => identifier.as_str() == "cfg",
            TokenType::Symbol { symbol } => {
                matches!(symbol, S::Minus | S::LeftBrace | S::True | S::False)
            }
            _ => false,
        }
    }

    fn text(&mut self, at: usize, text: &str) {
        use Symbol as S;
        if text.is_empty() || text.contains('\\') {
            return;
        }
        if fields::is_name(text) && self.before(at) == Some(S::LeftBracket) {
            // `req["tenant"]`.
            self.names_read = true;
            return;
        }
        self.texts.insert(text.to_owned());
        let (before, after) = (self.before(at), self.symbol_at(at + 1));
        let compares = |s| matches!(s, Some(S::TwoEqual | S::TildeEqual));
        if compares(before) || compares(after) {
            self.compared |= !TYPES.contains(&text);
            return;
        }
        let joined = before == Some(S::TwoDots) || after == Some(S::TwoDots);
        let answered = self.answer == Some(self.open.len());
        let spoken = self.open.last().is_some_and(|open| open.speaks);
        // `error "text"`.
        let called = at.checked_sub(1).and_then(|k| self.identifier_at(k));
        let spoken = spoken || called.is_some_and(|f| SPEAKING.contains(&f));
        if !joined && !answered && !spoken {
            self.used = true;
        }
    }

    /// What stands between square brackets.
    fn index(&mut self, from: usize, to: usize) {
        // `{ [key] = value }` writes down what `table[key]` looks up.
        let looks_up = from.checked_sub(1).is_some_and(|k| {
            self.identifier_at(k).is_some()
                || matches!(
                    self.symbol_at(k),
                    Some(Symbol::RightParen | Symbol::RightBracket | Symbol::RightBrace)
                )
        });
        let field = |k: usize| self.before(k) == Some(Symbol::Dot);
        let is_name = |k: usize| {
            self.identifier_at(k)
                .is_some_and(|name| !field(k) || fields::is_name(name))
        };
        if looks_up && to > from + 1 && is_name(to - 1) {
            self.names_index = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Program;

    fn texts(text: &str) -> Vec<String> {
        let program = Program::new("p.lua", text.into(), &[], false).expect("a program");
        program.mentions.texts.iter().cloned().collect()
    }

    #[test]
    fn files_that_handle_names_as_texts_are_told_from_others() {
        for (text, expected) in [
            (
                "return { admit = function(req) return req.tenant == 'free' end }",
                "free",
            ),
            (
                "local F = \"free\" return { admit = function(r) return r.tenant == F end }",
                "free",
            ),
            (
                "local w = { gold = 3 } return { priority = function(r) return w[r.tenant] or 9 end }",
                "gold",
            ),
            (
                "local w = { ['very gold'] = 3 } return { priority = function(r) return w[r.tenant] end }",
                "very gold",
            ),
            ("for _, t in { 'a' } do x = req.tenant == t end", "a"),
            (
                "return { admit = function(r) return table.find({ 'vip' }, r.tenant) ~= nil end }",
                "vip",
            ),
            ("x = is(req.slo_class, `batch`)", "batch"),
            (
                "local c = symbol('x') y = req.tenant == 'free' or req.tenant == c",
                "free",
            ),
        ] {
            let found = texts(text);
            assert!(found.iter().any(|t| t == expected), "{text}: {found:?}");
        }
        for text in [
            "x = seen[req.session] y = 'a' .. req.session",
            "local c = symbol('critical') x = req.slo_class == c off(req, 'full')",
            "admit = function(req) if req.tenant == 0 then return false, 'nobody' end return true end",
            "x = type(req.tenant) == 'number' error('never') error 'never'",
            "x = inst.queue_depth y = mode == 'drain'",
            "c = column('pool') x = req.tenant == 'free'",
            "x = req.prompt_tokens w = { gold = 3 }",
        ] {
            assert_eq!(texts(text), [""; 0], "{text}");
        }
        for script in crate::shipped::ALL {
            if script.name != "token-bucket-tenant" {
                assert_eq!(texts(script.text), [""; 0], "{}", script.name);
            }
        }
    }
}
