//! Tiers below the GPU's KV blocks as the reference simulator has them: the CPU, and devices below
//! it.
//!
//! A block goes to the CPU when it is full and held after a step. An allocation looks for what
//! follows the blocks that its request has; what the CPU has of that is put into free blocks of the
//! GPU, where a lookup finds it.

mod chain;
mod config;
mod cpu;
mod names;
mod station;
mod store;
#[cfg(test)]
mod tests;

pub use config::{ChainConfig, DeviceTier, KvTiers, TierWay};

use self::chain::{Devices, Lacks};
pub(crate) use self::cpu::{CpuTier, Found};
use self::names::Chain;
use self::store::{Store, Storing};
use super::block_table::{BlockTable, Sequence};
use super::cached_prefix::CachedPrefix;
use super::change_log::ChangeLog;
use super::event_log::EventLog;
use windtunnel_base::record::TierCounts;
use windtunnel_base::request::RequestId;

/// A request that asks for blocks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its name.
    pub id: &'a RequestId,
    /// Its tokens.
    pub sequence: Sequence<'a>,
    /// Position of the first token that it stores.
    pub start: u32,
    /// How many it stores.
    pub tokens: u32,
    /// They are tokens of its prompt.
    pub prefills: bool,
    /// Their content is known.
    pub known: bool,
    /// It may be put off until a device has brought its blocks, if it holds none.
    pub may_wait: bool,
}

impl<'a> Asker<'a> {
    fn ask(&self, start: u32) -> Storing<'a> {
        Storing {
            sequence: self.sequence,
            start,
            tokens: self.start + self.tokens - start,
            prefills: self.prefills,
            known: self.known,
        }
    }
}

/// The blocks of an instance with tiers.
#[derive(Clone, Debug)]
pub(super) struct TieredCache {
    store: Store,
    cpu: CpuTier,
    /// Microseconds for a block that comes back.
    block_us: i64,
    devices: Option<Devices>,
    /// What the step at hand is to wait for blocks that come back, microseconds.
    pending_us: i64,
    stored: u64,
    reloaded: u64,
    missed: u64,
    /// Admissions of the batch that was mirrored last, and the version of its blocks, if mirroring
    /// it once more would change nothing.
    mirrored: Vec<u64>,
    settled: Option<u64>,
}

impl TieredCache {
    pub(super) fn new(total: u64, size: u32, tiers: &KvTiers) -> Self {
        let (block_us, devices) = match &tiers.way {
            TierWay::Mirror { block_us } => (*block_us, None),
            TierWay::Chain(chain) => (0, Some(Devices::new(chain))),
        };
        Self {
            store: Store::new(total, size),
            cpu: CpuTier::new(tiers.cpu_blocks),
            block_us,
            devices,
            pending_us: 0,
            stored: 0,
            reloaded: 0,
            missed: 0,
            mirrored: Vec::new(),
            settled: None,
        }
    }

    pub(super) fn free(&self) -> u64 {
        self.store.free()
    }

    pub(super) fn reused(&self) -> u64 {
        self.store.reused
    }

    pub(super) fn taken(&self) -> u64 {
        self.store.taken
    }

    pub(super) fn changes(&mut self) -> &mut Option<ChangeLog> {
        &mut self.store.changes
    }

    pub(super) fn changes_so_far(&self) -> Option<&ChangeLog> {
        self.store.changes.as_ref()
    }

    pub(super) fn events(&mut self) -> &mut Option<EventLog> {
        &mut self.store.events
    }

    pub(super) fn found(&self, range: crate::key_range::KeyRange) -> u32 {
        self.store.found(range)
    }

    pub(super) fn counts(&self) -> TierCounts {
        let evicted = self.cpu.evictions();
        let thrashing = match &self.devices {
            Some(devices) => devices.refused_share(),
            None if self.stored == 0 => 0.0,
            None => evicted as f64 / self.stored as f64,
        };
        TierCounts {
            stored: self.stored,
            evicted,
            reloaded: self.reloaded,
            missed: self.missed,
            thrashing,
        }
    }

    /// What the step at hand is to wait for blocks that come back, microseconds.
    pub(super) fn take_pending_us(&mut self) -> i64 {
        std::mem::take(&mut self.pending_us)
    }

    pub(super) fn cached_prefix(&self, sequence: Sequence<'_>, tokens: u32) -> CachedPrefix {
        CachedPrefix::of_single_blocks(self.store.leading(sequence, tokens))
    }

    pub(super) fn release(&mut self, table: &mut BlockTable) {
        self.store.release(&mut table.single);
        *table = BlockTable::default();
    }

    /// A step begins at `now`.
    pub(super) fn set_clock(&mut self, now: i64) {
        if let Some(devices) = &mut self.devices
            && devices.set_clock(now, &mut self.cpu)
        {
            self.settled = None;
        }
    }

    /// Requests that were put off come one step further.
    pub(super) fn poll(&mut self) {
        if let Some(devices) = &mut self.devices
            && devices.poll(&mut self.cpu)
        {
            self.settled = None;
        }
    }

    /// Is this request put off?
    pub(super) fn waits(&self, id: &RequestId) -> bool {
        let devices = self.devices.as_ref();
        devices.and_then(|devices| devices.waits(id)) == Some(true)
    }

    /// A request has left the queue and is not admitted.
    pub(super) fn forget(&mut self, id: &RequestId) {
        if let Some(devices) = &mut self.devices {
            devices.forget(id);
        }
    }

    /// Stores tokens of a request. `false`: there is no room, or it is put off.
    pub(super) fn allocate(
        &mut self,
        table: &mut BlockTable,
        asker: &Asker<'_>,
        cached: &CachedPrefix,
    ) -> bool {
        let mut held = std::mem::take(&mut table.single);
        let cached: Vec<u32> = cached.single_blocks().collect();
        let stored = self.allocate_blocks(&mut held, asker, &cached);
        table.anonymous = held.len() as u32;
        table.tail = held.last().map_or(0, |&last| self.store.stored(last));
        table.single = held;
        stored
    }

    fn allocate_blocks(&mut self, held: &mut Vec<u32>, asker: &Asker<'_>, cached: &[u32]) -> bool {
        if !held.is_empty() || !asker.may_wait {
            return self.allocate_through(held, asker, cached);
        }
        let put_off = self.devices.as_ref().and_then(|d| d.waits(asker.id));
        match put_off {
            Some(true) => return false,
            Some(false) => {}
            None => {
                if let Some(lacks) = self.lacks(asker, cached)
                    && let Some(devices) = &mut self.devices
                {
                    self.settled = None;
                    devices.put_off(asker.id, lacks, &mut self.cpu);
                    return false;
                }
            }
        }
        let stored = self.allocate_through(held, asker, cached);
        if stored && put_off.is_some() {
            self.forget(asker.id);
        }
        stored
    }

    /// Reloads what follows the blocks that a request has, then stores its tokens.
    fn allocate_through(&mut self, held: &mut Vec<u32>, asker: &Asker<'_>, cached: &[u32]) -> bool {
        let (from, before) = self.followed(held, cached);
        if !self.reload(asker.sequence, from, before) {
            let stored = self.store.allocate(held, &asker.ask(asker.start), cached);
            self.missed += u64::from(!stored);
            return stored;
        }
        let size = self.store.size();
        let prompt = asker.sequence.prompt.len();
        let (start, end) = (asker.start, asker.start + asker.tokens);
        let found = self.store.leading(asker.sequence, prompt);
        let found_tokens = found.len() as u32 * size;
        if found_tokens <= start {
            return self.store.allocate(held, &asker.ask(start), cached);
        }
        // One that runs has the blocks before.
        let first = if held.is_empty() {
            0
        } else {
            start.div_ceil(size)
        };
        let until = end.div_ceil(size).min(found.len() as u32);
        if first < until {
            self.store
                .claim(held, &found[first as usize..until as usize]);
        }
        found_tokens >= end || self.store.allocate(held, &asker.ask(found_tokens), &found)
    }

    /// How many blocks a request has, of its own or found, and the name of the last one.
    fn followed(&self, held: &[u32], cached: &[u32]) -> (u32, Option<Chain>) {
        let blocks = if held.len() > cached.len() {
            held
        } else {
            cached
        };
        let last = blocks.last().and_then(|&last| self.store.name(last));
        (blocks.len() as u32, last)
    }

    /// Brings back what the CPU has of a prompt from block `from` on, which follows the one called
    /// `before`. Was there anything?
    fn reload(&mut self, sequence: Sequence<'_>, from: u32, before: Option<Chain>) -> bool {
        let most = self.store.free();
        let size = self.store.size();
        let whole = sequence.prompt.len() / size;
        let mut before = before;
        let mut reloaded = 0;
        let mut next = from;
        while next < whole {
            let end = (next + 1) * size;
            let key = sequence.key_before(end);
            let name = key.and_then(|key| self.store.names.known(before, key, end, size));
            let Some(name) = name else { break };
            if !self.store.has(name.name) {
                match self.cpu.find(name.name) {
                    Found::Ready => {}
                    Found::Pending => break,
                    Found::Missing => {
                        self.fetch_behind(sequence, next, before);
                        break;
                    }
                }
                if reloaded >= most || !self.store.reload(name, before) {
                    break;
                }
                self.cpu.touch(name.name);
                reloaded += 1;
            }
            before = Some(name);
            next += 1;
        }
        if reloaded > 0 {
            self.reloaded += reloaded;
            self.pending_us += self.block_us.saturating_mul(reloaded as i64);
            self.settled = None;
        }
        reloaded > 0
    }

    /// The names of the blocks of a prompt from block `from` on, which follows the one called
    /// `before`, as far as any block ever had them.
    fn names(&self, sequence: Sequence<'_>, from: u32, before: Option<Chain>) -> Vec<u64> {
        let size = self.store.size();
        let mut before = before;
        let blocks = from..sequence.prompt.len() / size;
        let names = blocks.map_while(|block| {
            let end = (block + 1) * size;
            let key = sequence.key_before(end)?;
            before = self.store.names.known(before, key, end, size);
            before.map(|name| name.name)
        });
        names.collect()
    }

    /// What a running request lacks is fetched for those that come later, if a device has it.
    fn fetch_behind(&mut self, sequence: Sequence<'_>, from: u32, before: Option<Chain>) {
        let names = match &self.devices {
            Some(_) => self.names(sequence, from, before),
            None => return,
        };
        let Some(devices) = &mut self.devices else {
            return;
        };
        let store = &self.store;
        if let Some((device, run)) = devices.run(&names, &self.cpu, |name| store.has(name)) {
            devices.fetch(device, &run, &mut self.cpu);
            self.settled = None;
        }
    }

    /// What a request lacks and may wait for, before it computes it itself.
    fn lacks(&self, asker: &Asker<'_>, cached: &[u32]) -> Option<Lacks> {
        let devices = self.devices.as_ref()?;
        if devices.config().devices.is_empty() {
            return None;
        }
        let (from, before) = self.followed(&[], cached);
        let names = self.names(asker.sequence, from, before);
        let on_gpu = |name: u64| self.store.has(name);
        for (k, &name) in names.iter().enumerate() {
            if on_gpu(name) {
                continue;
            }
            match self.cpu.find(name) {
                Found::Ready => {}
                Found::Pending => return Some(Lacks::OnTheirWay(name)),
                Found::Missing => {
                    let run = devices.run(&names[k..], &self.cpu, on_gpu);
                    return run.map(|(device, run)| Lacks::OnDevice(device, run));
                }
            }
        }
        None
    }

    /// Brings what the requests of a batch hold to the CPU: each by the number of its admission,
    /// its blocks and the length of its prompt, in the order of the batch.
    pub(super) fn mirror<'a>(
        &mut self,
        batch: impl Iterator<Item = (u64, &'a BlockTable, u32)> + Clone,
    ) {
        let version = self.store.version;
        let same = self.settled == Some(version)
            && batch
                .clone()
                .map(|(admission, ..)| admission)
                .eq(self.mirrored.iter().copied());
        if same {
            return;
        }
        self.mirrored.clear();
        self.mirrored
            .extend(batch.clone().map(|(admission, ..)| admission));
        let size = self.store.size();
        let prompts_only = self
            .devices
            .as_ref()
            .is_some_and(|d| d.config().prompts_only);
        let mut settled = true;
        for (_, table, prompt) in batch {
            let most = match prompts_only {
                true => (prompt / size) as usize,
                false => usize::MAX,
            };
            for &block in table.single.iter().take(most) {
                let Some(name) = self.store.name(block) else {
                    continue;
                };
                if self.cpu.touch_at(name.name, self.store.below(block)) {
                    continue;
                }
                settled = false;
                if self.cpu.store(name.name) {
                    self.stored += 1;
                    if let Some(devices) = &mut self.devices {
                        devices.write(name.name, &mut self.cpu);
                    }
                }
            }
        }
        self.settled = settled.then_some(version);
    }

    /// Blocks that `tokens` more tokens take, if the `cached` blocks are claimed first.
    pub(super) fn blocks_taken_by(
        &self,
        table: &BlockTable,
        tokens: u32,
        cached: &CachedPrefix,
    ) -> u64 {
        let idle = cached
            .single_blocks()
            .filter(|&block| self.store.is_idle(block));
        self.store.blocks_for(&table.single, tokens) + idle.count() as u64
    }

    /// The invariants, against the block tables of all requests.
    pub(super) fn check(&self, tables: &[&BlockTable]) -> Result<(), String> {
        for table in tables {
            if table.anonymous as usize != table.single.len() || table.identified > 0 {
                return Err(format!("{} blocks are held, {table:?}", table.single.len()));
            }
        }
        self.cpu.check()?;
        self.store
            .check(tables.iter().map(|table| &table.single[..]))
    }
}
