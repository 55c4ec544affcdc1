//! The summaries made of what a run leaves behind.

pub mod adapters;
pub mod anomaly;
pub mod digest;
pub mod drafts;
pub mod fitness;
pub mod groups;
pub mod measured;
pub mod population;
pub mod saturation;
pub mod slo;
pub mod stats;
pub mod summary;
pub mod ticks;
pub mod transfers;
pub mod window;
pub mod xpusim;
