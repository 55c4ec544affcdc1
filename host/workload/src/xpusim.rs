//! The traffic of XpuSim, request by request: Poisson arrivals and uniform lengths from the random
//! numbers of Python.

use super::limits::MAX_TOKENS;
use super::python_random::uniform;
use rand_mt::Mt;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};

/// Seconds for which that simulator draws requests after those that it measures. It draws the
/// lengths of all outputs before the first prompt's.
pub const BEYOND_S: f64 = 100.0;
/// Most requests that are drawn.
const MOST_REQUESTS: f64 = 1e8;
/// How far below `usual` a length goes: of prompts, of outputs.
const BELOW_PROMPT: u32 = 100;
const BELOW_OUTPUT: u32 = 50;

/// Python's `random`, seeded by a whole number.
struct PythonRandom(Mt);

impl PythonRandom {
    fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        Self(match high {
            0 => Mt::new_with_key([low]),
            _ => Mt::new_with_key([low, high]),
        })
    }

    fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - uniform(&mut self.0)).ln() / rate
    }

    /// A whole number from `low` to `high`, both included.
    fn integer(&mut self, low: u32, high: u32) -> u32 {
        let values = u64::from(high - low) + 1;
        let bits = 64 - values.leading_zeros();
        loop {
            // Of 2^32 values each needs 33 bits; lengths have less.
            let drawn = self.0.next_u32() >> (32 - bits.min(32));
            if u64::from(drawn) < values {
                return low + drawn;
            }
        }
    }
}

/// Seconds on the engine's clock. On a clock finer than microseconds a time keeps its side of a
/// whole microsecond, at which windows of time begin and end.
pub(crate) fn on_clock(seconds: f64, clock_per_s: f64) -> i64 {
    let nearest = (seconds * clock_per_s).round() as i64;
    let per_us = (clock_per_s / 1e6) as i64;
    if per_us < 2 || nearest % per_us != 0 {
        return nearest;
    }
    let whole = nearest as f64 / clock_per_s;
    nearest + i64::from(seconds > whole) - i64::from(seconds < whole)
}

/// A length, tokens: `usual` if that is the most there is, else uniform from a little below it
/// (100 of a prompt, 50 of an output) to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// What XpuSim calls the average.
    pub usual: u32,
    /// Most.
    pub most: u32,
}

impl Length {
    fn draw(self, random: &mut PythonRandom, below: u32) -> u32 {
        if self.usual == self.most {
            return self.usual;
        }
        random.integer(self.usual.saturating_sub(below).max(1), self.most)
    }

    fn check(self, name: &str) -> Result<(), InputError> {
        if self.usual == 0 || self.usual > self.most {
            return Err(InputError::new(format!(
                "`{name}` is {}; expected 1 to `{name}_max` {}",
                self.usual, self.most
            )));
        }
        Ok(())
    }
}

/// What [`XpuSimTraffic`] draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Requests per second.
    pub rate: f64,
    /// They come one by one after equal gaps; else after random ones.
    pub evenly: bool,
    /// End of the time that is measured, seconds.
    pub until_s: f64,
    /// Requests go on for [`BEYOND_S`] seconds more.
    pub goes_on: bool,
    /// Units of the engine's clock in a second.
    pub clock_per_s: f64,
    /// Prompts.
    pub prompt: Length,
    /// Outputs.
    pub output: Length,
    /// Seed.
    pub seed: u64,
    /// No request comes from this time on, on the engine's clock.
    pub horizon_us: i64,
    /// Time limit of every request, microseconds; `None` = none.
    pub timeout_us: Option<i64>,
}

/// The [`Source`] of XpuSim's traffic.
#[derive(Clone, Debug)]
pub struct XpuSimTraffic {
    /// Arrival in microseconds, prompt, output.
    requests: std::vec::IntoIter<(i64, u32, u32)>,
    given: u32,
    timeout_us: Option<i64>,
    symbols: Symbols,
}

impl XpuSimTraffic {
    /// These requests, in order of arrival: time on the engine's clock, prompt, output.
    pub(crate) fn of(requests: Vec<(i64, u32, u32)>, timeout_us: Option<i64>) -> Self {
        Self {
            requests: requests.into_iter(),
            given: 0,
            timeout_us,
            symbols: Symbols::default(),
        }
    }

    /// Draws it.
    ///
    /// # Errors
    /// When a parameter makes no sense; the message names the setting, in backticks.
    pub fn new(p: &Parameters) -> Result<Self, InputError> {
        if !(p.rate.is_finite() && p.rate > 0.0) {
            return Err(InputError::new(format!(
                "`rate` is {}; expected a finite number above 0, in requests per second",
                p.rate
            )));
        }
        p.prompt.check("prompt_tokens")?;
        p.output.check("output_tokens")?;
        let longest = u64::from(p.prompt.most) + u64::from(p.output.most);
        if longest > MAX_TOKENS {
            return Err(InputError::new(format!(
                "`prompt_tokens_max` and `output_tokens_max` are {longest} tokens together; expected at most {MAX_TOKENS}"
            )));
        }
        let end_s = p.until_s + BEYOND_S;
        let most = p.rate * end_s * 1.2;
        if most >= MOST_REQUESTS {
            return Err(InputError::new(format!(
                "`rate` {} for {} s are too many requests; expected less than {MOST_REQUESTS:e}",
                p.rate, p.until_s
            )));
        }
        let mut random = PythonRandom::new(p.seed);
        let mut arrivals = Vec::new();
        let mut now = 0.0;
        for _ in 0..most as u64 {
            now += match p.evenly {
                true => 1.0 / p.rate,
                false => random.exponential(p.rate),
            };
            if now > end_s {
                break;
            }
            arrivals.push(now);
        }
        let outputs: Vec<u32> = arrivals
            .iter()
            .map(|_| p.output.draw(&mut random, BELOW_OUTPUT))
            .collect();
        let mut requests = Vec::new();
        for (arrival, output) in arrivals.into_iter().zip(outputs) {
            let arrival_us = on_clock(arrival, p.clock_per_s);
            if arrival > p.until_s && !p.goes_on || arrival_us >= p.horizon_us {
                break;
            }
            let prompt = p.prompt.draw(&mut random, BELOW_PROMPT);
            requests.push((arrival_us, prompt, output));
        }
        Ok(Self::of(requests, p.timeout_us))
    }
}

impl Source for XpuSimTraffic {
    fn next_request(&mut self) -> Option<Request> {
        let (arrival_us, prompt, output) = self.requests.next()?;
        let stream = self.given;
        self.given += 1;
        let mut answer = TokenSeq::default();
        answer.push(Span {
            stream,
            start: prompt,
            len: output,
        });
        let id = RequestId::Number(stream.into());
        Some(Request {
            private_from: 0,
            deadline_us: self.timeout_us.map_or(0, |t| arrival_us.saturating_add(t)),
            ..Request::new(id, arrival_us, TokenSeq::of(stream, prompt), answer)
        })
    }

    fn size_hint(&self) -> Option<u64> {
        Some(u64::from(self.given) + self.requests.len() as u64)
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

    #[test]
    fn a_time_keeps_its_side_of_a_whole_microsecond() {
        let on = |seconds| on_clock(seconds, 1e12);
        assert_eq!(on(22.0), 22_000_000_000_000);
        assert_eq!(on(22.000_000_000_000_004), 22_000_000_000_001);
        assert_eq!(on(21.999_999_999_999_996), 21_999_999_999_999);
        assert_eq!(on(0.204_012_057_454_960_2), 204_012_057_455);
        assert_eq!(on_clock(22.000_000_000_000_004, 1e6), 22_000_000);
    }

    #[test]
    fn random_numbers_are_those_of_python() {
        let mut random = PythonRandom::new(42);
        let gaps: Vec<f64> = (0..50).map(|_| random.exponential(5.0)).collect();
        let near = |k: usize, expected: f64| (gaps[k] - expected).abs() < 1e-15;
        assert!(near(0, 0.204_012_057_454_960_2) && near(1, 0.005_065_767_808_547_778));
        assert!(near(2, 0.064_324_812_814_993_11) && near(49, 0.090_773_205_984_023_08));
        let drawn: Vec<u32> = (0..50).map(|_| random.integer(78, 256)).collect();
        assert_eq!(drawn[..8], [172, 168, 131, 249, 146, 252, 243, 96]);
        assert_eq!(drawn[45..], [145, 227, 187, 227, 180]);
        // Python takes the words of a large seed from the lowest.
        let first = |seed| uniform(&mut PythonRandom::new(seed).0);
        assert!(
            (first(1 << 40) - 0.103_639_456_281_237_5).abs() < 1e-15,
            "{}",
            first(1 << 40)
        );
    }

    /// The first requests of four runs of XpuSim, and how many came by its end.
    #[test]
    fn requests_are_those_that_the_reference_drew() {
        let text = include_str!("../../tests/data/oracle/xpu/arrivals.json");
        let runs: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert_eq!(runs.len(), 6);
        for run in &runs {
            let number = |key: &str| run[key].as_f64().unwrap();
            let length = |key: &str| Length {
                usual: run[key][0].as_u64().unwrap() as u32,
                most: run[key][1].as_u64().unwrap() as u32,
            };
            let mut traffic = XpuSimTraffic::new(&Parameters {
                rate: number("rate"),
                evenly: false,
                until_s: number("until_s"),
                goes_on: false,
                clock_per_s: 1e6,
                prompt: length("prompt"),
                output: length("output"),
                seed: run["seed"].as_u64().unwrap(),
                horizon_us: i64::MAX,
                timeout_us: None,
            })
            .unwrap();
            assert_eq!(
                traffic.size_hint(),
                run["count"].as_u64(),
                "{}",
                run["name"]
            );
            for row in run["first"].as_array().unwrap() {
                let r = traffic.next_request().unwrap();
                let found = (r.arrival_us as f64 / 1e6, r.prompt.len(), r.output.len());
                let arrival = row[0].as_f64().unwrap();
                assert!((found.0 - arrival).abs() <= 1e-6, "{found:?} {row}");
                let lengths = (u64::from(found.1), u64::from(found.2));
                assert_eq!(
                    lengths,
                    (row[1].as_u64().unwrap(), row[2].as_u64().unwrap())
                );
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_setting() {
        let good = Parameters {
            rate: 1.0,
            evenly: false,
            until_s: 10.0,
            goes_on: false,
            clock_per_s: 1e6,
            prompt: Length { usual: 1, most: 1 },
            output: Length { usual: 1, most: 1 },
            seed: 1,
            horizon_us: i64::MAX,
            timeout_us: Some(5),
        };
        let r = XpuSimTraffic::new(&good).unwrap().next_request().unwrap();
        assert_eq!(r.deadline_us, r.arrival_us + 5);
        let error = |p| XpuSimTraffic::new(&p).unwrap_err().to_string();
        assert!(error(Parameters { rate: 0.0, ..good }).starts_with("`rate` is 0"));
        assert!(error(Parameters { rate: 1e9, ..good }).contains("too many requests"));
        let prompt = Length { usual: 9, most: 8 };
        assert_eq!(
            error(Parameters { prompt, ..good }),
            "`prompt_tokens` is 9; expected 1 to `prompt_tokens_max` 8"
        );
    }
}
