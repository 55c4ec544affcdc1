//! The simulated cluster: KV cache, step times, instances, and the front end before them.
//!
//! The engine does no I/O, reads no clock of the machine, holds no global and starts no thread.

pub mod adapters;
pub mod cluster;
pub mod forecast;
pub mod frontend;
pub mod instance;
mod key_range;
pub mod kv;
pub mod latency;
pub mod profile;
pub mod ranks;
pub mod rules;
