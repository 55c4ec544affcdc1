//! The built-in policies. They know the plugin contract and nothing of the engine.

pub mod admission;
pub mod routing;
pub mod scheduling;
pub mod scorers;
