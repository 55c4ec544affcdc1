//! Sets of instances.

/// A set of positions of instances: one of them, or a bit for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Positions {
    /// This one alone: most prefixes are on one instance.
    One(u32),
    /// Bits, the lowest of the first word for position 0.
    Many(Box<[u64]>),
}

impl Positions {
    /// Adds a position.
    pub(crate) fn insert(&mut self, i: u32) {
        let (word, bit) = (i as usize / 64, 1 << (i % 64));
        match self {
            Self::One(one) if *one == i => {}
            Self::One(one) => {
                let one = *one;
                let words = word.max(one as usize / 64) + 1;
                *self = Self::Many(vec![0; words].into());
                self.insert(one);
                self.insert(i);
            }
            Self::Many(bits) => {
                if bits.len() <= word {
                    let mut more = std::mem::take(bits).into_vec();
                    more.resize(word + 1, 0);
                    *bits = more.into();
                }
                bits[word] |= bit;
            }
        }
    }

    /// Takes a position out. `true` if none is left.
    pub(crate) fn remove(&mut self, i: u32) -> bool {
        match self {
            Self::One(one) => *one == i,
            Self::Many(bits) => {
                if let Some(word) = bits.get_mut(i as usize / 64) {
                    *word &= !(1 << (i % 64));
                }
                bits.iter().all(|word| *word == 0)
            }
        }
    }

    /// Is this position in it?
    pub(crate) fn has(&self, i: u32) -> bool {
        self.word(i as usize / 64) >> (i % 64) & 1 == 1
    }

    /// The bits of positions `64 * k` to `64 * k + 63`, the lowest for the first.
    pub(crate) fn word(&self, k: usize) -> u64 {
        match self {
            Self::One(one) if *one as usize / 64 == k => 1 << (one % 64),
            Self::One(_) => 0,
            Self::Many(bits) => bits.get(k).copied().unwrap_or(0),
        }
    }

    /// All positions, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let words = match self {
            Self::One(one) => *one as usize / 64..*one as usize / 64 + 1,
            Self::Many(bits) => 0..bits.len(),
        };
        words.flat_map(|k| ones(self.word(k)).map(move |bit| 64 * k as u32 + bit))
    }
}

/// Places of the ones in a word, ascending.
pub(crate) fn ones(word: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(word), |left| Some(left & left.wrapping_sub(1)))
        .take_while(|left| *left != 0)
        .map(u64::trailing_zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_and_go() {
        let mut set = Positions::One(3);
        set.insert(3);
        assert_eq!(set, Positions::One(3));
        for i in [130, 0, 63, 64, 130] {
            set.insert(i);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 63, 64, 130]);
        assert!(set.has(64) && !set.has(65) && !set.has(1000));
        assert!(!set.remove(64) && !set.remove(1000));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 63, 130]);
        assert!(!set.remove(0) && !set.remove(3) && !set.remove(63));
        assert!(set.remove(130));
        assert!(Positions::One(5).remove(5) && !Positions::One(5).remove(4));
        assert_eq!(Positions::One(5).iter().collect::<Vec<_>>(), [5]);
    }
}
