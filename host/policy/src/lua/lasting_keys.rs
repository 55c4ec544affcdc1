//! Whether the numbers that a scheduler gives to requests can change while these wait.
//!
//! A file that gives a request the same number whenever it is asked needs to be asked once, when
//! the request enters the queue. What is not known to be so counts as changing.

use super::names::text;
use super::program::Program;
use super::source::with_ast;
use super::{api, tokens};
use full_moon::ast::{
    Assignment, Call, CompoundAssignment, FunctionArgs, FunctionBody, FunctionCall,
    FunctionDeclaration, GenericFor, Index, LocalAssignment, LocalFunction, NumericFor, Parameter,
    Prefix, Suffix, Var,
};
use full_moon::tokenizer::{TokenReference, TokenType};
use full_moon::visitors::Visitor;
use std::collections::BTreeSet;

/// Globals that give the same whenever they are asked.
const LASTING: [&str; 6] = [
    "cfg",
    "setup",
    "math",
    "assert",
    "est_prefill_us",
    "est_step_us",
];

/// Does a file give a request the same number as long as it waits, by its function `form`?
///
/// It does, if it reads nothing of the queue and not the time, calls nothing but functions of its
/// own, `math` and estimates, and no function of it assigns to anything that outlives a call.
pub(super) fn last(program: &Program, form: &str) -> bool {
    let time = match form {
        "score" => match program.score_takes.as_deref() {
            Some(name) => Some(name),
            None => return false,
        },
        "key" => None,
        _ => return false,
    };
    program.mentions.queue.is_empty()
        && knows_only_lasting(&program.text, time)
        && with_ast(&program.text, |ast| {
            let mut state = State::default();
            state.visit_ast(ast);
            state.is_constant()
        })
        .unwrap_or(false)
}

/// Are all globals of the file lasting ones, and does `time` stand there once, as a parameter?
fn knows_only_lasting(text: &str, time: Option<&str>) -> bool {
    let Some(all) = tokens::tokens(text) else {
        return false;
    };
    let globals: BTreeSet<&str> = api::globals().collect();
    let (mut times, mut field) = (0, false);
    for token in all.iter().filter(|t| !t.token_type().is_trivia()) {
        let after_dot = std::mem::replace(&mut field, token.to_string() == ".");
        let TokenType::Identifier { identifier } = token.token_type() else {
            continue;
        };
        let name = identifier.as_str();
        times += usize::from(time == Some(name));
        if name == "random" || !after_dot && globals.contains(name) && !LASTING.contains(&name) {
            return false;
        }
    }
    time.is_none() || times == 1
}

/// Names that are declared and assigned to.
#[derive(Default)]
struct State {
    /// Functions around the place at hand.
    depth: usize,
    /// Names that live as long as the file, and those that live as long as a call.
    outside: BTreeSet<String>,
    inside: BTreeSet<String>,
    /// Names that functions assign to.
    assigned: BTreeSet<String>,
    /// Something else happens in a function.
    acts: bool,
}

impl State {
    fn is_constant(&self) -> bool {
        let lasting = |name: &String| self.outside.contains(name) || !self.inside.contains(name);
        !self.acts && !self.assigned.iter().any(lasting)
    }

    fn declare(&mut self, name: &TokenReference) {
        let names = if self.depth == 0 {
            &mut self.outside
        } else {
            &mut self.inside
        };
        names.insert(text(name));
    }

    fn assign(&mut self, variable: &Var) {
        match variable {
            _ if self.depth == 0 => {}
            Var::Name(name) => {
                self.assigned.insert(text(name));
            }
            _ => self.acts = true,
        }
    }
}

impl Visitor for State {
    fn visit_function_body(&mut self, node: &FunctionBody) {
        self.depth += 1;
        for parameter in node.parameters() {
            match parameter {
                Parameter::Name(name) => self.declare(name),
                _ => self.acts = true,
            }
        }
    }

    fn visit_function_body_end(&mut self, _: &FunctionBody) {
        self.depth -= 1;
    }

    fn visit_local_assignment(&mut self, node: &LocalAssignment) {
        node.names().iter().for_each(|name| self.declare(name));
    }

    fn visit_local_function(&mut self, node: &LocalFunction) {
        self.declare(node.name());
    }

    fn visit_function_declaration(&mut self, _: &FunctionDeclaration) {
        // `function policy.score()`: inside a function it would assign.
        self.acts |= self.depth > 0;
    }

    fn visit_numeric_for(&mut self, node: &NumericFor) {
        self.declare(node.index_variable());
    }

    fn visit_generic_for(&mut self, node: &GenericFor) {
        // Over what, and in which order?
        let _ = node;
        self.acts |= self.depth > 0;
    }

    fn visit_assignment(&mut self, node: &Assignment) {
        node.variables().iter().for_each(|v| self.assign(v));
    }

    fn visit_compound_assignment(&mut self, node: &CompoundAssignment) {
        self.assign(node.lhs());
    }

    fn visit_function_call(&mut self, node: &FunctionCall) {
        if self.depth == 0 {
            return;
        }
        let called = |call: &Suffix| {
            matches!(
                call,
                Suffix::Call(Call::AnonymousCall(FunctionArgs::Parentheses { .. }))
            )
        };
        let suffixes: Vec<&Suffix> = node.suffixes().collect();
        let plain = match (node.prefix(), &suffixes[..]) {
            (Prefix::Name(_), [call]) => called(call),
            (Prefix::Name(name), [Suffix::Index(Index::Dot { .. }), call]) => {
                text(name) == "math" && called(call)
            }
            _ => false,
        };
        self.acts |= !plain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasts(code: &str, form: &str) -> bool {
        let program = Program::new("p.lua", code.into(), &[], false).expect("fine");
        last(&program, form)
    }

    #[test]
    fn numbers_that_hang_on_the_request_alone_last() {
        for code in [
            "return { score = function(now, req) return -req.prompt_tokens end }",
            "local w = 2 w = 3 local function f(x) local y = x y += w return math.max(y, 1) end
             local policy = {} policy.score = function(now, req)
               local s = 0 for k = 1, 3 do s += f(req.prompt_tokens) * k end
               return if s > 3 then s * cfg.a else est_prefill_us(req.prompt_tokens, 0) end
             return policy",
            "--@param a = 1, 0..2\nfunction score(now, req) return req.priority end return { score = score }",
        ] {
            assert!(lasts(code, "score"), "{code}");
        }
        let key = "return { refresh_us = 0, key = function(req, queue) return req.arrival_us end }";
        assert!(lasts(key, "key") && !lasts(key, "order"));
    }

    #[test]
    fn what_may_change_does_not() {
        for code in [
            "return { score = function(now, req) return now - req.arrival_us end }",
            "return { score = function(...) local now, req = ... return -req.prompt_tokens end }",
            "return { score = function(now, req) return random() end }",
            "return { score = function(now, req) return math.random() end }",
            "local n = 0 return { score = function(now, req) n += 1 return n end }",
            "local n = 0 return { score = function(now, req) n = n + 1 return n end }",
            "local n = 0 return { score = function(now, req) local m = n return m end, on_complete = function() n = 1 end }",
            "local n = 0 return { score = function(now, req) do local n = 1 end n += 1 return n end }",
            "local t = {} return { score = function(now, req) t.n = (t.n or 0) + 1 return t.n end }",
            "local t = {} return { score = function(now, req) table.insert(t, 1) return #t end }",
            "local f = table.insert local t = {} return { score = function(now, req) f(t, 1) return #t end }",
            "local t = { n = 0 } local p = {} function p.score(now, req) t[1] = 1 return 1 end return p",
            "local r = math.random return { score = function(now, req) return r() end }",
            "local m = math return { score = function(now, req) return m.max(1, 2) end }",
            "local t = {} return { score = function(now, req) for k in t do return k end return 1 end }",
            "local c = coroutine.wrap(function() return 1 end) return { score = function(now, req) return c() end }",
        ] {
            assert!(!lasts(code, "score"), "{code}");
        }
        let key = "return { key = function(req, queue) return queue.queue_depth end }";
        assert!(!lasts(key, "key"));
    }
}
