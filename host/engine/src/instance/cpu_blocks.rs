//! The CPU's KV blocks as vLLM's offloading connector keeps them, and the loads from there.

use super::config::CpuOffload;
use super::slot::Slot;
use crate::kv::{CpuTier, Found};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use windtunnel_base::record::TierCounts;

/// Blocks on their way to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Load {
    at_us: i64,
    order: u64,
    pub(super) slot: Slot,
    /// The stamp of the request: another may have its slot by then.
    pub(super) stamp: u64,
    blocks: Vec<u64>,
}

/// The CPU's blocks, and the loads from there, one after the other.
#[derive(Clone, Debug)]
pub(super) struct CpuBlocks {
    config: CpuOffload,
    cpu: CpuTier,
    loads: BinaryHeap<Reverse<Load>>,
    /// The last load ends then.
    link_free_us: i64,
    stored: u64,
    loaded: u64,
}

impl CpuBlocks {
    pub(super) fn new(config: CpuOffload) -> Self {
        Self {
            cpu: CpuTier::new(config.cpu_blocks),
            config,
            loads: BinaryHeap::new(),
            link_free_us: 0,
            stored: 0,
            loaded: 0,
        }
    }

    /// When the next load ends.
    pub(super) fn next_us(&self) -> Option<i64> {
        self.loads.peek().map(|Reverse(load)| load.at_us)
    }

    pub(super) fn counts(&self) -> TierCounts {
        let evicted = self.cpu.evictions();
        TierCounts {
            stored: self.stored,
            evicted,
            reloaded: self.loaded,
            missed: 0,
            thrashing: match self.stored {
                0 => 0.0,
                stored => evicted as f64 / stored as f64,
            },
        }
    }

    /// The invariants, for tests.
    pub(super) fn check(&self) -> Result<(), String> {
        self.cpu.check()
    }

    /// A block is written, unless it is there or what is there has to stay.
    pub(super) fn store(&mut self, block: u64) {
        if self.cpu.find(block) == Found::Missing && self.cpu.store(block) {
            self.stored += 1;
        }
    }

    /// How many of the first of these blocks are here.
    pub(super) fn leading(&self, blocks: &[u64]) -> usize {
        let here = |block: &&u64| self.cpu.find(**block) == Found::Ready;
        blocks.iter().take_while(here).count()
    }

    /// Starts to load blocks at `now`; they stay here until they are loaded.
    pub(super) fn load(
        &mut self,
        blocks: Vec<u64>,
        size: u32,
        (slot, stamp): (Slot, u64),
        now: i64,
    ) {
        for &block in &blocks {
            self.cpu.touch(block);
            self.cpu.pin(block);
        }
        let tokens = blocks.len() as f64 * f64::from(size);
        let us = self.config.base_us + (tokens * self.config.token_us).round() as i64;
        self.link_free_us = self.link_free_us.max(now).saturating_add(us);
        self.loaded += blocks.len() as u64;
        self.loads.push(Reverse(Load {
            at_us: self.link_free_us,
            order: self.loaded,
            slot,
            stamp,
            blocks,
        }));
    }

    /// The next load, which has ended: its blocks may go again.
    pub(super) fn finish(&mut self) -> Option<Load> {
        let Reverse(load) = self.loads.pop()?;
        load.blocks.iter().for_each(|&block| self.cpu.unpin(block));
        Some(load)
    }
}
