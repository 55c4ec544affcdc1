//! What a run's record says: metrics, and the texts, tables and rows that people and programs read
//! of them.

pub mod calibrate;
pub mod conditions;
pub mod metrics;
pub mod page;
pub mod report;
pub mod verify;
