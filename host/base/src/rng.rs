//! Random streams named by what they are for.
//!
//! A stream is a ChaCha8 key stream whose key *is* its name: (seed, label, client, request).
//! Nothing depends on how many numbers anyone else drew before, so adding a client, a request or a
//! draw never changes another one's numbers.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;

/// A stream of random numbers.
pub type Numbers = ChaCha8Rng;

/// The stream of numbers for one purpose (`label`), client and request under a seed.
#[must_use]
pub fn stream(seed: u64, label: &str, client: u64, request: u64) -> Numbers {
    let mut key = [0u8; 32];
    for (part, word) in key
        .chunks_exact_mut(8)
        .zip([seed, fnv1a64(label), client, request])
    {
        part.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The seed of a purpose that must not be told by its numbers; `seed` itself with salt 0. Numbers
/// drawn with it name the seed only to who knows the salt, and do not tell the salt.
#[must_use]
pub fn salted(seed: u64, salt: u64) -> u64 {
    match salt {
        0 => seed,
        salt => stream(seed, "salt", salt, 0).next_u64(),
    }
}

/// A [`stream`] that is set up when its first number is drawn: most decisions draw none.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    key: (u64, &'a str, u64, u64),
    drawn: RefCell<Option<ChaCha8Rng>>,
}

impl<'a> Stream<'a> {
    /// The stream for one purpose, client and request under a seed.
    #[must_use]
    pub fn new(seed: u64, label: &'a str, client: u64, request: u64) -> Self {
        Self {
            key: (seed, label, client, request),
            drawn: RefCell::new(None),
        }
    }

    /// The next number.
    #[must_use]
    pub fn next(&self) -> u64 {
        let (seed, label, client, request) = self.key;
        self.drawn
            .borrow_mut()
            .get_or_insert_with(|| stream(seed, label, client, request))
            .next_u64()
    }
}

/// The FNV-1a hash, 64 bits.
#[must_use]
pub fn fnv1a64(text: &str) -> u64 {
    let mut hash = Fnv1a64::default();
    hash.add(text.as_bytes());
    hash.value()
}

/// The FNV-1a hash of bytes that come in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Fnv1a64(u64);

impl Default for Fnv1a64 {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a64 {
    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    }

    /// The hash of all bytes so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_gives_other_numbers() {
        assert_eq!(salted(42, 0), 42);
        assert_ne!(salted(42, 1), salted(42, 2));
        assert_ne!(salted(41, 1), salted(42, 1));
    }

    #[test]
    fn the_hash_is_fnv() {
        assert_eq!(fnv1a64(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn streams_stay_what_they_are() {
        // Golden: these numbers must never change, on any machine or with any version of a library.
        let mut rng = stream(42, "prompt", 1, 7);
        let words = [rng.next_u64(), rng.next_u64()];
        assert_eq!(
            words,
            [5_073_267_405_239_744_779, 12_731_460_947_078_717_548]
        );
        let others = [
            stream(43, "prompt", 1, 7).next_u64(),
            stream(42, "output", 1, 7).next_u64(),
            stream(42, "prompt", 2, 7).next_u64(),
            stream(42, "prompt", 1, 8).next_u64(),
        ];
        for (k, other) in others.iter().enumerate() {
            assert_ne!(*other, words[0]);
            assert!(!others[..k].contains(other));
        }
    }
}
