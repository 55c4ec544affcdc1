//! Priorities, wait-queue order, batches and victims by script.

use super::api::LIMITS;
use super::binding::{Binding, position, read_f64s, write_f64, write_request};
use super::engines::ScriptEngines;
use super::lasting_keys;
use super::program::Program;
use crate::param::Hook;
use mlua::Function;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    BatchLimits, Batching, Decodes, Event, Interests, KeyRefresh, List, PolicyError, Priority,
    QueueOrder, QueueView, QueuedView, RequestView, RunningView, Scheduler, StepView, Victim,
};

/// What the hooks inside an instance have in common.
struct InstanceHook {
    binding: Binding,
    /// What the script's tables say of the waiting request in each slot.
    sent: Vec<Option<Changeable>>,
}

/// The fields of a waiting request's view that can change, and whose it is.
#[derive(Clone, Copy, PartialEq)]
struct Changeable {
    serial: u64,
    enqueued_us: i64,
    priority: f64,
    preemptions: u32,
}

impl Changeable {
    fn of(queued: &QueuedView<'_>) -> Self {
        Self {
            serial: queued.request.serial,
            enqueued_us: queued.enqueued_us,
            priority: queued.priority,
            preemptions: queued.preemptions,
        }
    }
}

impl InstanceHook {
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
        write_request(bytes, at, fields, request);
    }

    /// Writes rows of the requests that the script has no table of, or an outdated one.
    fn push_changed<'a, 'r: 'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a QueuedView<'r>>,
    ) -> usize {
        let mut changed = 0;
        for queued in waiting {
            let slot = queued.slot as usize;
            if self.sent.len() <= slot {
                self.sent.resize(slot + 1, None);
            }
            let now = Some(Changeable::of(queued));
            if self.sent[slot] == now {
                continue;
            }
            self.sent[slot] = now;
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

    fn call(
        &mut self,
        f: &Function,
        answers: usize,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        self.binding.send(answers)?;
        self.binding.call(f, queue.host, List::new(&[]))
    }
}

struct ScriptedPriority {
    hook: InstanceHook,
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
        let hook = &mut self.hook;
        hook.binding.bytes.clear();
        hook.push(queue.now_us as f64);
        hook.push_queue(queue);
        hook.push_request(request);
        let answer = hook.call(&self.decide, 0, queue)?;
        if answer.is_nan() {
            return Err(hook.binding.bad_answer("priority", "a number"));
        }
        Ok(answer)
    }
}

struct ScriptedScheduler {
    hook: InstanceHook,
    key: Option<Function>,
    order: Function,
    refresh: KeyRefresh,
}

impl Scheduler for ScriptedScheduler {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(self.refresh)
    }

    fn interests(&self) -> Interests {
        let mentions = &self.hook.binding.vm.program.mentions;
        let running = if self.hook.binding.form == "order" {
            Interests(mentions.reads.0 & Interests::RUNNING.0)
        } else {
            Interests::NONE
        };
        running | self.hook.binding.event_interests()
    }

    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        let Some(key) = &self.key else {
            // Without a key of its own, a request stands at the end until the queue is ordered.
            return Ok(f64::INFINITY);
        };
        let hook = &mut self.hook;
        hook.begin(queue, [1, 0, 0]);
        hook.push(f64::from(queued.slot));
        let changed = hook.push_changed(std::iter::once(queued));
        write_f64(&mut hook.binding.bytes, 16, changed as f64);
        let answer = hook.call(key, 0, queue)?;
        if answer.is_nan() {
            let binding = &hook.binding;
            let function = if binding.defines("key") {
                "key"
            } else {
                binding.form
            };
            return Err(binding.bad_answer(function, "a number"));
        }
        Ok(answer)
    }

    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        let hook = &mut self.hook;
        let n = queue.waiting.len();
        hook.begin(queue, [n, 0, queue.running.len()]);
        queue
            .waiting
            .iter()
            .for_each(|queued| hook.push(f64::from(queued.slot)));
        let changed = hook.push_changed(queue.waiting.iter());
        write_f64(&mut hook.binding.bytes, 16, changed as f64);
        hook.push_running(queue.running);
        let answer = hook.call(&self.order, n, queue)?;
        let binding = &hook.binding;
        if !answer.is_nan() {
            read_f64s(&binding.outbox, keys);
            return Ok(());
        }
        let form = binding.form;
        Err(match binding.bad_answer_at() {
            0 => binding.bad_answer(form, "a table of keys, one for each waiting request"),
            k => binding.bad_answer(
                &format!("{form} for waiting request {k} of {n}"),
                "a number",
            ),
        })
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.hook.binding.send_event(event)
    }
}

struct ScriptedVictim {
    hook: InstanceHook,
    decide: Function,
}

impl Victim for ScriptedVictim {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let hook = &mut self.hook;
        let n = queue.running.len();
        hook.begin(queue, [0, 0, n]);
        hook.push_running(queue.running);
        let answer = hook.call(&self.decide, 0, queue)?;
        position(answer, n).ok_or_else(|| {
            let expected = format!("a position from 1 to {n}");
            if answer.is_nan() {
                hook.binding.bad_answer("victim", &expected)
            } else {
                hook.binding
                    .unexpected("victim", &answer.to_string(), &expected)
            }
        })
    }
}

struct ScriptedBatching {
    hook: InstanceHook,
    decide: Function,
}

/// The position in [`LIMITS`] of the one that is no number, from 1; behind all of them stands a
/// field that is none.
const DECODES_WAIT: usize = 5;

impl ScriptedBatching {
    /// What the script answered, where it is no table of limits.
    fn bad_answer(&self) -> PolicyError {
        let binding = &self.hook.binding;
        let at = binding.bad_answer_at();
        let Some(limit) = at.checked_sub(1).and_then(|k| LIMITS.get(k)) else {
            let names: Vec<&str> = LIMITS.iter().map(|limit| limit.name).collect();
            let names = names.join(", ");
            return match at {
                0 => binding.bad_answer("batch", &format!("a table with any of {names}")),
                _ => binding.bad_answer("batch, as the name of a limit,", &names),
            };
        };
        let expected = match at {
            DECODES_WAIT => "true or false",
            _ => "a number of 0 or more",
        };
        binding.bad_answer(&format!("batch, as {},", limit.name), expected)
    }
}

impl Batching for ScriptedBatching {
    fn interests(&self) -> Interests {
        // What a script remembers is not known.
        let reads = self.hook.binding.vm.program.mentions.reads.0 & Interests::WORK.0;
        Interests(reads) | Interests::STEPS | Interests::WAITING
    }

    fn limits(
        &mut self,
        step: &StepView,
        queue: &QueueView<'_>,
    ) -> Result<BatchLimits, PolicyError> {
        let hook = &mut self.hook;
        let head = queue.waiting.get(0);
        hook.begin(queue, [usize::from(head.is_some()), 0, 0]);
        if let Some(head) = head {
            hook.push(f64::from(head.slot));
        }
        let changed = hook.push_changed(head.into_iter());
        write_f64(&mut hook.binding.bytes, 16, changed as f64);
        let bytes = &mut hook.binding.bytes;
        for field in &hook.binding.vm.program.mentions.step {
            bytes.extend_from_slice(&(field.get)(step).to_le_bytes());
        }
        let answer = hook.call(&self.decide, LIMITS.len(), queue)?;
        if answer.is_nan() {
            return Err(self.bad_answer());
        }
        let binding = &self.hook.binding;
        let mut given = [0.0; LIMITS.len()];
        read_f64s(&binding.outbox, &mut given);
        let [tokens, prefill, admissions, hold, wait] = given;
        let engine = BatchLimits::of_engine(step, queue);
        // Below 0 is what was left out; fractions are cut off.
        let or = |value: f64, own: u32| if value < 0.0 { own } else { value as u32 };
        let limits = BatchLimits {
            max_new_tokens: or(tokens, engine.max_new_tokens),
            max_prefill_tokens: or(prefill, engine.max_prefill_tokens),
            max_admissions: or(admissions, engine.max_admissions),
            decodes: match wait {
                1.0 => Decodes::WaitForPrefills,
                _ => Decodes::TakePart,
            },
            hold_until_us: match hold < 0.0 {
                true => BatchLimits::NEVER,
                false => hold as i64,
            },
        };
        let fine = limits.check(step, queue);
        fine.map_err(|what| binding.wrong("batch", format!("batch: {what}")))?;
        Ok(limits)
    }
}

impl ScriptEngines {
    fn instance_hook(
        &mut self,
        program: &Arc<Program>,
        hook: Hook,
        instance: u32,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<(InstanceHook, Option<KeyRefresh>), InputError> {
        let module = self.module(program, Some(instance), symbols)?;
        let functions = module.hook_functions(hook)?;
        let refresh = functions.refresh;
        // An event may overwrite the first bytes: every decision writes them again. The buffers
        // grow when they must.
        let hook = InstanceHook {
            binding: Binding::new(&module, functions, 0, 8 * 16)?,
            sent: Vec::new(),
        };
        Ok((hook, refresh))
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
        let (hook, refresh) = self.instance_hook(program, Hook::Priority, instance, symbols)?;
        Ok(Box::new(ScriptedPriority {
            decide: entry(&hook, "priority")?,
            refresh: refresh.unwrap_or(KeyRefresh::AtEnqueue),
            hook,
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
        let (hook, refresh) = self.instance_hook(program, Hook::Scheduler, instance, symbols)?;
        let fixed = hook.binding.form == "key";
        let default = if fixed {
            KeyRefresh::AtEnqueue
        } else {
            KeyRefresh::EachStep
        };
        let mut refresh = refresh.unwrap_or(default);
        let form = hook.binding.form;
        let last = || {
            *program
                .keys_last
                .get_or_init(|| lasting_keys::last(program, form))
        };
        if refresh != KeyRefresh::AtEnqueue && last() {
            refresh = KeyRefresh::AtEnqueue;
        }
        Ok(Box::new(ScriptedScheduler {
            key: hook.binding.entry("key"),
            order: entry(&hook, "order")?,
            refresh,
            hook,
        }))
    }

    /// The program's batching strategy on an instance.
    ///
    /// # Errors
    /// When the file does not run or fills no batching hook.
    pub fn batching(
        &mut self,
        program: &Arc<Program>,
        instance: u32,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Batching>, InputError> {
        let (hook, _) = self.instance_hook(program, Hook::Batching, instance, symbols)?;
        Ok(Box::new(ScriptedBatching {
            decide: entry(&hook, "batch")?,
            hook,
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
        let (hook, _) = self.instance_hook(program, Hook::Preemption, instance, symbols)?;
        Ok(Box::new(ScriptedVictim {
            decide: entry(&hook, "victim")?,
            hook,
        }))
    }
}

fn entry(hook: &InstanceHook, name: &str) -> Result<Function, InputError> {
    hook.binding.entry(name).ok_or_else(|| {
        InputError::in_file(&hook.binding.vm.program.name, format!("fills no {name}"))
    })
}
