//! KV-cache blocks of one instance: the pool, its free list and the prefix index.

mod changes;
mod check;
mod free_list;
mod held;
mod pool;

pub use held::{Held, Sequence};
pub use pool::KvPool;
