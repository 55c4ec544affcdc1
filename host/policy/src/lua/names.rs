//! The names that a policy file declares, and which of them stand for views.

use super::api::function_names;
use crate::param::Hook;
use full_moon::ast::{
    Assignment, Ast, Expression, Field, FunctionBody, FunctionDeclaration, GenericFor, Index,
    LocalAssignment, LocalFunction, NumericFor, Parameter, Prefix, Stmt, Suffix, Var,
};
use full_moon::node::Node;
use full_moon::tokenizer::TokenReference;
use full_moon::visitors::Visitor;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn place(node: &impl Node) -> (usize, usize) {
    node.start_position()
        .map_or((1, 1), |at| (at.line(), at.character()))
}

pub(super) fn text(token: &TokenReference) -> String {
    token.token().to_string()
}

/// Views that the parameters of a hook's functions stand for, by position; a list of views ends in
/// `s`. None for a function of that name whose first parameter is called as another view is: a
/// helper such as `batch(inst)`.
fn views(function: &str, first: &str) -> &'static [&'static str] {
    const NAMES: [&str; 11] = [
        "req", "reqs", "inst", "insts", "cluster", "queue", "step", "ev", "held", "gateway", "pool",
    ];
    let of_hook = views_of_hook(function, first);
    let other = of_hook.first().is_some_and(|view| *view != first);
    if other && NAMES.contains(&first) {
        return &[];
    }
    of_hook
}

fn views_of_hook(function: &str, first: &str) -> &'static [&'static str] {
    match function {
        "admit" | "route_columns" => &["req", "cluster"],
        "route" => &["req", "insts", "cluster"],
        "score" if first == "now" => &["", "req"],
        "score" => &["req", "inst", "cluster"],
        "priority" | "key" => &["req", "queue"],
        "order" => &["reqs", "reqs", "queue"],
        "victim" => &["reqs", "queue"],
        "disaggregate" => &["req", "inst", "cluster"],
        "batch" => &["step", "req", "queue"],
        "next_held" => &["reqs", "gateway", "cluster"],
        "replicas" => &["pool", "cluster"],
        "on_tick" => &["cluster"],
        name if name.starts_with("on_") => &["ev"],
        _ => &[],
    }
}

fn is_hook(name: &str) -> bool {
    name.starts_with("on_")
        || Hook::ALL
            .iter()
            .any(|hook| function_names(*hook).contains(&name))
}

/// The names a file declares, and which of them stand for views.
#[derive(Default)]
pub(super) struct Names {
    pub(super) declared: BTreeSet<String>,
    /// Tables that live as long as the copy.
    pub(super) tables: BTreeSet<String>,
    views: BTreeMap<String, &'static str>,
    /// Names that stand for different things in different places.
    unclear: BTreeSet<String>,
    /// Locals that are declared once, as a field of a view: `local class = req.slo_class`.
    fields: BTreeMap<String, (String, String)>,
}

impl Names {
    /// All names of a file.
    pub(super) fn of(ast: &Ast) -> Self {
        let mut names = Self::default();
        names.visit_ast(ast);
        // Tables that live as long as the copy; those made inside a function are gone when it
        // returns.
        for statement in ast.nodes().stmts() {
            if let Stmt::LocalAssignment(node) = statement {
                names.state(node);
            }
        }
        names
    }

    /// The view that a name stands for everywhere in the file.
    pub(super) fn view(&self, name: &str) -> Option<&'static str> {
        let view = self.views.get(name).copied();
        view.filter(|_| !self.unclear.contains(name))
    }

    /// The field of a view that an expression reads, as the name that stands for the view, and the
    /// field's name.
    pub(super) fn field_of(&self, expression: &Expression) -> Option<(String, String)> {
        match expression {
            Expression::Parentheses { expression, .. } => self.field_of(expression),
            Expression::Var(Var::Name(name)) => self.fields.get(&text(name)).cloned(),
            Expression::Var(Var::Expression(var)) => {
                let Prefix::Name(name) = var.prefix() else {
                    return None;
                };
                let name = text(name);
                self.view(&name)?;
                let mut suffixes = var.suffixes();
                match (suffixes.next(), suffixes.next()) {
                    (Some(Suffix::Index(Index::Dot { name: field, .. })), None) => {
                        Some((name, text(field)))
                    }
                    (Some(Suffix::Index(Index::Brackets { expression, .. })), None) => {
                        let key = expression.to_string();
                        let key = key.trim();
                        let quoted = |q| key.strip_prefix(q).and_then(|k| k.strip_suffix(q));
                        let key = quoted('"').or_else(|| quoted('\''))?;
                        Some((name, key.to_owned()))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn declare(&mut self, name: &TokenReference) {
        let name = text(name);
        if !self.declared.insert(name.clone()) {
            // Declared before: which of the two a place means is not followed.
            self.fields.remove(&name);
        }
    }

    fn stand_for(&mut self, name: String, view: &'static str) {
        if view.is_empty() {
            return;
        }
        if self
            .views
            .insert(name.clone(), view)
            .is_some_and(|old| old != view)
        {
            self.unclear.insert(name);
        }
    }

    fn state(&mut self, node: &LocalAssignment) {
        for (name, value) in node.names().iter().zip(node.expressions()) {
            if matches!(value, Expression::TableConstructor(_)) {
                self.tables.insert(text(name));
            }
        }
    }

    fn hook(&mut self, name: &str, body: &FunctionBody) {
        let parameters: Vec<String> = body
            .parameters()
            .iter()
            .map(|p| match p {
                Parameter::Name(token) => text(token),
                _ => String::new(),
            })
            .collect();
        let views = views(name, parameters.first().map_or("", String::as_str));
        for (parameter, view) in parameters.into_iter().zip(views) {
            self.stand_for(parameter, view);
        }
    }

    /// The view that one element of `expression` is, if it is a list of views.
    fn element(&self, expression: &Expression) -> Option<&'static str> {
        let shown = expression.to_string();
        let list = shown.trim();
        let list = list
            .strip_prefix("ipairs(")
            .and_then(|l| l.strip_suffix(')'))
            .unwrap_or(list);
        let list = list.trim();
        match self.views.get(list).copied() {
            Some("insts") => Some("inst"),
            Some("reqs") => Some("req"),
            _ if list.ends_with("cluster.instances") => Some("inst"),
            _ => None,
        }
    }
}

impl Visitor for Names {
    fn visit_local_assignment(&mut self, node: &LocalAssignment) {
        let new: Vec<bool> = node
            .names()
            .iter()
            .map(|name| {
                let new = !self.declared.contains(&text(name));
                self.declare(name);
                new
            })
            .collect();
        for ((name, value), new) in node.names().iter().zip(node.expressions()).zip(new) {
            if let Some(field) = self.field_of(value).filter(|_| new) {
                self.fields.insert(text(name), field);
            }
            match value {
                Expression::Function(function) if is_hook(&text(name)) => {
                    self.hook(&text(name), function.body());
                }
                // One of a list: `insts[k]`.
                Expression::Var(Var::Expression(var)) => {
                    let list = var.prefix().to_string();
                    let view = match self.views.get(list.trim()) {
                        Some(&"insts") => "inst",
                        Some(&"reqs") => "req",
                        _ => "",
                    };
                    let mut suffixes = var.suffixes();
                    let one =
                        matches!(suffixes.next(), Some(Suffix::Index(Index::Brackets { .. })));
                    if one && suffixes.next().is_none() {
                        self.stand_for(text(name), view);
                    }
                }
                _ => {}
            }
        }
    }

    fn visit_assignment(&mut self, node: &Assignment) {
        for variable in node.variables() {
            if let Var::Name(name) = variable {
                self.fields.remove(&text(name));
            }
        }
        // `policy.route = function(req, insts) ... end`.
        for (variable, value) in node.variables().iter().zip(node.expressions()) {
            if let (Var::Expression(var), Expression::Function(function)) = (variable, value)
                && let Some(Suffix::Index(Index::Dot { name, .. })) = var.suffixes().last()
                && is_hook(&text(name))
            {
                self.hook(&text(name), function.body());
            }
        }
    }

    fn visit_function_declaration(&mut self, node: &FunctionDeclaration) {
        // `function policy.route(req, insts) ... end`.
        if let Some(name) = node.name().names().iter().last()
            && is_hook(&text(name))
        {
            self.hook(&text(name), node.body());
        }
    }

    fn visit_local_function(&mut self, node: &LocalFunction) {
        self.declare(node.name());
        if is_hook(&text(node.name())) {
            self.hook(&text(node.name()), node.body());
        }
    }

    fn visit_function_body(&mut self, node: &FunctionBody) {
        for parameter in node.parameters() {
            if let Parameter::Name(name) = parameter {
                self.declare(name);
            }
        }
    }

    fn visit_field(&mut self, node: &Field) {
        if let Field::NameKey {
            key,
            value: Expression::Function(function),
            ..
        } = node
            && is_hook(&text(key))
        {
            self.hook(&text(key), function.body());
        }
    }

    fn visit_generic_for(&mut self, node: &GenericFor) {
        node.names().iter().for_each(|name| self.declare(name));
        let element = node
            .expressions()
            .iter()
            .next()
            .and_then(|e| self.element(e));
        if let (Some(view), Some(name)) = (element, node.names().iter().nth(1)) {
            self.stand_for(text(name), view);
        }
    }

    fn visit_numeric_for(&mut self, node: &NumericFor) {
        self.declare(node.index_variable());
    }
}
