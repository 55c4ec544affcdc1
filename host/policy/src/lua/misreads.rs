//! Places where a file means something else than it says, and no error would tell: a number that is
//! compared with a text, `nil` where 0 stands for none, a method without its colon.

use super::api::View;
use super::fields;
use super::finding::Finding;
use super::names::{Names, place};
use super::program::Program;
use super::source;
use full_moon::ast::{
    Ast, BinOp, Call, ElseIf, Expression, FunctionArgs, FunctionCall, If, Index, Prefix, Suffix,
    UnOp, VarExpression, While, luau::IfExpression,
};
use full_moon::node::Node;
use full_moon::tokenizer::TokenReference;
use full_moon::visitors::Visitor;
use windtunnel_base::input::InputError;

/// Refuses a file that has such a place. What else is wrong with it is left to the run.
///
/// # Errors
/// The first such place, with what to write there.
pub fn refuse_misreads(program: &Program) -> Result<(), InputError> {
    let found = source::with_ast(&program.text, |ast| of(program, &Names::of(ast), ast));
    match found.ok().and_then(|found| found.into_iter().min()) {
        None => Ok(()),
        Some(first) => Err(InputError::at(
            &program.name,
            first.line as u64,
            first.column as u64,
            first.message,
        )),
    }
}

/// A place of a file where a view's name is compared with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedName {
    /// Line, from 1.
    pub line: usize,
    /// The view's field: `tenant`.
    pub field: String,
    /// The text.
    pub name: String,
}

/// The places where a file compares names with texts written there.
#[must_use]
pub fn compared_names(program: &Program) -> Vec<ComparedName> {
    if !program.mentions.reads_texts() {
        return Vec::new();
    }
    let compared = source::with_ast(&program.text, |ast| {
        let names = &Names::of(ast);
        let found = Vec::new();
        let mut compared = Compared { names, found };
        compared.visit_ast(ast);
        compared.found
    });
    compared.unwrap_or_default()
}

struct Compared<'a> {
    names: &'a Names,
    found: Vec<ComparedName>,
}

impl Visitor for Compared<'_> {
    fn visit_expression(&mut self, node: &Expression) {
        let Expression::BinaryOperator {
            lhs,
            binop: BinOp::TwoEqual(_) | BinOp::TildeEqual(_),
            rhs,
        } = node
        else {
            return;
        };
        for (one, other) in [(lhs, rhs), (rhs, lhs)] {
            if let (Some((_, field)), Form::Text(text)) = (self.names.field_of(one), form(other))
                && fields::is_name(&field)
            {
                self.found.push(ComparedName {
                    line: place(one.as_ref()).0,
                    field,
                    name: text.trim_matches(['"', '\'']).to_owned(),
                });
            }
        }
    }
}

/// All such places.
pub(super) fn of(program: &Program, names: &Names, ast: &Ast) -> Vec<Finding> {
    let mut misreads = Misreads {
        names,
        texts: program.mentions.reads_texts(),
        found: Vec::new(),
    };
    misreads.visit_ast(ast);
    misreads.found
}

struct Misreads<'a> {
    names: &'a Names,
    /// Names are texts in this file.
    texts: bool,
    found: Vec<Finding>,
}

/// What an expression is, as far as its form says it.
enum Form {
    Nil,
    Number(f64),
    Text(String),
    /// A text that is put together.
    MadeText,
    Other,
}

fn form(expression: &Expression) -> Form {
    let shown = expression.to_string();
    let shown = shown.trim();
    match expression {
        Expression::Parentheses { expression, .. } => form(expression),
        Expression::Symbol(_) if shown == "nil" => Form::Nil,
        Expression::Number(_) => shown.parse().map_or(Form::Other, Form::Number),
        Expression::String(_) => Form::Text(shown.to_owned()),
        Expression::InterpolatedString(_) => Form::MadeText,
        Expression::BinaryOperator {
            binop: BinOp::TwoDots(_),
            ..
        } => Form::MadeText,
        Expression::FunctionCall(_)
            if ["tostring", "string."].iter().any(|f| shown.starts_with(f)) =>
        {
            Form::MadeText
        }
        _ => Form::Other,
    }
}

/// What a number or a name is, for a message: `(how it ended: 0 completed, ...)`.
fn meaning(field: &str) -> String {
    let all = View::ALL.into_iter().flat_map(View::fields);
    let doc = all.filter(|f| f.name == field).map(|f| f.doc).next();
    doc.map_or(String::new(), |doc| {
        format!(": {}", doc.trim_end_matches('.'))
    })
}

fn is_method(name: &str) -> bool {
    let methods = View::ALL.into_iter().flat_map(View::methods);
    methods.into_iter().any(|method| method.name == name)
}

fn is_field(name: &str) -> bool {
    let mut fields = View::ALL.into_iter().flat_map(View::fields);
    fields.any(|field| field.name == name)
}

fn suffix_text(prefix: &Prefix, before: &[&Suffix]) -> String {
    let suffixes: String = before.iter().map(ToString::to_string).collect();
    format!("{prefix}{suffixes}").trim().to_owned()
}

impl Misreads<'_> {
    fn error(&mut self, at: &impl Node, message: String) {
        let (line, column) = place(at);
        self.found.push(Finding {
            line,
            column,
            error: true,
            message,
        });
    }

    /// `left == right`, `left < right` and the others that compare.
    fn comparison(&mut self, left: &Expression, op: &BinOp, right: &Expression) {
        let (field, other, turned) = match (self.names.field_of(left), self.names.field_of(right)) {
            (Some(field), None) => (field, right, false),
            (None, Some(field)) => (field, left, true),
            _ => return,
        };
        let at = if turned { right } else { left };
        let (view, field) = field;
        let name = format!("{view}.{field}");
        if !is_field(&field) {
            return;
        }
        let equality = matches!(op, BinOp::TwoEqual(_) | BinOp::TildeEqual(_));
        let is_name = fields::is_name(&field);
        match form(other) {
            Form::Nil if equality && fields::zero_is_none(&field) => self.error(
                at,
                format!("{name} is never nil: 0 stands for none; write {name} == 0 or {name} ~= 0"),
            ),
            Form::Text(text) if is_name && text.len() == 2 => {
                self.error(
                    at,
                    format!("{name} is never an empty text: 0 stands for none; write {name} == 0"),
                );
            }
            Form::Text(text) if is_name && !self.texts => self.error(
                at,
                format!(
                    "{name} is a number in a file that reads columns, never a text; compare it with symbol({text}), taken while the file is loaded"
                ),
            ),
            Form::Text(text) if !is_name => {
                let rank = ["class_priority", "priority"].contains(&field.as_str());
                let instead = if rank && view == "req" {
                    format!("; the class by name is req.slo_class == {text}")
                } else {
                    String::new()
                };
                self.error(
                    at,
                    format!("{name} is a number, never a text{}{instead}", meaning(&field)),
                );
            }
            Form::MadeText if !is_name || !self.is_tostring_of_name(other) => self.error(
                at,
                format!(
                    "{name} cannot be compared with a text that is put together while the policy runs; compare it with whole names, as in {name} == \"name\""
                ),
            ),
            Form::Number(x) if is_name => {
                let least = matches!(
                    op,
                    BinOp::GreaterThanEqual(_) | BinOp::LessThan(_) | BinOp::LessThanEqual(_)
                ) || matches!(op, BinOp::GreaterThan(_));
                if x == 0.0 || (least && x == 1.0) {
                    return;
                }
                let rank = if field == "slo_class" {
                    "; how important a class is, is req.class_priority"
                } else {
                    ""
                };
                self.error(
                    at,
                    format!(
                        "{name} stands for a name, and which number it is differs from run to run; compare it with the name, as in {name} == \"name\"{rank}"
                    ),
                );
            }
            _ => {}
        }
    }

    /// `tostring(req.tenant)` is the text that `req.tenant` is.
    fn is_tostring_of_name(&self, expression: &Expression) -> bool {
        let shown = expression.to_string();
        self.texts && shown.trim().starts_with("tostring(")
    }

    /// An expression whose truth decides.
    fn condition(&mut self, expression: &Expression) {
        if let Some((view, field)) = self.names.field_of(expression)
            && fields::zero_is_none(&field)
        {
            self.error(
                expression,
                format!(
                    "{view}.{field} is always true as a condition, also where it is 0 for none; write {view}.{field} ~= 0"
                ),
            );
        }
    }

    /// A function that works on the letters of a name.
    fn letters(&mut self, at: &impl Node, name: &(String, String)) {
        let (view, field) = name;
        if fields::is_name(field) {
            self.error(
                at,
                format!(
                    "the letters of {view}.{field} cannot be looked at; compare it with whole names, as in {view}.{field} == \"name\""
                ),
            );
        }
    }

    /// A chain of names, indices and calls.
    fn chain<'n>(&mut self, prefix: &'n Prefix, suffixes: impl Iterator<Item = &'n Suffix>) {
        let suffixes: Vec<&Suffix> = suffixes.collect();
        for (k, suffix) in suffixes.iter().enumerate() {
            let before = suffix_text(prefix, &suffixes[..k]);
            match suffix {
                Suffix::Index(Index::Dot { name, .. }) => {
                    let next = suffixes.get(k + 1);
                    self.dot(&before, name, k == 0, next.copied());
                }
                Suffix::Call(Call::MethodCall(call)) => {
                    self.colon(&before, call.name(), k == 0);
                }
                _ => {}
            }
        }
    }

    /// `before.name`, with what follows.
    fn dot(&mut self, before: &str, name: &TokenReference, first: bool, next: Option<&Suffix>) {
        let method = name.token().to_string();
        if !is_method(&method) {
            return;
        }
        let of_view = first && self.names.view(before).is_some();
        let wrong = match next {
            Some(Suffix::Call(Call::AnonymousCall(args))) => match args {
                FunctionArgs::Parentheses { arguments, .. } => {
                    let given = arguments.iter().next().map(|a| a.to_string());
                    match given {
                        None => true,
                        Some(given) => of_view && given.trim() != before,
                    }
                }
                _ => true,
            },
            _ => of_view,
        };
        if wrong {
            self.error(
                name,
                format!("{method} is a method: write {before}:{method}(), with a colon"),
            );
        }
    }

    /// `before:name(...)`.
    fn colon(&mut self, before: &str, name: &TokenReference, first: bool) {
        let called = name.token().to_string();
        let of_view = first && self.names.view(before).is_some();
        if of_view && is_field(&called) && !is_method(&called) {
            self.error(
                name,
                format!(
                    "{called} is a field: write {before}.{called}, with a dot and without brackets"
                ),
            );
        }
    }
}

impl Visitor for Misreads<'_> {
    fn visit_expression(&mut self, node: &Expression) {
        match node {
            Expression::BinaryOperator { lhs, binop, rhs } => match binop {
                BinOp::TwoEqual(_)
                | BinOp::TildeEqual(_)
                | BinOp::LessThan(_)
                | BinOp::LessThanEqual(_)
                | BinOp::GreaterThan(_)
                | BinOp::GreaterThanEqual(_) => self.comparison(lhs, binop, rhs),
                BinOp::And(_) => self.condition(lhs),
                // Harmless: the same 0 in another way.
                BinOp::Or(_) if rhs.to_string().trim() != "0" => self.condition(lhs),
                _ => {}
            },
            Expression::UnaryOperator {
                unop: UnOp::Not(_),
                expression,
            } => self.condition(expression),
            _ => {}
        }
    }

    fn visit_if(&mut self, node: &If) {
        self.condition(node.condition());
    }

    fn visit_else_if(&mut self, node: &ElseIf) {
        self.condition(node.condition());
    }

    fn visit_if_expression(&mut self, node: &IfExpression) {
        self.condition(node.condition());
    }

    fn visit_while(&mut self, node: &While) {
        self.condition(node.condition());
    }

    fn visit_var_expression(&mut self, node: &VarExpression) {
        self.chain(node.prefix(), node.suffixes());
    }

    fn visit_function_call(&mut self, node: &FunctionCall) {
        self.chain(node.prefix(), node.suffixes());
        let Prefix::Name(name) = node.prefix() else {
            return;
        };
        let name = name.token().to_string();
        let suffixes: Vec<&Suffix> = node.suffixes().collect();
        match suffixes[..] {
            // `string.find(req.tenant, ...)`; `string.format` writes a name, which is fine.
            [
                Suffix::Index(Index::Dot { name: function, .. }),
                Suffix::Call(Call::AnonymousCall(FunctionArgs::Parentheses { arguments, .. })),
            ] if name == "string" && function.token().to_string() != "format" => {
                if let Some(field) = arguments.iter().next().and_then(|a| self.names.field_of(a)) {
                    self.letters(node, &field);
                }
            }
            // `req.tenant:sub(...)`.
            [
                Suffix::Index(Index::Dot { name: field, .. }),
                Suffix::Call(Call::MethodCall(_)),
            ] if self.names.view(&name).is_some() => {
                self.letters(node, &(name, field.token().to_string()));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Vec<String> {
        let text = format!(
            "local insts = nil\nlocal function help(x) return x end\nreturn {{ route = function(req, insts, cluster)\nfor i, inst in ipairs(insts) do\n{body}\nend end, on_complete = function(ev) help(ev.outcome) end }}"
        );
        let program = Program::new("p.lua", text, &[], false).expect("a program");
        let found = source::with_ast(&program.text, |ast| of(&program, &Names::of(ast), ast));
        let found = found.expect("syntax");
        let shown = |f: &Finding| format!("{}:{} {}", f.line - 4, f.column, f.message);
        found.iter().map(shown).collect()
    }

    #[test]
    fn what_means_something_else_than_it_says_is_found() {
        for (body, expected) in [
            (
                "if req.tenant == nil then end",
                "1:4 req.tenant is never nil: 0 stands for none; write req.tenant == 0 or req.tenant ~= 0",
            ),
            (
                "local d = req.deadline_us or math.huge",
                "1:11 req.deadline_us is always true as a condition",
            ),
            (
                "if not req.session then end",
                "1:8 req.session is always true as a condition",
            ),
            (
                "if req.session and true then end",
                "1:4 req.session is always true as a condition",
            ),
            (
                "local x = if req.session then 1 else 2",
                "1:14 req.session is always true as a condition",
            ),
            (
                "if req.slo_class == 1 then end",
                "1:4 req.slo_class stands for a name",
            ),
            (
                "if req.slo_class < 3 then end",
                "how important a class is, is req.class_priority",
            ),
            (
                "local t = req.tenant\nif t == 2 then end",
                "2:4 req.tenant stands for a name",
            ),
            (
                "if req.class_priority == 'critical' then end",
                "1:4 req.class_priority is a number, never a text: Priority at the front end",
            ),
            (
                "if 'high' ~= inst.kv_utilization then end",
                "1:14 inst.kv_utilization is a number, never a text",
            ),
            (
                "if req.tenant == '' then end",
                "never an empty text: 0 stands for none",
            ),
            (
                "if req.tenant == 'team-' .. i then end",
                "1:4 req.tenant cannot be compared with a text that is put together",
            ),
            (
                "if req.tenant:sub(1, 3) == 'vip' then end",
                "1:4 the letters of req.tenant cannot be looked at",
            ),
            (
                "if string.find(req.tenant, '^vip') then end",
                "1:4 the letters of req.tenant cannot be looked at",
            ),
            (
                "local b = inst.approximate_prefix_blocks()",
                "1:16 approximate_prefix_blocks is a method: write inst:approximate_prefix_blocks(), with a colon",
            ),
            (
                "local b = inst.precise_prefix_blocks * 16",
                "1:16 precise_prefix_blocks is a method",
            ),
            (
                "local b = insts[1].age_us()",
                "1:20 age_us is a method: write insts[1]:age_us()",
            ),
            (
                "local b = req.prompt_blocks(inst)",
                "1:15 prompt_blocks is a method: write req:prompt_blocks()",
            ),
            (
                "local b = inst:queue_depth()",
                "1:16 queue_depth is a field: write inst.queue_depth",
            ),
            (
                "column('pool') if inst.pool == 'decode' then end",
                "compare it with symbol('decode'), taken while the file is loaded",
            ),
        ] {
            let found = found(body);
            assert!(
                found.iter().any(|f| f.contains(expected)),
                "{body}: {found:#?}"
            );
        }
    }

    #[test]
    fn what_says_what_it_means_is_left_alone() {
        for body in [
            "if req.tenant == 'free' and req.slo_class ~= \"batch\" then end",
            "if req.session ~= 0 and req.session > 0 and req.session >= 1 then end",
            "if tostring(req.tenant) == 'free' then end",
            "local s = req.session or 0",
            "local d = inst.queue_depth or 0",
            "if inst.queue_depth == nil then end",
            "local b = inst:precise_prefix_blocks() + inst.precise_prefix_blocks(inst)",
            "local key = string.format('%s', req.tenant) .. req.session",
            "if req.tenant == req.prefix_group then end",
            "if req.class_priority == 4 then end",
        ] {
            assert_eq!(found(body), [""; 0], "{body}");
        }
    }
}
