//! What the instances did over time: queue, batch, KV blocks, tokens, in equal intervals.

use super::names::instance_name;
use super::rows::Column;
use windtunnel_base::record::{RunRecord, Series, SeriesBin};

/// What an instance did in an interval: means over time, rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Requests in the wait queue, after each step's batch was formed; 0 while no step runs.
    pub queue: f64,
    /// Requests in the batch.
    pub batch: f64,
    /// KV blocks in use while steps run.
    pub kv_blocks: f64,
    /// Prompt tokens computed per second, those recomputed after a preemption included.
    pub prompt_tokens_per_s: f64,
    /// Output tokens per second.
    pub output_tokens_per_s: f64,
    /// Steps per second.
    pub steps_per_s: f64,
    /// Share of the time in which a step ran.
    pub busy: f64,
}

/// An instance over time.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSeries {
    /// Its name.
    pub name: String,
    /// KV blocks in all.
    pub kv_total_blocks: u64,
    /// One per interval; all instances have equally many.
    pub samples: Vec<Sample>,
}

impl InstanceSeries {
    /// Share of its KV blocks that are in use; `None` if it has none.
    #[must_use]
    pub fn kv_share(&self, sample: &Sample) -> Option<f64> {
        (self.kv_total_blocks > 0).then(|| sample.kv_blocks / self.kv_total_blocks as f64)
    }
}

/// All instances over time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSeries {
    /// Length of an interval, microseconds; the last one may be shorter.
    pub width_us: i64,
    /// When the last one ends.
    pub ended_us: i64,
    /// The instances.
    pub instances: Vec<InstanceSeries>,
}

impl TimeSeries {
    /// That of a run; `None` if it was not kept. With `most`, intervals are put together until
    /// there are no more than that.
    #[must_use]
    pub fn of(record: &RunRecord, most: Option<usize>) -> Option<Self> {
        let ended_us = record.instances.iter().map(|i| i.ended_us).max()?;
        let all: Option<Vec<&Series>> = record
            .instances
            .iter()
            .map(|totals| totals.series.as_deref())
            .collect();
        let all = all?;
        let mut width_us = all.iter().map(|series| series.width_us()).max()?;
        while most.is_some_and(|most| ended_us > width_us.saturating_mul(most as i64)) {
            width_us *= 2;
        }
        let intervals = usize::try_from((ended_us + width_us - 1) / width_us).ok()?;
        let instances = all.iter().zip(&record.instances).zip(0..);
        let instances = instances.map(|((series, totals), k)| {
            let mut series = (*series).clone();
            series.coarsen(width_us);
            let bins = series.bins();
            let samples = (0..intervals).map(|at| {
                let bin = bins.get(at).copied().unwrap_or_default();
                sample(&bin, length(at, width_us, ended_us))
            });
            InstanceSeries {
                name: instance_name(k),
                kv_total_blocks: totals.kv_total_blocks,
                samples: samples.collect(),
            }
        });
        Some(Self {
            width_us,
            ended_us,
            instances: instances.collect(),
        })
    }

    /// Intervals.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.instances.first().map_or(0, |i| i.samples.len())
    }

    /// Start of an interval, microseconds.
    #[must_use]
    pub fn start_us(&self, interval: usize) -> i64 {
        interval as i64 * self.width_us
    }

    /// A sum over all instances, interval by interval.
    pub fn sum(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let sum = |k: usize| self.instances.iter().map(|i| of(&i.samples[k])).sum();
        (0..self.intervals()).map(sum).collect()
    }

    /// As columns, a row per interval and instance, in order of time.
    #[must_use]
    pub fn columns(&self) -> Vec<(&'static str, Column)> {
        let rows = || {
            let at = 0..self.intervals();
            at.flat_map(|k| self.instances.iter().map(move |i| (k, i, &i.samples[k])))
        };
        let number = |of: fn(&Sample) -> f64| {
            Column::Number(rows().map(|(_, _, sample)| Some(of(sample))).collect())
        };
        let end = |k: usize| (self.start_us(k) + self.width_us).min(self.ended_us);
        vec![
            (
                "start_us",
                Column::Whole(rows().map(|(k, ..)| Some(self.start_us(k))).collect()),
            ),
            (
                "end_us",
                Column::Whole(rows().map(|(k, ..)| Some(end(k))).collect()),
            ),
            (
                "instance",
                Column::Text(rows().map(|(_, i, _)| Some(i.name.clone())).collect()),
            ),
            ("queue", number(|s| s.queue)),
            ("batch", number(|s| s.batch)),
            ("kv_blocks", number(|s| s.kv_blocks)),
            (
                "kv_total_blocks",
                Column::Whole(
                    rows()
                        .map(|(_, i, _)| Some(i.kv_total_blocks as i64))
                        .collect(),
                ),
            ),
            (
                "kv_utilization",
                Column::Number(rows().map(|(_, i, s)| i.kv_share(s)).collect()),
            ),
            ("prompt_tokens_per_s", number(|s| s.prompt_tokens_per_s)),
            ("output_tokens_per_s", number(|s| s.output_tokens_per_s)),
            ("steps_per_s", number(|s| s.steps_per_s)),
            ("busy", number(|s| s.busy)),
        ]
    }
}

fn length(interval: usize, width_us: i64, ended_us: i64) -> i64 {
    width_us.min(ended_us - interval as i64 * width_us).max(1)
}

fn sample(bin: &SeriesBin, us: i64) -> Sample {
    let us = us as f64;
    // Sums of shares of a whole can be above it by the last bit.
    let busy = (bin.busy_us / us).min(1.0);
    Sample {
        queue: bin.waiting_us / us,
        batch: bin.running_us / us,
        kv_blocks: bin.kv_block_us / us,
        prompt_tokens_per_s: bin.prompt_tokens / us * 1e6,
        output_tokens_per_s: bin.output_tokens / us * 1e6,
        steps_per_s: bin.steps / us * 1e6,
        busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::run;
    use windtunnel_base::record::Span;

    #[test]
    fn the_last_interval_ends_with_the_run() {
        let mut record = run(Vec::new(), 2);
        for (k, totals) in record.instances.iter_mut().enumerate() {
            let mut series = Series::new(Some(100));
            series.add(&Span {
                start_us: 0,
                end_us: 150,
                steps: 3,
                waiting: 2,
                running: 4,
                kv_blocks: 5,
                prompt_tokens: 15,
                output_tokens: 30,
            });
            totals.series = (k == 0).then(|| Box::new(series.clone()));
            totals.ended_us = 150;
            totals.kv_total_blocks = 10;
        }
        assert_eq!(TimeSeries::of(&record, None), None);
        record.instances[1].series = Some(Box::new(Series::new(Some(100))));
        let series = TimeSeries::of(&record, None).unwrap();
        assert_eq!((series.intervals(), series.ended_us), (2, 150));
        let last = series.instances[0].samples[1];
        assert_eq!((last.queue, last.batch, last.busy), (2.0, 4.0, 1.0));
        assert_eq!(last.output_tokens_per_s, 200_000.0);
        assert_eq!(series.instances[0].kv_share(&last), Some(0.5));
        assert_eq!(series.sum(|s| s.queue), [2.0, 2.0]);
        let columns = series.columns();
        assert_eq!(
            columns[1].1,
            Column::Whole([100, 100, 150, 150].map(Some).to_vec())
        );
        // Put together, means stay means.
        let one = TimeSeries::of(&record, Some(1)).unwrap();
        assert_eq!(
            (one.intervals(), one.instances[0].samples[0].queue),
            (1, 2.0)
        );
    }
}
