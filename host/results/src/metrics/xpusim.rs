//! Figures of a run as XpuSim makes them: what is recorded in a window of time, and what every
//! event leaves of memory. A window or a memory of ours is in [`measured`](super::measured) and
//! in the summaries.

use super::stats::{Ints, mean, percentiles};
use serde::Serialize;
use windtunnel_base::record::{InstanceTotals, Outcome, RequestRecord, RunRecord};

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
        let mut busy = 0;
        // Ends of decode steps, and how many decoded.
        let mut decoded: Vec<(i64, u64)> = Vec::new();
        let runs = instances.iter().flat_map(|totals| &totals.step_runs);
        decoded.reserve(instances.iter().map(|totals| totals.step_runs.len()).sum());
        for run in runs {
            for (start, end) in run.each() {
                busy += if within(start) { end - start } else { 0 };
                if run.decodes > 0 && end <= ended {
                    decoded.push((end, run.decodes));
                }
            }
        }
        decoded.sort_unstable();
        let completed = |r: &RequestRecord| {
            let done = r.outcome == Outcome::Completed;
            r.completion_us().filter(|_| done)
        };
        let first_step = decoded.iter().map(|(end, _)| *end).find(|end| *end >= from);
        let first_step = first_step.filter(|end| *end <= to);
        let ends = || record.requests.iter().filter_map(completed);
        // What was finished last is recorded by the next step, if that finishes nothing.
        let late = match first_step {
            Some(end) if !ends().any(|other| other == end) => ends().filter(|t| *t < from).max(),
            _ => None,
        };
        let of_window = decoded.iter().filter(|(end, _)| within(*end));
        let mut tokens: u64 = of_window.map(|(_, decodes)| decodes).sum();
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
            let after_first = first.map_or(0, |first| {
                decoded.len() - decoded.partition_point(|(end, _)| *end < first)
            });
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
                    None => after_first as u64,
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

/// GiB in use after every event. What happens at the same moment is one.
fn memory(record: &RunRecord) -> Vec<f64> {
    let mut arrivals: Vec<i64> = record.requests.iter().map(|r| r.arrival_us).collect();
    arrivals.sort_unstable();
    let mut arrivals = arrivals.into_iter().peekable();
    let mut changes: Vec<(i64, usize, f64)> = Vec::new();
    for (i, totals) in record.instances.iter().enumerate() {
        let of_instance = totals.memory_uses.iter();
        changes.extend(of_instance.map(|change| (change.from_us, i, change.bytes)));
    }
    // A few ascending lists, one after the other: the stable sort merges those.
    changes.sort_by_key(|(from_us, ..)| *from_us);
    let mut bytes = vec![0.0; record.instances.len()];
    let mut all = Vec::with_capacity(changes.len() + arrivals.len());
    let mut changes = changes.into_iter().peekable();
    loop {
        let arrival = arrivals.peek().copied();
        let change = changes.peek().map(|(from_us, ..)| *from_us);
        let Some(now) = arrival.into_iter().chain(change).min() else {
            return all;
        };
        while arrivals.next_if_eq(&now).is_some() {}
        while let Some((_, i, used)) = changes.next_if(|(from_us, ..)| *from_us == now) {
            bytes[i] = used;
        }
        // What is there from the start is no event.
        if now > 0 || arrival == Some(now) {
            all.push(bytes.iter().sum::<f64>() / GIB);
        }
    }
}
