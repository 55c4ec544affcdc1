//! Policies in Luau files.
//!
//! A file is a [`Program`]: text, parameters, and the fields it mentions. [`ScriptEngines`] run
//! programs for one simulation: each file gets a script engine in a sandbox (`vm`, `stdlib.luau`),
//! and each place where it decides gets a copy of its state: one at the front end, one per
//! instance. A copy's hooks are bound (`bind.luau`, `binding`): views cross as numbers in one
//! buffer; trusted code spreads them over tables that live as long as the copy, loops over
//! instances and queues, and hands the answers back.

pub mod api;
mod asked;
#[cfg(test)]
mod attacks;
mod bind;
mod binding;
#[cfg(test)]
mod bounds;
mod budget;
mod call_context;
mod canonical;
mod dispatch;
mod engines;
pub mod fields;
mod finding;
mod front_end;
mod instance;
mod interrupt;
mod iteration;
mod lasting_keys;
mod lint;
mod messages;
mod misreads;
mod module;
mod monitor;
mod name_texts;
mod names;
mod program;
mod sandbox;
mod scale;
mod script_log;
mod source;
mod tokens;
mod usage;
mod vm;
mod weights;

pub use api::globals;
pub use budget::{CALL_UNITS, LONGEST_CALL, LONGEST_TEXT, MEMORY, RUN_UNITS};
pub use canonical::canonical;
pub use engines::{ScriptEngines, hooks_filled};
pub use finding::Finding;
pub use iteration::may_follow_addresses;
pub use lint::lint;
pub use misreads::{ComparedName, compared_names, refuse_misreads};
pub use monitor::UsageMonitor;
pub use program::{Mentioned, Program, declarations, with_defaults};
pub use script_log::ScriptLog;
pub use source::with_ast;
pub use usage::ScriptUsage;
