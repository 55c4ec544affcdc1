//! Whether a script can go over a table in the order of its keys' addresses.
//!
//! Tables and functions may be keys, and a loop over such a table meets them in the order in which
//! they lie in memory: another one in every process. Nothing else that a script can do depends on
//! addresses. What is not known to be harmless counts as depending on them.

use super::source::with_ast;
use super::tokens::tokens;
use full_moon::ast::{Ast, Expression, Field, FunctionBody, LastStmt, Parameter};
use full_moon::node::Node;
use full_moon::tokenizer::{Symbol, Token, TokenType};
use std::collections::{BTreeMap, BTreeSet};

/// Whether what a script decides may depend on where it lies in memory.
///
/// It cannot, if all its loops `for ... in` are over `ipairs(...)`, over `sorted_pairs(...)`, over
/// `string.gmatch(...)`, or over a list that a hook of the returned table is called with and that
/// the script has no means to change; and if it has no other way to go over a table.
#[must_use]
pub fn may_follow_addresses(text: &str) -> bool {
    // What ends a comment there is not what ends one for the script engine.
    let lone_return = text.replace("\r\n", "\n").contains('\r');
    let Some(all) = tokens(text).filter(|_| !lone_return) else {
        return true;
    };
    let all: Vec<Token> = all
        .into_iter()
        .filter(|t| !t.token_type().is_trivia())
        .collect();
    let script = Script { tokens: &all };
    let walks = ["next", "pairs", "foreach", "foreachi"];
    if walks.iter().any(|name| script.mentions(name))
        || !script.all("table", |k| script.is(k + 1, "."))
    {
        return true;
    }
    let loops: Vec<Loop> = (0..all.len())
        .filter(|k| script.is(*k, "for"))
        .filter_map(|k| script.generic_loop(k))
        .collect();
    let over = |wanted: &Loop| loops.contains(wanted);
    let called = |name: &str| {
        script.all(name, |k| {
            script.is(k + 1, "(") && !(k > 0 && script.is(k - 1, "function"))
        })
    };
    if over(&Loop::Other)
        || over(&Loop::Ipairs) && !called("ipairs")
        // Keys that compare as they like are sorted as they came.
        || over(&Loop::SortedPairs) && (!called("sorted_pairs") || script.mentions("setmetatable"))
        || over(&Loop::Gmatch) && !script.all("string", |k| script.is(k + 1, "."))
    {
        return true;
    }
    let names: BTreeSet<&String> = loops
        .iter()
        .filter_map(|l| match l {
            Loop::Over(name) => Some(name),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return false;
    }
    if !called("ipairs") {
        return true;
    }
    let lists = with_ast(text, Lists::of).ok().flatten();
    lists.is_none_or(|lists| !lists.are_only_read(&script, &names))
}

/// What a loop goes over.
#[derive(Debug, PartialEq)]
enum Loop {
    Ipairs,
    SortedPairs,
    Gmatch,
    /// The value of a name.
    Over(String),
    Other,
}

/// The tokens of a script, without comments and spacing.
struct Script<'a> {
    tokens: &'a [Token],
}

impl Script<'_> {
    fn is(&self, at: usize, text: &str) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|t| {
            !matches!(t.token_type(), TokenType::StringLiteral { .. }) && t.to_string() == text
        })
    }

    fn name(&self, at: usize) -> Option<String> {
        match self.tokens.get(at)?.token_type() {
            TokenType::Identifier { identifier } => Some(identifier.to_string()),
            _ => None,
        }
    }

    /// Where a name stands, as whatever.
    fn places(&self, name: &str) -> impl Iterator<Item = usize> {
        (0..self.tokens.len()).filter(move |k| self.name(*k).is_some_and(|n| n == name))
    }

    fn mentions(&self, name: &str) -> bool {
        self.places(name).next().is_some()
    }

    fn all(&self, name: &str, holds: impl Fn(usize) -> bool) -> bool {
        self.places(name).all(holds)
    }

    /// The place of the bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (k, token) in self.tokens.iter().enumerate().skip(open) {
            let TokenType::Symbol { symbol } = token.token_type() else {
                continue;
            };
            match symbol {
                Symbol::LeftParen | Symbol::LeftBrace | Symbol::LeftBracket => depth += 1,
                Symbol::RightParen | Symbol::RightBrace | Symbol::RightBracket => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(k);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// What the loop whose `for` is at `at` goes over; `None` if it counts.
    fn generic_loop(&self, at: usize) -> Option<Loop> {
        let ends = (at..self.tokens.len()).find(|k| self.is(*k, "in") || self.is(*k, "="));
        let Some(first) = ends else {
            return Some(Loop::Other);
        };
        if self.is(first, "=") {
            return None;
        }
        let first = first + 1;
        if let Some(name) = self.name(first)
            && self.is(first + 1, "do")
        {
            return Some(Loop::Over(name));
        }
        let (call, open) = if self.is(first, "ipairs") {
            (Loop::Ipairs, first + 1)
        } else if self.is(first, "sorted_pairs") {
            (Loop::SortedPairs, first + 1)
        } else if self.is(first, "string")
            && self.is(first + 1, ".")
            && self.is(first + 2, "gmatch")
        {
            (Loop::Gmatch, first + 3)
        } else {
            return Some(Loop::Other);
        };
        let whole = self.is(open, "(")
            && self
                .closing(open)
                .is_some_and(|close| self.is(close + 1, "do"));
        Some(if whole { call } else { Loop::Other })
    }

    /// Whether the list that ends at `last` and begins at `first` is only read there.
    fn is_read(&self, first: usize, last: usize) -> bool {
        let before = |n: usize, text: &str| first.checked_sub(n).is_some_and(|k| self.is(k, text));
        if before(1, "#") {
            return true;
        }
        if before(1, "(") && before(2, "ipairs") && self.is(last + 1, ")") {
            return true;
        }
        if !self.is(last + 1, "[") {
            return false;
        }
        // An element of it, and not one that is replaced.
        let Some(close) = self.closing(last + 1) else {
            return false;
        };
        let next = self.tokens.get(close + 1).map(ToString::to_string);
        next.is_none_or(|next| {
            next != ","
                && !(next.ends_with('=')
                    && next != "=="
                    && next != "~="
                    && next != "<="
                    && next != ">=")
        })
    }
}

/// The lists that hooks are called with, and the views of the cluster, which have one, too: names
/// of parameters, and the bytes at which they are declared.
#[derive(Default)]
struct Lists {
    lists: BTreeMap<String, BTreeSet<usize>>,
    clusters: BTreeMap<String, BTreeSet<usize>>,
}

/// By function of the returned table: the parameters that are lists, and the one that is the view
/// of the cluster.
const HOOKS: &[(&str, &[usize], Option<usize>)] = &[
    ("admit", &[], Some(1)),
    ("route", &[1], Some(2)),
    ("route_columns", &[], Some(3)),
    ("score", &[], Some(2)),
    ("order", &[0, 1], None),
    ("victim", &[0], None),
    ("on_tick", &[], Some(0)),
];

impl Lists {
    /// Those of the table that a file returns. `None` where some hook is not a function that is
    /// written there: what it does with its lists is not followed.
    fn of(ast: &Ast) -> Option<Self> {
        let Some(LastStmt::Return(last)) = ast.nodes().last_stmt() else {
            return None;
        };
        let mut values = last.returns().iter();
        let (Some(Expression::TableConstructor(table)), None) = (values.next(), values.next())
        else {
            return None;
        };
        let mut found = Self::default();
        for field in table.fields() {
            let Field::NameKey { key, value, .. } = field else {
                return None;
            };
            let key = key.token().to_string();
            let Some((_, lists, cluster)) = HOOKS.iter().find(|(name, ..)| *name == key) else {
                continue;
            };
            let Expression::Function(function) = value else {
                return None;
            };
            found.take(function.body(), lists, *cluster)?;
        }
        Some(found)
    }

    fn take(&mut self, body: &FunctionBody, lists: &[usize], cluster: Option<usize>) -> Option<()> {
        for (k, parameter) in body.parameters().iter().enumerate() {
            let Parameter::Name(name) = parameter else {
                return None;
            };
            let into = if lists.contains(&k) {
                &mut self.lists
            } else if cluster == Some(k) {
                &mut self.clusters
            } else {
                continue;
            };
            let places = into.entry(name.token().to_string()).or_default();
            places.insert(name.start_position()?.bytes());
        }
        Some(())
    }

    /// Whether `names` are such lists wherever they stand, and none of all lists is changed or
    /// handed on.
    fn are_only_read(&self, script: &Script<'_>, names: &BTreeSet<&String>) -> bool {
        let at = |k: usize| script.tokens[k].start_position().bytes();
        let list = |(name, declared): (&String, &BTreeSet<usize>)| {
            script.all(name, |k| {
                let looped = k > 0 && script.is(k - 1, "in") && script.is(k + 1, "do");
                declared.contains(&at(k)) || looped || script.is_read(k, k)
            })
        };
        let cluster = |(name, declared): (&String, &BTreeSet<usize>)| {
            script.all(name, |k| {
                declared.contains(&at(k))
                    || script.is(k + 1, ".")
                        && (!script.is(k + 2, "instances") || script.is_read(k, k + 2))
            })
        };
        names.iter().all(|name| self.lists.contains_key(*name))
            && self
                .lists
                .keys()
                .all(|name| !self.clusters.contains_key(name))
            && self.lists.iter().all(list)
            && self.clusters.iter().all(cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_in_a_known_order_follow_no_addresses() {
        for text in [
            "return { route = function() return 1 end }",
            "return { route = function(req, insts) for i, inst in insts do if inst.in_flight == 0 then return i end end return #insts end }",
            "return { route = function(req, insts, cluster) local first = insts[1]
                for i, inst in ipairs(insts) do end for _, one in insts do end
                for _, one in ipairs(cluster.instances) do end
                local n = #cluster.instances + cluster.now_us + cluster.instances[1].in_flight
                if insts[2] == first then return 1 end return 1 end,
              victim = function(running) for i, r in running do return i end end,
              on_complete = function(ev) end, tick_us = 1000 }",
            "local t = {} for k, v in sorted_pairs(t) do for w in string.gmatch(k, '%a') do end end
             for i = 1, 3 do end return {}",
            "local s = 'pairs(next)' -- for k in pairs(t) do
             for i, f in ipairs({ function() for j = 1, 2 do end end }) do f() end return {}",
        ] {
            assert!(!may_follow_addresses(text), "{text}");
        }
    }

    #[test]
    fn what_may_go_over_addresses_is_found() {
        for text in [
            "local m = {} for _, v in m do end return {}",
            "local m = {} for _, v in pairs(m) do end return {}",
            "local k = next({}) return {}",
            "local s = `{next({})}` return {}",
            "local s = `{(function() for k in m do end end)()}` return {}",
            "--\rfor k in m do end\nreturn {}",
            "local walk = table['for' .. 'each'] return {}",
            "local t = table return {}",
            "for k in (ipairs({})) do end return {}",
            "for k in ipairs({}), {} do end return {}",
            "for k in ipairs({}).x do end return {}",
            "local ipairs = function(t) return t end for k in ipairs({}) do end return {}",
            "local function ipairs(t) return t end for k in ipairs({}) do end return {}",
            "local function f(ipairs) for k in ipairs({}) do end end return {}",
            "local t = setmetatable({}, {}) for k in sorted_pairs({[t] = 1}) do end return {}",
            "local string = { gmatch = function() return {} end } for k in string.gmatch('') do end return {}",
            "local s = '' for w in s:gmatch('a') do end return {}",
            // Lists of hooks that are changed, or could be.
            "return { route = function(req, insts) insts[{}] = 1 for i, inst in insts do return i end end }",
            "return { route = function(req, insts) insts[{}] += 1 for i, inst in insts do return i end end }",
            "return { route = function(req, insts) insts[{}], b = 1 for i, inst in insts do return i end end }",
            "return { route = function(req, insts) local l = insts l[{}] = 1 for i, inst in insts do return i end end }",
            "return { route = function(req, insts) rawset(insts, {}, 1) for i, inst in insts do return i end end }",
            "return { route = function(req, insts) insts = { [{}] = 1 } for i, inst in insts do return i end end }",
            "return { route = function(req, insts) local insts = {} for i, inst in insts do return i end end }",
            "local insts = {} return { route = function(req, insts) for i, inst in insts do return i end end }",
            "return { route = function(req, insts, c) c.instances[{}] = 1 for i, inst in insts do return i end end }",
            "return { route = function(req, insts, c) f(c) for i, inst in insts do return i end end }",
            "return { route = function(req, insts, ...) for i, inst in insts do return i end end }",
            "return { admit = function(req, c) local l = c.instances end, route = function(req, insts) for i, inst in insts do return i end end }",
            "return { admit = admit, route = function(req, insts) for i, inst in insts do return i end end }",
            "local function ipairs(t) t[{}] = 1 end return { route = function(req, insts) ipairs(insts) for i, inst in insts do return i end end }",
            "return { ['admit'] = f, route = function(req, insts) for i, inst in insts do return i end end }",
            "local p = { route = function(req, insts) for i, inst in insts do return i end end } return p",
            "return { on_complete = function(ev) for k, v in ev do end end }",
            "return { route = function(req, insts) for i, inst in insts do for k, v in inst do end end end }",
            "return { route = function(req, insts) for i, inst in insts do",
        ] {
            assert!(may_follow_addresses(text), "{text}");
        }
    }

    #[test]
    fn most_shipped_scripts_go_over_lists() {
        let all = crate::shipped::ALL;
        let doubtful = all.iter().filter(|s| may_follow_addresses(s.text));
        let names: Vec<String> = doubtful.map(|s| s.path().to_string()).collect();
        assert!(names.len() * 4 < all.len(), "{names:?} of {}", all.len());
    }
}
