//! What an instance did over time, in equal intervals.

/// Most intervals, unless their length is given; then they are made twice as long. A run has half
/// as many at least, if it has so many steps.
const MOST: usize = 1_000;
/// Most intervals of a given length: 72 MB for each instance.
const MOST_GIVEN: usize = 1 << 20;
/// Length that they begin with, microseconds.
const FIRST_US: i64 = 1_000;

/// Steps of which the state of the instance is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// From when, microseconds.
    pub start_us: i64,
    /// Until when.
    pub end_us: i64,
    /// Steps.
    pub steps: u64,
    /// Length of the wait queue after the batch was formed.
    pub waiting: u64,
    /// Requests in the batch.
    pub running: u64,
    /// KV blocks in use.
    pub kv_blocks: u64,
    /// Prompt tokens that all steps compute.
    pub prompt_tokens: u64,
    /// Output tokens that all steps yield.
    pub output_tokens: u64,
}

/// Sums over an interval. Divided by its length, those with `_us` are means, the others rates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SeriesBin {
    /// Time in which a step ran, microseconds.
    pub busy_us: f64,
    /// Steps; of one that began before or goes on after the interval, the share in it.
    pub steps: f64,
    /// Requests in the wait queue x time.
    pub waiting_us: f64,
    /// Requests in the batch x time.
    pub running_us: f64,
    /// KV blocks in use x time.
    pub kv_block_us: f64,
    /// Prompt tokens computed, those recomputed included.
    pub prompt_tokens: f64,
    /// Output tokens.
    pub output_tokens: f64,
}

impl SeriesBin {
    fn add(&mut self, other: &Self) {
        self.busy_us += other.busy_us;
        self.steps += other.steps;
        self.waiting_us += other.waiting_us;
        self.running_us += other.running_us;
        self.kv_block_us += other.kv_block_us;
        self.prompt_tokens += other.prompt_tokens;
        self.output_tokens += other.output_tokens;
    }

    /// The part of `span` that takes `us` microseconds, of `all` in which its steps ran.
    fn part(span: &Span, us: i64, all: i64) -> Self {
        let share = us as f64 / all as f64;
        Self {
            busy_us: us as f64,
            steps: span.steps as f64 * share,
            waiting_us: span.waiting as f64 * us as f64,
            running_us: span.running as f64 * us as f64,
            kv_block_us: span.kv_blocks as f64 * us as f64,
            prompt_tokens: span.prompt_tokens as f64 * share,
            output_tokens: span.output_tokens as f64 * share,
        }
    }
}

/// What an instance did in each of equal intervals, the first of which begins at 0. Between steps
/// there is nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    width_us: i64,
    most: usize,
    bins: Vec<SeriesBin>,
    /// End of the last span.
    until_us: i64,
}

impl Series {
    /// Intervals of this length, microseconds; `None` = as long as it takes for 500 to 1000 of
    /// them.
    #[must_use]
    pub fn new(width_us: Option<i64>) -> Self {
        Self {
            width_us: width_us.unwrap_or(FIRST_US).max(1),
            most: if width_us.is_some() { MOST_GIVEN } else { MOST },
            bins: Vec::new(),
            until_us: 0,
        }
    }

    /// Length of an interval, microseconds.
    #[must_use]
    pub fn width_us(&self) -> i64 {
        self.width_us
    }

    /// The intervals; after the last one there is nothing.
    #[must_use]
    pub fn bins(&self) -> &[SeriesBin] {
        &self.bins
    }

    /// Adds what is after all that was added before. What overlaps with that, as steps do that are
    /// in a pipeline together, counts from the end of that on.
    pub fn add(&mut self, span: &Span) {
        let all = span.end_us - span.start_us;
        let start = span.start_us.max(self.until_us);
        if all <= 0 {
            return;
        }
        self.until_us = self.until_us.max(span.end_us);
        if start >= span.end_us {
            // It ran wholly beside others: its tokens count at its end.
            let counted = Span {
                waiting: 0,
                running: 0,
                kv_blocks: 0,
                ..*span
            };
            let part = SeriesBin {
                busy_us: 0.0,
                ..SeriesBin::part(&counted, all, all)
            };
            self.bin(span.end_us - 1).add(&part);
            return;
        }
        let all = span.end_us - start;
        self.bin(span.end_us - 1);
        let mut from = start;
        while from < span.end_us {
            let k = from / self.width_us;
            let to = ((k + 1) * self.width_us).min(span.end_us);
            self.bins[k as usize].add(&SeriesBin::part(span, to - from, all));
            from = to;
        }
    }

    /// More output tokens at a moment.
    pub fn add_output(&mut self, at_us: i64, tokens: u64) {
        if tokens > 0 {
            self.bin(at_us.max(0)).output_tokens += tokens as f64;
        }
    }

    /// The interval of a moment.
    fn bin(&mut self, at_us: i64) -> &mut SeriesBin {
        while at_us / self.width_us >= self.most as i64 {
            self.double();
        }
        let k = (at_us / self.width_us) as usize;
        if self.bins.len() <= k {
            self.bins.resize(k + 1, SeriesBin::default());
        }
        &mut self.bins[k]
    }

    fn double(&mut self) {
        self.width_us *= 2;
        let pairs = self.bins.chunks(2).map(|pair| {
            let mut sum = pair[0];
            pair[1..].iter().for_each(|bin| sum.add(bin));
            sum
        });
        self.bins = pairs.collect();
    }

    /// Makes intervals at least so long.
    pub fn coarsen(&mut self, width_us: i64) {
        while self.width_us < width_us {
            self.double();
        }
    }

    /// What two instances did together, or one before and after it was started anew.
    #[must_use]
    pub fn with(mut self, mut other: Self) -> Self {
        self.coarsen(other.width_us);
        other.coarsen(self.width_us);
        let bins = self.bins.len().max(other.bins.len());
        self.bins.resize(bins, SeriesBin::default());
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.add(more);
        }
        self.until_us = self.until_us.max(other.until_us);
        self
    }

    /// The same without what is after `end_us`.
    #[must_use]
    pub fn until(mut self, end_us: i64) -> Self {
        let bins = (end_us + self.width_us - 1) / self.width_us;
        self.bins.truncate(usize::try_from(bins).unwrap_or(0));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start_us: i64, end_us: i64) -> Span {
        Span {
            start_us,
            end_us,
            steps: 2,
            waiting: 3,
            running: 4,
            kv_blocks: 10,
            prompt_tokens: 100,
            output_tokens: 8,
        }
    }

    #[test]
    fn a_span_is_shared_among_the_intervals_that_it_touches() {
        let mut series = Series::new(Some(10));
        series.add(&span(5, 25));
        let of = |f: fn(&SeriesBin) -> f64| series.bins().iter().map(f).collect::<Vec<_>>();
        assert_eq!(of(|b| b.busy_us), [5.0, 10.0, 5.0]);
        assert_eq!(of(|b| b.waiting_us), [15.0, 30.0, 15.0]);
        assert_eq!(of(|b| b.prompt_tokens), [25.0, 50.0, 25.0]);
        assert_eq!(of(|b| b.steps), [0.5, 1.0, 0.5]);
        assert_eq!(of(|b| b.kv_block_us), [50.0, 100.0, 50.0]);
    }

    #[test]
    fn intervals_become_longer_and_sums_stay() {
        let mut series = Series::new(None);
        for k in 0..5_000 {
            series.add(&span(k * 1_000, k * 1_000 + 1_000));
        }
        assert_eq!(series.width_us(), 8_000);
        assert_eq!(series.bins().len(), 625);
        let output: f64 = series.bins().iter().map(|b| b.output_tokens).sum();
        assert!((output - 40_000.0).abs() < 1e-6, "{output}");
        let other = Series::new(None).with(series.clone());
        assert_eq!(other.bins(), series.bins());
    }

    #[test]
    fn time_is_counted_once_where_steps_overlap() {
        let mut series = Series::new(Some(100));
        series.add(&span(0, 60));
        series.add(&span(30, 90));
        series.add(&span(40, 80));
        let bin = series.bins()[0];
        assert_eq!((bin.busy_us, bin.running_us), (90.0, 360.0));
        assert_eq!((bin.prompt_tokens, bin.steps), (300.0, 6.0));
    }
}
