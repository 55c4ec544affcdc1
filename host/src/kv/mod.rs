//! KV-cache blocks of one instance: the pool, its free list and the prefix index.

mod changes;
mod pool;

pub use pool::{Held, KvPool, Sequence};
