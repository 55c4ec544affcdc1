//! Admission and routing by script.

use super::bind::{FrontLayout, REQUEST};
use super::binding::{Binding, number, numbers, position, prefix_column, put, put_request};
use super::module::{Loader, Module};
use super::program::Program;
use crate::input::InputError;
use crate::policy::param::Hook;
use mlua::{Function, Value};
use std::sync::Arc;
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, Interests, PolicyError, RequestView, Route, Router,
};

/// What admission and routing have in common.
struct Front {
    binding: Binding,
    layout: FrontLayout,
    decide: Function,
    tick: Option<Function>,
    /// Values of the instances' fields as the script's tables have them, instance by instance.
    last: Vec<f64>,
    /// The script reads columns: they are always sent whole, with the prefix signals it names.
    columns: bool,
}

impl Front {
    fn new(module: &Module, hook: Hook, entry: &str) -> Result<Self, InputError> {
        let vm = &module.vm;
        let layout = FrontLayout::new(&vm.program.mentions, vm.facts.instances);
        let n = vm.facts.instances as usize;
        let binding = Binding::new(module, module.fill(hook)?, layout.size, 8 * n)?;
        let decide = binding.entry(entry).ok_or_else(|| {
            InputError::in_file(&binding.vm.program.name, format!("fills no {hook}"))
        })?;
        Ok(Self {
            tick: (binding.tick_us > 0)
                .then(|| binding.entry("tick"))
                .flatten(),
            columns: binding.form == "route_columns",
            last: vec![0.0; n * vm.program.mentions.instance.len()],
            layout,
            decide,
            binding,
        })
    }

    fn interests(&self) -> Interests {
        let reads = self.binding.vm.program.mentions.reads;
        reads.without(Interests::RUNNING) | self.binding.hears()
    }

    /// Sends what the script needs to see.
    fn show(&mut self, request: &RequestView, cluster: &ClusterView<'_>) {
        let vm = &self.binding.vm;
        let mentions = &vm.program.mentions;
        let n = vm.facts.instances as usize;
        let bytes = &mut self.binding.bytes;
        put(bytes, 0, cluster.now_us as f64);
        put_request(bytes, REQUEST, &mentions.request, request);
        let fields = mentions.instance.len();
        let mut dirty = 0;
        for (i, view) in cluster.instances.iter().enumerate().take(n) {
            let last = &mut self.last[i * fields..(i + 1) * fields];
            let mut changed = false;
            for (k, (field, last)) in mentions.instance.iter().zip(last).enumerate() {
                let value = (field.get)(view);
                if value != *last {
                    *last = value;
                    changed = true;
                    put(bytes, self.layout.columns + 8 * (k * n + i), value);
                }
            }
            if changed {
                put(bytes, self.layout.dirty + 8 * dirty, i as f64);
                dirty += 1;
            }
        }
        put(bytes, 8, dirty as f64);
        put(bytes, 16, cluster.instances.len() as f64);
        let mut end = self.layout.approximate;
        if self.columns {
            for (precise, interest, at) in [
                (
                    false,
                    Interests::APPROXIMATE_PREFIX,
                    self.layout.approximate,
                ),
                (true, Interests::PRECISE_PREFIX, self.layout.precise),
            ] {
                if mentions.reads.has(interest) {
                    let column = prefix_column(&cluster.host, precise, n);
                    bytes[at..at + 8 * n].copy_from_slice(&column);
                    end = self.layout.size;
                }
            }
        }
        self.binding.inbox.write_bytes(0, &bytes[..end]);
    }

    fn ask<R: mlua::FromLuaMulti>(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<R, PolicyError> {
        self.show(request, cluster);
        self.binding
            .ask(&self.decide, cluster.host, cluster.instances)
    }

    fn tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.show(&RequestView::default(), cluster);
        match &self.tick {
            Some(tick) => self.binding.ask(tick, cluster.host, cluster.instances),
            None => Ok(()),
        }
    }
}

/// The microseconds behind what `hold` or `delay` gave.
fn wait_us(value: &Value) -> i64 {
    number(value).map_or(1, |us| us as i64)
}

struct ScriptedAdmission(Front);

impl Admission for ScriptedAdmission {
    fn interests(&self) -> Interests {
        self.0.interests()
    }

    fn tick_us(&self) -> i64 {
        self.0.binding.tick_us
    }

    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let (verdict, second): (Value, Value) = self.0.ask(request, cluster)?;
        match (&verdict, &second) {
            (Value::Boolean(true), _) => Ok(Admit::Admit),
            (Value::Boolean(false), Value::Nil) => Ok(Admit::Reject("rejected".into())),
            (Value::Boolean(false), Value::String(reason)) => {
                Ok(Admit::Reject(reason.to_string_lossy()))
            }
            (Value::Boolean(false), other) => {
                Err(self.0.binding.wrong("admit's reason", other, "a text"))
            }
            _ if self.0.binding.is_hold(&verdict) => Ok(Admit::Delay(wait_us(&second))),
            _ => Err(self.0.binding.wrong(
                "admit",
                &verdict,
                "true, false with a reason, or delay(microseconds)",
            )),
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.0.binding.tell(event)
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.0.tick(cluster)
    }
}

struct ScriptedRouter {
    front: Front,
    /// The last decision came with scores.
    scored: bool,
    scores: Vec<f64>,
}

impl Router for ScriptedRouter {
    fn interests(&self) -> Interests {
        self.front.interests()
    }

    fn tick_us(&self) -> i64 {
        self.front.binding.tick_us
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let n = cluster.instances.len();
        let form = self.front.binding.form;
        let (answer, second, third): (Value, Value, Value) = self.front.ask(request, cluster)?;
        if let Some(chosen) = position(&answer, n) {
            self.scored = form == "score" || matches!(second, Value::Boolean(true));
            if self.scored {
                self.scores.resize(n, 0.0);
                numbers(&self.front.binding.outbox, &mut self.scores);
            }
            return Ok(Route::To(chosen));
        }
        let binding = &self.front.binding;
        if binding.is_hold(&answer) {
            return Ok(Route::Hold {
                retry_after_us: wait_us(&second),
            });
        }
        Err(if form == "score" {
            let which = number(&third).unwrap_or(0.0);
            binding.wrong(&format!("score for instance {which}"), &second, "a number")
        } else {
            let expected = format!("a position from 1 to {n}, or hold(microseconds)");
            binding.wrong(form, &answer, &expected)
        })
    }

    fn scores(&self) -> Option<&[f64]> {
        self.scored.then_some(&self.scores)
    }

    fn reason(&self) -> String {
        self.front.binding.vm.program.name.clone()
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.front.binding.tell(event)
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.front.tick(cluster)
    }
}

impl Loader {
    /// The program's admission policy.
    ///
    /// # Errors
    /// When the file does not run or fills no admission hook.
    pub fn admission(
        &mut self,
        program: &Arc<Program>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Admission>, InputError> {
        let module = self.module(program, None, symbols)?;
        let front = Front::new(&module, Hook::Admission, "admit")?;
        Ok(Box::new(ScriptedAdmission(front)))
    }

    /// The program's router.
    ///
    /// # Errors
    /// When the file does not run or fills no routing hook.
    pub fn router(
        &mut self,
        program: &Arc<Program>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Router>, InputError> {
        let module = self.module(program, None, symbols)?;
        Ok(Box::new(ScriptedRouter {
            front: Front::new(&module, Hook::Routing, "route")?,
            scored: false,
            scores: Vec::new(),
        }))
    }
}
