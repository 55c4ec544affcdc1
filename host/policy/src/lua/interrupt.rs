//! Counts what a script does: the interpreter calls in at every loop iteration, call and return,
//! and for all that is taken from memory. Memory that is not used any more is collected when
//! counted bytes say so, never by the clock.
//!
//! The safe way to set this up costs three times as much per call, and there is one per loop
//! iteration of every policy.

#![allow(unsafe_code, reason = "C callbacks of the script engine")]

use super::budget::Budget;
use mlua::{Lua, Table, ffi};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;

/// Name of the host's own chunks; the sign in front says that it is no file.
pub(super) const CHUNK_NAME: &str = "=windtunnel";
/// Name of the policy's chunk, whatever its file is called: places in messages begin with it, and a
/// script must not learn its file's name.
pub(super) const POLICY_CHUNK: &str = "=@policy";
/// What places in the policy's chunk begin with.
pub(super) const POLICY: &str = "@policy:";

/// Levels of calls that are searched for a line of the policy's.
const MAX_LEVELS: c_int = 16;
/// Type by which the engine announces parts of tables, stacks and its own lists: `LUA_T_ALL`.
const PARTS: c_int = 17;
/// Where the metatables of scripts are listed in the engine's registry.
const METATABLES: &std::ffi::CStr = c"windtunnel.metatables";

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

/// Makes the engine count, and stops its collector: from now on it runs when [`Budget`] says so.
/// `metatables` has those of scripts as keys.
pub(super) fn install(lua: &Lua, metatables: &Table) -> mlua::Result<()> {
    lua.set_named_registry_value("windtunnel.metatables", metatables)?;
    // SAFETY: the closure stores function pointers in the state's table of callbacks and sets a
    // number of the collector.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            let callbacks = ffi::lua_callbacks(state);
            (*callbacks).interrupt = Some(interrupt);
            (*callbacks).onallocate = Some(allocated);
            ffi::lua_gc(state, ffi::LUA_GCSTOP, 0);
        })
    }
}

/// Asks for a collection at the next safe place, or takes that back.
pub(super) fn ask_collector(lua: &Lua, wanted: bool) {
    let what = if wanted {
        ffi::LUA_GCRESTART
    } else {
        ffi::LUA_GCSTOP
    };
    // SAFETY: sets a number of the collector.
    let _ = unsafe {
        lua.exec_raw::<()>((), |state| {
            ffi::lua_gc(state, what, 0);
        })
    };
}

/// Has the script made a weak table?
pub(super) fn has_weak_tables(lua: &Lua) -> bool {
    let mut found = false;
    // SAFETY: only looks at tables.
    let looked = unsafe { lua.exec_raw::<()>((), |state| found = any_weak(state)) };
    looked.is_ok() && found
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
    if gc >= 0 {
        // Called at both ends of a step of the collector. The first step only begins; at its end
        // the whole collection is done at once, so that none is ever half done.
        if budget.collection_begins() {
            return;
        }
        // SAFETY: a step of the collector has ended, so a collection is allowed here; no error can
        // be raised.
        unsafe {
            if any_weak(state) {
                budget.refuse_weak_tables();
            }
            ffi::lua_gc(state, ffi::LUA_GCCOLLECT, 0);
            ffi::lua_gc(state, ffi::LUA_GCSTOP, 0);
            budget.collected(ffi::lua_totalbytes(state, -1));
        }
        return;
    }
    if let Err(why) = budget.take_unit() {
        // SAFETY: this frame owns nothing that would have to be dropped.
        unsafe { raise(state, why) }
    }
}

/// Has any metatable of the script become one of a weak table?
unsafe fn any_weak(state: *mut ffi::lua_State) -> bool {
    let mut found = false;
    // SAFETY: at most four values are pushed, which the engine always has room for, and all are
    // popped; no memory is taken, as the two names are in the engine already.
    unsafe {
        ffi::lua_rawgetfield(state, ffi::LUA_REGISTRYINDEX, METATABLES.as_ptr());
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            ffi::lua_pop(state, 1);
            if ffi::lua_rawgetfield(state, -1, c"__mode".as_ptr()) != ffi::LUA_TNIL {
                found = true;
            }
            ffi::lua_pop(state, 1);
        }
        ffi::lua_pop(state, 1);
    }
    found
}

/// The bits of the two whites, one for what is new and one for what the last collection left.
const WHITE: u8 = 0b11;

/// Header of the engine's texts, as far as the collector looks at it. All its objects begin alike.
#[repr(C)]
struct TextHeader {
    kind: u8,
    marked: u8,
    category: u8,
    atom: i16,
    next: *mut c_void,
    hash: u32,
    length: u32,
}

unsafe extern "C-unwind" fn allocated(
    state: *mut ffi::lua_State,
    block: *mut c_void,
    osize: usize,
    nsize: usize,
    category: u8,
    kind: c_int,
    _tag: c_int,
) {
    let budget = BUDGET.get();
    if budget.is_null() {
        return;
    }
    // SAFETY: as in `interrupt`.
    let budget = unsafe { &*budget };
    if budget.grows(nsize.saturating_sub(osize)) {
        // SAFETY: reads and sets numbers of the state.
        unsafe {
            let total = ffi::lua_totalbytes(state, -1);
            if budget.wants_collection(total) {
                ffi::lua_gc(state, ffi::LUA_GCRESTART, 0);
            }
        }
    }
    if kind == PARTS {
        budget.part(nsize);
    } else if kind == ffi::LUA_TSTRING {
        let length = nsize.saturating_sub(size_of::<TextHeader>() + 1);
        if let Err(why) = budget.text(length) {
            // Nothing may follow a text that is too long: not even code without calls and loops,
            // which could compare it for hours.
            //
            // SAFETY: the block is a text whose header is not written yet. With the header of a
            // text that no list has and nobody holds, the next collection frees it. Collections are
            // never half done, so the running thread has the colour of what is new. The engine
            // raises errors from here itself when there is no memory, so all callers allow it.
            unsafe {
                let marked = (*state.cast::<TextHeader>()).marked & WHITE;
                block.cast::<TextHeader>().write(TextHeader {
                    kind: ffi::LUA_TSTRING as u8,
                    marked,
                    category,
                    atom: 0,
                    next: ptr::null_mut(),
                    hash: 0,
                    length: length as u32,
                });
                raise(state, why)
            }
        }
    }
}

/// Raises an error with the place in front that is the policy's.
unsafe fn raise(state: *mut ffi::lua_State, why: &str) -> ! {
    // SAFETY: the caller has nothing that would have to be dropped.
    unsafe {
        ffi::luaL_checkstack(state, 3, ptr::null());
        push_place(state);
        ffi::lua_pushlstring(state, why.as_ptr().cast(), why.len());
        ffi::lua_concat(state, 2);
        ffi::lua_error(state)
    }
}

/// Pushes `@policy:line: ` of the innermost line that is the policy's, or nothing where there is
/// none.
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
