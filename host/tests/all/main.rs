//! Integration tests: everything here goes through the command line or the public library, as a user would.
#![allow(clippy::print_stdout, reason = "the sweep says how many cases ran")]

mod cases;
mod errors;
mod fuzz;
mod help;
mod hooks;
mod hostile;
mod lab;
mod models;
mod oracle;
mod plugin;
mod properties;
mod readme;
mod replay;
mod rules;
mod spec;
mod support;
mod sweep;
mod traces;
mod workload;
