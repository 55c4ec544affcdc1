//! The KV cache of one instance: its blocks, the free list and the prefix index.

mod block_table;
mod cache;
mod change_log;
mod check;
mod event_log;
mod free_list;

pub use block_table::{BlockTable, Sequence};
pub use cache::KvCache;
