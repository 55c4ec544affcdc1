//! A script engine that runs one policy file behind a sandbox.
//!
//! What a policy finds is a list of permitted names. Standard functions whose work grows with their
//! arguments are wrapped (`stdlib.luau`), so that they cost units by size. Everything is read-only
//! before the file is loaded. Limits are counted (see [`budget`](super::budget)) and final: a
//! script that has reached one is not called again, even if it caught the error.

use super::budget::{Budget, MOST_MEMORY};
use super::call_context::CallContext;
use super::interrupt;
use super::messages::{
    LONGEST_MESSAGE, describe, first_line, line_of, message_of, out_of_memory, raised_kind,
    with_name, without_repeated_place,
};
use super::program::Program;
use super::sandbox::close_sandbox;
use super::usage::ScriptUsage;
use crate::facts::Facts;
use mlua::chunk::Compiler;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::PolicyError;

/// A script engine with one policy file in it.
pub(super) struct Vm {
    pub(super) lua: Lua,
    pub(super) program: Arc<Program>,
    pub(super) context: Rc<CallContext>,
    pub(super) facts: Facts,
    /// What `stdlib.luau` and `bind.luau` share, such as the answer that stands for a hold.
    pub(super) shared: Table,
    /// The policy's file as a function.
    main: Function,
    /// The tables that the file has returned, one per copy. They keep the copies' states, whose
    /// size is measured after the run.
    returned: RefCell<Vec<Table>>,
    /// Compiled `bind.luau` by the functions that it binds.
    binds: RefCell<Vec<(Vec<&'static str>, Function)>>,
    budget: Rc<Budget>,
    /// Why it is not called any more.
    failure: RefCell<Option<PolicyError>>,
}

impl Vm {
    /// A closed sandbox with the file compiled in it.
    ///
    /// # Errors
    /// When the file is no valid Luau.
    pub(super) fn new(program: Arc<Program>, facts: Facts) -> Result<Self, InputError> {
        let broken =
            |e: mlua::Error| InputError::in_file(&program.name, format!("the script engine: {e}"));
        let limited = !program.trusted;
        let budget = Rc::new(Budget::new(limited, program.run_units, program.weights));
        let context = Rc::new(CallContext::default());
        let lua = Lua::new_with(
            StdLib::TABLE
                | StdLib::STRING
                | StdLib::MATH
                | StdLib::BIT
                | StdLib::BUFFER
                | StdLib::COROUTINE
                | StdLib::UTF8,
            LuaOptions::new().catch_rust_panics(true),
        )
        .map_err(broken)?;
        lua.set_compiler(compiler(2));
        // What `stdlib.luau` defines is called seldom: not worth native code.
        lua.enable_jit(false);
        let shared = close_sandbox(&lua, &program, &budget, &context, facts).map_err(broken)?;
        lua.enable_jit(true);
        // Functions that are put into others, and loops that are unrolled, would not be counted.
        let main = lua
            .load(without_directives(&program.text))
            .set_name(interrupt::POLICY_CHUNK)
            .set_compiler(compiler(1))
            .into_function()
            .map_err(|e| {
                let message = with_name(&program.name, &message_of(&e));
                let line = line_of(&program.name, &message).map(u64::from);
                InputError::new(message).located(program.name.as_str(), line)
            })?;
        if limited {
            let metatables = shared.raw_get("metatables").map_err(broken)?;
            interrupt::install(&lua, &metatables).map_err(broken)?;
            lua.set_memory_limit(MOST_MEMORY).map_err(broken)?;
            budget.starts_with(interrupt::held_bytes(&lua));
        }
        Ok(Self {
            lua,
            program,
            context,
            facts,
            shared,
            main,
            returned: RefCell::new(Vec::new()),
            binds: RefCell::new(Vec::new()),
            budget,
            failure: RefCell::new(None),
        })
    }

    /// The function that binds a copy which fills these functions. Native code takes long to make,
    /// so all instances share one, and it holds no more than needed.
    pub(super) fn bind(&self, functions: &[&'static str]) -> Result<Function, InputError> {
        let mut binds = self.binds.borrow_mut();
        if let Some((_, bind)) = binds.iter().find(|(known, _)| known == functions) {
            return Ok(bind.clone());
        }
        let mentions = &self.program.mentions;
        let mut wanted = functions.to_vec();
        if functions
            .iter()
            .any(|f| f.starts_with("on_") && *f != "on_tick")
        {
            wanted.push("events");
        }
        let bind = self
            .lua
            .load(super::bind::source(mentions, &wanted))
            .set_name(interrupt::CHUNK_NAME)
            .into_function()
            .map_err(|e| {
                InputError::in_file(&self.program.name, format!("the script engine: {e}"))
            })?;
        binds.push((functions.to_vec(), bind.clone()));
        Ok(bind)
    }

    /// Runs the file once more and gives what it returns: a copy of the policy with a state of its
    /// own.
    ///
    /// # Errors
    /// What the file raises, or that it returns no table.
    pub(super) fn run_file(
        &self,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Table, InputError> {
        self.number_texts(symbols)
            .map_err(|e| InputError::in_file(&self.program.name, e.to_string()))?;
        let answer: Value = self
            .context
            .while_loading(symbols, || self.call_counted(&self.main, (), true))
            .map_err(InputError::from)?;
        match answer {
            Value::Table(table) => {
                self.returned.borrow_mut().push(table.clone());
                Ok(table)
            }
            other => Err(InputError::in_file(
                &self.program.name,
                format!(
                    "the file returns {}; expected a table of hooks, such as return {{ route = function(req, insts) ... end }}",
                    describe(&other)
                ),
            )),
        }
    }

    /// Learns the numbers of the names that the file has as texts.
    fn number_texts(&self, symbols: &mut dyn FnMut(&str) -> u32) -> mlua::Result<()> {
        let texts = &self.program.mentions.texts;
        if texts.is_empty() {
            return Ok(());
        }
        let names: Table = self.shared.raw_get("names")?;
        for text in texts {
            let number = symbols(text);
            if number != 0 {
                names.raw_set(f64::from(number), text.as_str())?;
            }
        }
        Ok(())
    }

    /// Calls a function of the policy within its budget.
    ///
    /// # Errors
    /// What the function raised, or the limit it reached; then it is not called any more.
    pub(super) fn call<R: mlua::FromLuaMulti>(
        &self,
        f: &Function,
        args: impl mlua::IntoLuaMulti,
    ) -> Result<R, PolicyError> {
        self.call_counted(f, args, false)
    }

    fn call_counted<R: mlua::FromLuaMulti>(
        &self,
        f: &Function,
        args: impl mlua::IntoLuaMulti,
        while_loading: bool,
    ) -> Result<R, PolicyError> {
        if let Some(failure) = &*self.failure.borrow() {
            return Err(failure.clone());
        }
        let budget = &self.budget;
        budget.begin(while_loading);
        if budget.collection_wanted() {
            interrupt::ask_collector(&self.lua, true);
        }
        let answer = interrupt::with_budget(budget, || f.call::<R>(args));
        budget.end();
        if budget.looks_for_weak_tables(while_loading) && interrupt::has_weak_tables(&self.lua) {
            budget.refuse_weak_tables();
        }
        if budget.collection_wanted() {
            // Between calls nothing is collected.
            interrupt::ask_collector(&self.lua, false);
        }
        match answer {
            Ok(answer) if budget.tripped().is_none() => Ok(answer),
            answer => Err(self.fail(answer.err())),
        }
    }

    /// What the script has spent.
    pub(super) fn used(&self) -> ScriptUsage {
        self.budget.used()
    }

    #[cold]
    fn fail(&self, error: Option<mlua::Error>) -> PolicyError {
        let name = &self.program.name;
        if error.as_ref().is_some_and(out_of_memory) {
            self.budget.out_of_memory();
        }
        let raised = error.as_ref().map(|e| {
            let message = message_of(e);
            self.caught_place(&message)
                .map_or_else(|| message.clone(), |place| place + &message)
        });
        let raised = raised.map(|message| with_name(name, without_repeated_place(&message)));
        let named = |message: String| {
            if line_of(name, &message).is_some() {
                message
            } else {
                format!("{name}: {message}")
            }
        };
        let message = match (raised, self.budget.tripped()) {
            (Some(message), Some(why)) if message.contains(why) => named(message),
            (_, Some(why)) => format!("{name}: {why}"),
            (Some(message), None) => match raised_kind(&message) {
                // Its address would differ from run to run.
                Some(kind) => format!("{name}: the policy raised a {kind}; expected a text"),
                None => named(message),
            },
            (None, None) => format!("{name}: failed"),
        };
        let line = line_of(name, &message);
        let mut error = PolicyError::new(message).located(name.as_str(), line);
        if self.budget.tripped().is_some() {
            error = error.over_limit();
        }
        *self.failure.borrow_mut() = Some(error.clone());
        error
    }

    /// The place of an error that the script has caught, without seeing its place, and raised
    /// again.
    fn caught_place(&self, message: &str) -> Option<String> {
        let text = |key: &str| {
            let text = self.shared.raw_get::<mlua::LuaString>(key).ok()?;
            let bytes = text.as_bytes();
            Some(String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_MESSAGE)]).into_owned())
        };
        let caught = text("caught").filter(|caught| !caught.is_empty())?;
        let same = first_line(&caught) == message && !message.starts_with(interrupt::POLICY);
        same.then(|| text("caught_at"))?
    }
}

/// How a policy is compiled. A builtin that the compiler inlines would go past the wrapper.
fn compiler(optimization_level: u8) -> Compiler {
    Compiler::new()
        .set_optimization_level(optimization_level)
        .set_debug_level(1)
        .set_disabled_builtins([
            "tostring",
            "setmetatable",
            "table.unpack",
            "unpack",
            "math.fmod",
        ])
}

/// A text whose comments in front direct the compiler no longer (`--!optimize 2`): what a file does
/// and costs does not depend on its comments.
fn without_directives(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let code = rest.trim_start();
        out.push_str(&rest[..rest.len() - code.len()]);
        rest = code;
        let Some(comment) = rest.strip_prefix("--") else {
            out.push_str(rest);
            return out;
        };
        let level = comment
            .strip_prefix('[')
            .map(|block| block.len() - block.trim_start_matches('=').len())
            .filter(|level| comment[1 + level..].starts_with('['));
        let end = match level {
            Some(level) => {
                let close = format!("]{}]", "=".repeat(level));
                rest.find(&close).map_or(rest.len(), |at| at + close.len())
            }
            None => rest.find('\n').unwrap_or(rest.len()),
        };
        let (comment, after) = rest.split_at(end);
        match comment.strip_prefix("--!") {
            Some(directive) => {
                out.push_str("-- ");
                out.push_str(directive);
            }
            None => out.push_str(comment),
        }
        rest = after;
    }
}
