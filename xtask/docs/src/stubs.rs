//! Stubs for editors: the script API in the terms of luau-lsp, and of the Lua language server.

use std::fmt::Write;
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api::{
    self, FUNCTIONS, FieldDoc, Function, HANDLERS, LIMITS, SETTINGS, Slot, TABLES, Type, View,
};

/// What Luau has and the Lua language server does not know.
const LUAU: &str = include_str!("luau.lua");

const LUAU_HEAD: &str = "\
-- windtunnel's policy API for luau-lsp. Made by `cargo xtask docs`; do not edit.
--
-- VS Code, settings.json:
--   \"luau-lsp.platform.type\": \"standard\",
--   \"luau-lsp.types.definitionFiles\": { \"@windtunnel\": \"policies/windtunnel.d.luau\" }
-- Command line: luau-lsp analyze --platform=standard --definitions=@windtunnel=policies/windtunnel.d.luau my.lua
--
-- In a policy, name the types where you want help: `route = function(req: Request, insts: { Instance }, cluster: Cluster)`.
-- Of Luau's own globals the sandbox lacks print, require, os, debug, loadstring, getfenv, setfenv, newproxy, gcinfo and collectgarbage.
";

const EMMY_HEAD: &str = "\
---@meta windtunnel
-- windtunnel's policy API for the Lua language server (EmmyLua). Made by `cargo xtask docs`; do not edit.
--
-- .luarc.json:
--   { \"workspace.library\": [\"policies/windtunnel.lua\"], \"runtime.version\": \"Lua 5.4\",
--     \"runtime.nonstandardSymbol\": [\"+=\", \"-=\", \"*=\", \"/=\", \"//=\", \"%=\", \"^=\", \"continue\"],
--     \"runtime.builtin\": { \"io\": \"disable\", \"os\": \"disable\", \"debug\": \"disable\", \"package\": \"disable\" } }
--
-- In a policy, write `---@type Policy` above `local policy = { ... }` and return it. Types after a colon and `...` texts are Luau's alone.
";

/// `AdmissionPolicy`: the type of a hook's section.
fn section(hook: Hook) -> String {
    let name = hook.name();
    format!("{}{}Policy", name[..1].to_uppercase(), &name[1..])
}

/// What can stand in a hook's section besides its functions.
fn companions(hook: Hook) -> (Vec<&'static Function>, Vec<&'static api::Setting>) {
    let handlers = HANDLERS.iter().filter(|h| h.hooks.contains(&hook));
    (
        handlers.map(|h| &h.function).collect(),
        SETTINGS
            .iter()
            .filter(|s| s.hooks.contains(&hook))
            .collect(),
    )
}

/// The doc of a function with those of its parameters and answers, line by line.
fn lines(function: &Function) -> Vec<String> {
    let slot =
        |slot: &Slot| (!slot.doc.is_empty()).then(|| format!("{}: {}.", slot.name, slot.doc));
    let doc = function.doc.iter().map(|line| (*line).to_owned());
    doc.chain(function.takes.iter().filter_map(slot))
        .chain(function.gives.iter().filter_map(slot))
        .collect()
}

/// A field's unit, age and text.
fn field_doc(field: &FieldDoc, aged: bool) -> String {
    let age = match (aged, field.age) {
        (true, api::Age::Scraped) => " (scraped)",
        (true, api::Age::Fresh) if !field.doc.contains("(fresh)") => " (fresh)",
        _ => "",
    };
    let unit = match field.unit {
        "" | "position" => String::new(),
        unit => format!(" [{unit}]"),
    };
    format!("{}{unit}{age}", field.doc)
}

fn luau_slot(slot: &Slot) -> String {
    let kind = slot.kind.luau();
    match (slot.optional, kind.contains(' ')) {
        (false, _) => kind,
        (true, false) => format!("{kind}?"),
        (true, true) => format!("({kind})?"),
    }
}

fn luau_takes(function: &Function) -> String {
    let takes = function.takes.iter();
    takes
        .map(|slot| format!("{}: {}", slot.name, luau_slot(slot)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn luau_gives(function: &Function) -> String {
    // An optional answer may be missing only if it is any number of answers.
    let give = |slot: &Slot| match slot.optional {
        true => format!("...{}", slot.kind.luau()),
        false => slot.kind.luau(),
    };
    let gives: Vec<String> = function.gives.iter().map(give).collect();
    match &gives[..] {
        [one] if !one.contains(' ') => one.clone(),
        all => format!("({})", all.join(", ")),
    }
}

/// A function's type.
fn luau_function(function: &Function) -> String {
    format!("({}) -> {}", luau_takes(function), luau_gives(function))
}

/// `policies/windtunnel.d.luau`.
pub(super) fn luau() -> String {
    let mut out = LUAU_HEAD.to_owned();
    out.push_str("\n-- What hold and delay return.\ndeclare extern type Wait with\nend\n");
    for view in View::ALL {
        let extends = view
            .extends()
            .map_or(String::new(), |of| format!(" extends {}", of.name()));
        let _ = write!(
            out,
            "\n-- {}\ndeclare extern type {}{extends} with\n",
            view.doc(),
            view.name()
        );
        for field in view.fields() {
            let doc = field_doc(&field, view == View::Instance);
            let kind = field.kind.luau();
            let _ = writeln!(out, "    -- {doc}\n    {}: {kind}", field.name);
        }
        for method in view.methods() {
            for line in lines(method) {
                let _ = writeln!(out, "    -- {line}");
            }
            let gives = luau_gives(method);
            let _ = writeln!(out, "    function {}(self): {gives}", method.name);
        }
        out.push_str("end\n");
    }
    out.push_str("\n-- What batch returns: what it leaves out is as the engine's own limits.\nexport type Limits = {\n");
    for limit in LIMITS {
        let _ = writeln!(
            out,
            "    -- {}\n    {}: {}?,",
            limit.doc,
            limit.name,
            limit.kind.luau()
        );
    }
    out.push_str("}\n");
    for hook in Hook::ALL {
        let _ = writeln!(out, "\nexport type {} = {{", section(hook));
        let functions = api::hook_functions(hook);
        for function in functions {
            luau_member(&mut out, function, functions.len() == 1);
        }
        let (handlers, settings) = companions(hook);
        for handler in handlers {
            luau_member(&mut out, handler, false);
        }
        for setting in settings {
            let _ = writeln!(
                out,
                "    -- {}\n    {}: number?,",
                setting.doc, setting.name
            );
        }
        out.push_str("}\n");
    }
    out.push_str("\n-- What a policy file returns: the hooks themselves, or sections of them.\n");
    out.push_str("export type Policy = {\n");
    for (name, types) in flat(luau_function, section) {
        let types: Vec<String> = types
            .into_iter()
            .map(|t| match t.contains(' ') {
                true => format!("({t})"),
                false => t,
            })
            .collect();
        match &types[..] {
            [one] => {
                let _ = writeln!(out, "    {name}: {one}?,");
            }
            all => {
                let _ = writeln!(out, "    {name}: ({})?,", all.join(" | "));
            }
        }
    }
    for setting in SETTINGS {
        let _ = writeln!(out, "    {}: number?,", setting.name);
    }
    out.push_str("}\n");
    for table in TABLES {
        let kind = table.kind.luau();
        let _ = writeln!(out, "\n-- {}\ndeclare {}: {kind}", table.doc, table.name);
    }
    for function in FUNCTIONS {
        out.push('\n');
        for line in lines(function) {
            let _ = writeln!(out, "-- {line}");
        }
        let (takes, gives) = (luau_takes(function), luau_gives(function));
        let _ = writeln!(out, "declare function {}({takes}): {gives}", function.name);
    }
    out
}

fn luau_member(out: &mut String, function: &Function, required: bool) {
    for line in lines(function) {
        let _ = writeln!(out, "    -- {line}");
    }
    let kind = luau_function(function);
    let _ = match required {
        true => writeln!(out, "    {}: {kind},", function.name),
        false => writeln!(out, "    {}: ({kind})?,", function.name),
    };
}

/// The names of a flat table, each with the types it can have.
fn flat(
    function_type: fn(&Function) -> String,
    section_type: fn(Hook) -> String,
) -> Vec<(&'static str, Vec<String>)> {
    let mut names: Vec<(&str, Vec<String>)> = Vec::new();
    let mut add =
        |name: &'static str, kind: String| match names.iter_mut().find(|(known, _)| *known == name)
        {
            Some((_, kinds)) => kinds.push(kind),
            None => names.push((name, vec![kind])),
        };
    for hook in Hook::ALL {
        for function in api::hook_functions(hook) {
            add(function.name, function_type(function));
        }
    }
    for handler in HANDLERS {
        add(handler.function.name, function_type(&handler.function));
    }
    for hook in Hook::ALL {
        add(hook.name(), section_type(hook));
    }
    names
}

fn emmy_type(kind: Type) -> String {
    match kind {
        Type::List(of) => format!("{}[]", emmy_type(*of)),
        Type::Numbers => "table<string, number>".into(),
        Type::Iterator => "fun(): any, any".into(),
        Type::Either(a, b) => format!("{}|{}", emmy_type(*a), emmy_type(*b)),
        other => other.luau(),
    }
}

fn emmy_slot(slot: &Slot) -> String {
    format!(
        "{}{}",
        emmy_type(slot.kind),
        if slot.optional { "?" } else { "" }
    )
}

/// A function's type.
fn emmy_function(function: &Function) -> String {
    let takes: Vec<String> = function
        .takes
        .iter()
        .map(|s| format!("{}: {}", s.name, emmy_slot(s)))
        .collect();
    let gives: Vec<String> = function.gives.iter().map(emmy_slot).collect();
    let gives = if gives.is_empty() {
        String::new()
    } else {
        format!(": {}", gives.join(", "))
    };
    format!("fun({}){gives}", takes.join(", "))
}

/// A function's definition.
fn emmy_definition(out: &mut String, name: &str, function: &Function) {
    for line in function.doc {
        let _ = writeln!(out, "---{line}");
    }
    for slot in function.takes {
        let optional = if slot.optional { "?" } else { "" };
        let line = format!(
            "---@param {}{optional} {} {}",
            slot.name,
            emmy_type(slot.kind),
            slot.doc
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for slot in function.gives {
        let line = format!("---@return {} {} {}", emmy_slot(slot), slot.name, slot.doc);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let takes: Vec<&str> = function.takes.iter().map(|slot| slot.name).collect();
    let _ = writeln!(out, "function {name}({}) end\n", takes.join(", "));
}

/// `policies/windtunnel.lua`.
pub(super) fn emmy() -> String {
    let mut out = EMMY_HEAD.to_owned();
    out.push_str("\n---What hold and delay return.\n---@class Wait\n\n");
    for view in View::ALL {
        let extends = view
            .extends()
            .map_or(String::new(), |of| format!(" : {}", of.name()));
        let _ = writeln!(out, "---{}\n---@class {}{extends}", view.doc(), view.name());
        for field in view.fields() {
            let doc = field_doc(&field, view == View::Instance);
            let _ = writeln!(
                out,
                "---@field {} {} {doc}",
                field.name,
                emmy_type(field.kind)
            );
        }
        let _ = writeln!(out, "local {} = {{}}\n", view.name());
        for method in view.methods() {
            emmy_definition(
                &mut out,
                &format!("{}:{}", view.name(), method.name),
                method,
            );
        }
    }
    out.push_str("---What batch returns: what it leaves out is as the engine's own limits.\n---@class Limits\n");
    for limit in LIMITS {
        emmy_member(
            &mut out,
            limit.name,
            "?",
            &emmy_type(limit.kind),
            &[limit.doc],
        );
    }
    out.push('\n');
    for hook in Hook::ALL {
        let _ = writeln!(out, "---@class {}", section(hook));
        let functions = api::hook_functions(hook);
        for function in functions {
            let optional = if functions.len() == 1 { "" } else { "?" };
            emmy_member(
                &mut out,
                function.name,
                optional,
                &emmy_function(function),
                function.doc,
            );
        }
        let (handlers, settings) = companions(hook);
        for handler in handlers {
            emmy_member(
                &mut out,
                handler.name,
                "?",
                &emmy_function(handler),
                handler.doc,
            );
        }
        for setting in settings {
            emmy_member(&mut out, setting.name, "?", "number", &[setting.doc]);
        }
        out.push('\n');
    }
    out.push_str("---What a policy file returns: the hooks themselves, or sections of them.\n---@class Policy\n");
    for (name, types) in flat(emmy_function, section) {
        let types: Vec<String> = match &types[..] {
            [one] => vec![one.clone()],
            all => all.iter().map(|t| format!("({t})")).collect(),
        };
        emmy_member(&mut out, name, "?", &types.join("|"), &[]);
    }
    for setting in SETTINGS {
        emmy_member(&mut out, setting.name, "?", "number", &[setting.doc]);
    }
    out.push('\n');
    for table in TABLES {
        let kind = emmy_type(table.kind);
        let _ = writeln!(
            out,
            "---{}\n---@type {kind}\n{} = {{}}\n",
            table.doc, table.name
        );
    }
    for function in FUNCTIONS {
        emmy_definition(&mut out, function.name, function);
    }
    out.push_str(LUAU);
    out
}

fn emmy_member(out: &mut String, name: &str, optional: &str, kind: &str, doc: &[&str]) {
    let line = format!("---@field {name}{optional} {kind} {}", doc.join(" "));
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brackets close in order, and every declared type ends.
    #[test]
    fn declarations_are_balanced() {
        let text = luau();
        let code = || {
            text.lines()
                .filter(|line| !line.trim_start().starts_with("--"))
        };
        let mut open = Vec::new();
        for letter in code().flat_map(str::chars) {
            match letter {
                '(' | '{' | '[' => open.push(letter),
                ')' => assert_eq!(open.pop(), Some('(')),
                '}' => assert_eq!(open.pop(), Some('{')),
                ']' => assert_eq!(open.pop(), Some('[')),
                _ => {}
            }
        }
        assert!(open.is_empty());
        let begins = code()
            .filter(|line| line.starts_with("declare extern type "))
            .count();
        assert_eq!(begins, View::ALL.len() + 1);
        assert_eq!(code().filter(|line| *line == "end").count(), begins);
    }

    #[test]
    fn both_stubs_have_every_name() {
        let (luau, emmy) = (luau(), emmy());
        for view in View::ALL {
            for field in view.fields() {
                assert!(
                    luau.contains(&format!("    {}: ", field.name)),
                    "{}",
                    field.name
                );
                assert!(
                    emmy.contains(&format!("---@field {} ", field.name)),
                    "{}",
                    field.name
                );
            }
        }
        for function in FUNCTIONS {
            assert!(luau.contains(&format!("declare function {}(", function.name)));
            assert!(emmy.contains(&format!("\nfunction {}(", function.name)));
        }
    }
}
