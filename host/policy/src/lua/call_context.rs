//! What the host's functions need of the call that is running.
//!
//! Those functions live as long as the script engine; what they need lives as long as one call. So
//! it is kept here during the call, with its lifetime erased, and taken away when the call ends.

#![allow(unsafe_code, reason = "lifetimes of the running call are erased")]

use std::cell::Cell;
use windtunnel_plugin_api::{Host, InstanceView, List};

type Symbols<'a> = *mut (dyn FnMut(&str) -> u32 + 'a);

/// What a script may ask the host about right now.
#[derive(Default)]
pub(super) struct CallContext {
    host: Cell<Option<Host<'static>>>,
    instances: Cell<Option<List<'static, InstanceView>>>,
    symbols: Cell<Option<Symbols<'static>>>,
}

/// Empties the context when a call ends, however it ends.
struct Clear<'a>(&'a CallContext);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.0.host.set(None);
        self.0.instances.set(None);
        self.0.symbols.set(None);
    }
}

impl CallContext {
    /// Runs `f` inside a decision. `instances` is empty inside an instance.
    pub(super) fn during_decision<T>(
        &self,
        host: Host<'_>,
        instances: List<'_, InstanceView>,
        f: impl FnOnce() -> T,
    ) -> T {
        let _clear = Clear(self);
        // SAFETY: only the lifetimes change, and `_clear` takes both away before the borrowed ones
        // end. The accessors give them to closures that run inside the call.
        let (host, instances) = unsafe {
            (
                std::mem::transmute::<Host<'_>, Host<'static>>(host),
                std::mem::transmute::<List<'_, InstanceView>, List<'static, InstanceView>>(
                    instances,
                ),
            )
        };
        self.host.set(Some(host));
        self.instances.set(Some(instances));
        f()
    }

    /// Runs `f` while a file is loaded: names can be looked up.
    pub(super) fn while_loading<T>(
        &self,
        symbols: &mut dyn FnMut(&str) -> u32,
        f: impl FnOnce() -> T,
    ) -> T {
        let _clear = Clear(self);
        // SAFETY: as in `during_decision`.
        let symbols = unsafe { std::mem::transmute::<Symbols<'_>, Symbols<'static>>(symbols) };
        self.symbols.set(Some(symbols));
        f()
    }

    /// Asks the host of the running call, if there is one.
    pub(super) fn host<T>(&self, ask: impl FnOnce(&Host<'_>) -> T) -> Option<T> {
        self.host.get().as_ref().map(ask)
    }

    /// Asks about the instance at `position`, counted from 1.
    pub(super) fn instance<T>(
        &self,
        position: f64,
        ask: impl FnOnce(&Host<'_>, &InstanceView) -> T,
    ) -> Option<T> {
        let (host, instances) = (self.host.get()?, self.instances.get()?);
        let i = (position >= 1.0 && position.fract() == 0.0).then(|| position as usize - 1)?;
        Some(ask(&host, instances.get(i)?))
    }

    /// Number of a name, while a file is loaded.
    pub(super) fn symbol(&self, name: &str) -> Option<u32> {
        // Taken out during the call, so that it cannot be borrowed twice.
        let symbols = self.symbols.take()?;
        // SAFETY: `while_loading` set it, and its caller's borrow lasts until that returns.
        let number = unsafe { (*symbols)(name) };
        self.symbols.set(Some(symbols));
        Some(number)
    }
}
