//! Traces that other people recorded, one file per format, and what all of them can do: a time
//! window, sampling, loops, a changed rate, a cap.

pub mod azure;
pub mod burstgpt;
pub mod cut;
mod damage;
pub mod five_column;
pub mod guidellm;
mod lines;
pub mod mooncake;
pub mod rows;
pub mod vllm_bench;

pub use cut::{Cut, Rewind, Selection};
pub use damage::Damages;
pub use rows::Rows;
