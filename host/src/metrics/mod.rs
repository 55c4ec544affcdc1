//! What is recorded while running, and the summaries made of it.

pub mod record;
