//! What a script finds around it: the functions of the host behind `stdlib.luau`, and a table of
//! globals that is closed.

use super::api;
use super::budget::Budget;
use super::call_context::CallContext;
use super::messages::start_of;
use super::program::Program;
use crate::facts::Facts;
use crate::param::Hook;
use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua, LuaString, Table, Value};
use rustc_hash::FxHashSet;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;
use windtunnel_base::input::hint;
use windtunnel_base::rng::Fnv1a64;

/// Runs `stdlib.luau`, removes what is not on the list of globals, and makes everything read-only.
/// Gives what `stdlib.luau` shares with `bind.luau`.
pub(super) fn close_sandbox(
    lua: &Lua,
    program: &Program,
    budget: &Rc<Budget>,
    context: &Rc<CallContext>,
    facts: Facts,
) -> mlua::Result<Table> {
    let globals = lua.globals();
    let host = host_functions(lua, program, budget, context, facts)?;
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
    read_only(lua, &cfg, shared.raw_get("unknown_parameter")?)?;
    globals.raw_set("cfg", cfg)?;
    let setup = lua.create_table()?;
    setup.raw_set("instances", facts.instances)?;
    setup.raw_set("slots", facts.slots as f64)?;
    setup.raw_set("highest_priority", facts.highest_priority)?;
    read_only(lua, &setup, shared.raw_get("unknown_setup")?)?;
    globals.raw_set("setup", setup)?;
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
    meta.raw_set("__index", shared.raw_get::<Function>("unknown_global")?)?;
    meta.raw_set("__metatable", "locked")?;
    globals.set_metatable(Some(meta))?;
    lua.sandbox(true)?;
    // Scripts see a table of their own in front of the globals: no names are added to it either.
    let meta = lua.create_table()?;
    meta.raw_set("__index", globals)?;
    meta.raw_set("__newindex", shared.raw_get::<Function>("new_global")?)?;
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
fn new_global(name: &str, function: bool) -> String {
    let declared = if function {
        format!("local function {name}")
    } else {
        format!("local {name}")
    };
    let mut hooks = Hook::ALL.into_iter().flat_map(api::function_names);
    let returned = if function && hooks.any(|hook| hook == name) {
        format!(" and at the end \"return {{ {name} = {name} }}\"")
    } else {
        String::new()
    };
    format!(
        "global \"{name}\" cannot be set, globals are read-only: write \"{declared}\"{returned}"
    )
}

fn unknown_global(name: &str) -> String {
    let hint = hint("; ", name, api::globals());
    format!("unknown global \"{name}\"{hint}")
}

fn unknown_key(kind: &str, key: &str, names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        format!("unknown {kind} \"{key}\"; the file declares none with --@param")
    } else {
        windtunnel_base::input::unknown(kind, key, &names)
    }
}

/// A read-only table whose unknown keys are errors, which `unknown` raises.
fn read_only(lua: &Lua, table: &Table, unknown: Function) -> mlua::Result<()> {
    let meta = lua.create_table()?;
    meta.raw_set("__index", unknown)?;
    meta.raw_set("__metatable", "locked")?;
    table.set_metatable(Some(meta))?;
    table.set_readonly(true);
    Ok(())
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
    program: &Program,
    budget: &Rc<Budget>,
    context: &Rc<CallContext>,
    facts: Facts,
) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    prices(lua, &host, budget)?;
    messages(lua, &host, program)?;
    let (log, name) = (program.log.clone(), program.name.clone());
    let print = move |_: &Lua, line: LuaString| {
        log.print(&name, &line_of(&line));
        Ok(())
    };
    host.raw_set("print", lua.create_function(print)?)?;

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
    let transfer = move |_: &Lua, (position, tokens): (f64, f64)| {
        Ok(about(c.instance(position, |host, instance| {
            host.est_transfer_us(instance, tokens as u32)
        })))
    };
    host.raw_set("est_transfer_us", lua.create_function(transfer)?)?;
    let symbol = symbol_function(Rc::clone(context), facts.known_names);
    host.raw_set("symbol", lua.create_function(symbol)?)?;
    host.raw_set(
        "hash",
        lua.create_function(|_, value: Value| Ok(hash(&value)))?,
    )?;
    Ok(host)
}

/// Bytes of a printed line that are kept.
const LONGEST_LINE: usize = 1000;

/// A text of a script as one line of a log.
fn line_of(text: &LuaString) -> String {
    let bytes = text.as_bytes();
    let line = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_LINE)]);
    line.replace(|c: char| c.is_control() && c != '\t', " ")
}

/// What wrapped functions charge and note.
fn prices(lua: &Lua, host: &Table, budget: &Rc<Budget>) -> mlua::Result<()> {
    let b = Rc::clone(budget);
    let charge = move |_: &Lua, units: f64| Ok(b.take(units.min(1e15) as i64).is_ok());
    host.raw_set("charge", lua.create_function(charge)?)?;
    let b = Rc::clone(budget);
    let comparisons =
        move |_: &Lua, units: f64| Ok(b.take_comparisons(units.min(1e15) as i64).is_ok());
    host.raw_set("charge_comparisons", lua.create_function(comparisons)?)?;
    let b = Rc::clone(budget);
    let table = move |_: &Lua, ()| Ok(b.take_table().is_ok());
    host.raw_set("charge_table", lua.create_function(table)?)?;
    let b = Rc::clone(budget);
    let long = move |_: &Lua, bytes: f64| {
        b.long(bytes.min(1e15) as usize);
        Ok(())
    };
    host.raw_set("long", lua.create_function(long)?)?;
    let b = Rc::clone(budget);
    let chain = move |_: &Lua, ()| {
        b.chain();
        Ok(())
    };
    host.raw_set("chain", lua.create_function(chain)?)?;
    let b = Rc::clone(budget);
    let out_of_memory = move |_: &Lua, ()| {
        b.out_of_memory();
        Ok(())
    };
    host.raw_set("out_of_memory", lua.create_function(out_of_memory)?)
}

/// The messages that need what the host knows. `stdlib.luau` raises them.
fn messages(lua: &Lua, host: &Table, program: &Program) -> mlua::Result<()> {
    let unknown = |_: &Lua, (view, field): (LuaString, LuaString)| {
        Ok(super::bind::unknown(&start_of(&view), &start_of(&field)))
    };
    host.raw_set("unknown", lua.create_function(unknown)?)?;
    let global = |_: &Lua, name: LuaString| Ok(unknown_global(&start_of(&name)));
    host.raw_set("unknown_global", lua.create_function(global)?)?;
    let set =
        |_: &Lua, (name, function): (LuaString, bool)| Ok(new_global(&start_of(&name), function));
    host.raw_set("new_global", lua.create_function(set)?)?;
    let declared: Vec<String> = program
        .params
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let fields = api::View::Setup.fields();
    let fields: Vec<String> = fields.iter().map(|field| field.name.to_owned()).collect();
    for (function, kind, names) in [
        ("unknown_parameter", "parameter", declared),
        ("unknown_setup", "field of setup", fields),
    ] {
        let message = move |_: &Lua, key: LuaString| Ok(unknown_key(kind, &start_of(&key), &names));
        host.raw_set(function, lua.create_function(message)?)?;
    }
    Ok(())
}

/// New names that a file may ask about: the host keeps each as long as the run.
const MOST_NAMES: usize = 1000;

/// The number of a name; what the script sees in its place, if nothing had the name before; and why
/// there is none.
type SymbolAnswer = (Option<f64>, Option<f64>, Option<&'static str>);

/// The function behind `symbol`. The run knew `known_names` names before it asked its policies. The
/// number of a new one tells how many there are, so scripts see one that is made of its letters.
fn symbol_function(
    context: Rc<CallContext>,
    known_names: u32,
) -> impl Fn(&Lua, LuaString) -> mlua::Result<SymbolAnswer> {
    let new = RefCell::new(FxHashSet::default());
    move |_, name| {
        if new.borrow().len() >= MOST_NAMES {
            return Ok((
                None,
                None,
                Some("symbol was asked for 1000 new names; that is all"),
            ));
        }
        let text = Value::String(name.clone());
        let Some(number) = context.symbol(&name.to_string_lossy()) else {
            let why =
                "symbol can be called while the file is loaded only: keep its answer in a local";
            return Ok((None, None, Some(why)));
        };
        let shown = (number >= known_names && number != 0).then(|| {
            new.borrow_mut().insert(number);
            // Above all numbers of names, and whole.
            4_294_967_296.0 + (hash(&text) / 4.0).floor()
        });
        Ok((Some(f64::from(number)), shown, None))
    }
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
