//! The invariants of a KV cache, for tests after random runs.

use super::block_table::BlockTable;
use super::cache::KvCache;
use std::collections::BTreeSet;

impl KvCache {
    /// Checks the cache against the block tables of all requests.
    ///
    /// # Errors
    /// A sentence that names the broken invariant.
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a BlockTable>) -> Result<(), String> {
        if let Some(tiered) = &self.tiered {
            return tiered.check(&tables.collect::<Vec<_>>());
        }
        let numbers: BTreeSet<u32> = self.pool.numbers().collect();
        let mut references = vec![0u32; numbers.last().map_or(0, |&last| last as usize + 1)];
        let mut anonymous = 0;
        for table in tables {
            if table.is_empty() != (table.tail == 0) || table.tail > self.block_size {
                return Err(format!(
                    "{} blocks are held, the last with {} tokens",
                    table.len(),
                    table.tail
                ));
            }
            let held: u32 = table.held.iter().map(|held| held.blocks).sum();
            if held != table.identified {
                return Err(format!(
                    "{held} blocks are held and {} have an identity",
                    table.identified
                ));
            }
            for held in &table.held {
                // A sum that does not come out never ends, or ends with a panic.
                for part in self.pool.parts(*held) {
                    references[part as usize] += 1;
                }
            }
            anonymous += u64::from(table.anonymous);
        }
        let mut free = BTreeSet::new();
        for (_, extent) in self.pool.walk()? {
            if let Some(extent) = extent
                && (!free.insert(extent) || !numbers.contains(&extent))
            {
                return Err(format!(
                    "extent {extent} is free and is none, or is so twice"
                ));
            }
        }
        let mut used = anonymous;
        for &number in &numbers {
            let (holders, extent) = (references[number as usize], &self.pool[number]);
            let is_free = free.contains(&number);
            if is_free != (holders == 0) || extent.references != holders || extent.range.blocks == 0
            {
                return Err(format!("{extent:?} has {holders} holders, free: {is_free}"));
            }
            // Shared blocks count once.
            used += u64::from(extent.range.blocks) * u64::from(!is_free);
        }
        if used != self.used() {
            return Err(format!(
                "{used} blocks are held, expected {} of {}",
                self.used(),
                self.total()
            ));
        }
        self.check_index(&numbers)
    }

    fn check_index(&self, numbers: &BTreeSet<u32>) -> Result<(), String> {
        let (index, pool) = (&self.index, &self.pool);
        let mut listed = 0;
        for (line, list) in index.lists() {
            let mut end = 0;
            for &extent in list {
                let there = &pool[extent];
                let sound = numbers.contains(&extent)
                    && there.findable
                    && there.range.line == line
                    && there.range.first >= end;
                if !sound {
                    return Err(format!("{there:?} is wrong in line {line} behind {end}"));
                }
                end = there.range.end();
            }
            listed += list.len();
        }
        if index
            .lists()
            .chain(index.copies())
            .any(|(_, list)| list.is_empty())
        {
            return Err("an empty line is kept".into());
        }
        let expected = numbers.iter().filter(|number| pool[**number].findable);
        if listed != expected.count() {
            return Err(format!(
                "{listed} extents are findable, not those that should be"
            ));
        }
        if !index.finds_all_copies() {
            return Ok(());
        }
        for (line, list) in index.copies() {
            for &extent in list {
                let there = &pool[extent];
                let found = index.leading(pool, there.range, |_, _| {});
                let sound = numbers.contains(&extent)
                    && !there.findable
                    && there.range.line == line
                    && found == there.range.blocks;
                if !sound {
                    return Err(format!("{there:?} is no copy"));
                }
            }
            listed += list.len();
        }
        if listed != numbers.len() {
            return Err(format!(
                "{} extents have an identity, {listed} are findable or copies",
                numbers.len()
            ));
        }
        Ok(())
    }
}
