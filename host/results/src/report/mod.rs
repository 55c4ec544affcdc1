//! What people and programs read: made from results only, written to strings and writers, never
//! printed here.

pub mod blis;
pub mod columns;
pub mod decisions;
mod gateway;
pub mod generator;
pub mod go;
mod inputs;
pub mod json;
pub mod kv_events;
pub mod machines;
mod names;
mod results;
pub mod rows;
pub mod run_page;
pub mod saturation;
mod scaling;
mod sections;
pub mod step_log;
pub mod sweep;
pub mod table;
pub mod ticks;
mod tiers;
pub mod time_series;
pub mod timeline;
mod upkeep;
pub mod width;
pub mod xpusim;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod pool_tests;

pub use inputs::{GeneratorInputs, ReportInputs};
pub use names::instance_name;
pub use results::Results;
pub use upkeep::gpu_hours;
