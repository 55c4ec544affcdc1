//! What a workload looks like: rates over time, lengths, burstiness, shared prefixes.

use super::bound::InfiniteCache;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::collections::BTreeMap;
use windtunnel_base::request::{Request, Sym, Symbols};

/// Buckets of the rate over time; between half as many and as many are in use.
const BUCKETS: usize = 240;

/// Lengths in tokens.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lengths {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std_dev: f64,
    /// Least.
    pub min: u32,
    /// Median.
    pub p50: u32,
    /// 90th percentile.
    pub p90: u32,
    /// 99th percentile.
    pub p99: u32,
    /// Most.
    pub max: u32,
    /// Bins with their first length (0, 1, 2, 4, 8, ...) and how many lengths they hold.
    pub histogram: Vec<(u32, u64)>,
}

/// One client.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientSummary {
    /// Name.
    pub client: String,
    /// Requests.
    pub requests: u64,
    /// Mean prompt length.
    pub prompt_tokens_mean: f64,
    /// Mean output length.
    pub output_tokens_mean: f64,
}

/// A whole workload.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Requests, follow-ups included.
    pub requests: u64,
    /// Sessions.
    pub sessions: u64,
    /// From time 0 to the last arrival, seconds.
    pub span_s: f64,
    /// Requests over the span.
    pub rate_mean: f64,
    /// Most requests per second within [`peak_s`](Self::peak_s).
    pub rate_peak: f64,
    /// Time over which the peak is counted, seconds: whole buckets, a second or a little more;
    /// less in a shorter workload.
    pub peak_s: f64,
    /// Standard deviation of the gaps between arrivals over their mean: 1 for a Poisson process.
    pub gap_cv: Option<f64>,
    /// Prompt lengths.
    pub prompt_tokens: Lengths,
    /// Output lengths.
    pub output_tokens: Lengths,
    /// Prompt tokens in all.
    pub prompt_tokens_total: u64,
    /// Output tokens in all.
    pub output_tokens_total: u64,
    /// Share of the prompt tokens that a prefix cache without limits would have held.
    pub infinite_cache_hit_rate: f64,
    /// Tokens of its blocks.
    pub block_size_tokens: u32,
    /// Length of a bucket, seconds.
    pub bucket_s: f64,
    /// Requests per second in each bucket.
    pub rates: Vec<f64>,
    /// Clients by number of requests.
    pub clients: Vec<ClientSummary>,
}

/// Takes requests in order of arrival and sums them up. Memory follows distinct lengths and
/// clients, not requests.
#[derive(Debug)]
pub struct Summarizer {
    cache: InfiniteCache,
    block: u32,
    requests: u64,
    last_us: i64,
    gaps: u64,
    gap_sum: f64,
    gap_squares: f64,
    bucket_us: i64,
    buckets: Vec<u64>,
    prompts: BTreeMap<u32, u64>,
    outputs: BTreeMap<u32, u64>,
    clients: FxHashMap<Sym, (u64, u64, u64)>,
    sessions: u64,
}

impl Summarizer {
    /// Nothing yet; the cache has blocks of so many tokens.
    #[must_use]
    pub fn new(block: u32) -> Self {
        Self {
            cache: InfiniteCache::new(block),
            block,
            requests: 0,
            last_us: 0,
            gaps: 0,
            gap_sum: 0.0,
            gap_squares: 0.0,
            bucket_us: 1_000,
            buckets: vec![0; BUCKETS],
            prompts: BTreeMap::new(),
            outputs: BTreeMap::new(),
            clients: FxHashMap::default(),
            sessions: 0,
        }
    }

    /// Takes a request.
    pub fn add(&mut self, r: &Request) {
        self.cache.take(r);
        if self.requests > 0 {
            let gap = (r.arrival_us - self.last_us) as f64;
            self.gaps += 1;
            self.gap_sum += gap;
            self.gap_squares += gap * gap;
        }
        self.requests += 1;
        self.last_us = self.last_us.max(r.arrival_us);
        while r.arrival_us / self.bucket_us >= BUCKETS as i64 {
            for k in 0..BUCKETS {
                let pair = self.buckets.get(2 * k..2 * k + 2);
                self.buckets[k] = pair.map_or(0, |p| p.iter().sum());
            }
            self.bucket_us *= 2;
        }
        let at = usize::try_from(r.arrival_us / self.bucket_us).unwrap_or(0);
        self.buckets[at] += 1;
        *self.prompts.entry(r.prompt.len()).or_default() += 1;
        *self.outputs.entry(r.output.len()).or_default() += 1;
        let client = self.clients.entry(r.client).or_default();
        client.0 += 1;
        client.1 += u64::from(r.prompt.len());
        client.2 += u64::from(r.output.len());
        self.sessions += u64::from(!r.session.is_none() && r.round == 0);
    }

    /// The summary of all requests so far.
    #[must_use]
    pub fn summary(&self, symbols: &Symbols) -> Summary {
        let span_s = self.last_us as f64 / 1e6;
        let used = usize::try_from(self.last_us / self.bucket_us).unwrap_or(0) + 1;
        let bucket_s = self.bucket_us as f64 / 1e6;
        let rates: Vec<f64> = self.buckets[..used]
            .iter()
            .map(|n| *n as f64 / bucket_s)
            .collect();
        let (rate_peak, peak_s) = peak(&self.buckets[..used], self.bucket_us);
        let mean_gap = self.gap_sum / self.gaps as f64;
        let variance = self.gap_squares / self.gaps as f64 - mean_gap * mean_gap;
        let total =
            |lengths: &BTreeMap<u32, u64>| lengths.iter().map(|(l, n)| u64::from(*l) * n).sum();
        let mut clients: Vec<ClientSummary> = self
            .clients
            .iter()
            .map(|(name, (n, prompt, output))| ClientSummary {
                client: symbols.name(*name).to_owned(),
                requests: *n,
                prompt_tokens_mean: *prompt as f64 / *n as f64,
                output_tokens_mean: *output as f64 / *n as f64,
            })
            .collect();
        clients.sort_by(|a, b| {
            b.requests
                .cmp(&a.requests)
                .then_with(|| a.client.cmp(&b.client))
        });
        Summary {
            requests: self.requests,
            sessions: self.sessions,
            span_s,
            rate_mean: if span_s > 0.0 {
                self.requests as f64 / span_s
            } else {
                0.0
            },
            rate_peak,
            peak_s,
            gap_cv: (self.gaps > 0 && mean_gap > 0.0).then(|| variance.max(0.0).sqrt() / mean_gap),
            prompt_tokens: lengths(&self.prompts),
            output_tokens: lengths(&self.outputs),
            prompt_tokens_total: total(&self.prompts),
            output_tokens_total: total(&self.outputs),
            infinite_cache_hit_rate: self.cache.hit_rate(),
            block_size_tokens: self.block,
            bucket_s,
            rates,
            clients,
        }
    }

    /// Lengths with how often each came: prompts and outputs.
    #[must_use]
    pub fn counts(&self) -> [&BTreeMap<u32, u64>; 2] {
        [&self.prompts, &self.outputs]
    }
}

/// Most requests per second in as many neighbouring buckets as make a second, and how long those
/// are, seconds.
fn peak(buckets: &[u64], bucket_us: i64) -> (f64, f64) {
    let together = usize::try_from(1_000_000 / bucket_us.max(1) + 1).unwrap_or(1);
    let exact = 1_000_000 % bucket_us.max(1) == 0 && together > 1;
    let together = (together - usize::from(exact)).clamp(1, buckets.len().max(1));
    let peak_s = together as f64 * bucket_us as f64 / 1e6;
    let sums = buckets
        .windows(together)
        .map(|part| part.iter().sum::<u64>());
    (sums.max().unwrap_or(0) as f64 / peak_s, peak_s)
}

fn lengths(counts: &BTreeMap<u32, u64>) -> Lengths {
    let n: u64 = counts.values().sum();
    if n == 0 {
        return Lengths::default();
    }
    let sum = |f: fn(f64) -> f64| {
        counts
            .iter()
            .map(|(l, n)| f(f64::from(*l)) * *n as f64)
            .sum::<f64>()
    };
    let mean = sum(|x| x) / n as f64;
    let variance = sum(|x| x * x) / n as f64 - mean * mean;
    let percentile = |p: u64| {
        let rank = (n * p).div_ceil(100).max(1);
        let mut before = 0;
        let at = counts.iter().find(|(_, count)| {
            before += **count;
            before >= rank
        });
        at.map_or(0, |(length, _)| *length)
    };
    let bin = |length: u32| length.checked_ilog2().map_or(0, |k| 1u32 << k);
    let mut histogram: BTreeMap<u32, u64> = BTreeMap::new();
    for (length, count) in counts {
        *histogram.entry(bin(*length)).or_default() += count;
    }
    Lengths {
        mean,
        std_dev: variance.max(0.0).sqrt(),
        min: counts.keys().next().copied().unwrap_or(0),
        p50: percentile(50),
        p90: percentile(90),
        p99: percentile(99),
        max: counts.keys().next_back().copied().unwrap_or(0),
        histogram: histogram.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_base::request::{RequestId, TokenSeq};

    #[test]
    fn rates_lengths_and_burstiness_are_what_they_are() {
        let mut summarizer = Summarizer::new(16);
        for k in 0..1000u32 {
            let prompt = TokenSeq::of(2 * k, 1 + k % 4);
            let output = TokenSeq::of(2 * k + 1, 8);
            // Ten requests per second, evenly.
            summarizer.add(&Request::new(
                RequestId::Number(k.into()),
                i64::from(k) * 100_000,
                prompt,
                output,
            ));
        }
        let s = summarizer.summary(&Symbols::default());
        assert_eq!((s.requests, s.sessions), (1000, 0));
        assert!((s.span_s - 99.9).abs() < 1e-9 && (s.rate_mean - 10.01).abs() < 0.01);
        assert!(s.gap_cv.unwrap() < 1e-6);
        // In a second there are ten or eleven of them.
        assert!(
            (1.0..1.3).contains(&s.peak_s) && s.rate_peak <= 11.0,
            "{s:?}"
        );
        assert!(s.rates.len() >= BUCKETS / 2 && s.rates.len() <= BUCKETS);
        let mean = s.rates.iter().sum::<f64>() * s.bucket_s;
        assert!((mean - 1000.0).abs() < 1e-6);
        assert_eq!(
            (
                s.prompt_tokens.min,
                s.prompt_tokens.p50,
                s.prompt_tokens.max
            ),
            (1, 2, 4)
        );
        assert_eq!(s.prompt_tokens.histogram, [(1, 250), (2, 500), (4, 250)]);
        assert!(
            (s.prompt_tokens.mean - 2.5).abs() < 1e-9
                && (s.prompt_tokens.std_dev - 1.25_f64.sqrt()).abs() < 1e-9
        );
        assert_eq!(s.output_tokens.histogram, [(8, 1000)]);
    }
}
