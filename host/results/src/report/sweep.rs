//! Rows of a sweep: one per run, as CSV, JSON, and as a table over the seeds.

mod page;
mod table;
mod typed;

pub use page::{MOST_LINES, html};
pub use table::{column_names, table};
pub use typed::{Kind, by_point, typed};

use super::machines::{self, COLUMNS};
use super::upkeep::RunUpkeep;
use super::{Results, go};
use crate::metrics::measured::Measured;
use crate::metrics::stats::{Ints, mean};
use crate::metrics::summary::Latencies;
use crate::metrics::ticks::TickFigures;
use serde_json::{Map, Number, Value};
use std::io::{self, Write};

/// Reads one metric.
type Metric = fn(&Results<'_>) -> Option<f64>;

/// Reads one metric of a run in abstract time.
type TickMetric = fn(&TickFigures) -> Option<f64>;

/// In what the times of a sweep's runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Seconds and milliseconds.
    Real,
    /// Ticks; then nothing is told of machines.
    Ticks,
}

impl Clock {
    /// Of rows with these columns.
    fn of(columns: &[String]) -> Self {
        let last = TICK_METRICS[TICK_METRICS.len() - 1].0;
        match columns.last().is_some_and(|column| column == last) {
            true => Self::Ticks,
            false => Self::Real,
        }
    }

    /// Names of the metrics.
    fn metrics(self) -> Vec<&'static str> {
        match self {
            Self::Real => METRICS.iter().map(|(name, _)| *name).collect(),
            Self::Ticks => TICK_METRICS.iter().map(|(name, _)| *name).collect(),
        }
    }

    /// Names of what is told of machines.
    fn machines(self) -> Vec<&'static str> {
        match self {
            Self::Real => COLUMNS.iter().map(|(name, _)| *name).collect(),
            Self::Ticks => Vec::new(),
        }
    }
}

/// What is reported of a run in abstract time.
const TICK_METRICS: [(&str, TickMetric); 15] = [
    ("arrived", |f| Some(f.created as f64)),
    ("completed", |f| Some(f.completed as f64)),
    ("completed_tokens", |f| Some(f.completed_tokens as f64)),
    ("steps", |f| Some(f.steps as f64)),
    ("end_ticks", |f| Some(f.end)),
    ("requests_per_1000_ticks", TickFigures::requests_per_1k),
    ("tokens_per_1000_ticks", TickFigures::tokens_per_1k),
    ("ttft_mean_ticks", |f| f.ttft.map(|t| t.mean)),
    ("ttft_median_ticks", |f| f.ttft.map(|t| t.median)),
    ("itl_mean_ticks", |f| f.itl.map(|t| t.mean)),
    ("e2e_mean_ticks", |f| f.e2e.map(|t| t.mean)),
    ("e2e_median_ticks", |f| f.e2e.map(|t| t.median)),
    ("final_queue", |f| Some(f.last.0 as f64)),
    ("final_batch", |f| Some(f.last.1 as f64)),
    ("max_queue", |f| Some(f.max_queue as f64)),
];

/// What is reported of a run, by column name; absent values are empty.
const METRICS: [(&str, Metric); 43] = [
    ("arrived", |r| Some(r.summary.arrivals as f64)),
    ("completed", |r| Some(r.summary.cluster.completed as f64)),
    ("rejected", |r| {
        let s = &r.summary;
        let by_servers = s.refused_by_queued_reqs + s.refused_by_queued_tokens;
        let gateway = s.gateway.as_ref().map(|g| g.totals.all).unwrap_or_default();
        let by_gateway = gateway.rejected + gateway.lost_place();
        let by_front_end = s.rejected_by_admission + s.rejected_by_routing;
        Some((by_front_end + by_servers + by_gateway) as f64)
    }),
    ("timed_out", |r| Some(r.summary.cluster.timed_out as f64)),
    ("dropped", |r| Some(r.summary.cluster.dropped as f64)),
    ("simulated_s", |r| Some(r.summary.cluster.duration_s())),
    ("requests_per_s", |r| {
        Some(r.summary.cluster.responses_per_sec())
    }),
    ("output_tokens_per_s", |r| {
        Some(r.summary.cluster.tokens_per_sec())
    }),
    ("output_tokens_per_s_per_gpu", |r| {
        let gpus = machines::gpus(&r.inputs.machines);
        (gpus > 0).then(|| r.summary.cluster.tokens_per_sec() / gpus as f64)
    }),
    ("arrivals_per_s", |r| {
        r.summary.arrival_window.map(|w| w.arrivals_per_sec())
    }),
    ("window_requests_per_s", |r| {
        r.summary.arrival_window.map(|w| w.responses_per_sec())
    }),
    ("window_output_tokens_per_s", |r| {
        r.summary.arrival_window.map(|w| w.tokens_per_sec())
    }),
    ("ttft_mean_ms", |r| latencies(r).ttft.figure(|s| s.mean)),
    ("ttft_p50_ms", |r| latencies(r).ttft.figure(|s| s.p50)),
    ("ttft_p90_ms", |r| latencies(r).ttft.figure(|s| s.p90)),
    ("ttft_p99_ms", |r| latencies(r).ttft.figure(|s| s.p99)),
    ("itl_mean_ms", |r| latencies(r).itl.figure(|s| s.mean)),
    ("itl_p99_ms", |r| latencies(r).itl.figure(|s| s.p99)),
    ("tpot_mean_ms", |r| latencies(r).tpot.figure(|s| s.mean)),
    ("tpot_p99_ms", |r| latencies(r).tpot.figure(|s| s.p99)),
    ("e2e_mean_ms", |r| latencies(r).e2e.figure(|s| s.mean)),
    ("e2e_p50_ms", |r| latencies(r).e2e.figure(|s| s.p50)),
    ("e2e_p90_ms", |r| latencies(r).e2e.figure(|s| s.p90)),
    ("e2e_p99_ms", |r| latencies(r).e2e.figure(|s| s.p99)),
    ("scheduling_delay_p99_ms", |r| {
        latencies(r).scheduling_delay.figure(|s| s.p99)
    }),
    ("preemptions", |r| {
        Some(r.summary.cluster.preemptions as f64)
    }),
    ("kv_peak_utilization", |r| {
        Some(r.summary.cluster.kv_peak_utilization)
    }),
    ("cache_hit_rate", |r| r.summary.cluster.cache_hit_rate),
    ("goodput_rps", |r| r.goodput.as_ref().map(|g| g.rps)),
    ("slo_attainment", |r| {
        r.goodput.as_ref().map(|g| g.attainment)
    }),
    ("fitness", |r| r.fitness.as_ref().map(|f| f.score)),
    ("measured_requests_per_s", |r| measured(r, |m| m[0])),
    ("measured_output_tokens_per_s", |r| measured(r, |m| m[1])),
    ("measured_ttft_mean_ms", |r| measured(r, |m| m[2])),
    ("measured_e2e_mean_ms", |r| measured(r, |m| m[3])),
    ("capex_usd", |r| {
        machines::capex_usd(&r.inputs.machines).map(|usd| usd as f64)
    }),
    ("cost_usd", |r| upkeep(r, |u| u.usd)),
    ("usd_per_request", |r| upkeep(r, RunUpkeep::usd_per_request)),
    ("usd_per_million_output_tokens", |r| {
        upkeep(r, RunUpkeep::usd_per_million)
    }),
    ("busy_energy_kwh", |r| upkeep(r, |u| u.busy_kwh)),
    ("busy_joules_per_output_token", |r| {
        upkeep(r, RunUpkeep::busy_joules_per_token)
    }),
    ("energy_kwh", |r| upkeep(r, RunUpkeep::kwh)),
    ("joules_per_output_token", |r| {
        upkeep(r, RunUpkeep::joules_per_token)
    }),
];

/// Of cost and energy.
fn upkeep(r: &Results<'_>, of: fn(&RunUpkeep) -> Option<f64>) -> Option<f64> {
    RunUpkeep::of(r).as_ref().and_then(of)
}

/// Of the time that is measured apart: requests and output tokens per second, mean TTFT and mean
/// end-to-end latency in milliseconds. `None` where none is, or nothing completed in it.
fn measured(r: &Results<'_>, of: fn([f64; 4]) -> f64) -> Option<f64> {
    let figures = match (&r.inputs.xpusim, r.inputs.measured_us) {
        (Some(figures), _) => {
            let per_s = |n: u64| n as f64 / figures.simulated_s;
            let ms = |times: &Ints| mean(times) / figures.clock_per_s * 1e3;
            let times = [&figures.first_token, &figures.end_to_end].map(ms);
            (figures.completed > 0).then(|| {
                let rates = [figures.completed, figures.tokens].map(per_s);
                [rates[0], rates[1], times[0], times[1]]
            })
        }
        (None, Some(window)) => {
            let m = Measured::of(r.record, window);
            (m.completed > 0).then(|| {
                let times = [&m.ttft_us, &m.e2e_us].map(|us| mean(us) / 1e3);
                [
                    m.responses_per_sec(),
                    m.tokens_per_sec(),
                    times[0],
                    times[1],
                ]
            })
        }
        (None, None) => None,
    };
    figures.map(of)
}

/// The metric of this name, if a row has one.
pub(crate) fn metric(name: &str) -> Option<&'static str> {
    let found = METRICS.iter().find(|(known, _)| *known == name)?;
    Some(found.0)
}

/// A metric of a run by its name in rows.
#[must_use]
pub fn figure(results: &Results<'_>, name: &str) -> Option<f64> {
    let (_, of) = METRICS.iter().find(|(known, _)| *known == name)?;
    of(results).filter(|x| x.is_finite())
}

/// Requests that arrived and did not complete, for whatever reason: the tables show them in one
/// column, so that who drops requests does not look better than who rejects them.
const NOT_SERVED: &str = "not_served";

fn latencies<'a>(r: &'a Results<'_>) -> &'a Latencies {
    &r.summary.cluster.latency_ms
}

/// Names of the columns: the run's id, the dimensions, the seed, the machines, the metrics.
#[must_use]
pub fn columns(dimensions: &[&str], clock: Clock) -> Vec<String> {
    let (machines, metrics) = (clock.machines(), clock.metrics());
    ["run"]
        .into_iter()
        .chain(dimensions.iter().copied())
        .chain(["seed"])
        .chain(machines)
        .chain(metrics)
        .map(str::to_owned)
        .collect()
}

/// One run, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    clock: Clock,
    fields: Vec<String>,
}

impl Row {
    /// Of a finished run.
    #[must_use]
    pub fn of(id: &str, values: &[&str], seed: u64, results: &Results<'_>) -> Self {
        let head = [id]
            .into_iter()
            .chain(values.iter().copied())
            .map(str::to_owned);
        let (clock, told, figures): (_, Vec<String>, Vec<Option<f64>>) = match &results.inputs.ticks
        {
            Some(inputs) => {
                let figures = TickFigures::of(results.record, inputs);
                let metrics = TICK_METRICS.iter().map(|(_, of)| of(&figures));
                (Clock::Ticks, Vec::new(), metrics.collect())
            }
            None => {
                let machines = COLUMNS.iter().map(|(_, of)| of(&results.inputs.machines));
                let metrics = METRICS.iter().map(|(_, of)| of(results));
                (Clock::Real, machines.collect(), metrics.collect())
            }
        };
        let metrics = figures.into_iter().map(|x| x.filter(|x| x.is_finite()));
        let metrics = metrics.map(|x| x.map_or(String::new(), go::number));
        Self {
            clock,
            fields: head
                .chain([seed.to_string()])
                .chain(told)
                .chain(metrics)
                .collect(),
        }
    }

    /// Of fields read from a file with these columns.
    #[must_use]
    pub fn from_fields(fields: Vec<String>, columns: &[String]) -> Self {
        let clock = Clock::of(columns);
        Self { clock, fields }
    }

    /// Its fields, in the order of the columns.
    #[must_use]
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Names the run.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.fields[0]
    }

    /// Writes it as a line of CSV.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write_line(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(&self.fields)?;
        csv.flush()
    }

    /// A metric by name, or those not served; `None` of nothing.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        if name == NOT_SERVED {
            return Some(self.metric("arrived")? - self.metric("completed")?);
        }
        let metrics = self.clock.metrics();
        let from_end = metrics.iter().rev().position(|n| *n == name)?;
        self.fields[self.fields.len() - 1 - from_end].parse().ok()
    }

    /// Its point and seed: `rate=10, seed 42`.
    #[must_use]
    pub fn name(&self, dimensions: &[&str]) -> String {
        let point = dimensions.iter().zip(self.point());
        let parts = point.map(|(name, value)| format!("{name}={value}"));
        let seed = &self.fields[1 + self.point().len()];
        let all: Vec<String> = parts.chain([format!("seed {seed}")]).collect();
        all.join(", ")
    }

    /// What is told of its machines.
    fn machine(&self, name: &str) -> &str {
        let machines = self.clock.machines();
        let Some(at) = machines.iter().rev().position(|n| *n == name) else {
            return "";
        };
        let from_end = self.clock.metrics().len() + 1 + at;
        &self.fields[self.fields.len() - from_end]
    }

    /// The dimensions' values.
    fn point(&self) -> &[String] {
        let told = self.clock.metrics().len() + self.clock.machines().len();
        &self.fields[1..self.fields.len() - told - 1]
    }
}

/// Writes a header line and the rows.
///
/// # Errors
/// When `out` fails.
pub fn write_csv(columns: &[String], rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(&mut *out);
    csv.write_record(columns)?;
    rows.iter()
        .try_for_each(|row| csv.write_record(&row.fields))?;
    csv.flush()
}

/// Writes an array of objects, one a line. The run's name is text, metrics are numbers or null;
/// dimensions and machines are numbers where all their values are.
///
/// # Errors
/// When `out` fails.
pub fn write_json(columns: &[String], rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let number = |field: &str| serde_json::from_str::<Number>(field).ok();
    let metrics = Clock::of(columns).metrics().len();
    let is_text: Vec<bool> = (0..columns.len())
        .map(|at| {
            let told = at < columns.len() - metrics;
            let text = |row: &Row| number(&row.fields[at]).is_none();
            at == 0 || told && rows.iter().any(text)
        })
        .collect();
    for (k, row) in rows.iter().enumerate() {
        let value = |at: usize, field: &str| {
            if is_text[at] {
                Value::from(field)
            } else {
                number(field).map_or(Value::Null, Value::Number)
            }
        };
        let fields = row.fields.iter().enumerate();
        let values = fields.map(|(at, field)| value(at, field));
        let object: Map<String, Value> = columns.iter().cloned().zip(values).collect();
        out.write_all(if k == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &object)?;
    }
    out.write_all(if rows.is_empty() { b"[]\n" } else { b"\n]\n" })
}
