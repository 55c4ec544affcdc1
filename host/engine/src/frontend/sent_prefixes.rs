//! The front end's own guess of what each instance caches: the blocks of the prompts it sent there,
//! least recently sent forgotten first.

use super::positions::{Positions, ones};
use super::recency::Recency;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;

/// Blocks remembered per instance.
const CAPACITY: usize = 10_000;

/// The blocks that the instances probably hold.
#[derive(Clone, Debug, Default)]
pub(super) struct SentPrefixes {
    by_instance: Vec<PrefixLru>,
    /// The instances that probably hold a block.
    holders: FxHashMap<u64, Positions>,
}

impl SentPrefixes {
    /// There are so many instances from now on; nothing was sent to new ones.
    pub(super) fn resize(&mut self, instances: usize) {
        while self.by_instance.len() > instances {
            let gone = self.by_instance.pop().unwrap_or_default();
            let i = self.by_instance.len() as u32;
            gone.index.keys().for_each(|key| self.forget(*key, i));
        }
        self.by_instance.resize_with(instances, PrefixLru::default);
    }

    /// Leading blocks that are probably on instance `i`. Looking does not count as use.
    pub(super) fn leading(&self, i: usize, keys: impl Iterator<Item = u64>) -> u32 {
        self.by_instance.get(i).map_or(0, |lru| lru.leading(keys))
    }

    /// The same on all instances, to the end of `out`. Costs a look per block, however many hold
    /// it.
    pub(super) fn leading_on_all(&self, keys: impl Iterator<Item = u64>, out: &mut [u32]) {
        out.fill(0);
        let mut tell = |w: usize, bits: u64, blocks: u32| {
            for bit in ones(bits) {
                if let Some(known) = out.get_mut(64 * w + bit as usize) {
                    *known = blocks;
                }
            }
        };
        let words = 0..self.by_instance.len().div_ceil(64);
        let mut left: Vec<u64> = Vec::new();
        let mut blocks = 0;
        for key in keys {
            let holders = self.holders.get(&key);
            let word = |w| holders.map_or(0, |holders| holders.word(w));
            if blocks == 0 {
                left.extend(words.clone().map(word));
            }
            for (w, left) in left.iter_mut().enumerate() {
                let here = *left & word(w);
                tell(w, *left & !here, blocks);
                *left = here;
            }
            if left.iter().all(|word| *word == 0) {
                return;
            }
            blocks += 1;
        }
        for (w, left) in left.into_iter().enumerate() {
            tell(w, left, blocks);
        }
    }

    /// A prompt with these blocks was sent to instance `i`.
    pub(super) fn record(&mut self, i: usize, keys: impl Iterator<Item = u64>) {
        for key in keys {
            let Some(lru) = self.by_instance.get_mut(i) else {
                return;
            };
            let (new, evicted) = lru.record(key);
            if let Some(evicted) = evicted {
                self.forget(evicted, i as u32);
            }
            if new {
                match self.holders.entry(key) {
                    Entry::Occupied(mut holders) => holders.get_mut().insert(i as u32),
                    Entry::Vacant(place) => {
                        place.insert(Positions::One(i as u32));
                    }
                }
            }
        }
    }

    fn forget(&mut self, key: u64, i: u32) {
        if let Entry::Occupied(mut holders) = self.holders.entry(key)
            && holders.get_mut().remove(i)
        {
            holders.remove();
        }
    }
}

/// The blocks that one instance probably holds.
#[derive(Clone, Debug, Default)]
struct PrefixLru {
    /// By position.
    keys: Vec<u64>,
    order: Recency,
    index: FxHashMap<u64, u32>,
}

impl PrefixLru {
    fn leading(&self, keys: impl Iterator<Item = u64>) -> u32 {
        keys.take_while(|key| self.index.contains_key(key)).count() as u32
    }

    /// A block was sent: is it new here, and which other one made room for it?
    fn record(&mut self, key: u64) -> (bool, Option<u64>) {
        if let Some(&at) = self.index.get(&key) {
            self.order.touch(at);
            return (false, None);
        }
        let (at, evicted) = if self.keys.len() < CAPACITY {
            self.keys.push(key);
            (self.order.push(), None)
        } else {
            let at = self.order.oldest();
            self.order.touch(at);
            let evicted = std::mem::replace(&mut self.keys[at as usize], key);
            self.index.remove(&evicted);
            (at, Some(evicted))
        };
        self.index.insert(key, at);
        (true, evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_sent_block_is_forgotten_first() {
        let mut sent = SentPrefixes::default();
        sent.resize(1);
        let all = 0..CAPACITY as u64;
        sent.record(0, all.clone());
        assert_eq!(sent.leading(0, all.clone()), CAPACITY as u32);
        sent.record(0, 0..2);
        sent.record(0, [u64::MAX].into_iter());
        assert_eq!(sent.leading(0, all), 2, "block 2 made room");
        assert_eq!(sent.leading(0, [u64::MAX, 1, 3].into_iter()), 3);
        assert_eq!(sent.leading(1, 0..2), 0, "there is no such instance");
    }

    #[test]
    fn all_instances_at_once_are_each_by_itself() {
        let mut sent = SentPrefixes::default();
        let mut noise = 7u64;
        let mut next = |below: u64| {
            noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (noise >> 33) % below
        };
        for round in 0..600 {
            let instances = if round % 50 == 49 { 60 } else { 130 };
            sent.resize(instances);
            let prompt = |group: u64| (0..40).map(move |block| 100 * group + block);
            let (i, group, own) = (next(instances as u64), next(4), next(40) as usize);
            sent.record(i as usize, prompt(group).take(own));
            // Enough blocks to push others out of one instance.
            let other = 1_000_000 + 3_000 * round;
            sent.record(3, other..other + 3_000);
            let mut out = vec![9; 140];
            sent.leading_on_all(prompt(group), &mut out);
            let each: Vec<u32> = (0..140).map(|i| sent.leading(i, prompt(group))).collect();
            assert_eq!(out, each);
        }
    }
}
