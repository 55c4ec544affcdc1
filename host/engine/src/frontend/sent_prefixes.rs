//! The front end's own guess of what each instance caches: the blocks of the prompts it sent there,
//! least recently sent forgotten first.

use super::block_holders::BlockHolders;
use super::positions::ones;
use super::sent_blocks::SentBlocks;
use crate::key_range::KeyRange;

/// Blocks remembered per instance.
const CAPACITY: usize = 10_000;

/// The blocks that the instances probably hold.
#[derive(Clone, Debug)]
pub(super) struct SentPrefixes {
    /// Most blocks of an instance.
    capacity: usize,
    by_instance: Vec<SentBlocks>,
    /// The instances that probably hold a block.
    holders: BlockHolders,
}

impl Default for SentPrefixes {
    fn default() -> Self {
        Self {
            capacity: CAPACITY,
            by_instance: Vec::new(),
            holders: BlockHolders::default(),
        }
    }
}

impl SentPrefixes {
    /// There are so many instances from now on; nothing was sent to new ones.
    pub(super) fn resize(&mut self, instances: usize) {
        while self.by_instance.len() > instances {
            let gone = self.by_instance.pop().unwrap_or_default();
            let i = self.by_instance.len() as u32;
            gone.ranges()
                .for_each(|range| self.holders.remove(range, i));
        }
        self.by_instance.resize_with(instances, SentBlocks::default);
    }

    /// Nothing was sent to instance `i` yet.
    pub(super) fn forget(&mut self, i: usize) {
        let Some(sent) = self.by_instance.get_mut(i) else {
            return;
        };
        let gone = std::mem::take(sent);
        gone.ranges()
            .for_each(|range| self.holders.remove(range, i as u32));
    }

    /// Leading blocks that are probably on instance `i`. Looking does not count as use.
    pub(super) fn leading(&self, i: usize, keys: impl Iterator<Item = KeyRange>) -> u32 {
        let Some(sent) = self.by_instance.get(i) else {
            return 0;
        };
        let mut blocks = 0;
        for range in keys {
            let found = sent.leading(range);
            blocks += found;
            if found < range.blocks {
                break;
            }
        }
        blocks
    }

    /// The same on all instances, to the end of `out`. Costs a look per stretch of blocks that the
    /// same instances hold, however many these are.
    pub(super) fn leading_on_all(&self, keys: impl Iterator<Item = KeyRange>, out: &mut [u32]) {
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
        for range in keys {
            let mut first = range.first;
            while first < range.end() {
                let holders = self.holders.first(range.part(first, range.end()));
                let word = |w| holders.instances.map_or(0, |instances| instances.word(w));
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
                blocks += holders.end - first;
                first = holders.end;
            }
        }
        for (w, left) in left.into_iter().enumerate() {
            tell(w, left, blocks);
        }
    }

    /// A prompt with these blocks was sent to instance `i`.
    pub(super) fn record(&mut self, i: usize, keys: impl Iterator<Item = KeyRange>) {
        let Some(sent) = self.by_instance.get_mut(i) else {
            return;
        };
        for range in keys {
            sent.record(range, self.capacity, |range, is_new| {
                if is_new {
                    self.holders.add(range, i as u32);
                } else {
                    self.holders.remove(range, i as u32);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn range(line: u32, first: u32, blocks: u32) -> KeyRange {
        KeyRange {
            line: u64::from(line) << 32 | 15,
            first,
            blocks,
        }
    }

    #[test]
    fn the_least_recently_sent_block_is_forgotten_first() {
        let mut sent = SentPrefixes::default();
        sent.resize(1);
        let all = || std::iter::once(range(0, 0, CAPACITY as u32));
        sent.record(0, all());
        assert_eq!(sent.leading(0, all()), CAPACITY as u32);
        sent.record(0, [range(0, 0, 2)].into_iter());
        sent.record(0, [range(9, 0, 1)].into_iter());
        assert_eq!(sent.leading(0, all()), 2, "block 2 made room");
        let prompt = [range(9, 0, 1), range(0, 1, 1), range(0, 3, 1)];
        assert_eq!(sent.leading(0, prompt.into_iter()), 3);
        assert_eq!(sent.leading(1, all()), 0, "there is no such instance");
    }

    /// The same block by block: the keys of each instance, the least recently sent first.
    #[derive(Default)]
    struct Plain(Vec<Vec<u64>>);

    impl Plain {
        fn record(&mut self, i: usize, keys: &[u64], capacity: usize) {
            for &key in keys {
                let known = self.0[i].len();
                self.0[i].retain(|other| *other != key);
                if self.0[i].len() == known && known == capacity {
                    self.0[i].remove(0);
                }
                self.0[i].push(key);
            }
        }

        fn leading(&self, i: usize, keys: &[u64]) -> u32 {
            keys.iter()
                .take_while(|key| self.0[i].contains(key))
                .count() as u32
        }
    }

    fn prompt() -> impl Strategy<Value = Vec<KeyRange>> {
        let one = (0u32..4, 0u32..20, 1u32..20);
        let one = one.prop_map(|(line, first, blocks)| range(line, first, blocks));
        prop::collection::vec(one, 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.max(500),
            ..ProptestConfig::default()
        })]

        #[test]
        fn stretches_of_blocks_behave_like_single_blocks(
            capacity in 1usize..60,
            sent in prop::collection::vec((0usize..140, prompt(), 0u32..20), 1..60),
            asked in prop::collection::vec(prompt(), 1..6),
        ) {
            let mut prefixes = SentPrefixes { capacity, ..SentPrefixes::default() };
            let mut plain = Plain::default();
            for (i, prompt, fewer) in sent {
                let instances = if fewer == 0 { 70 } else { 140 };
                prefixes.resize(instances);
                plain.0.resize_with(instances, Vec::new);
                // A few instances get most.
                let i = if i % 4 == 0 { i % instances } else { [3, 69, 130][i % 4 - 1] % instances };
                let keys: Vec<u64> = prompt.iter().flat_map(|range| range.keys(16)).collect();
                prefixes.record(i, prompt.into_iter());
                plain.record(i, &keys, capacity);
                for prompt in &asked {
                    let keys: Vec<u64> = prompt.iter().flat_map(|range| range.keys(16)).collect();
                    let mut all = vec![9; 150];
                    prefixes.leading_on_all(prompt.iter().copied(), &mut all);
                    let each: Vec<u32> = (0..150)
                        .map(|i| prefixes.leading(i, prompt.iter().copied()))
                        .collect();
                    let mut expected: Vec<u32> =
                        (0..instances).map(|i| plain.leading(i, &keys)).collect();
                    expected.resize(150, 0);
                    prop_assert_eq!(&each, &expected);
                    prop_assert_eq!(&all, &expected);
                }
                for (sent, plain) in prefixes.by_instance.iter().zip(&plain.0) {
                    let here: BTreeSet<u64> =
                        sent.ranges().flat_map(|range| range.keys(16)).collect();
                    prop_assert_eq!(here, plain.iter().copied().collect::<BTreeSet<u64>>());
                }
            }
        }
    }

    #[test]
    fn a_growing_prompt_stays_one_stretch() {
        let mut sent = SentPrefixes::default();
        sent.resize(2);
        for blocks in 1..100 {
            sent.record(1, [range(7, 0, blocks)].into_iter());
            assert_eq!(sent.by_instance[1].ranges().count(), 1);
            let all = sent.holders.first(range(7, 0, 200));
            assert_eq!(all.end, blocks);
        }
    }
}
