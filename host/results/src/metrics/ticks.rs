//! Figures of a run in abstract time, as TickSim defines them: of its steps, idle ones included,
//! and of all requests that got as far as a figure goes, not of completed ones alone.

use super::stats::{Sample, Weighted, mean, percentile};
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord, StepRun};

/// What the figures need to know beyond the record.
#[derive(Clone, Debug, PartialEq)]
pub struct TickInputs {
    /// A tick on the engine's clock, microseconds.
    pub tick_us: i64,
    /// No step begins from here on, ticks; `None` = the run ended when all was done.
    pub time_limit: Option<f64>,
    /// Most requests in a batch, of each instance.
    pub slots: Vec<u32>,
}

/// Mean and median of some times, ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// How many times there are, at least one.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
}

/// A step, or an idle one, which takes a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Start, microseconds.
    pub start_us: i64,
    /// End, microseconds.
    pub end_us: i64,
    /// Requests that wait while it runs.
    pub waiting: u64,
    /// Requests in its batch; 0 = it is idle.
    pub running: u64,
    /// Of these, requests that decode.
    pub decodes: u64,
}

/// The figures of a run. Where nothing was measured there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct TickFigures {
    /// Time to first token, of all requests that have one.
    pub ttft: Option<Times>,
    /// Completion after arrival, of completed requests.
    pub e2e: Option<Times>,
    /// Gaps between tokens from the second one on, of all requests; the gap that the last step
    /// makes counts, although its tokens do not.
    pub itl: Option<Times>,
    /// Requests that arrived.
    pub created: u64,
    /// Requests completed.
    pub completed: u64,
    /// Their output tokens.
    pub completed_tokens: u64,
    /// Tokens so far of the requests that still run.
    pub running_tokens: u64,
    /// Steps, idle ones included.
    pub steps: u64,
    /// End of the last step, ticks; 0 = there was none.
    pub end: f64,
    /// Requests that wait and that run in the last step.
    pub last: (u64, u64),
    /// Most requests that waited during a step.
    pub max_queue: u64,
}

impl TickFigures {
    /// The figures of a run.
    #[must_use]
    pub fn of(record: &RunRecord, inputs: &TickInputs) -> Self {
        let (mut ttft, mut e2e, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
        let mut figures = Self {
            ttft: None,
            e2e: None,
            itl: None,
            created: record.requests.len() as u64,
            completed: 0,
            completed_tokens: 0,
            running_tokens: 0,
            steps: 0,
            end: 0.0,
            last: (0, 0),
            max_queue: 0,
        };
        for i in 0..record.instances.len() {
            let steps = steps(&record.instances[i].step_runs, inputs);
            let decoding = Decoding::of(&steps, limit_us(inputs));
            let mut counts = vec![0i64; decoding.ends.len() + 1];
            for request in of_instance(record, i) {
                ttft.extend(request.ttft_us.map(|us| (us, 1)));
                let completed = request.outcome == Outcome::Completed;
                if let Some(us) = request.e2e_us.filter(|_| completed) {
                    e2e.push((us, 1));
                    figures.completed += 1;
                    figures.completed_tokens += u64::from(request.output_tokens);
                }
                let Some(first_us) = request.ttft_us.map(|us| request.arrival_us + us) else {
                    continue;
                };
                let ends_us = request.completion_us().filter(|_| completed);
                let second = decoding.first_from(first_us);
                // The last step's gap counts for those that still run.
                let last = ends_us.map_or(decoding.ends.len(), |us| decoding.until(us));
                if request.outcome == Outcome::Running {
                    let more = decoding.processed.saturating_sub(second);
                    figures.running_tokens += 1 + more as u64;
                }
                if second + 1 < last {
                    counts[second + 1] += 1;
                    counts[last] -= 1;
                }
            }
            let mut running = 0;
            for (k, change) in counts.iter().enumerate() {
                running += change;
                if running > 0 && k > 0 {
                    gaps.push((decoding.ends[k] - decoding.ends[k - 1], running as u64));
                }
            }
            figures.steps += steps.len() as u64;
            if let Some(last) = steps.last() {
                figures.end = figures.end.max(last.end_us as f64 / inputs.tick_us as f64);
                figures.last.0 += last.waiting;
                figures.last.1 += last.running;
            }
            let queue = steps.iter().map(|step| step.waiting).max();
            figures.max_queue = figures.max_queue.max(queue.unwrap_or(0));
        }
        let times = |values: Vec<(i64, u64)>| Times::of(values, inputs.tick_us);
        (figures.ttft, figures.e2e, figures.itl) = (times(ttft), times(e2e), times(gaps));
        figures
    }

    /// Completed requests per 1,000 ticks; `None` if there was no step.
    #[must_use]
    pub fn requests_per_1k(&self) -> Option<f64> {
        self.per_1k(self.completed)
    }

    /// Tokens of completed and running requests per 1,000 ticks; `None` if there was no step.
    #[must_use]
    pub fn tokens_per_1k(&self) -> Option<f64> {
        self.per_1k(self.completed_tokens + self.running_tokens)
    }

    fn per_1k(&self, n: u64) -> Option<f64> {
        (self.end > 0.0).then(|| 1000.0 * n as f64 / self.end)
    }
}

impl Times {
    /// Of microseconds and how often each occurs.
    fn of(values: Vec<(i64, u64)>, tick_us: i64) -> Option<Self> {
        let values = Weighted::new(values);
        let tick = tick_us as f64;
        (values.count() > 0).then(|| Self {
            count: values.count(),
            mean: mean(&values) / tick,
            median: percentile(&values, 50.0) / tick,
        })
    }
}

/// The requests of an instance, in order of arrival.
fn of_instance(record: &RunRecord, i: usize) -> impl Iterator<Item = &RequestRecord> {
    let requests = record.requests.iter();
    requests.filter(move |r| r.instance == Some(i as u32))
}

/// The first microsecond at which no step begins.
fn limit_us(inputs: &TickInputs) -> Option<i64> {
    inputs
        .time_limit
        .map(|ticks| (ticks * inputs.tick_us as f64).ceil() as i64)
}

/// The steps of an instance one by one, with idle ones of a tick in between and up to the time
/// limit.
#[must_use]
pub fn steps(runs: &[StepRun], inputs: &TickInputs) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    let idle = |all: &mut Vec<Step>, until_us: i64| {
        let mut start_us = all.last().map_or(0, |step| step.end_us);
        while start_us < until_us {
            let end_us = start_us + inputs.tick_us;
            all.push(Step {
                start_us,
                end_us,
                waiting: 0,
                running: 0,
                decodes: 0,
            });
            start_us = end_us;
        }
    };
    for run in runs {
        idle(&mut all, run.start_us);
        for k in 0..run.steps as i64 {
            let start_us = run.start_us + k * run.step_us;
            all.push(Step {
                start_us,
                end_us: start_us + run.step_us,
                waiting: run.waiting,
                running: run.running,
                decodes: run.decodes,
            });
        }
    }
    idle(&mut all, limit_us(inputs).unwrap_or(0));
    all
}

/// The steps of an instance in which requests decode: all that run do, or none.
struct Decoding {
    starts: Vec<i64>,
    ends: Vec<i64>,
    /// How many of them yielded their tokens before the end.
    processed: usize,
}

impl Decoding {
    fn of(steps: &[Step], limit_us: Option<i64>) -> Self {
        let decoding = || steps.iter().filter(|step| step.decodes > 0);
        Self {
            starts: decoding().map(|step| step.start_us).collect(),
            ends: decoding().map(|step| step.end_us).collect(),
            processed: decoding()
                .take_while(|step| limit_us.is_none_or(|limit| step.end_us < limit))
                .count(),
        }
    }

    /// The first of them that starts at this time or later.
    fn first_from(&self, us: i64) -> usize {
        self.starts.partition_point(|start| *start < us)
    }

    /// How many of them end by this time.
    fn until(&self, us: i64) -> usize {
        self.ends.partition_point(|end| *end <= us)
    }
}

/// What a place of a batch holds during a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Serial number of the request.
    pub serial: u64,
    /// Tokens that it had when the step began; 0 = its prompt is computed.
    pub tokens: u64,
}

/// The places of an instance's batch during each of its [`steps`]: `None` = empty. Requests take
/// the lowest free place.
#[must_use]
pub fn places(record: &RunRecord, inputs: &TickInputs, instance: usize) -> Vec<Vec<Option<Place>>> {
    let steps = steps(&record.instances[instance].step_runs, inputs);
    let slots = inputs.slots.get(instance).map_or(0, |n| *n as usize);
    let most = steps.iter().map(|step| step.running).max().unwrap_or(0) as usize;
    let mut admitted: Vec<(i64, &RequestRecord)> = of_instance(record, instance)
        .filter_map(|r| Some((r.arrival_us + r.scheduling_delay_us?, r)))
        .collect();
    admitted.sort_by_key(|(us, r)| (*us, r.serial));
    let decoding = Decoding::of(&steps, None);
    let mut queue = admitted.into_iter().peekable();
    // With very many places only those that were ever taken are shown.
    let mut held: Vec<Option<&RequestRecord>> = vec![None; slots.min(most.max(64))];
    let mut all = Vec::with_capacity(steps.len());
    for step in &steps {
        let start = step.start_us;
        for place in &mut held {
            let done = |r: &RequestRecord| r.completion_us().is_some_and(|us| us <= start);
            if place.is_some_and(done) {
                *place = None;
            }
        }
        while let Some((_, request)) = queue.next_if(|(us, _)| *us <= start) {
            if let Some(free) = held.iter_mut().find(|place| place.is_none()) {
                *free = Some(request);
            }
        }
        let place = |r: &RequestRecord| {
            let first_us = r
                .ttft_us
                .map(|us| r.arrival_us + us)
                .filter(|us| *us <= start);
            let tokens = first_us.map_or(0, |us| {
                1 + (decoding.first_from(start) - decoding.first_from(us)) as u64
            });
            Place {
                serial: r.serial,
                tokens,
            }
        };
        all.push(held.iter().map(|held| held.map(place)).collect());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_steps_of_a_tick_fill_the_gaps_up_to_the_limit() {
        let run = StepRun {
            start_us: 20,
            step_us: 15,
            steps: 2,
            waiting: 3,
            running: 1,
            decodes: 1,
        };
        let mut inputs = TickInputs {
            tick_us: 10,
            time_limit: Some(6.5),
            slots: vec![1],
        };
        let ends = |inputs: &TickInputs| -> Vec<(i64, u64)> {
            let steps = steps(&[run], inputs);
            steps.iter().map(|s| (s.end_us, s.waiting)).collect()
        };
        let first = [(10, 0), (20, 0), (35, 3), (50, 3)];
        assert_eq!(ends(&inputs)[..4], first);
        assert_eq!(ends(&inputs)[4..], [(60, 0), (70, 0)]);
        inputs.time_limit = None;
        assert_eq!(ends(&inputs), first);
    }
}
