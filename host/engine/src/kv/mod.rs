//! The KV cache of one instance: its blocks, the free list and the prefix index.

mod below;
mod block_table;
mod cache;
mod cached_prefix;
mod change_log;
mod check;
mod event_log;
mod identity;
mod index;
#[cfg(test)]
mod plain_model;
mod pool;
#[cfg(test)]
mod tests;
mod tiers;

pub use block_table::{BlockTable, Sequence};
pub use cache::KvCache;
pub use cached_prefix::CachedPrefix;
pub use tiers::{Asker, ChainConfig, DeviceTier, KvTiers, TierWay};
pub(crate) use tiers::{CpuTier, Found};
