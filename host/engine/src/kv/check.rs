//! The invariants of a KV cache, for tests after random runs.

use super::block_table::BlockTable;
use super::cache::KvCache;

impl KvCache {
    /// Checks the cache against the block tables of all requests.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), String> {
        let mut references = vec![0u32; self.blocks.len()];
        let mut anonymous = 0;
        for table in tables {
            if table.is_empty() != (table.tail == 0) || table.tail > self.block_size {
                return Err(format!(
                    "{} blocks are held, the last with {} tokens",
                    table.len(),
                    table.tail
                ));
            }
            table
                .identified
                .iter()
                .for_each(|&block| references[block as usize] += 1);
            anonymous += u64::from(table.anonymous);
        }
        let mut idle = vec![false; self.blocks.len()];
        let (identified, free) = self.free.walk()?;
        for &block in identified.iter().chain(&self.unused_numbers) {
            if std::mem::replace(&mut idle[block as usize], true) {
                return Err(format!("block {block} is free twice"));
            }
        }
        for (b, &holders) in references.iter().enumerate() {
            if idle[b] != (holders == 0) || (!idle[b] && self.blocks[b].references != holders) {
                let counts = self.blocks[b].references;
                return Err(format!(
                    "block {b} has {holders} holders, counts {counts}, free: {}",
                    idle[b]
                ));
            }
        }
        // Shared blocks count once.
        let used = anonymous + references.iter().filter(|&&r| r > 0).count() as u64;
        if used + free != self.total() || used != self.used() {
            return Err(format!(
                "{used} blocks are held and {free} free, of {}",
                self.total()
            ));
        }
        self.check_index(&idle)
    }

    fn check_index(&self, idle: &[bool]) -> Result<(), String> {
        let wrong_key = |block: u32, key: u64| {
            self.blocks[block as usize].key != key || self.unused_numbers.contains(&block)
        };
        if let Some((key, block)) = self
            .index
            .iter()
            .find(|(key, block)| wrong_key(**block, **key))
        {
            return Err(format!(
                "index names block {block} for the key {key}, which it has not"
            ));
        }
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        for (key, others) in copies {
            let first = self.index.get(key);
            let wrong = |b: &u32| wrong_key(*b, *key) || first == Some(b);
            if others.is_empty() || first.is_none() || others.iter().any(wrong) {
                return Err(format!(
                    "copies {others:?} of the block {first:?} are wrong"
                ));
            }
        }
        let findable = self.index.len() + copies.values().map(Vec::len).sum::<usize>();
        let with_identity = idle.len() - self.unused_numbers.len();
        if findable != with_identity {
            return Err(format!(
                "{with_identity} blocks have an identity, {findable} are findable"
            ));
        }
        Ok(())
    }
}
