//! What a policy file returns: hooks by name, flat or by section.

use super::hooks::HookFunctions;
use super::meter::Meter;
use super::program::Program;
use super::vm::{Facts, Vm, describe};
use crate::param::Hook;
use mlua::{Function, Table, Value};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_plugin_api::KeyRefresh;

/// One copy of a policy: its file was run, and its state lives here.
pub(super) struct Module {
    pub(super) vm: Rc<Vm>,
    table: Table,
    /// Some hook of a flat table hears its events already.
    heard: Cell<bool>,
}

/// What fills one hook.
pub(super) struct Filled {
    /// Functions by the names that the binding knows.
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
            heard: Cell::new(false),
        };
        module.check_names()?;
        Ok(module)
    }

    fn error(&self, message: String) -> InputError {
        InputError::in_file(&self.vm.program.name, message)
    }

    fn check_names(&self) -> Result<(), InputError> {
        let mut flat: Vec<&str> = Hook::ALL.iter().flat_map(|hook| hook.keys()).collect();
        flat.extend(Hook::ALL.iter().map(|hook| hook.name()));
        flat.sort_unstable();
        flat.dedup();
        self.check_keys(&self.table, &flat, "hook")?;
        for hook in Hook::ALL {
            let section: Value = self.table.raw_get(hook.name()).unwrap_or(Value::Nil);
            // `priority` names a section or the hook's function.
            match section {
                Value::Table(section) => {
                    self.check_keys(&section, &hook.keys(), &format!("hook of {hook}"))?;
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
                Value::String(name) => name.to_string_lossy(),
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

    /// The hooks that this file could fill.
    pub(super) fn hooks(&self) -> Vec<Hook> {
        let fills = |hook: &Hook| {
            let (section, flat) = self.section(*hook);
            hook.functions().iter().any(|name| {
                let there = section
                    .raw_get::<Value>(*name)
                    .is_ok_and(|v| v.is_function());
                there && !(flat && *name == "score" && !self.scores_for(*hook))
            })
        };
        Hook::ALL.into_iter().filter(fills).collect()
    }

    /// Is a flat `score` meant for this hook? A router's takes (req, inst), a scheduler's (now,
    /// req): what else only a scheduler has tells, or the name of the first parameter.
    fn scores_for(&self, hook: Hook) -> bool {
        let has = |name| {
            self.table
                .raw_get::<Value>(name)
                .is_ok_and(|v| v.is_function())
        };
        let scheduler = has("key")
            || self.table.contains_key("refresh_us").unwrap_or(false)
            || super::program::first_parameter(&self.vm.program.text, "score") == Some("now");
        (hook == Hook::Scheduler) == scheduler
    }

    /// What fills `hook`.
    pub(super) fn fill(&self, hook: Hook) -> Result<Filled, InputError> {
        let (section, flat) = self.section(hook);
        let get = |name: &str| section.raw_get::<Option<Function>>(name).ok().flatten();
        let forms: Vec<&'static str> = hook
            .functions()
            .iter()
            .copied()
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
                hook.functions().join(" or ")
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
        // Of a flat table, one hook hears the events for all.
        if !(flat && self.heard.get()) {
            let companions = hook.companions();
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
            self.heard.set(flat && !handlers.is_empty());
        }
        let refresh = self
            .interval(&section, "refresh_us", 0.0)?
            .map(|us| match us {
                0 => KeyRefresh::EachStep,
                us => KeyRefresh::Every(us),
            });
        names.extend(&handlers);
        Ok(Filled {
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

/// Runs policy files for one run: a file's engine is made once, its front end's copy is shared by
/// admission and routing, and each instance has a copy.
pub struct Loader {
    facts: Facts,
    vms: Vec<Rc<Vm>>,
    modules: Vec<(usize, Option<u32>, Rc<Module>)>,
}

impl Loader {
    /// Nothing loaded yet.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            vms: Vec::new(),
            modules: Vec::new(),
        }
    }

    /// Reads what the engines made so far use, now and later.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter {
            vms: self.vms.clone(),
        }
    }

    /// The hooks that a program fills.
    ///
    /// # Errors
    /// When the file does not run, or its table is wrong.
    pub fn hooks(&mut self, program: &Arc<Program>) -> Result<Vec<Hook>, InputError> {
        Ok(self.module(program, None, &mut |_| 0)?.hooks())
    }

    /// The copy of a program at the front end (`None`) or on an instance.
    pub(super) fn module(
        &mut self,
        program: &Arc<Program>,
        place: Option<u32>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Rc<Module>, InputError> {
        let known = self
            .vms
            .iter()
            .position(|vm| Arc::ptr_eq(&vm.program, program));
        let vm = match known {
            Some(k) => k,
            None => {
                let vm = Vm::new(Arc::clone(program), self.facts)?;
                self.vms.push(Rc::new(vm));
                self.vms.len() - 1
            }
        };
        let found = self
            .modules
            .iter()
            .find(|(v, p, _)| (*v, *p) == (vm, place));
        if let Some((_, _, module)) = found {
            return Ok(Rc::clone(module));
        }
        let module = Rc::new(Module::new(Rc::clone(&self.vms[vm]), symbols)?);
        self.modules.push((vm, place, Rc::clone(&module)));
        Ok(module)
    }
}
