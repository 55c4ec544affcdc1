//! Counts a script's instructions: the interpreter calls in at every loop iteration and function
//! call.
//!
//! The safe way to set this up costs three times as much per call, and there is one per loop
//! iteration of every policy.

#![allow(unsafe_code, reason = "a C callback of the script engine")]

use super::budget::Budget;
use mlua::{Lua, ffi};
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

/// Name of the host's own chunks; the sign in front says that it is no file.
pub(super) const CHUNK_NAME: &str = "=windtunnel";

/// Levels of calls that are searched for a line of the policy's.
const MAX_LEVELS: c_int = 16;

thread_local! {
    /// The budget of the running call.
    static BUDGET: Cell<*const Budget> = const { Cell::new(ptr::null()) };
}

/// Puts the budget of the call before this one back, however the call ends.
struct Restore(*const Budget);

impl Drop for Restore {
    fn drop(&mut self) {
        BUDGET.set(self.0);
    }
}

/// Runs a call on a budget.
pub(super) fn with_budget<T>(budget: &Budget, call: impl FnOnce() -> T) -> T {
    let _restore = Restore(BUDGET.replace(ptr::from_ref(budget)));
    call()
}

/// Makes the engine count.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: the closure only stores a function pointer in the state's table of callbacks.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            (*ffi::lua_callbacks(state)).interrupt = Some(interrupt);
        })
    }
}

/// Bytes that the engine's objects take.
pub(super) fn held_bytes(lua: &Lua) -> usize {
    let mut bytes = 0;
    // SAFETY: reads a number of the state.
    let read = unsafe { lua.exec_raw::<()>((), |state| bytes = ffi::lua_totalbytes(state, -1)) };
    if read.is_ok() { bytes } else { 0 }
}

unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, gc: c_int) {
    let budget = BUDGET.get();
    if budget.is_null() {
        return;
    }
    // SAFETY: `with_budget` set the pointer and keeps the budget borrowed until it puts the old one
    // back; it encloses every call into the engine.
    let budget = unsafe { &*budget };
    // Called at both ends of a step of the garbage collector, in which no error can be raised:
    // between two steps memory only grows.
    if gc >= 0 {
        // SAFETY: reads a number of the state.
        budget.memory(unsafe { ffi::lua_totalbytes(state, -1) });
        return;
    }
    if let Err(why) = budget.take(1) {
        // SAFETY: raising unwinds through this frame, which owns nothing that would have to be
        // dropped.
        unsafe {
            ffi::luaL_checkstack(state, 3, ptr::null());
            push_place(state);
            ffi::lua_pushlstring(state, why.as_ptr().cast(), why.len());
            ffi::lua_concat(state, 2);
            ffi::lua_error(state);
        }
    }
}

/// Pushes `file:line: ` of the innermost line that is the policy's, or nothing where there is none.
unsafe fn push_place(state: *mut ffi::lua_State) {
    for level in 0..MAX_LEVELS {
        // SAFETY: the text that `luaL_where` pushes is on the stack while it is looked at.
        unsafe {
            ffi::luaL_where(state, level);
            let mut length = 0;
            let text = ffi::lua_tolstring(state, -1, &raw mut length);
            let place = std::slice::from_raw_parts(text.cast::<u8>(), length);
            if !place.is_empty() && !place.starts_with(&CHUNK_NAME.as_bytes()[1..]) {
                return;
            }
            ffi::lua_pop(state, 1);
        }
    }
    // SAFETY: pushes an empty text.
    unsafe { ffi::lua_pushlstring(state, c"".as_ptr(), 0) };
}
