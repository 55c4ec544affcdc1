//! Figures of a run in abstract time, as TickSim defines them: of its steps, idle ones included,
//! and of all requests that got as far as a figure goes, not of completed ones alone.

use super::stats::{Sample, Weighted, mean, percentile};
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord, SplitRecord, StepRun};

/// What the figures need to know beyond the record.
#[derive(Clone, Debug, PartialEq)]
pub struct TickInputs {
    /// A tick on the engine's clock, microseconds.
    pub tick_us: i64,
    /// No step begins from here on, ticks; `None` = the run ended when all was done.
    pub time_limit: Option<f64>,
    /// The steps of all instances begin and end together, and count once.
    pub lockstep: bool,
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
    /// How long KV caches moved from instance to instance, of requests for which they did.
    pub moved: Option<Times>,
    /// How long they waited before, from the end of the prefill on.
    pub waited: Option<Times>,
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
            moved: None,
            waited: None,
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
            let steps = steps(record, inputs, i);
            let decoding = Decoding::of(&steps, limit_us(inputs));
            let mut counts = vec![0i64; decoding.ends.len() + 1];
            for request in of_instance(record, i) {
                ttft.extend(request.ttft_us.map(|us| (us, 1)));
                if let Some(us) = e2e_us(request, inputs) {
                    e2e.push((us, 1));
                    figures.completed += 1;
                    figures.completed_tokens += u64::from(request.output_tokens);
                }
                if request.ttft_us.is_none() {
                    continue;
                }
                let completed = request.outcome == Outcome::Completed;
                let ends_us = request.completion_us().filter(|_| completed);
                let second = decoding.second_token(request);
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
            if !inputs.lockstep {
                figures.add_steps(&steps, inputs);
            }
        }
        if inputs.lockstep {
            figures.add_steps(&common_steps(record, inputs), inputs);
        }
        let times = |values: Vec<(i64, u64)>| Times::of(values, inputs.tick_us);
        (figures.ttft, figures.e2e, figures.itl) = (times(ttft), times(e2e), times(gaps));
        let splits = || record.requests.iter().filter_map(|r| r.split.as_deref());
        let spans = |of: fn(&SplitRecord) -> Option<i64>| {
            times(splits().filter_map(of).map(|us| (us, 1)).collect())
        };
        figures.moved = spans(SplitRecord::moved_us);
        figures.waited = spans(SplitRecord::waited_us);
        figures
    }

    fn add_steps(&mut self, steps: &[Step], inputs: &TickInputs) {
        self.steps += steps.len() as u64;
        if let Some(last) = steps.last() {
            self.end = self.end.max(last.end_us as f64 / inputs.tick_us as f64);
            self.last.0 += last.waiting;
            self.last.1 += last.running;
        }
        let queue = steps.iter().map(|step| step.waiting).max();
        self.max_queue = self.max_queue.max(queue.unwrap_or(0));
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

/// When a request completed after its arrival, microseconds; `None` = it did not.
///
/// In lockstep, one whose only token came with its prompt still takes a place for a step, as in
/// TickSim; it is complete before.
fn e2e_us(request: &RequestRecord, inputs: &TickInputs) -> Option<i64> {
    let completed = request.outcome == Outcome::Completed;
    request
        .e2e_us
        .filter(|_| completed)
        .or_else(|| request.ttft_us.filter(|_| lingers(request, inputs)))
}

/// Does it stay after its only token, to take a place for a step?
fn lingers(request: &RequestRecord, inputs: &TickInputs) -> bool {
    inputs.lockstep && prefilled_elsewhere(request) && request.output_tokens <= 1
}

/// Did another instance compute its prompt?
fn prefilled_elsewhere(request: &RequestRecord) -> bool {
    let split = request.split.as_ref();
    split.is_some_and(|split| split.prefill_end_us.is_some())
}

/// The steps of an instance one by one, with idle ones in between and up to the time limit. Idle
/// ones take a tick; in lockstep, as long as the others' steps.
#[must_use]
pub fn steps(record: &RunRecord, inputs: &TickInputs, instance: usize) -> Vec<Step> {
    let own = one_by_one(&record.instances[instance].step_runs);
    if !inputs.lockstep {
        return with_idle_ones(own, inputs);
    }
    let mut own = own.peekable();
    let common = common_steps(record, inputs).into_iter();
    common
        .map(|step| {
            let same = own.next_if(|own| own.start_us == step.start_us);
            same.unwrap_or(Step {
                waiting: 0,
                running: 0,
                decodes: 0,
                ..step
            })
        })
        .collect()
}

/// The steps of instances that step together, with idle ones.
fn common_steps(record: &RunRecord, inputs: &TickInputs) -> Vec<Step> {
    let runs = record.instances.iter().map(|totals| &totals.step_runs[..]);
    let mut all: Vec<Step> = runs.flat_map(one_by_one).collect();
    all.sort_by_key(|step| step.start_us);
    all.dedup_by(|next, step| {
        let same = next.start_us == step.start_us;
        if same {
            step.waiting += next.waiting;
            step.running += next.running;
            step.decodes += next.decodes;
        }
        same
    });
    with_idle_ones(all.into_iter(), inputs)
}

fn one_by_one(runs: &[StepRun]) -> impl Iterator<Item = Step> {
    runs.iter().flat_map(|run| {
        run.each().map(|(start_us, end_us)| Step {
            start_us,
            end_us,
            waiting: run.waiting.into(),
            running: run.running.into(),
            decodes: run.decodes.into(),
        })
    })
}

fn with_idle_ones(steps: impl Iterator<Item = Step>, inputs: &TickInputs) -> Vec<Step> {
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
    for step in steps {
        idle(&mut all, step.start_us);
        all.push(step);
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

    /// The one that yields the second token of a request that has its first.
    fn second_token(&self, request: &RequestRecord) -> usize {
        let first_us = request.ttft_us.map(|us| request.arrival_us + us);
        let here_us = match &request.split {
            Some(split) if prefilled_elsewhere(request) => split.decode_start_us,
            _ => first_us,
        };
        // One that has not come here yet gets none.
        let from_us = first_us.zip(here_us).map(|(first, here)| first.max(here));
        from_us.map_or(self.ends.len(), |us| self.first_from(us))
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
    let steps = steps(record, inputs, instance);
    let slots = inputs.slots.get(instance).map_or(0, |n| *n as usize);
    let most = steps.iter().map(|step| step.running).max().unwrap_or(0) as usize;
    let decoding = Decoding::of(&steps, None);
    let mut queue = stays(record, inputs, instance).into_iter().peekable();
    // With very many places only those that were ever taken are shown.
    let mut held: Vec<Option<Stay<'_>>> = vec![None; slots.min(most.max(64))];
    let mut all = Vec::with_capacity(steps.len());
    for step in &steps {
        let start = step.start_us;
        for place in &mut held {
            place.take_if(|stay| stay.until_us <= start);
        }
        while let Some(stay) = queue.next_if(|stay| stay.from_us <= start) {
            if let Some(free) = held.iter_mut().find(|place| place.is_none()) {
                *free = Some(stay);
            }
        }
        let place = |stay: Stay<'_>| {
            let r = stay.request;
            let first_us = r
                .ttft_us
                .map(|us| r.arrival_us + us)
                .filter(|us| *us <= start);
            let tokens = first_us.map_or(0, |_| {
                1 + decoding
                    .first_from(start)
                    .saturating_sub(decoding.second_token(r)) as u64
            });
            // What only lingers is not shown.
            let shown = !(tokens > 0 && lingers(r, inputs));
            shown.then_some(Place {
                serial: r.serial,
                tokens,
            })
        };
        all.push(held.iter().map(|held| held.and_then(place)).collect());
    }
    all
}

/// The time for which a request holds a place of an instance's batch, microseconds.
#[derive(Clone, Copy)]
struct Stay<'a> {
    request: &'a RequestRecord,
    from_us: i64,
    until_us: i64,
}

/// All of them on an instance, in order of admission.
fn stays<'a>(record: &'a RunRecord, inputs: &TickInputs, instance: usize) -> Vec<Stay<'a>> {
    let mut stays: Vec<Stay<'_>> = Vec::new();
    for request in &record.requests {
        let admitted_us = request
            .scheduling_delay_us
            .map(|us| request.arrival_us + us);
        let split = request.split.as_deref();
        let split = split.filter(|split| split.prefill_instance.is_some());
        if let Some(split) = split
            && split.prefill_instance == Some(instance as u32)
            && let Some(from_us) = admitted_us
        {
            stays.push(Stay {
                request,
                from_us,
                until_us: split.prefill_end_us.unwrap_or(i64::MAX),
            });
        }
        let from_us = match split {
            Some(split) => split.decode_start_us,
            None => admitted_us,
        };
        if request.instance == Some(instance as u32)
            && let Some(from_us) = from_us
        {
            let until_us = match lingers(request, inputs) {
                true => Some(from_us + 1),
                false => request.completion_us(),
            };
            stays.push(Stay {
                request,
                from_us,
                until_us: until_us.unwrap_or(i64::MAX),
            });
        }
    }
    stays.sort_by_key(|stay| (stay.from_us, stay.request.serial));
    stays
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
            lockstep: false,
            slots: vec![1],
        };
        let ends = |inputs: &TickInputs| -> Vec<(i64, u64)> {
            let steps = with_idle_ones(one_by_one(&[run]), inputs);
            steps.iter().map(|s| (s.end_us, s.waiting)).collect()
        };
        let first = [(10, 0), (20, 0), (35, 3), (50, 3)];
        assert_eq!(ends(&inputs)[..4], first);
        assert_eq!(ends(&inputs)[4..], [(60, 0), (70, 0)]);
        inputs.time_limit = None;
        assert_eq!(ends(&inputs), first);
    }
}
