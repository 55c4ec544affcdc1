//! What a policy file returns: hooks by name, flat or by section.

use super::api;
use super::messages::{describe, start_of};
use super::vm::Vm;
use crate::param::Hook;
use mlua::{Function, Table, Value};
use std::cell::Cell;
use std::rc::Rc;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_plugin_api::KeyRefresh;

/// The names that may stand in the section of a hook: its functions, handlers and settings.
fn keys(hook: Hook) -> Vec<&'static str> {
    [api::function_names(hook), companions(hook)].concat()
}

/// The handlers and settings that may stand beside the functions of a hook.
fn companions(hook: Hook) -> Vec<&'static str> {
    let handlers = api::HANDLERS.iter().filter(|h| h.hooks.contains(&hook));
    let settings = api::SETTINGS.iter().filter(|s| s.hooks.contains(&hook));
    handlers
        .map(|handler| handler.function.name)
        .chain(settings.map(|setting| setting.name))
        .collect()
}

/// One copy of a policy: what its file returned when it was run, and its state.
pub(super) struct Module {
    pub(super) vm: Rc<Vm>,
    table: Table,
    /// Some hook of a flat table handles its events already.
    handled: Cell<bool>,
}

/// The functions of a copy that fill one hook.
pub(super) struct HookFunctions {
    /// The functions by their names in `bind.luau`.
    pub(super) functions: Table,
    /// The names of all of them.
    pub(super) names: Vec<&'static str>,
    /// Those among them that handle events.
    pub(super) handlers: Vec<&'static str>,
    pub(super) refresh: Option<KeyRefresh>,
    pub(super) tick_us: i64,
    /// The lines at which the deciding functions begin.
    pub(super) lines: Vec<(&'static str, usize)>,
    /// Which function decides.
    pub(super) form: &'static str,
}

/// Largest interval a policy can name, microseconds (31 years).
const LONGEST: f64 = 1e15;

impl Module {
    /// Runs the file and checks the names in its table.
    pub(super) fn new(
        vm: Rc<Vm>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Self, InputError> {
        let table = vm.run_file(symbols)?;
        let module = Self {
            vm,
            table,
            handled: Cell::new(false),
        };
        module.check_names()?;
        Ok(module)
    }

    fn error(&self, message: String) -> InputError {
        InputError::in_file(&self.vm.program.name, message)
    }

    fn check_names(&self) -> Result<(), InputError> {
        let mut flat: Vec<&str> = Hook::ALL.iter().flat_map(|hook| keys(*hook)).collect();
        flat.extend(Hook::ALL.iter().map(|hook| hook.name()));
        flat.sort_unstable();
        flat.dedup();
        self.check_keys(&self.table, &flat, "hook")?;
        for hook in Hook::ALL {
            let section: Value = self.table.raw_get(hook.name()).unwrap_or(Value::Nil);
            // `priority` names a section or the hook's function.
            match section {
                Value::Table(section) => {
                    self.check_keys(&section, &keys(hook), &format!("hook of {hook}"))?;
                }
                Value::Nil => {}
                Value::Function(_) if hook == Hook::Priority => {}
                other => {
                    return Err(self.error(format!(
                        "{hook} is {}; expected a table of hooks",
                        describe(&other)
                    )));
                }
            }
        }
        Ok(())
    }

    fn check_keys(&self, table: &Table, valid: &[&str], kind: &str) -> Result<(), InputError> {
        for pair in table.pairs::<Value, Value>() {
            let Ok((key, value)) = pair else { continue };
            let name = match &key {
                Value::String(name) => start_of(name),
                other => {
                    return Err(self.error(format!(
                        "the table of hooks has {} as a name; valid: {}",
                        describe(other),
                        valid.join(", ")
                    )));
                }
            };
            if !valid.contains(&name.as_str()) {
                return Err(self.error(unknown(kind, &name, valid)));
            }
            let number = name == "tick_us" || name == "refresh_us";
            let fits = match &value {
                Value::Function(_) => !number,
                Value::Integer(_) | Value::Number(_) => number,
                Value::Table(_) => Hook::parse(&name).is_some(),
                _ => false,
            };
            if !fits {
                let expected = if number {
                    "a number of microseconds"
                } else {
                    "a function"
                };
                return Err(self.error(format!(
                    "{name} is {}; expected {expected}",
                    describe(&value)
                )));
            }
        }
        Ok(())
    }

    /// The section of a hook; the whole table if it is flat.
    fn section(&self, hook: Hook) -> (Table, bool) {
        match self.table.raw_get::<Value>(hook.name()) {
            Ok(Value::Table(section)) => (section, false),
            _ => (self.table.clone(), true),
        }
    }

    /// The hooks that this file fills.
    pub(super) fn hooks(&self) -> Vec<Hook> {
        let fills = |hook: &Hook| {
            let (section, flat) = self.section(*hook);
            api::function_names(*hook).iter().any(|name| {
                let there = section
                    .raw_get::<Value>(*name)
                    .is_ok_and(|v| v.is_function());
                there && !(flat && *name == "score" && !self.scores_for(*hook))
            })
        };
        Hook::ALL.into_iter().filter(fills).collect()
    }

    /// Whether a flat `score` is meant for this hook. A router's takes (req, inst), a scheduler's
    /// (now, req): they are told apart by what else only a scheduler has, or by the name of the
    /// first parameter.
    fn scores_for(&self, hook: Hook) -> bool {
        let has = |name| {
            self.table
                .raw_get::<Value>(name)
                .is_ok_and(|v| v.is_function())
        };
        let scheduler = has("key")
            || self.table.contains_key("refresh_us").unwrap_or(false)
            || self.vm.program.score_takes.as_deref() == Some("now");
        (hook == Hook::Scheduler) == scheduler
    }

    /// The functions that fill `hook`.
    ///
    /// # Errors
    /// When there are none, or several that exclude one another.
    pub(super) fn hook_functions(&self, hook: Hook) -> Result<HookFunctions, InputError> {
        let (section, flat) = self.section(hook);
        let get = |name: &str| section.raw_get::<Option<Function>>(name).ok().flatten();
        let forms: Vec<&'static str> = api::function_names(hook)
            .into_iter()
            .filter(|name| get(name).is_some())
            .collect();
        let deciding: Vec<&'static str> = match hook {
            // A key at enqueue goes together with either.
            Hook::Scheduler => forms.iter().copied().filter(|f| *f != "key").collect(),
            _ => forms.clone(),
        };
        let Some(&form) = deciding.first().or(forms.first()) else {
            let there = self.hooks();
            let there = if there.is_empty() {
                "no hook".to_owned()
            } else {
                there
                    .iter()
                    .map(|h| h.name())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            return Err(self.error(format!(
                "fills {there}, but is asked for {hook}: expected a function {}",
                api::function_names(hook).join(" or ")
            )));
        };
        if deciding.len() > 1 {
            return Err(self.error(format!(
                "gives {} for {hook}; expected one of them",
                deciding.join(" and ")
            )));
        }
        let lua = &self.vm.lua;
        let broken = |e: mlua::Error| self.error(e.to_string());
        let functions = lua.create_table().map_err(broken)?;
        let mut names = Vec::new();
        let mut lines = Vec::new();
        for name in forms {
            let function = get(name);
            let line = function.as_ref().and_then(|f| f.info().line_defined);
            lines.extend(line.map(|line| (name, line)));
            let bound = match (hook, name) {
                (Hook::Routing, "score") => "route_score",
                (Hook::Scheduler, "score") => "queue_score",
                _ => name,
            };
            functions.raw_set(bound, function).map_err(broken)?;
            names.push(bound);
        }
        let mut handlers = Vec::new();
        let mut tick_us = 0;
        // The events of a flat table are handled once, for all its hooks.
        if !(flat && self.handled.get()) {
            let companions = companions(hook);
            for name in companions
                .into_iter()
                .filter(|name| name.starts_with("on_"))
            {
                if let Some(handler) = get(name) {
                    functions.raw_set(name, handler).map_err(broken)?;
                    handlers.push(name);
                }
            }
            if handlers.contains(&"on_tick") {
                tick_us = self
                    .interval(&section, "tick_us", 1_000.0)?
                    .ok_or_else(|| {
                        self.error(
                            "on_tick needs tick_us, the microseconds between two ticks".into(),
                        )
                    })?;
            }
            self.handled.set(flat && !handlers.is_empty());
        }
        let refresh = self
            .interval(&section, "refresh_us", 0.0)?
            .map(|us| match us {
                0 => KeyRefresh::EachStep,
                us => KeyRefresh::Every(us),
            });
        names.extend(&handlers);
        Ok(HookFunctions {
            functions,
            names,
            handlers,
            refresh,
            tick_us,
            lines,
            form,
        })
    }

    fn interval(&self, section: &Table, name: &str, least: f64) -> Result<Option<i64>, InputError> {
        let Some(us) = section.raw_get::<Option<f64>>(name).ok().flatten() else {
            return Ok(None);
        };
        if !(us >= least && us <= LONGEST && us.fract() == 0.0) {
            return Err(self.error(format!(
                "{name} is {us}; expected whole microseconds from {least} to {LONGEST:e}"
            )));
        }
        Ok(Some(us as i64))
    }
}
