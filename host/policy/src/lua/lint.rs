//! What can be said of a policy file without running it.
//!
//! Names are taken as they stand: a name declared anywhere in the file counts as declared, and the
//! parameters of a hook, with the loop variables over them, stand for views. What that cannot see
//! is left to the run, which names it too.

use super::api::globals;
use super::finding::Finding;
use super::names::{Names, place, text};
use super::program::Program;
use super::{bind, misreads, source};
use full_moon::ast::{
    Assignment, Ast, FunctionBody, FunctionCall, Index, Prefix, Repeat, Suffix, Var, VarExpression,
    While,
};
use full_moon::tokenizer::TokenReference;
use full_moon::visitors::Visitor;
use std::collections::{BTreeMap, BTreeSet};
use windtunnel_base::input::{hint, shortened};

/// Finds mistakes in a program, in order of place. Where a valid file cannot be looked at, that is
/// the only finding.
///
/// # Errors
/// What is wrong with the syntax.
pub fn lint(program: &Program) -> Result<Vec<Finding>, Finding> {
    match source::with_ast(&program.text, |ast| lint_ast(program, ast)) {
        Err(unread) if !unread.error => Ok(vec![unread]),
        found => found,
    }
}

fn lint_ast(program: &Program, ast: &Ast) -> Vec<Finding> {
    let names = Names::of(ast);
    let found = misreads::of(program, &names, ast).into_iter().collect();
    let mut linter = Linter {
        declared_params: program.declared.iter().map(|p| p.name.as_ref()).collect(),
        names,
        found,
        params_read: BTreeSet::new(),
        any_param_read: false,
        functions: 0,
        hints_left: MOST_HINTS,
        grows: BTreeMap::new(),
        shrinks: BTreeSet::new(),
    };
    linter.visit_ast(ast);
    linter.finish(program)
}

/// Checks every use of a name.
struct Linter<'a> {
    declared_params: BTreeSet<&'a str>,
    names: Names,
    found: BTreeSet<Finding>,
    params_read: BTreeSet<String>,
    /// Some parameter is read by a name that is made up: it may be any.
    any_param_read: bool,
    /// Functions around the place at hand.
    functions: u32,
    /// How many unknown names may still be compared with the known ones.
    hints_left: u32,
    /// Tables that get entries by keys without bound, and where first.
    grows: BTreeMap<String, (usize, usize)>,
    /// Tables from which entries are taken.
    shrinks: BTreeSet<String>,
}

/// Most unknown names of a file for which a known one is looked for.
const MOST_HINTS: u32 = 50;

/// Names whose values are without bound over a run.
const WITHOUT_BOUND: &[&str] = &[
    "serial",
    "session",
    "prompt_key",
    "arrival_us",
    "now_us",
    "enqueued_us",
];

impl Linter<'_> {
    fn note(&mut self, at: (usize, usize), error: bool, message: String) {
        self.found.insert(Finding {
            line: at.0,
            column: at.1,
            error,
            message,
        });
    }

    fn used(&mut self, name: &TokenReference) {
        let text = text(name);
        if self.names.declared.contains(&text) || globals().any(|g| g == text) {
            return;
        }
        // Each is compared with all that there are: in a file of nonsense a few are enough.
        let hint = if self.hints_left == 0 {
            String::new()
        } else {
            self.hints_left -= 1;
            let mut known: Vec<&str> = globals().collect();
            known.extend(self.names.declared.iter().map(String::as_str));
            hint("; ", &text, known)
        };
        let message = format!("unknown global \"{}\"{hint}", shortened(&text));
        self.note(place(name), true, message);
    }

    /// `name.field` or `name:method()`.
    fn field(&mut self, name: &str, field: &TokenReference) {
        let wanted = text(field);
        if name == "cfg" {
            self.params_read.insert(wanted.clone());
            if !self.declared_params.contains(wanted.as_str()) {
                let hint = hint("; ", &wanted, self.declared_params.iter().copied());
                let message = format!("parameter \"{wanted}\" is not declared with --@param{hint}");
                self.note(place(field), true, message);
            }
            return;
        }
        let Some(view) = self.names.view(name) else {
            return;
        };
        let list = view.ends_with('s') && view != "ev";
        if list || bind::has(view, &wanted) {
            return;
        }
        self.note(place(field), true, bind::unknown(view, &wanted));
    }

    fn access<'n>(&mut self, prefix: &'n Prefix, suffixes: impl Iterator<Item = &'n Suffix>) {
        let Prefix::Name(name) = prefix else { return };
        self.used(name);
        let name = text(name);
        let mut suffixes = suffixes;
        match suffixes.next() {
            Some(Suffix::Index(Index::Dot { name: field, .. })) => self.field(&name, field),
            Some(Suffix::Call(full_moon::ast::Call::MethodCall(call))) => {
                self.field(&name, call.name());
            }
            Some(Suffix::Index(Index::Brackets { .. })) if name == "cfg" => {
                self.any_param_read = true;
            }
            _ => {}
        }
    }

    /// Is this a table of the file that a function changes?
    fn outlives_call(&self, table: &str) -> bool {
        self.functions > 0 && self.names.tables.contains(table)
    }

    /// A loop whose condition never ends it.
    fn endless(&mut self, at: (usize, usize), block: &str) {
        let words: Vec<&str> = block
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .collect();
        if !["break", "return", "error"]
            .iter()
            .any(|w| words.contains(w))
        {
            self.note(
                at,
                true,
                "this loop never ends: it has no break, return or error".into(),
            );
        }
    }

    fn finish(mut self, program: &Program) -> Vec<Finding> {
        for (table, at) in std::mem::take(&mut self.grows) {
            if !self.shrinks.contains(&table) {
                let message = format!(
                    "state grows: \"{table}\" gets an entry for every request and none is ever taken out"
                );
                self.note(at, false, message);
            }
        }
        for param in &program.declared {
            if !self.any_param_read && !self.params_read.contains(param.name.as_ref()) {
                let at = program
                    .text
                    .lines()
                    .position(|line| line.contains("@param") && line.contains(param.name.as_ref()));
                let message = format!("parameter \"{}\" is declared and never read", param.name);
                self.note((at.unwrap_or(0) + 1, 1), false, message);
            }
        }
        let has = |word: &str| program.text.contains(word);
        if has("on_dispatch") && !has("on_complete") {
            let line = program.text.lines().position(|l| l.contains("on_dispatch"));
            self.note(
                (line.unwrap_or(0) + 1, 1),
                false,
                "on_dispatch without on_complete: what is counted at dispatch is never taken back"
                    .into(),
            );
        }
        self.found.into_iter().collect()
    }
}

impl Visitor for Linter<'_> {
    fn visit_function_body(&mut self, _node: &FunctionBody) {
        self.functions += 1;
    }

    fn visit_function_body_end(&mut self, _node: &FunctionBody) {
        self.functions -= 1;
    }

    fn visit_var(&mut self, node: &Var) {
        if let Var::Name(name) = node {
            self.used(name);
        }
    }

    fn visit_var_expression(&mut self, node: &VarExpression) {
        self.access(node.prefix(), node.suffixes());
    }

    fn visit_function_call(&mut self, node: &FunctionCall) {
        self.access(node.prefix(), node.suffixes());
        let call = node.to_string();
        let call = call.trim();
        let target = |function: &str| {
            let rest = call
                .strip_prefix(function)?
                .trim_start()
                .strip_prefix('(')?;
            Some(rest.split([',', ')']).next()?.trim().to_owned())
        };
        for taking in ["table.remove", "table.clear"] {
            self.shrinks.extend(target(taking));
        }
        if let Some(table) = target("table.insert")
            && self.outlives_call(&table)
        {
            self.grows.entry(table).or_insert(place(node));
        }
    }

    fn visit_assignment(&mut self, node: &Assignment) {
        for (variable, value) in node.variables().iter().zip(node.expressions()) {
            let Var::Expression(var) = variable else {
                // A new table in an old name.
                self.shrinks.insert(variable.to_string().trim().to_owned());
                continue;
            };
            let table = var.prefix().to_string().trim().to_owned();
            if let Some(view) = self.names.view(&table) {
                let message = format!(
                    "{table} is a view ({view}): what is written into it misleads only this policy"
                );
                self.note(place(variable), false, message);
            }
            let Some(Suffix::Index(Index::Brackets { expression, .. })) = var.suffixes().next()
            else {
                continue;
            };
            if value.to_string().trim() == "nil" {
                self.shrinks.insert(table);
                continue;
            }
            let key = expression.to_string();
            let unbounded =
                key.contains('#') || WITHOUT_BOUND.iter().any(|word| key.contains(word));
            if unbounded && self.outlives_call(&table) {
                self.grows.entry(table).or_insert(place(variable));
            }
        }
    }

    fn visit_while(&mut self, node: &While) {
        if node.condition().to_string().trim() == "true" {
            self.endless(place(node), &node.block().to_string());
        }
    }

    fn visit_repeat(&mut self, node: &Repeat) {
        if node.until().to_string().trim() == "false" {
            self.endless(place(node), &node.block().to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let program = Program::new("p.lua", text.into(), &[], false).expect("a program");
        let shown = |f: Finding| {
            let kind = if f.error { "error" } else { "warning" };
            format!("{}:{} {kind}: {}", f.line, f.column, f.message)
        };
        match lint(&program) {
            Ok(found) => found.into_iter().map(shown).collect(),
            Err(syntax) => vec![shown(syntax)],
        }
    }

    #[test]
    fn names_are_checked_against_what_there_is() {
        let text = "
local function pick(list) return list[1] end
return {
  route = function(r, all, c)
    local first = all[1]
    for _, one in ipairs(all) do
      if one.queue_dept > r.prompt_token then return one.index end
    end
    if first.in_flight > c.noww then return mth.huge end
    return pick(all).index + cluster.now_us
  end,
  on_complete = function(e) return e.ttft end,
}";
        assert_eq!(
            findings(text),
            [
                "7:14 error: inst has no field \"queue_dept\"; did you mean \"queue_depth\"?",
                "7:29 error: req has no field \"prompt_token\"; did you mean \"prompt_tokens\"?",
                "9:28 error: cluster has no field \"noww\"; did you mean \"now_us\"?",
                "9:45 error: unknown global \"mth\"; did you mean \"math\"?",
                "10:30 error: unknown global \"cluster\"",
                "12:38 error: ev has no field \"ttft\"; did you mean \"ttft_us\"?",
            ]
        );
    }

    #[test]
    fn a_helper_that_is_called_as_a_hook_is_none() {
        let text = "\
local function batch(inst) return inst.batch_size end
local function key(step) return step.decoding end
return { score = function(req, inst) return batch(inst) - key({ decoding = 1 }) end }
";
        assert!(findings(text).is_empty(), "{:?}", findings(text));
    }

    #[test]
    fn state_loops_and_parameters_are_looked_at() {
        let text = "
--@param used = 1, 0..2
--@param idle = 1, 0..2
local seen, sent, per_tenant = {}, {}, {}
for i = 1, 3 do seen[#seen + 1] = i end
return {
  admit = function(req)
    local mine = {} mine[req.serial] = true
    seen[req.serial] = true
    per_tenant[req.tenant] = 1
    req.prompt_tokens = 5
    while true do req.x = 1 end
    while true do if cfg.used > cfg.usde then break end end
    return true
  end,
  on_dispatch = function(ev) sent[ev.serial] = ev.instance end,
}";
        let found = findings(text);
        for part in [
            "3:1 warning: parameter \"idle\" is declared and never read",
            "9:5 warning: state grows: \"seen\" gets an entry for every request",
            "11:5 warning: req is a view",
            "12:5 error: this loop never ends",
            "13:37 error: parameter \"usde\" is not declared with --@param; did you mean \"used\"?",
            "16:3 warning: state grows: \"sent\"",
            "16:1 warning: on_dispatch without on_complete",
        ] {
            let line = part.split(' ').next().unwrap_or_default();
            let rest = part.split_once(' ').map_or("", |p| p.1);
            let there = found
                .iter()
                .any(|f| f.split(':').next() == line.split(':').next() && f.contains(rest));
            assert!(there, "{part}\n{found:#?}");
        }
        assert!(
            !found.iter().any(|f| f.contains("per_tenant")),
            "{found:#?}"
        );
        let clean = text.replace("per_tenant[req.tenant] = 1", "seen[req.serial] = nil");
        assert!(!findings(&clean).iter().any(|f| f.contains("\"seen\"")));
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let found = findings("return {\n  route = function(req insts) end\n}");
        assert!(found[0].starts_with("2:0 error: Expected"), "{found:?}");
    }
}
