//! Requests that are created when steps end, as TickSim's load generators create them.

use super::numpy_legacy::NumpyLegacy;
use windtunnel_base::input::InputError;
use windtunnel_base::request::{Request, RequestId, Source, Span, Symbols, TokenSeq};

/// How many requests are created when a step ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many at time 0.
    AllAtOnce(u64),
    /// As many as are missing of this number of requests in the system.
    Concurrency(u64),
    /// One at the end of every step.
    PerStep,
    /// As many as so many per tick have become due since the step before.
    Rate(f64),
}

/// What a [`StepLoad`] creates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepParameters {
    /// How many requests, and when.
    pub load: Load,
    /// Length of every prompt, tokens.
    pub prompt_tokens: u32,
    /// Of these, the first ones that all prompts share; less than all.
    pub prefix_tokens: u32,
    /// Mean and standard deviation of the output length, tokens: normal, at least 1, cut down to a
    /// whole number.
    pub output_tokens: [f64; 2],
    /// Most requests in all; `None` = no limit.
    pub most: Option<u64>,
    /// A tick on the engine's clock, microseconds.
    pub tick_us: i64,
    /// Seed of the output lengths, drawn from numpy's legacy generator in order of creation.
    pub seed: u32,
}

/// Longest output, tokens.
const LONGEST: f64 = 1e9;

/// The [`Source`] that asks for nothing but the ends of steps. Times are in ticks, as numbers of
/// Python: what is due follows from their floor division.
#[derive(Clone, Debug)]
pub struct StepLoad {
    parameters: StepParameters,
    numpy: NumpyLegacy,
    created: u64,
    /// How many were due by the last step's end.
    due_before: f64,
    /// The end of step that is being answered, and what is still to be created at it.
    asked_us: Option<i64>,
    due: u64,
    symbols: Symbols,
}

impl StepLoad {
    /// Checks the parameters.
    ///
    /// # Errors
    /// When one makes no sense; the message names the setting, in backticks.
    pub fn new(parameters: StepParameters) -> Result<Self, InputError> {
        let p = &parameters;
        let refuse = |message: String| Err(InputError::new(message));
        match p.load {
            Load::AllAtOnce(0) => {
                return refuse("`num_requests` is 0; expected at least 1".into());
            }
            Load::Concurrency(0) => {
                return refuse("`concurrency` is 0; expected at least 1".into());
            }
            Load::Rate(rate) if !(rate > 0.0 && rate <= 1e6) => {
                return refuse(format!(
                    "`rate` is {rate}; expected a number above 0, in requests per tick"
                ));
            }
            _ => {}
        }
        if p.prefix_tokens >= p.prompt_tokens {
            return refuse(format!(
                "`prefix_tokens` is {}; expected less than the {} of a prompt",
                p.prefix_tokens, p.prompt_tokens
            ));
        }
        let [mean, deviation] = p.output_tokens;
        if !(mean.is_finite() && mean.abs() <= LONGEST) {
            return refuse(format!("`output_tokens` is {mean}; expected a finite mean"));
        }
        if !(0.0..=LONGEST).contains(&deviation) {
            return refuse(format!(
                "`output_tokens_stdev` is {deviation}; expected a number of 0 or more"
            ));
        }
        Ok(Self {
            numpy: NumpyLegacy::new(p.seed),
            parameters,
            created: 0,
            due_before: 0.0,
            asked_us: None,
            due: 0,
            symbols: Symbols::default(),
        })
    }

    /// Requests created so far.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }

    fn exhausted(&self) -> bool {
        self.parameters
            .most
            .is_some_and(|most| self.created >= most)
    }

    /// Requests that are due at `now_us`.
    fn due_at(&mut self, now_us: i64, in_system: u64) -> u64 {
        match self.parameters.load {
            Load::AllAtOnce(n) => {
                if now_us <= 0 {
                    n
                } else {
                    0
                }
            }
            Load::Concurrency(n) => n.saturating_sub(in_system),
            Load::PerStep => 1,
            Load::Rate(rate) => {
                let now = now_us as f64 / self.parameters.tick_us as f64;
                let by_now = floor_division(now, 1.0 / rate);
                let due = by_now - std::mem::replace(&mut self.due_before, by_now);
                // A source that serves another run starts at 0 again; then it is below 0.
                due.max(0.0) as u64
            }
        }
    }

    fn create(&mut self, now_us: i64) -> Request {
        let p = &self.parameters;
        let [mean, deviation] = p.output_tokens;
        let drawn = self.numpy.normal(mean, deviation).max(1.0);
        let output = drawn.min(LONGEST) as u32;
        let number = self.created;
        self.created += 1;
        // What is shared is stream 0.
        let span = |stream, start, len| Span { stream, start, len };
        let (stream, own) = (1 + number as u32, p.prompt_tokens - p.prefix_tokens);
        let (mut prompt, mut answer) = (TokenSeq::default(), TokenSeq::default());
        if p.prefix_tokens > 0 {
            prompt.push(span(0, 0, p.prefix_tokens));
        }
        prompt.push(span(stream, 0, own));
        answer.push(span(stream, own, output));
        Request {
            private_from: p.prefix_tokens,
            ..Request::new(RequestId::Number(number), now_us, prompt, answer)
        }
    }
}

/// Python's `a // b` of floats: the floor of the exact quotient, not of the rounded one.
fn floor_division(a: f64, b: f64) -> f64 {
    let rest = a % b;
    let quotient = (a - rest) / b;
    let floor = quotient.floor();
    // The remainder is exact, so that the quotient is off by its rounding alone.
    if quotient - floor > 0.5 {
        floor + 1.0
    } else {
        floor
    }
}

impl Source for StepLoad {
    fn next_request(&mut self) -> Option<Request> {
        None
    }

    fn idle_step_us(&self) -> Option<i64> {
        let done = matches!(self.parameters.load, Load::AllAtOnce(_)) && self.asked_us.is_some();
        (!done && !self.exhausted()).then_some(self.parameters.tick_us)
    }

    fn on_step_end(&mut self, now_us: i64, in_system: u64) -> Option<Request> {
        if self.asked_us != Some(now_us) {
            // Another run begins where this one's time is over.
            self.asked_us = Some(now_us);
            self.due = self.due_at(now_us, in_system);
        }
        if self.due == 0 || self.exhausted() {
            return None;
        }
        self.due -= 1;
        Some(self.create(now_us))
    }

    fn restart(&mut self) -> bool {
        (self.asked_us, self.due) = (None, 0);
        true
    }

    fn size_hint(&self) -> Option<u64> {
        match self.parameters.load {
            Load::AllAtOnce(n) => Some(n.min(self.parameters.most.unwrap_or(n))),
            _ => self.parameters.most,
        }
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

    const TICK: i64 = 1000;

    fn load(load: Load) -> StepLoad {
        let parameters = StepParameters {
            load,
            prompt_tokens: 2,
            prefix_tokens: 0,
            output_tokens: [10.0, 5.0],
            most: None,
            tick_us: TICK,
            seed: 42,
        };
        StepLoad::new(parameters).expect("a load")
    }

    fn at(source: &mut StepLoad, now_us: i64, in_system: u64) -> Vec<u32> {
        let requests = std::iter::from_fn(|| source.on_step_end(now_us, in_system));
        requests
            .inspect(|r| assert_eq!((r.arrival_us, r.prompt_tokens()), (now_us, 2)))
            .map(|r| r.output_tokens())
            .collect()
    }

    #[test]
    fn all_at_once_is_at_time_0() {
        let mut source = load(Load::AllAtOnce(3));
        assert_eq!(source.size_hint(), Some(3));
        assert!(source.idle_step_us().is_some());
        assert_eq!(at(&mut source, 0, 0), [12, 9, 13]);
        assert!(source.idle_step_us().is_none());
        assert!(at(&mut source, TICK, 0).is_empty());
    }

    #[test]
    fn a_concurrency_is_filled_up() {
        let mut source = load(Load::Concurrency(3));
        assert_eq!(at(&mut source, 0, 0).len(), 3);
        assert_eq!(at(&mut source, TICK, 3).len(), 0);
        assert_eq!(at(&mut source, 2 * TICK, 1).len(), 2);
        assert_eq!(source.created(), 5);
    }

    #[test]
    fn one_comes_with_every_step() {
        let mut source = load(Load::PerStep);
        let steps = [0, 3, 4].map(|ticks| at(&mut source, ticks * TICK, 9).len());
        assert_eq!(steps, [1, 1, 1]);
        assert_eq!(source.idle_step_us(), Some(TICK));
    }

    #[test]
    fn a_rate_is_due_by_floor_division_and_goes_on_after_a_restart() {
        let mut source = load(Load::Rate(0.46));
        let mut due = |ticks: i64| at(&mut source, ticks * TICK, 0).len();
        let first: Vec<usize> = (0..10).map(&mut due).collect();
        // Every 2.17 ticks.
        assert_eq!(first, [0, 0, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(due(100), 42);
        // Another run, from 0: what is below 0 is not created, and not owed.
        assert_eq!((due(0), due(1), due(2), due(3)), (0, 0, 0, 1));
    }

    #[test]
    fn a_floor_is_that_of_the_exact_quotient() {
        assert_eq!(floor_division(1.0, 0.1), 9.0);
        assert_eq!(floor_division(6.0, 0.1), 59.0);
        assert_eq!(floor_division(8.0, 2.0), 4.0);
        assert_eq!(floor_division(0.0, 0.3), 0.0);
    }
}
