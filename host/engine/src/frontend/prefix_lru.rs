//! The front end's own guess of what each instance caches: the blocks of the prompts it sent there,
//! least recently sent forgotten first.

use rustc_hash::FxHashMap;

/// Blocks remembered per instance.
const CAPACITY: usize = 10_000;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    key: u64,
    older: u32,
    newer: u32,
}

/// The blocks that one instance probably holds.
#[derive(Clone, Debug)]
pub(super) struct PrefixLru {
    nodes: Vec<Node>,
    index: FxHashMap<u64, u32>,
    oldest: u32,
    newest: u32,
}

impl Default for PrefixLru {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            index: FxHashMap::default(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl PrefixLru {
    /// Leading blocks that are probably there. Looking does not count as use.
    pub(super) fn leading(&self, keys: impl Iterator<Item = u64>) -> u32 {
        keys.take_while(|key| self.index.contains_key(key)).count() as u32
    }

    /// A prompt with these blocks was sent.
    pub(super) fn record(&mut self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            if let Some(&at) = self.index.get(&key) {
                self.unlink(at);
                self.append(at);
                continue;
            }
            let node = Node {
                key,
                older: NONE,
                newer: NONE,
            };
            let at = if self.nodes.len() < CAPACITY {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            } else {
                let at = self.oldest;
                self.unlink(at);
                self.index.remove(&self.nodes[at as usize].key);
                self.nodes[at as usize] = node;
                at
            };
            self.index.insert(key, at);
            self.append(at);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Node { older, newer, .. } = self.nodes[at as usize];
        match older {
            NONE => self.oldest = newer,
            o => self.nodes[o as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            n => self.nodes[n as usize].older = older,
        }
    }

    fn append(&mut self, at: u32) {
        let newest = self.newest;
        let node = &mut self.nodes[at as usize];
        (node.older, node.newer) = (newest, NONE);
        match newest {
            NONE => self.oldest = at,
            n => self.nodes[n as usize].newer = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_sent_block_is_forgotten_first() {
        let mut lru = PrefixLru::default();
        let all = 0..CAPACITY as u64;
        lru.record(all.clone());
        assert_eq!(lru.leading(all.clone()), CAPACITY as u32);
        lru.record(0..2);
        lru.record([u64::MAX].into_iter());
        assert_eq!(lru.leading(all), 2, "block 2 made room");
        assert_eq!(lru.leading([u64::MAX, 1, 3].into_iter()), 3);
    }
}
