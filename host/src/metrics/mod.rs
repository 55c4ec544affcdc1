//! What is recorded while running, and the summaries made of it.

pub mod anomaly;
pub mod fitness;
pub mod groups;
pub mod record;
pub mod saturation;
pub mod slo;
pub mod stats;
pub mod summary;
