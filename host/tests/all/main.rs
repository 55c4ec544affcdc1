//! Integration tests: everything here goes through the command line or the public library, as a
//! user would.
#![allow(clippy::print_stdout, reason = "the sweep says how many cases ran")]

mod baselines;
mod capacity;
mod cases;
mod compare;
mod errors;
mod faults;
mod feedback;
mod figures;
mod filled;
mod formats;
mod fuzz;
mod golden;
mod hardware;
mod help;
mod hooks;
mod hostile;
mod importers;
mod lab;
mod leaderboard;
mod models;
mod names;
mod native;
mod oracle;
mod picker_config;
mod plugin;
mod pools;
mod properties;
mod readme;
mod replay;
mod rules;
mod run_file;
mod sandbox;
mod score;
mod scripts;
mod spec;
mod stubs;
mod support;
mod sweep;
mod traces;
mod tune;
mod twins;
mod workload;
