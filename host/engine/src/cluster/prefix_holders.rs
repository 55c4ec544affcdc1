//! Which instances may hold a prefix, by its first block.

use crate::frontend::Positions;
use rustc_hash::FxHashMap;
use windtunnel_base::request::Request;

/// First blocks up to which nobody asks whether some are gone.
const FEW: usize = 4096;

/// The instances that requests were sent to, by the first block of the requests' sequences. A cache
/// holds nothing else, so only these are asked about a prompt.
///
/// (Instances that take KV from others hold what those were sent: it is to be noted for both.)
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixHolders {
    by_first_block: FxHashMap<u64, Holders>,
    /// First blocks from which on those that are gone are looked for.
    sweep_at: usize,
}

#[derive(Clone, Debug)]
struct Holders {
    instances: Positions,
    /// Requests on these instances that may still fill the block.
    in_flight: u32,
}

/// The first block of what a request is or will be on an instance with blocks of `size` tokens;
/// `None` if there is no full one, or nobody else has it.
fn first_block(request: &Request, size: u32) -> Option<u64> {
    let last = size.checked_sub(1)?;
    if request.private_from <= last {
        return None;
    }
    let prompt = request.prompt.len();
    request.prompt.token_key(last).or_else(|| {
        // The answer fills it up; a follow-up may begin with both.
        request.output.token_key(last - prompt)
    })
}

impl PrefixHolders {
    /// The instances that may hold this first block.
    pub(super) fn of(&self, first_block: u64) -> Option<&Positions> {
        Some(&self.by_first_block.get(&first_block)?.instances)
    }

    /// A request goes to instance `i`, which has blocks of `size` tokens. `cached` says whether an
    /// instance has a block in its cache.
    pub(super) fn sent(
        &mut self,
        i: u32,
        request: &Request,
        size: u32,
        cached: impl Fn(u32, u64) -> bool,
    ) {
        let Some(key) = first_block(request, size) else {
            return;
        };
        if self.by_first_block.len() >= self.sweep_at {
            self.by_first_block.retain(|&key, holders| {
                holders.in_flight > 0 || holders.instances.iter().any(|i| cached(i, key))
            });
            // As many more are put in before the next look as it costs.
            self.sweep_at = FEW.max(2 * self.by_first_block.len());
        }
        let holders = self.by_first_block.entry(key).or_insert(Holders {
            instances: Positions::One(i),
            in_flight: 0,
        });
        holders.instances.insert(i);
        holders.in_flight += 1;
    }

    /// A request left an instance with blocks of `size` tokens.
    pub(super) fn left(&mut self, request: &Request, size: u32) {
        let key = first_block(request, size);
        let holders = key.and_then(|key| self.by_first_block.get_mut(&key));
        if let Some(holders) = holders {
            holders.in_flight = holders.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::{RequestId, TokenSeq};

    fn request(stream: u32, prompt: u32, output: u32) -> Request {
        let mut all = TokenSeq::of(stream, prompt);
        let mut answer = TokenSeq::default();
        answer.push(windtunnel_base::request::Span {
            stream,
            start: prompt,
            len: output,
        });
        std::mem::swap(&mut all, &mut answer);
        Request::new(RequestId::Number(u64::from(stream)), 0, answer, all)
    }

    fn holders_of(holders: &PrefixHolders, request: &Request) -> Vec<u32> {
        let key = request.prompt.token_key(15).unwrap();
        holders.of(key).map_or(vec![], |all| all.iter().collect())
    }

    #[test]
    fn an_answer_that_fills_the_first_block_counts() {
        let mut holders = PrefixHolders::default();
        holders.sent(2, &request(1, 10, 20), 16, |_, _| false);
        let follow_up = request(1, 40, 1);
        assert_eq!(holders_of(&holders, &follow_up), [2]);
        holders.sent(0, &follow_up, 16, |_, _| false);
        assert_eq!(holders_of(&holders, &follow_up), [0, 2]);
        assert!(holders_of(&holders, &request(3, 40, 1)).is_empty());
        // Too short for a block, and of nobody else's concern.
        holders.sent(2, &request(4, 10, 5), 16, |_, _| false);
        let mut private = request(5, 40, 5);
        private.private_from = 15;
        holders.sent(2, &private, 16, |_, _| false);
        assert!(holders_of(&holders, &request(4, 40, 1)).is_empty());
        assert!(holders_of(&holders, &private).is_empty());
    }

    #[test]
    fn what_no_cache_holds_any_more_is_forgotten() {
        let mut holders = PrefixHolders::default();
        // One stream in ten stays in a cache, the first hundred stay in flight.
        let cached = |_: u32, key: u64| (key >> 32).is_multiple_of(10);
        for stream in 0..50_000 {
            let request = request(stream, 32, 1);
            holders.sent(stream % 4, &request, 16, cached);
            if stream >= 100 {
                holders.left(&request, 16);
            }
        }
        let known = holders.by_first_block.len();
        assert!((5_090..12_000).contains(&known), "{known}");
        for stream in [7, 99, 20_000, 49_990] {
            let request = request(stream, 32, 1);
            assert_eq!(holders_of(&holders, &request), [stream % 4], "{stream}");
        }
        assert!(holders_of(&holders, &request(101, 32, 1)).is_empty());
    }
}
