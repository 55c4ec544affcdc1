//! Figures of a run as XpuSim makes them: what is recorded in a window of time, and what every
//! event leaves of memory. A window or a memory of ours is in [`measured`](super::measured) and
//! in the summaries.

use super::stats::{Ints, mean, percentiles};
use serde::Serialize;
use std::cell::OnceCell;
use windtunnel_base::record::{
    InstanceTotals, MemoryUse, Outcome, RequestRecord, RunRecord, StepRun,
};

/// Bytes of XpuSim's GB.
const GIB: f64 = 1_073_741_824.0;

/// What the figures need to know beyond the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct XpuSimInputs {
    /// Units of the record's clock in a second.
    pub clock_per_s: f64,
    /// Start and end of the time that is measured, on that clock.
    pub window: [i64; 2],
    /// Its length, seconds.
    pub duration_s: f64,
}

/// When what happened to a request, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// Order of arrival, from 0.
    pub id: u64,
    /// When it came.
    pub arrival: f64,
    /// Prompt, tokens.
    pub input: u32,
    /// Output that it asks for, tokens.
    pub output: u32,
    /// When its prompt began to be computed.
    pub prefill_start: Option<f64>,
    /// When it was.
    pub prefill_end: Option<f64>,
    /// When its first decode step ended.
    pub first_token: Option<f64>,
    /// When its last one did.
    pub finish: Option<f64>,
    /// Output tokens by the end of the run.
    pub generated: u64,
}

/// The figures of a run; times are seconds.
#[derive(Clone, Debug)]
pub struct XpuSimFigures {
    /// Requests that arrived, those after the window included.
    pub total: u64,
    /// Requests that were recorded: those whose last step ended in the window, and the last ones
    /// before it, if the first step of the window ends no request.
    pub completed: u64,
    /// End of the run less the warm-up, at most the duration.
    pub simulated_s: f64,
    /// Output tokens of steps that ended in the window, without the last one of each request.
    pub tokens: u64,
    /// Sum of the times of all steps that began in the window, of all instances.
    pub busy_s: f64,
    /// Time to first token of the recorded requests, on the record's clock.
    pub first_token: Ints,
    /// The same of their end-to-end latency.
    pub end_to_end: Ints,
    /// Mean time of the prompts that were computed in the window; `None` of none.
    pub prefill_mean_s: Option<f64>,
    /// Most GiB of one accelerator of each pool, together, after an event, and the 95th and 50th
    /// percentile of them after every one; `None` without any.
    pub memory_gib: Option<[f64; 3]>,
    /// Events of the run: requests that came, steps and transfers that ended.
    pub events: u64,
    /// When the last event happened.
    pub end_s: f64,
    /// Units of the record's clock in a second.
    pub clock_per_s: f64,
    /// All requests in order of arrival.
    pub requests: Vec<Timeline>,
}

impl XpuSimFigures {
    /// The figures of a run that kept its steps and memory.
    #[must_use]
    pub fn of(record: &RunRecord, inputs: &XpuSimInputs) -> Self {
        let [from, to] = inputs.window;
        let within = |time: i64| (from..=to).contains(&time);
        let instances = &record.instances;
        let ended = instances.iter().map(|totals| totals.ended_us).max();
        let ended = ended.unwrap_or(0);
        let runs = instances.iter().flat_map(|totals| &totals.step_runs);
        let (mut busy, mut tokens) = (0, 0);
        for run in runs {
            let tokens_each = u64::from(run.decodes);
            if run.start_us >= from && run.end_us() <= to.min(ended) {
                busy += run.end_us() - run.start_us;
                tokens += tokens_each * u64::from(run.steps);
                continue;
            }
            // A step begins when the one before it ends.
            let began = |time: i64| run.ended_by(time.saturating_add(run.step_us)) as i64;
            let ended = |time: i64| run.ended_by(time.min(ended));
            busy += (began(to) - began(from - 1)) * run.step_us;
            tokens += tokens_each * (ended(to) - ended(from - 1));
        }
        let decodes = DecodeSteps::of(instances, ended);
        let completed = |r: &RequestRecord| {
            let done = r.outcome == Outcome::Completed;
            r.completion_us().filter(|_| done)
        };
        let first_step = decodes.first_from(from).filter(|end| *end <= to);
        let ends = || record.requests.iter().filter_map(completed);
        // What was finished last is recorded by the next step, if that finishes nothing.
        let late = match first_step {
            Some(end) if !ends().any(|other| other == end) => ends().filter(|t| *t < from).max(),
            _ => None,
        };
        let (mut first_token, mut end_to_end, mut prefills) = (Vec::new(), Vec::new(), Vec::new());
        let seconds = |time: i64| time as f64 / inputs.clock_per_s;
        let mut requests = Vec::with_capacity(record.requests.len());
        for r in &record.requests {
            let prefill = prefill(r, instances, ended);
            let finish = completed(r);
            let first = r.ttft_us.map(|ttft| r.arrival_us + ttft);
            if let Some(finish) = finish.filter(|t| within(*t) || Some(*t) == late) {
                tokens -= u64::from(within(finish));
                first_token.extend(r.ttft_us);
                end_to_end.push(finish - r.arrival_us);
            }
            let computed = prefill.and_then(|(start, end)| Some((start, end?)));
            prefills.extend(
                computed
                    .filter(|(_, end)| within(*end))
                    .map(|(start, end)| end - start),
            );
            requests.push(Timeline {
                id: r.serial,
                arrival: seconds(r.arrival_us),
                input: r.prompt_tokens,
                output: r.output_tokens,
                prefill_start: prefill.map(|(start, _)| seconds(start)),
                prefill_end: prefill.and_then(|(_, end)| end).map(seconds),
                first_token: first.map(seconds),
                finish: finish.map(seconds),
                // Nobody leaves a batch that decodes before he is done.
                generated: match finish {
                    Some(_) => r.output_tokens.into(),
                    None => first.map_or(0, |first| decodes.count_from(first)),
                },
            });
        }
        let memory = memory(record);
        Self {
            total: record.requests.len() as u64,
            completed: end_to_end.len() as u64,
            simulated_s: seconds(ended - from).min(inputs.duration_s),
            tokens,
            busy_s: seconds(busy),
            first_token: Ints::new(first_token),
            end_to_end: Ints::new(end_to_end),
            prefill_mean_s: (!prefills.is_empty())
                .then(|| mean(&Ints::new(prefills)) / inputs.clock_per_s),
            events: memory.len() as u64,
            memory_gib: percentiles(memory, [100.0, 95.0, 50.0]),
            end_s: seconds(ended),
            clock_per_s: inputs.clock_per_s,
            requests,
        }
    }

    /// Busy time over the time that was measured: above 1 where several instances are busy at once.
    #[must_use]
    pub fn utilization(&self) -> Option<f64> {
        (self.simulated_s > 0.0).then(|| self.busy_s / self.simulated_s)
    }
}

/// When the prompt of a request began to be computed, and when it was, if it was by the end.
fn prefill(
    r: &RequestRecord,
    instances: &[InstanceTotals],
    ended: i64,
) -> Option<(i64, Option<i64>)> {
    let start = r.arrival_us + r.scheduling_delay_us?;
    if let Some(split) = &r.split {
        return Some((start, split.prefill_end_us));
    }
    let runs = &instances.get(r.instance? as usize)?.step_runs;
    let at = runs.partition_point(|run| run.end_us() <= start);
    let steps = runs.get(at).into_iter().flat_map(|run| run.each());
    let end = steps.map(|(_, end)| end).find(|end| *end > start);
    Some((start, end.filter(|end| *end <= ended)))
}

/// The steps of a run in which requests decode, those that ended.
struct DecodeSteps<'a> {
    instances: &'a [InstanceTotals],
    /// When the run ended.
    ended: i64,
    /// Of each instance: how many there are before each of its runs, and in all.
    before: OnceCell<Vec<Vec<u64>>>,
}

impl<'a> DecodeSteps<'a> {
    fn of(instances: &'a [InstanceTotals], ended: i64) -> Self {
        Self {
            instances,
            ended,
            before: OnceCell::new(),
        }
    }

    /// The end of the first one that ended at this time or later.
    fn first_from(&self, time: i64) -> Option<i64> {
        let firsts = self.instances.iter().filter_map(|totals| {
            let runs = &totals.step_runs;
            let at = runs.partition_point(|run| run.end_us() < time);
            let run = runs[at..].iter().find(|run| run.decodes > 0)?;
            run.each().map(|(_, end)| end).find(|end| *end >= time)
        });
        firsts.min().filter(|end| *end <= self.ended)
    }

    /// How many ended at this time or later.
    fn count_from(&self, time: i64) -> u64 {
        let ended_by = |run: &StepRun, time: i64| match run.decodes {
            0 => 0,
            _ => run.ended_by(time.min(self.ended)),
        };
        let before = self.before.get_or_init(|| {
            let of_instance = |totals: &InstanceTotals| {
                let mut all = 0;
                let mut before = vec![0];
                before.extend(totals.step_runs.iter().map(|run| {
                    all += ended_by(run, self.ended);
                    all
                }));
                before
            };
            self.instances.iter().map(of_instance).collect()
        });
        let counts = self.instances.iter().zip(before).map(|(totals, before)| {
            let runs = &totals.step_runs;
            let at = runs.partition_point(|run| run.end_us() < time);
            let earlier = runs.get(at).map_or(0, |run| ended_by(run, time - 1));
            before[runs.len()] - before[at] - earlier
        });
        counts.sum()
    }
}

/// GiB in use after every event. What happens at the same moment is one.
fn memory(record: &RunRecord) -> Vec<f64> {
    let mut arrivals: Vec<i64> = record.requests.iter().map(|r| r.arrival_us).collect();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    // The changes of each instance that are still to come: there are one or two instances.
    let uses = record
        .instances
        .iter()
        .map(|totals| &totals.memory_uses[..]);
    let mut to_come: Vec<&[MemoryUse]> = uses.collect();
    let changes: usize = to_come.iter().map(|uses| uses.len()).sum();
    let mut bytes = vec![0.0; to_come.len()];
    let mut all = Vec::with_capacity(changes + arrivals.len());
    loop {
        let arrival = arrivals.peek().copied().unwrap_or(i64::MAX);
        let next = to_come.iter().filter_map(|uses| uses.first());
        let now = next.map(|change| change.from_us).fold(arrival, i64::min);
        if now == i64::MAX {
            return all;
        }
        while arrivals.next_if_eq(&now).is_some() {}
        for (uses, bytes) in to_come.iter_mut().zip(&mut bytes) {
            while let Some((change, later)) = uses.split_first()
                && change.from_us == now
            {
                *bytes = change.bytes;
                *uses = later;
            }
        }
        // What is there from the start is no event.
        if now > 0 || arrival == now {
            all.push(bytes.iter().sum::<f64>() / GIB);
        }
    }
}
