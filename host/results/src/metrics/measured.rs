//! Figures of a part of a run: without the time in which its caches and queues fill.

use super::stats::Ints;
use windtunnel_base::record::{RunRecord, State};

/// What completed in a given time.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its start, microseconds.
    pub start_us: i64,
    /// Its end; after `start_us`.
    pub end_us: i64,
    /// Requests that completed in it, whenever they arrived.
    pub completed: u64,
    /// Their output tokens.
    pub output_tokens: u64,
    /// Their times to first token, microseconds.
    pub ttft_us: Ints,
    /// Their end-to-end latencies, microseconds.
    pub e2e_us: Ints,
}

impl Measured {
    /// What completed from `start_us` to `end_us`, both included.
    #[must_use]
    pub fn of(record: &RunRecord, [start_us, end_us]: [i64; 2]) -> Self {
        let (mut completed, mut output_tokens) = (0, 0);
        let (mut ttft, mut e2e) = (Vec::new(), Vec::new());
        for request in &record.requests {
            let Some(e2e_us) = request.e2e_us.filter(|_| request.state == State::Completed) else {
                continue;
            };
            if !(start_us..=end_us).contains(&(request.arrival_us + e2e_us)) {
                continue;
            }
            completed += 1;
            output_tokens += u64::from(request.generated_tokens);
            ttft.extend(request.ttft_us);
            e2e.push(e2e_us);
        }
        Self {
            start_us,
            end_us,
            completed,
            output_tokens,
            ttft_us: Ints::new(ttft),
            e2e_us: Ints::new(e2e),
        }
    }

    /// Its length, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.end_us - self.start_us) as f64 / 1e6
    }

    /// Requests that completed per second.
    #[must_use]
    pub fn responses_per_sec(&self) -> f64 {
        self.completed as f64 / self.seconds()
    }

    /// Their output tokens per second.
    #[must_use]
    pub fn tokens_per_sec(&self) -> f64 {
        self.output_tokens as f64 / self.seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::stats::mean;
    use crate::metrics::summary::tests::{done, run};

    #[test]
    fn what_completes_outside_of_the_time_does_not_count() {
        // (serial, arrival, TTFT, E2E, instance): done at 1.0, 2.0 and 3.1 s.
        let requests = vec![
            done(0, 500_000, 100_000, 500_000, 0),
            done(1, 900_000, 300_000, 1_100_000, 0),
            done(2, 3_000_000, 50_000, 100_000, 0),
        ];
        let record = run(requests, 1);
        let tokens = u64::from(record.requests[1].generated_tokens);
        let found = Measured::of(&record, [1_000_001, 3_000_000]);
        assert_eq!((found.completed, found.output_tokens), (1, tokens));
        assert_eq!(
            (mean(&found.ttft_us), mean(&found.e2e_us)),
            (300_000.0, 1_100_000.0)
        );
        assert_eq!(Measured::of(&record, [1_000_000, 3_100_000]).completed, 3);
    }
}
