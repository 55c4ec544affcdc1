//! Priorities, wait-queue order and victims by script.

use super::binding::{Binding, numbers, position, put, put_request};
use super::module::Loader;
use super::program::Program;
use crate::param::Hook;
use mlua::Function;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    Event, Interests, KeyRefresh, List, PolicyError, Priority, QueueOrder, QueueView, QueuedView,
    RequestView, RunningView, Scheduler, Victim,
};

/// What the hooks inside an instance have in common.
struct Engine {
    binding: Binding,
    /// What the script's tables show of the request in each slot.
    shown: Vec<Option<Shape>>,
}

/// What can change of a waiting request's view.
#[derive(Clone, Copy, PartialEq)]
struct Shape {
    serial: u64,
    enqueued_us: i64,
    priority: f64,
    preemptions: u32,
}

impl Shape {
    fn of(queued: &QueuedView<'_>) -> Self {
        Self {
            serial: queued.request.serial,
            enqueued_us: queued.enqueued_us,
            priority: queued.priority,
            preemptions: queued.preemptions,
        }
    }
}

impl Engine {
    fn push(&mut self, value: f64) {
        self.binding.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The header: now, then how many wait, have changed and run.
    fn begin(&mut self, queue: &QueueView<'_>, head: [usize; 3]) {
        self.binding.bytes.clear();
        self.push(queue.now_us as f64);
        head.into_iter().for_each(|n| self.push(n as f64));
        self.push_queue(queue);
    }

    fn push_queue(&mut self, queue: &QueueView<'_>) {
        let bytes = &mut self.binding.bytes;
        for field in &self.binding.vm.program.mentions.queue {
            let value = field.shown((field.get)(queue));
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn push_request(&mut self, request: &RequestView) {
        let fields = &self.binding.vm.program.mentions.request;
        let bytes = &mut self.binding.bytes;
        let at = bytes.len();
        bytes.resize(at + 8 * fields.len(), 0);
        put_request(bytes, at, fields, request);
    }

    /// Rows of the requests whose tables the script has not got, or has otherwise.
    fn push_changed<'a, 'r: 'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a QueuedView<'r>>,
    ) -> usize {
        let mut changed = 0;
        for queued in waiting {
            let slot = queued.slot as usize;
            if self.shown.len() <= slot {
                self.shown.resize(slot + 1, None);
            }
            let shape = Some(Shape::of(queued));
            if self.shown[slot] == shape {
                continue;
            }
            self.shown[slot] = shape;
            changed += 1;
            self.push(f64::from(queued.slot));
            self.push_request(queued.request);
            let bytes = &mut self.binding.bytes;
            for field in &self.binding.vm.program.mentions.queued {
                bytes.extend_from_slice(&(field.get)(queued).to_le_bytes());
            }
        }
        changed
    }

    fn push_running(&mut self, running: List<'_, RunningView<'_>>) {
        for view in running.iter() {
            self.push(f64::from(view.slot));
            self.push_request(view.request);
            let bytes = &mut self.binding.bytes;
            for field in &self.binding.vm.program.mentions.running {
                bytes.extend_from_slice(&(field.get)(view).to_le_bytes());
            }
        }
    }

    fn ask(
        &mut self,
        f: &Function,
        answers: usize,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        self.binding.send(answers)?;
        self.binding.ask(f, queue.host, List::new(&[]))
    }
}

struct ScriptedPriority {
    engine: Engine,
    decide: Function,
    refresh: KeyRefresh,
}

impl Priority for ScriptedPriority {
    fn refresh(&self) -> KeyRefresh {
        self.refresh
    }

    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        let engine = &mut self.engine;
        engine.binding.bytes.clear();
        engine.push(queue.now_us as f64);
        engine.push_queue(queue);
        engine.push_request(request);
        let answer = engine.ask(&self.decide, 0, queue)?;
        if answer.is_nan() {
            return Err(engine.binding.odd("priority", "a number"));
        }
        Ok(answer)
    }
}

struct ScriptedScheduler {
    engine: Engine,
    key: Option<Function>,
    order: Function,
    refresh: KeyRefresh,
}

impl Scheduler for ScriptedScheduler {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(self.refresh)
    }

    fn interests(&self) -> Interests {
        let mentions = &self.engine.binding.vm.program.mentions;
        let running = if self.engine.binding.form == "order" {
            Interests(mentions.reads.0 & Interests::RUNNING.0)
        } else {
            Interests::NONE
        };
        running | self.engine.binding.hears()
    }

    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        let Some(key) = &self.key else {
            // Without a key of its own it stands at the end until the queue is ordered.
            return Ok(f64::INFINITY);
        };
        let engine = &mut self.engine;
        engine.begin(queue, [1, 0, 0]);
        engine.push(f64::from(queued.slot));
        let changed = engine.push_changed(std::iter::once(queued));
        put(&mut engine.binding.bytes, 16, changed as f64);
        let answer = engine.ask(key, 0, queue)?;
        if answer.is_nan() {
            let binding = &engine.binding;
            let asked = if binding.gives("key") {
                "key"
            } else {
                binding.form
            };
            return Err(binding.odd(asked, "a number"));
        }
        Ok(answer)
    }

    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        let engine = &mut self.engine;
        let n = queue.waiting.len();
        engine.begin(queue, [n, 0, queue.running.len()]);
        queue
            .waiting
            .iter()
            .for_each(|queued| engine.push(f64::from(queued.slot)));
        let changed = engine.push_changed(queue.waiting.iter());
        put(&mut engine.binding.bytes, 16, changed as f64);
        engine.push_running(queue.running);
        let answer = engine.ask(&self.order, n, queue)?;
        let binding = &engine.binding;
        if !answer.is_nan() {
            numbers(&binding.outbox, keys);
            return Ok(());
        }
        let form = binding.form;
        Err(match binding.odd_at() {
            0 => binding.odd(form, "a table of keys, one for each waiting request"),
            k => binding.odd(
                &format!("{form} for waiting request {k} of {n}"),
                "a number",
            ),
        })
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.engine.binding.tell(event)
    }
}

struct ScriptedVictim {
    engine: Engine,
    decide: Function,
}

impl Victim for ScriptedVictim {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let engine = &mut self.engine;
        let n = queue.running.len();
        engine.begin(queue, [0, 0, n]);
        engine.push_running(queue.running);
        let answer = engine.ask(&self.decide, 0, queue)?;
        position(answer, n).ok_or_else(|| {
            let expected = format!("a position from 1 to {n}");
            if answer.is_nan() {
                engine.binding.odd("victim", &expected)
            } else {
                engine
                    .binding
                    .wrong("victim", &answer.to_string(), &expected)
            }
        })
    }
}

impl Loader {
    fn engine(
        &mut self,
        program: &Arc<Program>,
        hook: Hook,
        instance: u32,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<(Engine, Option<KeyRefresh>), InputError> {
        let module = self.module(program, Some(instance), symbols)?;
        let filled = module.fill(hook)?;
        let refresh = filled.refresh;
        // Events have the first bytes to themselves: every decision writes its own again. The
        // buffers grow when they must.
        let engine = Engine {
            binding: Binding::new(&module, filled, 0, 8 * 16)?,
            shown: Vec::new(),
        };
        Ok((engine, refresh))
    }

    /// The program's priority policy on an instance.
    ///
    /// # Errors
    /// When the file does not run or fills no priority hook.
    pub fn priority(
        &mut self,
        program: &Arc<Program>,
        instance: u32,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Priority>, InputError> {
        let (engine, refresh) = self.engine(program, Hook::Priority, instance, symbols)?;
        Ok(Box::new(ScriptedPriority {
            decide: filled(&engine, "priority")?,
            refresh: refresh.unwrap_or(KeyRefresh::AtEnqueue),
            engine,
        }))
    }

    /// The program's scheduler on an instance.
    ///
    /// # Errors
    /// When the file does not run or fills no scheduler hook.
    pub fn scheduler(
        &mut self,
        program: &Arc<Program>,
        instance: u32,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Scheduler>, InputError> {
        let (engine, refresh) = self.engine(program, Hook::Scheduler, instance, symbols)?;
        let fixed = engine.binding.form == "key";
        let default = if fixed {
            KeyRefresh::AtEnqueue
        } else {
            KeyRefresh::EachStep
        };
        Ok(Box::new(ScriptedScheduler {
            key: engine.binding.entry("key"),
            order: filled(&engine, "order")?,
            refresh: refresh.unwrap_or(default),
            engine,
        }))
    }

    /// The program's preemption policy on an instance.
    ///
    /// # Errors
    /// When the file does not run or fills no preemption hook.
    pub fn victim(
        &mut self,
        program: &Arc<Program>,
        instance: u32,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Victim>, InputError> {
        let (engine, _) = self.engine(program, Hook::Preemption, instance, symbols)?;
        Ok(Box::new(ScriptedVictim {
            decide: filled(&engine, "victim")?,
            engine,
        }))
    }
}

fn filled(engine: &Engine, entry: &str) -> Result<Function, InputError> {
    engine.binding.entry(entry).ok_or_else(|| {
        InputError::in_file(&engine.binding.vm.program.name, format!("fills no {entry}"))
    })
}
