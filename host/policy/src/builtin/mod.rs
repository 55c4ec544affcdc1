//! The built-in policies: a file each, in the folder of the hook it fills, whose `mod.rs` has the
//! table. They know the plugin contract and nothing of the engine.

pub mod admission;
pub mod batching;
pub mod disaggregation;
pub mod dispatch;
pub mod policy;
pub mod preemption;
pub mod priority;
pub mod routing;
pub mod scale;
pub mod scheduler;
