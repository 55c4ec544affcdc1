//! The text of a policy as a sequence of tokens: what can be said of it before it is parsed. The
//! parser recurses as deep as the text is nested.

use super::finding::Finding;
use super::tokens::{caught, compiled, lexed, symbol};
use full_moon::LuaVersion;
use full_moon::ast::Ast;
use full_moon::tokenizer::{Symbol, Token, TokenType};
use std::sync::PoisonError;

/// Deepest nesting of a file that is parsed: brackets, blocks and operators within one another. The
/// script engine itself takes 1,000.
const DEEPEST: usize = 200;
/// Stack to walk through a file, bytes: enough for the 1,000 levels that the script engine takes,
/// each of up to 60 KB, where the count of levels is mistaken.
const STACK: usize = 128 << 20;

/// How deep a parser has to go, token by token.
#[derive(Default)]
struct Depth {
    /// Operators of the statement at hand outside all that is open.
    outside: usize,
    /// What is open: the operators in it, and whether it is a block.
    open: Vec<(usize, bool)>,
    /// Conditions without their last branch: whether they are expressions.
    ifs: Vec<bool>,
    /// The condition that `else` stands for is an expression.
    else_of_expression: bool,
    before: Option<Symbol>,
    now: usize,
}

impl Depth {
    fn operators(&mut self) -> &mut usize {
        self.open
            .last_mut()
            .map_or(&mut self.outside, |(operators, _)| operators)
    }

    fn operator(&mut self) {
        *self.operators() += 1;
        self.now += 1;
    }

    fn statement(&mut self) {
        self.now -= std::mem::take(self.operators());
    }

    fn open(&mut self, block: bool) {
        self.open.push((0, block));
        self.now += 1;
    }

    fn close(&mut self, block: bool) {
        if self.open.last().is_some_and(|(_, b)| *b == block) {
            self.now -= 1 + self.open.pop().map_or(0, |(operators, _)| operators);
        }
        if block {
            self.statement();
        }
    }

    /// Takes the next token; `None` is a name, a number or a text.
    fn take(&mut self, symbol: Option<Symbol>) {
        use Symbol as S;
        let before = std::mem::replace(&mut self.before, symbol);
        match symbol {
            None | Some(S::False | S::Nil | S::True | S::In | S::Colon | S::Dot | S::Ellipsis) => {}
            Some(S::LeftParen | S::LeftBrace | S::LeftBracket) => self.open(false),
            Some(S::RightParen | S::RightBrace | S::RightBracket) => self.close(false),
            Some(S::Function | S::Do | S::Repeat) => self.open(true),
            Some(S::End | S::Until) => self.close(true),
            Some(S::If) => {
                let expression = match before {
                    None | Some(S::RightParen | S::RightBrace | S::RightBracket | S::End) => false,
                    Some(S::False | S::Nil | S::True | S::Ellipsis | S::Semicolon) => false,
                    Some(S::Do | S::Repeat | S::Break) => false,
                    Some(S::Then) => self.ifs.last() == Some(&true),
                    Some(S::Else) => self.else_of_expression,
                    Some(_) => true,
                };
                self.ifs.push(expression);
                self.operator();
            }
            Some(S::Then) => {
                if self.ifs.last() == Some(&false) {
                    self.ifs.pop();
                    self.open(true);
                }
            }
            Some(S::ElseIf) => {
                if self.ifs.last() != Some(&true) {
                    self.close(true);
                    self.ifs.push(false);
                }
            }
            Some(S::Else) => {
                self.else_of_expression = self.ifs.last() == Some(&true);
                if self.else_of_expression {
                    self.ifs.pop();
                } else {
                    self.statement();
                }
            }
            Some(S::Comma | S::Semicolon | S::Equal | S::Local | S::Return | S::For | S::While) => {
                self.statement();
            }
            Some(_) => self.operator(),
        }
    }
}

/// The first place that is nested too deeply.
fn too_deep(tokens: &[Token]) -> Option<Finding> {
    let mut depth = Depth::default();
    for token in tokens.iter().filter(|t| !t.token_type().is_trivia()) {
        match token.token_type() {
            TokenType::InterpolatedString { .. } => depth.operator(),
            _ => depth.take(symbol(token)),
        }
        if depth.now > DEEPEST {
            let at = token.start_position();
            return Some(Finding {
                line: at.line(),
                column: at.character(),
                error: false,
                message: format!(
                    "nested too deeply to be looked at: more than {DEEPEST} brackets, blocks and operators within one another"
                ),
            });
        }
    }
    None
}

/// Does `work` on the syntax tree of `text`, where it may recurse as deep as the text goes.
///
/// # Errors
/// Luau's own words on what is wrong with the syntax. If nothing is and there is no tree
/// nevertheless, as the file is nested too deeply or the library cannot read it, a finding that is
/// no error.
pub fn with_ast<R: Send>(text: &str, work: impl FnOnce(&Ast) -> R + Send) -> Result<R, Finding> {
    let unread = |message: &str| Finding {
        line: 1,
        column: 1,
        error: false,
        message: message.to_owned(),
    };
    let parse = || {
        compiled(text)?;
        if let Some(finding) = lexed(text).and_then(|tokens| too_deep(&tokens)) {
            return Err(finding);
        }
        let looked_at = caught(|| {
            let ast = full_moon::parse_fallible(text, LuaVersion::luau()).into_result();
            ast.map(|ast| work(&ast)).map_err(|errors| {
                let first = errors.into_iter().next();
                let (line, column) = first.as_ref().map_or((1, 1), |e| {
                    let at = e.range().0;
                    (at.line(), at.character())
                });
                Finding {
                    line,
                    column,
                    ..unread("not looked at: the reader of lints does not know this syntax")
                }
            })
        });
        looked_at
            .unwrap_or_else(|| Err(unread("not looked at: the reader of lints cannot read it")))
    };
    let parse = std::sync::Mutex::new(Some(parse));
    let run = || {
        let mut parse = parse.lock().unwrap_or_else(PoisonError::into_inner);
        parse.take().expect("it runs once")()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, run) {
            Ok(parsing) => parsing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // Beside machine code there are no threads, and as much stack.
            Err(_) => run(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lua::tokens::tokens;
    use crate::lua::{Program, canonical};
    use proptest::prelude::*;

    fn deepest(text: &str) -> usize {
        let mut depth = Depth::default();
        let mut most = 0;
        for token in tokens(text).expect("tokens") {
            if !token.token_type().is_trivia() {
                depth.take(symbol(&token));
                most = most.max(depth.now);
            }
        }
        most
    }

    #[test]
    fn what_follows_one_another_is_not_nested() {
        for statement in [
            "if a < b then f(a) elseif c then g() else h() end\n",
            "local x = if a then b elseif c then d else if e then f else g\n",
            "f(if a then b else c)\n",
            "for i = 1, 10 do while a do repeat f() until b end end\n",
            "x += 1 y = not -x\n",
            "local function f(a: number): string return `{a}` end\n",
            "t = { function() return 1 end, g = { 1, 2 } }\n",
        ] {
            let (one, many) = (deepest(statement), deepest(&statement.repeat(100)));
            assert!(many <= one + 2, "{statement}: {one}, {many}");
        }
        for script in crate::shipped::ALL {
            assert!(deepest(script.text) < 30, "{}", script.path());
        }
    }

    #[test]
    fn what_is_nested_is_counted_before_it_is_parsed() {
        for (open, close) in [
            ("(", ")"),
            ("{", "}"),
            ("not ", ""),
            ("- ", ""),
            ("1 ^ ", ""),
            ("'a' .. ", ""),
            ("f(", ")"),
            ("function() return ", " end"),
            ("if a then 1 else ", ""),
            ("(if a then ", " else 1)"),
            ("`{", "}`"),
        ] {
            for n in [10, 220, 5000] {
                let text = format!("return {}1{}", open.repeat(n), close.repeat(n));
                let refused = refused(&text);
                let registers = "true Out of registers when trying to allocate 2 registers";
                let none_left = open == "`{" && refused.as_deref() == Some(registers);
                assert!(
                    refused == expected(n) || none_left,
                    "{open} {n}: {refused:?}"
                );
            }
        }
        for n in [10, 220, 5000] {
            let text = format!("local t: {}B{} = nil", "A<".repeat(n), ">".repeat(n));
            assert_eq!(refused(&text), expected(n), "types {n}");
        }
        for (open, close) in [
            ("do ", " end"),
            ("if x then ", " end"),
            ("while x do ", " end"),
            ("repeat ", " until x"),
            ("x = function() ", " end"),
            // The question mark belongs to the type, and `if` begins a statement.
            ("type a = b? if c then ", " end"),
            ("local a: b? = c if d then ", " end"),
        ] {
            for n in [10, 150, 5000] {
                let text = format!("{}{}", open.repeat(n), close.repeat(n));
                let refused = refused(&text);
                assert!(n != 10 || refused.is_none(), "{open}: {refused:?}");
                assert!(n != 5000 || refused == expected(n), "{open}: {refused:?}");
            }
        }
        // Luau reads these without recursion, at any length.
        for text in [
            format!("local a: b{} = nil", "?".repeat(100_000)),
            format!("local a: b{} = nil", " | c".repeat(900)),
        ] {
            assert_eq!(refused(&text), expected(220));
        }
    }

    /// What a file is refused with, up to its first comma or the end of the sentence.
    fn refused(text: &str) -> Option<String> {
        let finding = with_ast(text, |_| ()).err()?;
        let told = finding.message.split([';', ':']).next();
        Some(format!("{} {}", finding.error, told.unwrap_or_default()))
    }

    fn expected(levels: usize) -> Option<String> {
        match levels {
            10 => None,
            220 => Some("false nested too deeply to be looked at".into()),
            // The script engine itself takes no more than 1,000 levels.
            _ => Some("true Exceeded allowed recursion depth".into()),
        }
    }

    #[test]
    fn a_library_that_panics_is_a_finding() {
        for text in [
            "for e:r.~",
            "k<<i~",
            "@$",
            "local x = `{",
            "@[",
            "--[==[",
            "return",
        ] {
            let _ = with_ast(text, |ast| ast.to_string());
            let _ = tokens(text);
        }
        let panicked = with_ast("return 1", |_| panic!("in the library"));
        let told = panicked.expect_err("nothing was looked at");
        assert_eq!((told.error, told.line), (false, 1));
        assert!(
            told.message.starts_with("not looked at"),
            "{}",
            told.message
        );
    }

    proptest! {
        /// Texts of candidates are untrusted.
        #[test]
        fn no_text_brings_it_down(text in "([-a-z0-9 \\\\\"'`{}\\[\\]()=.,\n]|[uz]\\{|\\\\u\\{|--|\\[\\[|é|\u{2028})*") {
            let program = Program::new("p.lua", text, &[], false);
            if let Ok(program) = program {
                let _ = canonical(&program);
                let _ = with_ast(&program.text, |ast| ast.to_string());
            }
        }
    }
}
