//! What speaks with real servers and real clients over HTTP, in the time of the machine.
//!
//! This crate prints nothing and knows no flags.

pub mod client;
pub mod observe;
