//! Synthetic traffic of one client: evenly spaced or random arrivals, clamped Gaussian lengths, an
//! optional shared prefix. The `distribution` workload and all presets are of this kind.

use super::limits::MAX_TOKENS;
use super::sample::Gaps;
use rand::RngExt;
use rand_distr::StandardNormal;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Request, RequestId, Source, Span, Sym, Symbols, TokenSeq};
use windtunnel_base::rng;

/// A Gaussian length in tokens, clamped to its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Mean before clamping.
    pub mean: f64,
    /// Standard deviation before clamping.
    pub stdev: f64,
    /// Least, at least 1.
    pub min: u32,
    /// Most.
    pub max: u32,
}

impl Length {
    /// Draws a length: clamped (so mass gathers at the bounds), then rounded half away from zero,
    /// at least 1. Where only one length is possible, nothing is drawn: to start a stream of random
    /// numbers is most of what a request costs its source.
    pub fn sample(&self, rng: &mut impl rand::Rng) -> u32 {
        if self.min == self.max {
            return self.min;
        }
        let normal: f64 = if self.stdev == 0.0 {
            0.0
        } else {
            rng.sample(StandardNormal)
        };
        let x = (self.mean + self.stdev * normal).clamp(f64::from(self.min), f64::from(self.max));
        (x.round() as u32).max(1)
    }

    /// Checks the parameters. `name` is the setting of the mean; those of the other parameters
    /// begin with it.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn check(&self, name: &str) -> Result<(), InputError> {
        let Self {
            mean,
            stdev,
            min,
            max,
        } = *self;
        let refuse = |message: String| Err(InputError::new(message));
        if min < 1 {
            return refuse(format!("`{name}_min` is {min}; expected at least 1"));
        }
        if min > max {
            return refuse(format!("`{name}_min` {min} is above `{name}_max` {max}"));
        }
        if !(mean.is_finite() && (f64::from(min)..=f64::from(max)).contains(&mean)) {
            return refuse(format!(
                "`{name}` is {mean}; expected a mean between `{name}_min` {min} and `{name}_max` {max}"
            ));
        }
        // A deviation above the upper bound, or below the lower one, is odd but means something; it
        // is not refused.
        if !(stdev.is_finite() && stdev >= 0.0) {
            return refuse(format!(
                "`{name}_stdev` is {stdev}; expected a number of 0 or more"
            ));
        }
        Ok(())
    }
}

/// What a [`Distribution`] generates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Requests per second.
    pub rate: f64,
    /// Most requests.
    pub num_requests: u64,
    /// Tokens in front of every prompt, the same for all.
    pub prefix_tokens: u32,
    /// Prompt length without the prefix.
    pub prompt: Length,
    /// Output length.
    pub output: Length,
    /// Requests from this time on are not generated, microseconds.
    pub horizon_us: i64,
    /// Seed of the lengths.
    pub seed: u64,
    /// Time limit of every request, microseconds; `None` = none.
    pub timeout_us: Option<i64>,
    /// The first request comes at time 0, not after one interval.
    pub from_zero: bool,
    /// All requests come at time 0, whatever the rate.
    pub at_once: bool,
    /// How random the gaps between requests are, as `vllm bench serve` has it: 1 is a Poisson
    /// process, below it is burstier, above it more even (gamma distribution of this shape); `None`
    /// = evenly spaced.
    pub burstiness: Option<f64>,
}

/// Most requests: each has a stream of tokens of its own.
pub const MOST_REQUESTS: u64 = MAX_TOKENS - 1;

/// Stream of the shared prefix.
const PREFIX_STREAM: u32 = 0;

/// Random arrivals, one after the other.
#[derive(Clone, Debug)]
struct Drawn {
    gaps: Gaps,
    rng: rng::Numbers,
    /// The last one, microseconds.
    at_us: f64,
}

impl Drawn {
    fn new(p: &Parameters, burstiness: f64) -> Result<Self, InputError> {
        let gaps = Gaps::gamma_of(burstiness, 1e6 / (p.rate * burstiness));
        let refused = || {
            InputError::new(format!(
                "`burstiness` is {burstiness}; expected a finite number above 0: 1 for Poisson arrivals, \
                 more for evener ones"
            ))
        };
        Ok(Self {
            gaps: gaps
                .filter(|_| burstiness.is_finite())
                .ok_or_else(refused)?,
            // A stream of its own, so lengths are the same however requests come.
            rng: rng::stream(p.seed, "arrival gaps", 0, 0),
            at_us: 0.0,
        })
    }

    fn next_us(&mut self) -> i64 {
        self.at_us += self.gaps.sample(&mut self.rng);
        self.at_us as i64
    }
}

/// The [`Source`] of a `distribution` workload. It holds no requests: the k-th one is a function of
/// the parameters and k, so asking for more requests leaves the earlier ones as they are.
#[derive(Clone, Debug)]
pub struct Distribution {
    parameters: Parameters,
    interval_us: i64,
    /// Random gaps; `None` = evenly spaced.
    drawn: Option<Drawn>,
    /// Requests given out.
    given: u64,
    symbols: Symbols,
    client: Sym,
    group: Sym,
}

impl Distribution {
    /// Checks the parameters.
    ///
    /// # Errors
    /// When one makes no sense; the message names the setting, in backticks.
    pub fn new(parameters: Parameters) -> Result<Self, InputError> {
        let p = &parameters;
        let refuse = |message: String| Err(InputError::new(message));
        if !(p.rate.is_finite() && p.rate > 0.0) {
            return refuse(format!(
                "`rate` is {}; expected a finite number above 0, in requests per second",
                p.rate
            ));
        }
        if p.num_requests < 1 || p.num_requests > MOST_REQUESTS {
            return refuse(format!(
                "`num_requests` is {}; expected 1 to {}",
                p.num_requests, MOST_REQUESTS
            ));
        }
        p.prompt.check("prompt_tokens")?;
        p.output.check("output_tokens")?;
        let longest =
            u64::from(p.prefix_tokens) + u64::from(p.prompt.max) + u64::from(p.output.max);
        if longest > MAX_TOKENS {
            return refuse(format!(
                "`prefix_tokens`, `prompt_tokens_max` and `output_tokens_max` are {longest} tokens together; \
                 expected at most {MAX_TOKENS}"
            ));
        }
        if p.horizon_us <= 0 {
            return refuse(format!(
                "`horizon` is {}; expected microseconds above 0",
                p.horizon_us
            ));
        }
        if let Some(timeout) = p.timeout_us
            && timeout <= 0
        {
            return refuse(format!(
                "`timeout` is {timeout} us; expected a time above 0"
            ));
        }
        let mut symbols = Symbols::default();
        let client = symbols.intern("distribution");
        let group = if p.prefix_tokens > 0 {
            symbols.intern("shared")
        } else {
            Sym::NONE
        };
        let drawn = p.burstiness.map(|burstiness| Drawn::new(p, burstiness));
        Ok(Self {
            drawn: drawn.transpose()?,
            // Both divisions as the reference does them: at 20 requests/s it sends one every 49,999
            // us.
            interval_us: ((1.0 / (p.rate / 1e6)) as i64).max(1),
            parameters,
            given: 0,
            symbols,
            client,
            group,
        })
    }

    /// Number and time of the last random arrival before the horizon.
    fn last_drawn(&self, mut drawn: Drawn) -> (u64, i64) {
        let arrivals = (0..self.parameters.num_requests).map(|_| drawn.next_us());
        let before = arrivals.take_while(|at| *at < self.parameters.horizon_us);
        before.fold((0, 0), |(n, _), at| (n + 1, at))
    }

    /// When the k-th of evenly spaced requests arrives, from 1; `None` past the horizon.
    fn arrival_us(&self, k: u64) -> Option<i64> {
        if self.parameters.at_once {
            return Some(0);
        }
        i64::try_from(k - u64::from(self.parameters.from_zero))
            .ok()?
            .checked_mul(self.interval_us)
            .filter(|&t| t < self.parameters.horizon_us)
    }

    /// Number of requests in all.
    fn total(&self) -> u64 {
        if self.parameters.at_once {
            return self.parameters.num_requests;
        }
        let no_end = self.parameters.horizon_us == i64::MAX;
        if let Some(drawn) = self.drawn_anew().filter(|_| !no_end) {
            return self.last_drawn(drawn).0;
        }
        let before_horizon = (self.parameters.horizon_us - 1) / self.interval_us;
        let before_horizon = u64::try_from(before_horizon).unwrap_or(0);
        self.parameters
            .num_requests
            .min(before_horizon + u64::from(self.parameters.from_zero))
    }

    /// The latest arrival, microseconds; `None` when the horizon leaves no request.
    #[must_use]
    pub fn latest_arrival_us(&self) -> Option<i64> {
        if let Some(drawn) = self.drawn_anew() {
            let (n, at) = self.last_drawn(drawn);
            return (n > 0).then_some(at);
        }
        match self.total() {
            0 => None,
            n => self.arrival_us(n),
        }
    }

    /// The random arrivals from the first one on.
    fn drawn_anew(&self) -> Option<Drawn> {
        let burstiness = self.parameters.burstiness?;
        Drawn::new(&self.parameters, burstiness).ok()
    }
}

impl Source for Distribution {
    fn next_request(&mut self) -> Option<Request> {
        let p = &self.parameters;
        if self.given >= p.num_requests {
            return None;
        }
        let number = self.given;
        // The reference sends the first request after one interval, not at 0.
        let arrival_us = match &mut self.drawn {
            Some(drawn) => Some(drawn.next_us()).filter(|at| *at < p.horizon_us)?,
            None => self.arrival_us(number + 1)?,
        };
        self.given += 1;
        // A stream of its own for each length: changing the prompts' distribution leaves the
        // outputs alone.
        let input = p
            .prompt
            .sample(&mut rng::stream(p.seed, "prompt length", 0, number));
        let output = p
            .output
            .sample(&mut rng::stream(p.seed, "output length", 0, number));
        let stream = PREFIX_STREAM + 1 + u32::try_from(number).expect("below 2^31");
        let mut prompt = TokenSeq::of(PREFIX_STREAM, p.prefix_tokens);
        prompt.push(Span {
            stream,
            start: 0,
            len: input,
        });
        let mut answer = TokenSeq::default();
        answer.push(Span {
            stream,
            start: input,
            len: output,
        });
        Some(Request {
            private_from: p.prefix_tokens,
            deadline_us: p.timeout_us.map_or(0, |t| arrival_us.saturating_add(t)),
            client: self.client,
            prefix_group: self.group,
            prefix_tokens: p.prefix_tokens,
            ..Request::new(RequestId::Number(number), arrival_us, prompt, answer)
        })
    }

    fn size_hint(&self) -> Option<u64> {
        Some(self.total())
    }

    fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn symbols_mut(&mut self) -> &mut Symbols {
        &mut self.symbols
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn random_arrivals_have_the_rate_and_change_no_length() {
        let all = |burstiness| {
            let parameters = Parameters {
                burstiness,
                ..chatbot(20.0, 20_000)
            };
            let mut source = Distribution::new(parameters).expect("right");
            let mut found = Vec::new();
            while let Some(r) = source.next_request() {
                found.push((r.arrival_us, r.prompt.len(), r.output.len()));
            }
            assert_eq!(source.latest_arrival_us(), found.last().map(|r| r.0));
            found
        };
        let even = all(None);
        for burstiness in [0.5f64, 1.0, 4.0] {
            let drawn = all(Some(burstiness));
            let gaps: Vec<f64> = drawn
                .windows(2)
                .map(|w| (w[1].0 - w[0].0) as f64 / 5e4)
                .collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((mean - 1.0).abs() < 0.03, "{burstiness}: {mean}");
            assert!(
                (variance * burstiness - 1.0).abs() < 0.1,
                "{burstiness}: {variance}"
            );
            let lengths =
                |of: &[(i64, u32, u32)]| of.iter().map(|r| (r.1, r.2)).collect::<Vec<_>>();
            assert_eq!(lengths(&drawn), lengths(&even));
        }
    }

    #[test]
    fn random_arrivals_end_at_the_horizon() {
        let parameters = Parameters {
            burstiness: Some(1.0),
            horizon_us: 10_000_000,
            ..chatbot(20.0, 20_000)
        };
        let mut source = Distribution::new(parameters).expect("right");
        let expected = source.size_hint();
        let mut n = 0;
        while let Some(r) = source.next_request() {
            assert!(r.arrival_us < 10_000_000);
            n += 1;
        }
        assert_eq!(expected, Some(n));
        assert!((150..250).contains(&n), "{n}");
        let wrong = Parameters {
            burstiness: Some(0.0),
            ..chatbot(20.0, 20)
        };
        assert!(Distribution::new(wrong).is_err());
    }

    fn chatbot(rate: f64, num_requests: u64) -> Parameters {
        let length = |min, max| Length {
            mean: 256.0,
            stdev: 100.0,
            min,
            max,
        };
        Parameters {
            rate,
            num_requests,
            prefix_tokens: 0,
            prompt: length(2, 800),
            output: length(1, 1024),
            horizon_us: i64::MAX,
            seed: 42,
            timeout_us: Some(300_000_000),
            from_zero: false,
            at_once: false,
            burstiness: None,
        }
    }

    fn all(parameters: Parameters) -> Vec<Request> {
        let mut source = Distribution::new(parameters).unwrap();
        let expected = source.size_hint();
        let latest = source.latest_arrival_us();
        let requests: Vec<Request> = std::iter::from_fn(|| source.next_request()).collect();
        assert_eq!(expected, Some(requests.len() as u64));
        assert_eq!(latest, requests.last().map(|r| r.arrival_us));
        requests
    }

    #[test]
    fn arrivals_are_multiples_of_the_truncated_interval() {
        let requests = all(chatbot(7.0, 6));
        for (k, r) in (1..).zip(&requests) {
            assert_eq!(r.arrival_us, 142_857 * k);
            assert_eq!(r.deadline_us, r.arrival_us + 300_000_000);
            assert_eq!(r.id, RequestId::Number(k as u64 - 1));
        }
        // As in the reference's own exports.
        assert_eq!(all(chatbot(20.0, 3))[2].arrival_us, 149_997);
        assert_eq!(all(chatbot(1e9, 3))[2].arrival_us, 3);
    }

    #[test]
    fn the_first_request_may_come_at_once() {
        let p = Parameters {
            from_zero: true,
            ..chatbot(7.0, 3)
        };
        let times = |p| all(p).iter().map(|r| r.arrival_us).collect::<Vec<_>>();
        assert_eq!(times(p), [0, 142_857, 285_714]);
        let horizon_us = 142_858;
        assert_eq!(times(Parameters { horizon_us, ..p }), [0, 142_857]);
    }

    #[test]
    fn all_may_come_at_once_with_the_lengths_that_they_have_one_by_one() {
        let p = Parameters {
            at_once: true,
            burstiness: None,
            ..chatbot(7.0, 3)
        };
        let (at_once, one_by_one) = (all(p), all(chatbot(7.0, 3)));
        for (a, b) in at_once.iter().zip(&one_by_one) {
            assert_eq!((a.arrival_us, a.deadline_us), (0, 300_000_000));
            assert_eq!(a.output_tokens(), b.output_tokens());
        }
        assert_eq!(at_once.len(), 3);
    }

    #[test]
    fn the_horizon_is_not_reached() {
        let cut = |horizon_us| {
            all(Parameters {
                horizon_us,
                ..chatbot(1000.0, 10)
            })
            .len()
        };
        assert_eq!((cut(1), cut(3000), cut(3001), cut(i64::MAX)), (0, 2, 3, 10));
        assert!(all(chatbot(1e-30, 2)).is_empty());
    }

    #[test]
    fn the_shared_prefix_comes_on_top_of_the_prompt() {
        let alone = all(chatbot(1.0, 5));
        let prefixed = all(Parameters {
            prefix_tokens: 64,
            ..chatbot(1.0, 5)
        });
        for (a, b) in alone.iter().zip(&prefixed) {
            assert_eq!(a.prompt.len() + 64, b.prompt.len());
            let keys: Vec<u64> = b.prompt.block_keys(16).take(4).collect();
            assert_eq!(keys, [15, 31, 47, 63]);
        }
    }

    #[test]
    fn lengths_have_the_moments_of_a_clamped_gaussian() {
        let requests = all(chatbot(1.0, 100_000));
        let n = requests.len() as f64;
        let lengths: Vec<f64> = requests.iter().map(|r| f64::from(r.prompt.len())).collect();
        let mean = lengths.iter().sum::<f64>() / n;
        let variance = lengths.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 256.0).abs() < 1.5, "{mean}");
        assert!((variance.sqrt() - 99.5).abs() < 1.5, "{}", variance.sqrt());
        // The lower tail: P(N < (2.5 - 256) / 100) = 0.56 %.
        let low = lengths.iter().filter(|&&x| x == 2.0).count() as f64 / n;
        assert!((low - 0.0056).abs() < 0.001, "{low}");
        // Prompt and output are drawn independently.
        let product: f64 = requests
            .iter()
            .map(|r| (f64::from(r.prompt.len()) - 256.0) * (f64::from(r.output.len()) - 256.0))
            .sum::<f64>()
            / n
            / variance;
        assert!(product.abs() < 0.02, "{product}");
    }

    #[test]
    fn lengths_stay_what_they_are() {
        // Golden: a changed random stream would change every published figure.
        let lengths: Vec<(u32, u32)> = all(chatbot(1.0, 4))
            .iter()
            .map(|r| (r.prompt.len(), r.output.len()))
            .collect();
        assert_eq!(lengths, [(272, 260), (90, 147), (61, 307), (146, 141)]);
    }

    #[test]
    fn nonsense_is_refused_by_the_name_of_its_setting() {
        let good = chatbot(1.0, 1);
        let refuse = |change: fn(&mut Parameters)| {
            let mut p = good;
            change(&mut p);
            Distribution::new(p).unwrap_err().to_string()
        };
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Distribution::new(chatbot(rate, 1)).unwrap_err().to_string();
            assert!(error.starts_with("`rate` is "), "{error}");
        }
        assert!(refuse(|p| p.num_requests = 0).starts_with("`num_requests` is 0"));
        assert!(refuse(|p| p.prompt.min = 0).starts_with("`prompt_tokens_min` is 0"));
        assert!(
            refuse(|p| p.output.min = 2000)
                .starts_with("`output_tokens_min` 2000 is above `output_tokens_max` 1024")
        );
        assert!(refuse(|p| p.prompt.mean = 900.0).starts_with("`prompt_tokens` is 900;"));
        assert!(refuse(|p| p.prompt.mean = f64::NAN).starts_with("`prompt_tokens` is NaN;"));
        assert!(refuse(|p| p.output.stdev = -1.0).starts_with("`output_tokens_stdev` is -1;"));
        assert!(refuse(|p| p.prefix_tokens = u32::MAX).starts_with("`prefix_tokens`"));
        assert!(refuse(|p| p.timeout_us = Some(0)).starts_with("`timeout`"));
        assert!(refuse(|p| p.horizon_us = 0).starts_with("`horizon`"));
        // What the reference refuses for no good reason.
        let mut p = good;
        p.prompt.stdev = 1.0;
        p.output.stdev = 5000.0;
        Distribution::new(p).unwrap();
    }

    proptest! {
        #[test]
        fn requests_depend_on_their_number_only(
            seed in any::<u64>(),
            few in 1u64..20,
            more in 0u64..20,
            prefix_tokens in 0u32..100,
        ) {
            let some = Parameters { seed, prefix_tokens, ..chatbot(3.0, few) };
            let all_of = |p| all(p).into_iter().map(|r| format!("{r:?}")).collect::<Vec<_>>();
            let short = all_of(some);
            let long = all_of(Parameters { num_requests: few + more, ..some });
            prop_assert_eq!(&short[..], &long[..short.len()]);
            prop_assert_eq!(short, all_of(some));
        }

        #[test]
        fn lengths_stay_within_their_bounds(
            seed in any::<u64>(),
            min in 1u32..100,
            span in 0u32..100,
            at in 0.0f64..=1.0,
            stdev in 0.0f64..1e6,
        ) {
            let max = min + span;
            let mean = f64::from(min) + at * f64::from(span);
            let prompt = Length { mean, stdev, min, max };
            for r in all(Parameters { seed, prompt, ..chatbot(1.0, 10) }) {
                prop_assert!((min..=max).contains(&r.prompt.len()));
            }
        }
    }
}
