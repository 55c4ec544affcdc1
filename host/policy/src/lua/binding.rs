//! One hook of a copy, bound: views go in as numbers in a buffer, answers come out.

use super::asked::AskedColumn;
use super::bind::FrontLayout;
use super::fields::{Get, ScriptField};
use super::messages::{describe, start_of};
use super::module::{HookFunctions, Module};
use super::vm::Vm;
use mlua::{Buffer, Function, Lua, LuaString, Table, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    Event, EventKind, Host, InstanceView, Interests, List, PolicyError, RequestView,
};

/// The functions that `bind.luau` made for one hook, and the buffers in both directions.
pub(super) struct Binding {
    pub(super) vm: Rc<Vm>,
    pub(super) entries: Table,
    /// Calls a handler, if the policy has any.
    event: Option<Function>,
    pub(super) handlers: Vec<(EventKind, LuaString)>,
    pub(super) inbox: Buffer,
    pub(super) outbox: Buffer,
    /// What goes into the inbox.
    pub(super) bytes: Vec<u8>,
    pub(super) tick_us: i64,
    pub(super) form: &'static str,
    lines: Vec<(&'static str, usize)>,
    /// Where events go in the inbox, bytes.
    event_at: usize,
}

/// Writes a number at a place of the bytes.
pub(super) fn write_f64(bytes: &mut [u8], at: usize, value: f64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Reads the numbers of a buffer.
pub(super) fn read_f64s(buffer: &Buffer, out: &mut [f64]) {
    let bytes = buffer.to_vec();
    for (value, raw) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *value = f64::from_le_bytes(raw.try_into().expect("eight bytes"));
    }
}

/// The handlers of events.
const HANDLERS: [(EventKind, &str); 5] = [
    (EventKind::Dispatch, "on_dispatch"),
    (EventKind::FirstToken, "on_first_token"),
    (EventKind::Complete, "on_complete"),
    (EventKind::Reject, "on_reject"),
    (EventKind::Preempt, "on_preempt"),
];

impl Binding {
    pub(super) fn new(
        module: &Module,
        hook: HookFunctions,
        event_at: usize,
        outbox_bytes: usize,
    ) -> Result<Self, InputError> {
        let vm = Rc::clone(&module.vm);
        let inbox_bytes = event_at + 8 * vm.program.mentions.event.len();
        let made = (|| -> mlua::Result<_> {
            let lua = &vm.lua;
            let inbox = lua.create_buffer_with_capacity(inbox_bytes)?;
            let outbox = lua.create_buffer_with_capacity(outbox_bytes)?;
            let host = host_functions(lua, &vm, &inbox, &outbox)?;
            let handlers = HANDLERS
                .into_iter()
                .filter(|(_, name)| hook.handlers.contains(name))
                .map(|(kind, name)| Ok((kind, lua.create_string(name)?)))
                .collect::<mlua::Result<Vec<_>>>()?;
            Ok((inbox, outbox, host, handlers))
        })();
        let broken = |e: String| InputError::in_file(&vm.program.name, e);
        let (inbox, outbox, host, handlers) = made.map_err(|e| broken(e.to_string()))?;
        let arguments = (host, hook.functions, vm.shared.clone(), vm.facts.instances);
        let entries: Table = vm
            .call(&vm.bind(&hook.names)?, arguments)
            .map_err(InputError::from)?;
        let event = entries
            .raw_get("event")
            .map_err(|e| broken(e.to_string()))?;
        Ok(Self {
            entries,
            event,
            handlers,
            inbox,
            outbox,
            bytes: vec![0; inbox_bytes],
            tick_us: hook.tick_us,
            form: hook.form,
            lines: hook.lines,
            event_at,
            vm,
        })
    }

    /// A function of the binding, if the policy fills what it stands for.
    pub(super) fn entry(&self, name: &str) -> Option<Function> {
        self.entries.raw_get(name).ok().flatten()
    }

    /// Which events the policy has handlers for.
    pub(super) fn event_interests(&self) -> Interests {
        [Interests::LIFECYCLE, Interests::TOKENS]
            .into_iter()
            .filter(|kinds| self.handlers.iter().any(|(kind, _)| kinds.hears(*kind)))
            .fold(Interests::NONE, |all, kinds| all | kinds)
    }

    /// Calls a function of the binding; during the call, the script can ask `host`.
    pub(super) fn call(
        &self,
        f: &Function,
        host: Host<'_>,
        instances: List<'_, InstanceView>,
    ) -> Result<f64, PolicyError> {
        let vm = &self.vm;
        vm.context
            .during_decision(host, instances, || vm.call(f, ()))
    }

    /// Hands an event to its handler.
    pub(super) fn send_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        let handler = self
            .handlers
            .iter()
            .find(|(kind, _)| *kind as u32 == event.kind);
        let (Some((_, name)), Some(entry)) = (handler, &self.event) else {
            return Ok(());
        };
        for (k, field) in self.vm.program.mentions.event.iter().enumerate() {
            let value = field.shown((field.get)(event));
            self.inbox
                .write_bytes(self.event_at + 8 * k, &value.to_le_bytes());
        }
        self.vm.call(entry, (name, self.event_at))
    }

    /// The answer is not one of those allowed: `bind.luau` has left it among the shared values.
    #[cold]
    pub(super) fn bad_answer(&self, what: &str, expected: &str) -> PolicyError {
        let found = self.vm.shared.raw_get("bad_answer").unwrap_or(Value::Nil);
        self.unexpected(what, &describe(&found), expected)
    }

    /// An answer that is not one of those allowed. `what` begins with the function's name; the
    /// error points at where that begins.
    #[cold]
    pub(super) fn unexpected(&self, what: &str, found: &str, expected: &str) -> PolicyError {
        let function = what.split([' ', ',']).next().unwrap_or_default();
        let message = format!("{what} returned {found}; expected {expected}");
        self.wrong(function, message)
    }

    /// What is wrong with an answer of a function, at where that begins.
    #[cold]
    pub(super) fn wrong(&self, function: &str, message: String) -> PolicyError {
        let begins = self.lines.iter().find(|(name, _)| *name == function);
        let name = &self.vm.program.name;
        match begins {
            Some((_, line)) => PolicyError::at(name, *line as u32, message),
            None => PolicyError::new(format!("{name}: {message}")).located(name, None),
        }
    }

    /// Does the policy define this function?
    pub(super) fn defines(&self, function: &str) -> bool {
        self.lines.iter().any(|(name, _)| *name == function)
    }

    /// The position in a list that a bad answer belongs to; 0 for none.
    pub(super) fn bad_answer_at(&self) -> usize {
        self.vm.shared.raw_get("bad_answer_at").unwrap_or(0)
    }

    /// Makes the buffers large enough for the bytes and for so many answers, and sends the bytes.
    pub(super) fn send(&mut self, answers: usize) -> Result<(), PolicyError> {
        self.grow(self.bytes.len(), 8 * answers)?;
        self.inbox.write_bytes(0, &self.bytes);
        Ok(())
    }

    /// Makes the buffers hold so many bytes. What was in them is gone if they grow.
    pub(super) fn grow(&mut self, inbox: usize, outbox: usize) -> Result<(), PolicyError> {
        if inbox > self.inbox.len() || outbox > self.outbox.len() {
            let size = |needed: usize, there: usize| {
                if needed > there {
                    needed.next_power_of_two()
                } else {
                    there
                }
            };
            let lua = &self.vm.lua;
            let made = lua
                .create_buffer_with_capacity(size(inbox, self.inbox.len()))
                .and_then(|i| {
                    let o = lua.create_buffer_with_capacity(size(outbox, self.outbox.len()))?;
                    let replace: Function = self.entries.raw_get("buffers")?;
                    replace.call::<()>((&i, &o))?;
                    Ok((i, o))
                });
            (self.inbox, self.outbox) = made.map_err(|e| {
                let name = &self.vm.program.name;
                PolicyError::new(format!("{name}: no memory for {inbox} bytes of views: {e}"))
                    .located(name, None)
            })?;
        }
        Ok(())
    }
}

/// A position counted from 1, as an index.
pub(super) fn position(x: f64, n: usize) -> Option<usize> {
    (x >= 1.0 && x <= n as f64 && x.fract() == 0.0).then(|| x as usize - 1)
}

/// The functions of the host that `bind.luau` calls.
fn host_functions(lua: &Lua, vm: &Rc<Vm>, inbox: &Buffer, outbox: &Buffer) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.raw_set("inbox", inbox)?;
    host.raw_set("outbox", outbox)?;
    let unknown = |_: &Lua, (view, field): (LuaString, LuaString)| {
        Ok(super::bind::unknown(&start_of(&view), &start_of(&field)))
    };
    host.raw_set("unknown", lua.create_function(unknown)?)?;
    let layout = FrontLayout::new(&vm.program.mentions, vm.facts.instances);
    let (context, to) = (Rc::clone(&vm.context), inbox.clone());
    let column = RefCell::new(AskedColumn::new(vm.facts.instances));
    let program = Arc::clone(&vm.program);
    let fetch = move |_: &Lua, k: usize| {
        if let Some(asked) = program.mentions.asked.get(k) {
            let mut column = column.borrow_mut();
            context.host(|host| to.write_bytes(layout.asked(k), column.of(host, asked)));
        }
        Ok(())
    };
    host.raw_set("fetch", lua.create_function(fetch)?)?;
    let context = Rc::clone(&vm.context);
    let blocks = move |_: &Lua, ()| Ok(context.host(|h| h.prompt_blocks()).unwrap_or(0));
    host.raw_set("prompt_blocks", lua.create_function(blocks)?)?;
    Ok(host)
}

/// Writes the fields of a request that a file mentions.
pub(super) fn write_request(
    bytes: &mut [u8],
    at: usize,
    fields: &[ScriptField<Get<RequestView>>],
    request: &RequestView,
) {
    for (k, field) in fields.iter().enumerate() {
        write_f64(bytes, at + 8 * k, (field.get)(request));
    }
}
