//! The cache of extents does what a cache of single blocks would do.

use super::block_table::{BlockTable, Sequence};
use super::cache::KvCache;
use super::cached_prefix::CachedPrefix;
use super::plain_model::{PlainCache, PlainTable};
use crate::rules::EngineRules;
use proptest::prelude::*;
use windtunnel_base::record::KvChange;
use windtunnel_base::request::{Span, TokenSeq};

/// What a request stores.
#[derive(Clone, Debug)]
struct Tokens {
    prompt: TokenSeq,
    output: TokenSeq,
    private_from: u32,
}

impl Tokens {
    /// The first `prompt` tokens of all are the prompt.
    fn of(all: &TokenSeq, prompt: u32, private_from: u32) -> Self {
        let mut tokens = Self {
            prompt: TokenSeq::default(),
            output: TokenSeq::default(),
            private_from,
        };
        for span in all.spans() {
            let first = span.len.min(prompt.saturating_sub(tokens.prompt.len()));
            let (start, len) = (span.start + first, span.len - first);
            tokens.prompt.push(Span {
                len: first,
                ..*span
            });
            tokens.output.push(Span {
                start,
                len,
                ..*span
            });
        }
        tokens
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence {
            prompt: &self.prompt,
            output: &self.output,
            private_from: self.private_from,
        }
    }

    fn len(&self) -> u32 {
        self.prompt.len() + self.output.len()
    }
}

/// A request in both caches, with the tokens that it has stored.
#[derive(Debug, Default)]
struct Holder {
    table: BlockTable,
    plain: PlainTable,
    stored: u32,
}

/// Both caches, and those who hold blocks.
struct Pair {
    cache: KvCache,
    plain: PlainCache,
    holders: Vec<Holder>,
    events: Vec<KvChange>,
    /// Blocks are allocated ahead of their tokens.
    speculates: bool,
}

/// A step: what, of which request, and numbers that mean something to it.
type Step = (u8, usize, u32, u32);

impl Pair {
    fn step(&mut self, tokens: &[Tokens], (what, who, a, b): Step) -> Result<(), TestCaseError> {
        let who = who % tokens.len();
        let (sequence, all) = (tokens[who].sequence(), tokens[who].len());
        let (cache, plain) = (&mut self.cache, &mut self.plain);
        let size = cache.block_size();
        let holder = &mut self.holders[who];
        let (table, other) = (&mut holder.table, &mut holder.plain);
        match what {
            // An admission, of a prompt or of all that was generated once.
            0..=3 if holder.stored == 0 => {
                let target = if b % 3 == 0 {
                    all
                } else {
                    sequence.prompt.len()
                };
                let findable = target.saturating_sub(b % 2);
                let mut cached = cache.cached_prefix(sequence, findable);
                let mut expected = plain.cached_prefix(sequence, findable);
                if b % 7 == 0 {
                    cached.pop();
                    expected.pop();
                }
                prop_assert_eq!(cached.blocks() as usize, expected.len());
                let found = cached.blocks() * size;
                let count = a.min(target - found);
                prop_assert_eq!(
                    cache.blocks_taken_by(table, count, &cached),
                    plain.blocks_taken_by(other, count, &expected)
                );
                let (fits, same) = if self.speculates {
                    let slots = found + count + b % 5;
                    (
                        plain.slots(other, slots, &expected),
                        cache.allocate_slots(table, slots, &cached),
                    )
                } else {
                    (
                        plain.prefill(other, sequence, count, &expected),
                        cache.allocate_prefill(table, sequence, count, &cached),
                    )
                };
                prop_assert_eq!(same, fits);
                if fits {
                    holder.stored = found + count;
                }
            }
            _ if self.speculates && what < 6 => {
                let slots = holder.stored + a + b % 5;
                let fits = plain.slots(other, slots, &[]);
                let same = cache.allocate_slots(table, slots, &CachedPrefix::default());
                prop_assert_eq!(same, fits);
                if fits {
                    holder.stored = all.min(holder.stored + a);
                }
            }
            0..=3 => {
                let count = a.min(sequence.prompt.len().saturating_sub(holder.stored));
                let none = CachedPrefix::default();
                let fits = plain.prefill(other, sequence, count, &[]);
                prop_assert_eq!(cache.allocate_prefill(table, sequence, count, &none), fits);
                if fits {
                    holder.stored += count;
                }
            }
            4 | 5 => {
                for k in 0..a.min(3 * size).min(all - holder.stored) {
                    let known = (b >> (k % 8)) % 4 > 0;
                    let fits = plain.decode(other, sequence, known);
                    prop_assert_eq!(cache.allocate_decode(table, sequence, known), fits);
                    if !fits {
                        break;
                    }
                    holder.stored += 1;
                }
            }
            6 | 7 => {
                plain.cache(other, sequence, holder.stored.saturating_sub(a % 9));
                cache.cache_blocks(table, sequence, holder.stored.saturating_sub(a % 9));
            }
            8..=10 => {
                let known = holder.stored / size;
                plain.release(other, known.saturating_sub(b % 3));
                cache.release(table, known.saturating_sub(b % 3));
                holder.stored = 0;
            }
            _ => {
                plain.refresh();
                cache.refresh_signal();
            }
        }
        self.compare(tokens)
    }

    fn compare(&mut self, tokens: &[Tokens]) -> Result<(), TestCaseError> {
        let (cache, plain) = (&mut self.cache, &self.plain);
        let counters = [
            cache.relief(),
            cache.evictions(),
            cache.blocks_reused(),
            cache.blocks_taken(),
        ];
        prop_assert_eq!(counters, plain.counters);
        prop_assert_eq!(cache.free(), plain.free());
        if cache.tracks_events() {
            self.events.extend(cache.take_events());
            prop_assert_eq!(format!("{:?}", self.events), format!("{:?}", plain.events));
        }
        prop_assert_eq!(free_keys(cache), plain.free_keys());
        for (holder, tokens) in self.holders.iter().zip(tokens) {
            prop_assert_eq!(holder.table.len() as u32, holder.plain.len());
            prop_assert_eq!(holder.table.tail(), holder.plain.tail);
            let found = cache.cached_prefix(tokens.sequence(), tokens.len());
            let expected = plain.cached_prefix(tokens.sequence(), tokens.len());
            prop_assert_eq!(found.blocks() as usize, expected.len());
            let prompt = &tokens.prompt;
            prop_assert_eq!(cache.cached_blocks_now(prompt), plain.cached_now(prompt));
            let then = plain.cached_at_refresh(prompt);
            prop_assert_eq!(cache.cached_blocks_at_refresh(prompt), then);
        }
        let tables = self.holders.iter().map(|holder| &holder.table);
        cache.check(tables).map_err(TestCaseError::fail)
    }
}

fn free_keys(cache: &KvCache) -> Vec<Option<u64>> {
    let mut keys = Vec::new();
    for (anonymous, extent) in cache.pool.walk().unwrap() {
        keys.extend((0..anonymous).map(|_| None));
        let range = extent.map(|extent| cache.pool[extent].range);
        let ranges = range.into_iter();
        keys.extend(ranges.flat_map(|range| range.keys(cache.block_size).rev().map(Some)));
    }
    keys
}

/// Sequences that begin alike: each is a way down a tree whose branches are streams.
fn rooted() -> impl Strategy<Value = Vec<Tokens>> {
    let branches = prop::collection::vec((0usize..6, 0u32..30), 5);
    let ways = prop::collection::vec((0usize..6, 1u32..50, 0u32..60, 0u32..200), 1..6);
    (branches, ways).prop_map(|(branches, ways)| {
        // The tokens before each stream.
        let mut before = vec![TokenSeq::default()];
        for (parent, at) in branches {
            let parent = parent % before.len();
            let mut tokens = before[parent].clone();
            tokens.push(Span {
                stream: parent as u32,
                start: 0,
                len: at,
            });
            before.push(tokens);
        }
        let tokens = ways.into_iter().map(|(stream, len, prompt, private)| {
            let mut all = before[stream].clone();
            all.push(Span {
                stream: stream as u32,
                start: 0,
                len,
            });
            let private = if private < 60 { private } else { u32::MAX };
            Tokens::of(&all, prompt, private)
        });
        tokens.collect()
    })
}

/// Sequences in which anything follows anything, even itself.
fn unrooted() -> impl Strategy<Value = Vec<Tokens>> {
    let span = (0u32..3, 0u32..20, 1u32..30);
    let span = span.prop_map(|(stream, start, len)| Span { stream, start, len });
    let spans = prop::collection::vec(span, 1..4);
    let one = (spans, 0u32..60).prop_map(|(spans, prompt)| {
        let mut all = TokenSeq::default();
        spans.into_iter().for_each(|span| all.push(span));
        Tokens::of(&all, prompt, u32::MAX)
    });
    prop::collection::vec(one, 1..5)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..12, 0usize..6, 0u32..40, 0u32..256), 0..120)
}

fn compare(
    (total, size): (u32, u32),
    (vllm, events, lookups, speculates): (bool, bool, bool, bool),
    tokens: &[Tokens],
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let rules = if vllm {
        EngineRules::VLLM
    } else {
        EngineRules::BLIS
    };
    let mut pair = Pair {
        cache: KvCache::new(total.into(), size, &rules, lookups),
        plain: PlainCache::new(total, size, vllm, lookups),
        holders: tokens.iter().map(|_| Holder::default()).collect(),
        events: Vec::new(),
        speculates,
    };
    pair.cache.track_changes();
    if events {
        pair.cache.track_events();
    }
    for step in steps {
        pair.step(tokens, step)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn extents_behave_like_single_blocks(
        tokens in rooted(),
        shape in (1u32..40, 1u32..5),
        vllm in any::<bool>(),
        events in any::<bool>(),
        lookups in prop::sample::select(vec![true, true, true, false]),
        speculates in prop::sample::select(vec![true, false, false]),
        steps in steps(),
    ) {
        compare(shape, (vllm, events, lookups, speculates), &tokens, steps)?;
    }

    #[test]
    fn tokens_that_follow_others_do_no_harm(
        tokens in unrooted(),
        shape in (1u32..40, 1u32..5),
        vllm in any::<bool>(),
        events in any::<bool>(),
        steps in steps(),
    ) {
        compare(shape, (vllm, events, true, false), &tokens, steps)?;
    }
}

/// A request of these tokens, all stored at once.
fn store(cache: &mut KvCache, prompt: &TokenSeq) -> BlockTable {
    let output = TokenSeq::default();
    let sequence = Sequence {
        prompt,
        output: &output,
        private_from: u32::MAX,
    };
    let mut table = BlockTable::default();
    let cached = cache.cached_prefix(sequence, prompt.len() - 1);
    let left = prompt.len() - cached.blocks() * cache.block_size();
    assert!(cache.allocate_prefill(&mut table, sequence, left, &cached));
    table
}

#[test]
fn a_conversation_stays_one_extent() {
    for rules in [EngineRules::BLIS, EngineRules::VLLM] {
        let mut cache = KvCache::new(10_000, 16, &rules, true);
        for round in 1..100 {
            let prompt = TokenSeq::of(1, 1000 * round + 7 * round);
            let mut table = store(&mut cache, &prompt);
            assert_eq!(table.held.len(), 1);
            cache.release(&mut table, 0);
            assert_eq!(cache.pool.numbers().count(), 1);
            assert_eq!(cache.cached_blocks_now(&prompt), prompt.len() / 16);
        }
    }
}

#[test]
fn prompts_that_part_ways_share_the_extent_before() {
    let mut cache = KvCache::new(1000, 16, &EngineRules::VLLM, true);
    let mut tables = Vec::new();
    for stream in 2..6 {
        let mut prompt = TokenSeq::of(1, 320);
        prompt.push(Span {
            stream,
            start: 0,
            len: 160,
        });
        tables.push(store(&mut cache, &prompt));
    }
    assert_eq!(cache.pool.numbers().count(), 5);
    assert_eq!(cache.used(), 20 + 4 * 10);
    for mut table in tables {
        cache.release(&mut table, 0);
    }
    // The tails are evicted before what was before them.
    let mut table = store(&mut cache, &TokenSeq::of(9, 16 * (1000 - 20)));
    assert_eq!(cache.cached_blocks_now(&TokenSeq::of(1, 320)), 20);
    assert_eq!(cache.pool.numbers().count(), 2);
    cache.release(&mut table, 0);
}
