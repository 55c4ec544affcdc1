//! What speaks with real servers and real clients over HTTP, in the time of the machine.
//!
//! This crate prints nothing and knows no flags.

pub mod client;
mod clock;
mod connection;
pub mod decisions;
pub mod emulate;
pub mod gateway;
mod locks;
pub mod observe;
mod openai;
mod prometheus;
mod prompts;
pub mod resimulate;
