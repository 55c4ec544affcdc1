//! Policies in Luau files.
//!
//! A file is a [`Program`]: text, parameters, and the fields it mentions. A [`Loader`] runs
//! programs for one simulation: each file gets a script engine in a sandbox (`vm`), and each place
//! where it decides gets a copy of its own: one at the front end, one per instance. A copy's hooks
//! are bound (`bind.luau`, `binding`): views cross as numbers in one buffer, a trusted prelude
//! spreads them over tables that live as long as the copy, loops over instances and queues, and
//! hands the answers back.

pub mod api;
mod bind;
mod binding;
mod budget;
mod current;
mod engine;
pub mod fields;
mod front;
mod hooks;
mod interrupt;
mod lint;
mod meter;
mod module;
mod program;
mod source;
mod vm;

pub use api::globals;
pub use budget::{CALL_UNITS, LONGEST_CALL, MEMORY, RUN_UNITS};
pub use lint::lint;
pub use meter::{Meter, Used};
pub use module::Loader;
pub use program::{Mentioned, Program, declarations, with_defaults};
pub use source::Finding;
pub use source::canonical;
pub use source::with_ast;
pub use vm::Facts;
