//! Requests and steps in the trace format of Chrome, which ui.perfetto.dev opens: every request as
//! a slice with its phases, every step of each instance, counters of queue, batch and KV blocks,
//! and what was decided as instants.

use super::names::instance_name;
use super::rows::outcome_word;
use super::time_series::{Sample, TimeSeries};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::io::{self, Write};
use windtunnel_base::record::{Decision, RanStep, RequestRecord, RunRecord};
use windtunnel_base::request::RequestId;

/// The process in which what no instance has is shown.
const FRONT_END: u64 = 1;

/// The process of an instance.
fn process(instance: u32) -> u64 {
    FRONT_END + 1 + u64::from(instance)
}

/// Events by time; those of one time in the order in which they were added.
#[derive(Default)]
struct Events(Vec<(i64, String)>);

impl Events {
    fn add(&mut self, ts: i64, event: &Value) {
        self.0.push((ts, event.to_string()));
    }
}

/// Writes the trace of a run. Its times are simulated ones, microseconds. Steps, counters and
/// decisions are in it as far as they were kept.
///
/// # Errors
/// When `out` fails.
pub fn write(record: &RunRecord, out: &mut dyn Write) -> io::Result<()> {
    let mut events = Events::default();
    requests(record, &mut events);
    for (k, totals) in (0..).zip(&record.instances) {
        steps(k, &totals.logged_steps, &mut events);
        preemptions(k, &totals.logged_steps, &mut events);
    }
    if let Some(series) = TimeSeries::of(record, None) {
        counters(&series, &mut events);
    }
    decisions(record, &mut events);
    events.0.sort_by_key(|(ts, _)| *ts);
    out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
    let mut first = true;
    let names = names(record).into_iter().map(|event| event.to_string());
    for event in names.chain(events.0.into_iter().map(|(_, event)| event)) {
        if !std::mem::take(&mut first) {
            out.write_all(b",\n")?;
        }
        out.write_all(event.as_bytes())?;
    }
    out.write_all(b"\n]}\n")
}

/// What processes and threads are called.
fn names(record: &RunRecord) -> Vec<Value> {
    let name = |what: &str, pid: u64, name: &str| json!({"ph": "M", "name": what, "pid": pid, "tid": 0, "ts": 0, "args": {"name": name}});
    let mut all = vec![name("process_name", FRONT_END, "front end")];
    for k in (0..).take(record.instances.len()) {
        all.push(name("process_name", process(k), &instance_name(k)));
        all.push(name("thread_name", process(k), "steps"));
    }
    all
}

/// A part of a request's time.
struct Phase {
    name: &'static str,
    from: i64,
    to: i64,
}

fn requests(record: &RunRecord, events: &mut Events) {
    let ended_us = record.instances.iter().map(|i| i.ended_us).max();
    let ended_us = ended_us.unwrap_or(0);
    for r in &record.requests {
        let pid = r.instance.map_or(FRONT_END, process);
        let event = |ph: &str, name: &str, ts: i64| json!({"ph": ph, "cat": "request", "name": name, "id": r.serial, "pid": pid, "tid": 0, "ts": ts});
        let name = r.id.to_string();
        let phases = phases(r, ended_us);
        let end = phases.last().map_or(r.arrival_us, |phase| phase.to);
        let mut begin = event("b", &name, r.arrival_us);
        begin["args"] = json!({
            "outcome": outcome_word(r.outcome), "prompt_tokens": r.prompt_tokens,
            "cached_tokens": r.cached_tokens, "output_tokens": r.output_tokens,
            "slo_class": record.symbols.name(r.slo_class), "preemptions": r.preemptions,
            "ttft_us": r.ttft_us, "e2e_us": r.e2e_us,
        });
        events.add(r.arrival_us, &begin);
        for phase in phases {
            events.add(phase.from, &event("b", phase.name, phase.from));
            events.add(phase.to, &event("e", phase.name, phase.to));
        }
        events.add(end, &event("e", &name, end));
    }
}

/// Queue, prefill and decode one after the other; the last one lasts until the run ends if nothing
/// else is known of it.
fn phases(r: &RequestRecord, ended_us: i64) -> Vec<Phase> {
    let end = r.completion_us().or((r.deadline_us > 0
        && r.outcome == windtunnel_base::record::Outcome::TimedOut)
        .then_some(r.deadline_us));
    let refused = r.instance.is_none() && r.gateway.is_none();
    let end = match (end, refused) {
        (Some(end), _) => end,
        (None, true) => r.arrival_us,
        (None, false) => ended_us,
    };
    let end = end.max(r.arrival_us);
    let times = [
        ("queue", Some(r.arrival_us)),
        ("prefill", r.scheduling_delay_us.map(|us| r.arrival_us + us)),
        ("decode", r.ttft_us.map(|us| r.arrival_us + us)),
    ];
    let mut all: Vec<Phase> = Vec::new();
    for (name, from) in times {
        let Some(from) = from else { continue };
        // With outputs that take time to reach the client, one phase may end behind the next one.
        let from = from.clamp(all.last().map_or(r.arrival_us, |last| last.from), end);
        if let Some(last) = all.last_mut() {
            last.to = from;
        }
        all.push(Phase {
            name,
            from,
            to: end,
        });
    }
    all
}

fn steps(instance: u32, steps: &[RanStep], events: &mut Events) {
    // Steps that overlap, as stages and ranks have them, are beside each other.
    let mut free: Vec<i64> = Vec::new();
    for step in steps {
        let end = step.start_us.saturating_add(step.step_us);
        let lane = match free.iter().position(|until| *until <= step.start_us) {
            Some(lane) => lane,
            None => {
                free.push(0);
                free.len() - 1
            }
        };
        free[lane] = end;
        let tokens = |prefill: bool| -> u64 {
            let shares = step.shares.iter().filter(|s| s.is_prefill == prefill);
            shares.map(|s| u64::from(s.new_tokens)).sum()
        };
        let prefills = step.shares.iter().filter(|s| s.is_prefill).count();
        let decodes = step.shares.len() - prefills;
        let name = match (prefills, decodes) {
            (0, _) => "decode",
            (_, 0) => "prefill",
            _ => "prefill and decode",
        };
        let args = json!({
            "prefills": prefills, "prefill_tokens": tokens(true),
            "decodes": decodes, "decode_tokens": tokens(false),
        });
        let event = json!({
            "ph": "X", "cat": "step", "name": name, "pid": process(instance), "tid": lane,
            "ts": step.start_us, "dur": step.step_us, "args": args,
        });
        events.add(step.start_us, &event);
    }
}

/// A request that computes again what it had computed was preempted after its last step before.
fn preemptions(instance: u32, steps: &[RanStep], events: &mut Events) {
    let mut computed: FxHashMap<&RequestId, (u64, i64)> = FxHashMap::default();
    for step in steps {
        let end = step.start_us.saturating_add(step.step_us);
        for share in &step.shares {
            let context = u64::from(share.context);
            let after = (context + u64::from(share.new_tokens), end);
            let before = computed.insert(&share.request, after);
            let Some((had, ended_us)) = before else {
                continue;
            };
            if share.is_prefill && context < had {
                let args =
                    json!({"request": share.request.to_string(), "lost_tokens": had - context});
                let event = json!({
                    "ph": "i", "s": "p", "cat": "preemption", "name": "preemption",
                    "pid": process(instance), "tid": 0, "ts": ended_us, "args": args,
                });
                events.add(ended_us, &event);
            }
        }
    }
}

/// A figure of an interval.
type Figure = fn(&Sample) -> f64;

fn counters(series: &TimeSeries, events: &mut Events) {
    let counted: [(&str, Figure); 3] = [
        ("wait queue", |s| s.queue),
        ("batch", |s| s.batch),
        ("KV blocks", |s| s.kv_blocks),
    ];
    for (k, instance) in (0..).zip(&series.instances) {
        for (name, of) in counted {
            let mut last = None;
            for (at, sample) in instance.samples.iter().enumerate() {
                let value = (1000.0 * of(sample)).round() / 1000.0;
                // A counter keeps its value until the next one.
                if last.replace(value) == Some(value) {
                    continue;
                }
                let ts = series.start_us(at);
                let event = json!({
                    "ph": "C", "name": name, "pid": process(k), "tid": 0, "ts": ts, "args": {"value": value},
                });
                events.add(ts, &event);
            }
        }
    }
}

fn decisions(record: &RunRecord, events: &mut Events) {
    for decision in &record.decisions {
        let (ts, name, args) = match decision {
            Decision::Admission { admitted: true, .. } => continue,
            Decision::Admission {
                clock_us,
                id,
                reason,
                ..
            } => (
                *clock_us,
                "rejected",
                json!({"request": id.to_string(), "reason": reason}),
            ),
            Decision::Routing {
                clock_us,
                id,
                chosen,
                reason,
                ..
            } => (
                *clock_us,
                "routed",
                json!({"request": id.to_string(), "instance": instance_name(*chosen), "reason": reason}),
            ),
        };
        let event = json!({
            "ph": "i", "s": "t", "cat": "decision", "name": name, "pid": FRONT_END, "tid": 0, "ts": ts, "args": args,
        });
        events.add(ts, &event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::{done, refused, run};
    use windtunnel_base::record::StepShare;

    fn trace(record: &RunRecord) -> Vec<Value> {
        let mut out = Vec::new();
        write(record, &mut out).unwrap();
        let trace: Value = serde_json::from_slice(&out).unwrap();
        trace["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn phases_are_inside_of_their_request_and_what_is_refused_has_no_length() {
        let record = run(vec![done(0, 10, 1000, 3000, 0), refused(1, 20)], 1);
        let events = trace(&record);
        let of = |id: u64| -> Vec<(String, String, i64)> {
            let mine = events.iter().filter(|e| e["id"] == id);
            let text = |e: &Value, key: &str| e[key].as_str().unwrap().to_owned();
            mine.map(|e| (text(e, "ph"), text(e, "name"), e["ts"].as_i64().unwrap()))
                .collect()
        };
        let first = of(0);
        assert_eq!(first[0], ("b".into(), "request_0".into(), 10));
        assert_eq!(
            first.last().unwrap(),
            &("e".into(), "request_0".into(), 3010)
        );
        assert!(first.contains(&("b".into(), "decode".into(), 1010)));
        let refused = of(1);
        assert!(refused.iter().all(|(.., ts)| *ts == 20), "{refused:?}");
    }

    #[test]
    fn what_is_computed_again_was_preempted() {
        let mut record = run(Vec::new(), 1);
        let step = |start_us, new_tokens, context, is_prefill| RanStep {
            start_us,
            step_us: 10,
            shares: vec![StepShare {
                request: RequestId::Number(3),
                new_tokens,
                context,
                is_prefill,
            }],
        };
        record.instances[0].logged_steps = vec![
            step(0, 16, 0, true),
            step(10, 1, 16, false),
            step(50, 17, 0, true),
            step(55, 1, 17, false),
        ];
        let events = trace(&record);
        let preempted: Vec<&Value> = events
            .iter()
            .filter(|e| e["name"] == "preemption")
            .collect();
        assert_eq!(preempted.len(), 1);
        assert_eq!(
            (&preempted[0]["ts"], &preempted[0]["args"]["lost_tokens"]),
            (&json!(20), &json!(17))
        );
        // Those that overlap have threads of their own.
        let threads: Vec<_> = events
            .iter()
            .filter(|e| e["ph"] == "X")
            .map(|e| e["tid"].clone())
            .collect();
        assert_eq!(threads, [0, 0, 0, 1]);
    }
}
