//! A script engine that runs one policy file behind a sandbox.
//!
//! What a policy finds is a list of permitted names. Standard functions whose work grows with their
//! arguments are wrapped (`stdlib.luau`), so that they cost units by size. Everything is read-only
//! before the file is loaded. Limits are counted (see [`budget`](super::budget)) and final: a
//! script that has reached one is not called again, even if it caught the error.

use super::api;
use super::budget::{Budget, MEMORY};
use super::call_context::CallContext;
use super::interrupt;
use super::program::Program;
use super::usage::ScriptUsage;
use crate::facts::Facts;
use crate::param::Hook;
use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use windtunnel_base::input::{InputError, hint};
use windtunnel_base::rng::Fnv1a64;
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
        let budget = Rc::new(Budget::new(limited, program.run_units));
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
        // A builtin that the compiler inlines would go past the wrapper.
        lua.set_compiler(
            Compiler::new()
                .set_optimization_level(2)
                .set_debug_level(1)
                .set_disabled_builtins(["tostring", "setmetatable", "table.unpack", "unpack"]),
        );
        // What `stdlib.luau` defines is called seldom: not worth native code.
        lua.enable_jit(false);
        let shared = close_sandbox(&lua, &program, &budget, &context, facts).map_err(broken)?;
        lua.enable_jit(true);
        let main = lua
            .load(program.text.as_str())
            .set_name(format!("@{}", program.name))
            .into_function()
            .map_err(|e| {
                let message = message_of(&e);
                let line = line_of(&program.name, &message).map(u64::from);
                InputError::new(message).located(program.name.as_str(), line)
            })?;
        if limited {
            interrupt::install(&lua).map_err(broken)?;
            lua.set_memory_limit(MEMORY).map_err(broken)?;
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
        if mentions.asks_prefixes() {
            wanted.push("prefix");
        }
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
            .while_loading(symbols, || self.call(&self.main, ()))
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
        if let Some(failure) = &*self.failure.borrow() {
            return Err(failure.clone());
        }
        self.budget.begin();
        let answer = interrupt::with_budget(&self.budget, || f.call::<R>(args));
        self.budget.end();
        match answer {
            Ok(answer) if self.budget.tripped().is_none() => Ok(answer),
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
        let named = |message: String| {
            if message.contains(name) {
                message
            } else {
                format!("{name}: {message}")
            }
        };
        let message = match (&error, self.budget.tripped()) {
            (Some(e), Some(why)) if message_of(e).contains(why) => named(message_of(e)),
            (_, Some(why)) => format!("{name}: {why}"),
            (Some(e), None) if out_of_memory(e) => {
                self.budget.trip("out of memory");
                format!(
                    "{name}: the policy exceeded its {} MiB of memory",
                    MEMORY >> 20
                )
            }
            (Some(e), None) => match raised_kind(&message_of(e)) {
                // Its address would differ from run to run.
                Some(kind) => format!("{name}: the policy raised a {kind}; expected a text"),
                None => named(message_of(e)),
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
}

/// The line behind the first place in the file `name` that a message names.
fn line_of(name: &str, message: &str) -> Option<u32> {
    let (_, rest) = message.split_once(&format!("{name}:"))?;
    rest.split(':').next()?.trim().parse().ok()
}

/// The kind of a value that was raised instead of a text.
fn raised_kind(message: &str) -> Option<&str> {
    let (kind, address) = message.split_once(": ")?;
    let kinds = ["table", "function", "thread", "userdata", "buffer"];
    (kinds.contains(&kind) && address.starts_with("0x")).then_some(kind)
}

fn out_of_memory(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::CallbackError { cause, .. } => out_of_memory(cause),
        mlua::Error::RuntimeError(text) => text.contains("not enough memory"),
        _ => false,
    }
}

/// The message of a script's error without the trace of calls: `file:line: what happened`.
fn message_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => first_line(message),
        mlua::Error::RuntimeError(text) => {
            let message = first_line(text);
            // Raised by a function that one of the host's wraps: the line that counts is the one
            // that called the wrapper.
            let ours = message.strip_prefix("windtunnel:");
            match ours.and_then(|rest| rest.split_once(": ")) {
                Some((line, message)) if line.parse::<u32>().is_ok() => with_place(message, text),
                _ => message,
            }
        }
        // The cause has no place.
        mlua::Error::CallbackError { cause, traceback } => {
            with_place(&message_of(cause), traceback)
        }
        other => first_line(&other.to_string()),
    }
}

/// A message with the first place in front of it that a trace of calls has in the policy's file,
/// unless the message has that place already.
fn with_place(message: &str, trace: &str) -> String {
    let place = trace.lines().map(str::trim).find_map(|line| {
        let (place, _) = line.split_once(' ').unwrap_or((line, ""));
        let place = place.trim_end_matches(':');
        let number = place.rsplit(':').next()?;
        let of_policy = place.contains(':') && !place.starts_with("windtunnel");
        (of_policy && number.parse::<u32>().is_ok()).then_some(place)
    });
    match place {
        Some(place) if !message.contains(place) => format!("{place}: {message}"),
        _ => message.to_owned(),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("runtime error: ").unwrap_or(line);
    let line: String = line.chars().take(500).collect();
    line
}

/// A value in words, for a message that another was expected.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Nil => "nothing (nil)".into(),
        Value::Boolean(b) => b.to_string(),
        Value::Integer(i) => i.to_string(),
        Value::Number(x) if x.is_nan() => "NaN".into(),
        Value::Number(x) => x.to_string(),
        Value::String(s) => {
            let text: String = s.to_string_lossy().chars().take(40).collect();
            format!("the text {text:?}")
        }
        other => format!("a {}", other.type_name()),
    }
}

/// Runs `stdlib.luau`, removes what is not on the list of globals, and makes everything read-only.
/// Gives what `stdlib.luau` shares with `bind.luau`.
fn close_sandbox(
    lua: &Lua,
    program: &Program,
    budget: &Rc<Budget>,
    context: &Rc<CallContext>,
    facts: Facts,
) -> mlua::Result<Table> {
    let globals = lua.globals();
    let host = host_functions(lua, budget, context)?;
    let columns = lua.create_table()?;
    for (name, offset) in super::bind::columns(&program.mentions, facts.instances) {
        columns.raw_set(name, offset)?;
    }
    host.raw_set("columns", columns)?;
    let shared: Table = lua
        .load(stdlib()?)
        .set_mode(ChunkMode::Binary)
        .set_name(super::interrupt::CHUNK_NAME)
        .call(host)?;
    let cfg = lua.create_table()?;
    for (name, value) in &program.params {
        cfg.raw_set(name.as_str(), *value)?;
    }
    globals.raw_set("cfg", read_only(lua, cfg, "parameter")?)?;
    let setup = lua.create_table()?;
    setup.raw_set("instances", facts.instances)?;
    setup.raw_set("slots", facts.slots as f64)?;
    setup.raw_set("highest_priority", facts.highest_priority)?;
    globals.raw_set("setup", read_only(lua, setup, "field of setup")?)?;
    let known: Vec<Value> = globals
        .pairs::<Value, Value>()
        .filter_map(|pair| pair.ok().map(|(key, _)| key))
        .collect();
    for key in known {
        let listed = key
            .as_string()
            .is_some_and(|k| api::globals().any(|g| k.as_bytes() == g.as_bytes()));
        if !listed {
            globals.raw_set(key, Value::Nil)?;
        }
    }
    let meta = lua.create_table()?;
    meta.raw_set(
        "__index",
        lua.create_function(|_, (_, name): (Value, Value)| -> mlua::Result<Value> {
            Err(mlua::Error::runtime(unknown_global(&name)))
        })?,
    )?;
    meta.raw_set("__metatable", "locked")?;
    globals.set_metatable(Some(meta))?;
    lua.sandbox(true)?;
    // Scripts see a table of their own in front of the globals: no names are added to it either.
    let meta = lua.create_table()?;
    meta.raw_set("__index", globals)?;
    meta.raw_set(
        "__newindex",
        lua.create_function(
            |_, (_, name, value): (Value, Value, Value)| -> mlua::Result<()> {
                Err(mlua::Error::runtime(new_global(&name, &value)))
            },
        )?,
    )?;
    meta.raw_set("__metatable", "locked")?;
    lua.globals().set_metatable(Some(meta))?;
    lua.globals().set_readonly(true);
    Ok(shared)
}

/// `stdlib.luau`, compiled once in a process.
fn stdlib() -> mlua::Result<&'static [u8]> {
    static BYTECODE: OnceLock<mlua::Result<Vec<u8>>> = OnceLock::new();
    let made = BYTECODE.get_or_init(|| {
        // Inlined functions would be missing from the levels at which errors point.
        let compiler = Compiler::new().set_optimization_level(1);
        compiler.compile(include_str!("stdlib.luau"))
    });
    made.as_deref().map_err(Clone::clone)
}

/// The message for a script that sets a global.
fn new_global(name: &Value, value: &Value) -> String {
    let name = name.to_string().unwrap_or_default();
    let declared = match value {
        Value::Function(_) => format!("local function {name}"),
        _ => format!("local {name}"),
    };
    let mut hooks = Hook::ALL.into_iter().flat_map(api::function_names);
    let returned = if value.is_function() && hooks.any(|hook| hook == name) {
        format!(" and at the end \"return {{ {name} = {name} }}\"")
    } else {
        String::new()
    };
    format!(
        "global \"{name}\" cannot be set, globals are read-only: write \"{declared}\"{returned}"
    )
}

fn unknown_global(name: &Value) -> String {
    let name = name.to_string().unwrap_or_default();
    let hint = hint("; ", &name, api::globals());
    format!("unknown global \"{name}\"{hint}")
}

/// A read-only table whose unknown keys are errors.
fn read_only(lua: &Lua, table: Table, kind: &'static str) -> mlua::Result<Table> {
    let names: Vec<String> = table
        .pairs::<String, Value>()
        .filter_map(|pair| pair.ok().map(|(name, _)| name))
        .collect();
    let meta = lua.create_table()?;
    meta.raw_set(
        "__index",
        lua.create_function(move |_, (_, key): (Value, Value)| -> mlua::Result<Value> {
            let key = key.to_string().unwrap_or_default();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Err(mlua::Error::runtime(if names.is_empty() {
                format!("unknown {kind} \"{key}\"; the file declares none with --@param")
            } else {
                windtunnel_base::input::unknown(kind, &key, &names)
            }))
        })?,
    )?;
    meta.raw_set("__metatable", "locked")?;
    table.set_metatable(Some(meta))?;
    table.set_readonly(true);
    Ok(table)
}

/// An answer, or none and the reason.
type AnswerOrReason = (Option<f64>, Option<&'static str>);

const NO_DECISION: &str =
    "nothing can be asked here: only a hook that decides about requests may ask";

/// Why an estimate cannot be made on something.
const NO_INSTANCE: &str =
    "the estimate is asked about something that is no instance of the decision at hand";

/// The functions of the host that `stdlib.luau` calls.
fn host_functions(
    lua: &Lua,
    budget: &Rc<Budget>,
    context: &Rc<CallContext>,
) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let b = Rc::clone(budget);
    let charge = move |_: &Lua, units: f64| Ok(b.take(units.min(1e15) as i64).is_ok());
    host.raw_set("charge", lua.create_function(charge)?)?;

    let or_reason = |answer: Option<f64>| -> AnswerOrReason {
        match answer {
            Some(x) => (Some(x), None),
            None => (None, Some(NO_DECISION)),
        }
    };
    let about = |answer: Option<f64>| -> AnswerOrReason {
        match answer {
            Some(us) => (Some(us), None),
            None => (None, Some(NO_INSTANCE)),
        }
    };
    let c = Rc::clone(context);
    let random = move |_: &Lua, ()| Ok(or_reason(c.host(|h| (h.random() >> 11) as f64)));
    host.raw_set("random", lua.create_function(random)?)?;
    let c = Rc::clone(context);
    let prefill = move |_: &Lua, (tokens, cached, inst): (f64, Option<f64>, Option<f64>)| {
        let (tokens, cached) = (tokens as u32, cached.unwrap_or(0.0) as u32);
        Ok(match inst {
            None => or_reason(c.host(|h| h.est_prefill_us(tokens, cached))),
            Some(position) => about(c.instance(position, |h, instance| {
                h.est_prefill_us_on(instance, tokens, cached)
            })),
        })
    };
    host.raw_set("est_prefill_us", lua.create_function(prefill)?)?;
    let c = Rc::clone(context);
    let step = move |_: &Lua,
                     (prefill, decodes, context, inst): (
        f64,
        Option<f64>,
        Option<f64>,
        Option<f64>,
    )| {
        let prefill = prefill as u32;
        let (decodes, context) = (decodes.unwrap_or(0.0) as u32, context.unwrap_or(0.0) as u64);
        Ok(match inst {
            None => or_reason(c.host(|h| h.est_step_us(prefill, decodes, context))),
            Some(position) => about(c.instance(position, |h, instance| {
                h.est_step_us_on(instance, prefill, decodes, context)
            })),
        })
    };
    host.raw_set("est_step_us", lua.create_function(step)?)?;
    let c = Rc::clone(context);
    let ttft = move |_: &Lua,
                     (position, prompt, cached): (Option<f64>, f64, Option<f64>)|
          -> mlua::Result<AnswerOrReason> {
        let cached = cached.unwrap_or(0.0) as u32;
        let answer = c.instance(position.unwrap_or(0.0), |host, instance| {
            host.est_ttft_us(instance, prompt as u32, cached)
        });
        Ok(match answer {
            Some(us) => (Some(us), None),
            None => (
                None,
                Some(
                    "est_ttft_us takes an instance of the decision at hand, prompt tokens and cached tokens",
                ),
            ),
        })
    };
    host.raw_set("est_ttft_us", lua.create_function(ttft)?)?;
    let c = Rc::clone(context);
    let symbol = move |_: &Lua, name: mlua::LuaString| Ok(c.symbol(&name.to_string_lossy()));
    host.raw_set("symbol", lua.create_function(symbol)?)?;
    host.raw_set(
        "hash",
        lua.create_function(|_, value: Value| Ok(hash(&value)))?,
    )?;
    let unknown =
        |_: &Lua, (view, field): (String, String)| Ok(super::bind::unknown(&view, &field));
    host.raw_set("unknown", lua.create_function(unknown)?)?;
    Ok(host)
}

/// FNV-1a of a text's bytes or a number's, below 2^53.
fn hash(value: &Value) -> f64 {
    let mut hash = Fnv1a64::default();
    match value {
        Value::String(text) => hash.add(&text.as_bytes()),
        Value::Number(x) => hash.add(&x.to_le_bytes()),
        Value::Integer(i) => hash.add(&(*i as f64).to_le_bytes()),
        _ => {}
    }
    (hash.value() >> 11) as f64
}
