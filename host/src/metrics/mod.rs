//! What is recorded while running, and the summaries made of it.

pub use crate::record;
