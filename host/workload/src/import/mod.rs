//! Recorded traces, one file per format, and what all of them support: a time window, sampling,
//! loops, a changed rate, a cap.

pub mod azure;
pub mod blocks;
pub mod burstgpt;
pub mod cut;
pub mod five_column;
pub mod guidellm;
mod lines;
pub mod mooncake;
pub mod row;
mod row_errors;
pub mod rows;
mod sessions;
mod turns;
mod units;
pub mod vllm_bench;

pub use cut::{Cut, Rewind, Selection};
pub use row_errors::RowErrors;
pub use rows::Rows;
pub use turns::Turns;
pub use units::TimeUnit;
