//! The reference simulator's output, byte for byte where it is deterministic: metric blocks, text sections, metrics file.

use super::{Results, go, instance_name, sections};
use crate::metrics::groups::has_row;
use crate::metrics::record::{Outcome, RequestRecord, RunRecord};
use crate::metrics::slo::{ClassGoodput, Goodput};
use crate::metrics::stats::Spread;
use crate::metrics::summary::Summary;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The reference's aggregate, keys in its order.
#[derive(Serialize)]
pub(super) struct Aggregate<'a> {
    instance_id: &'a str,
    completed_requests: u64,
    still_queued: u64,
    still_running: u64,
    injected_requests: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    vllm_estimated_duration_s: f64,
    responses_per_sec: f64,
    tokens_per_sec: f64,
    e2e_mean_ms: f64,
    e2e_p90_ms: f64,
    e2e_p95_ms: f64,
    e2e_p99_ms: f64,
    ttft_mean_ms: f64,
    ttft_p90_ms: f64,
    ttft_p95_ms: f64,
    ttft_p99_ms: f64,
    itl_mean_ms: f64,
    itl_p90_ms: f64,
    itl_p95_ms: f64,
    itl_p99_ms: f64,
    scheduling_delay_p99_ms: f64,
    #[serde(skip_serializing_if = "is_zero")]
    kv_allocation_failures: u64,
    preemption_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_hit_rate: Option<f64>,
    dropped_unservable: u64,
    length_capped_requests: u64,
    timed_out_requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Rows<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saturation: Option<BTreeMap<&'static str, &'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goodput_rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_attainment: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_class: Option<Classes<'a>>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl<'a> Aggregate<'a> {
    /// Of one instance or the cluster. Without any completed request the reference reports no latency at all, even where
    /// first tokens were seen.
    fn of(s: &'a Summary) -> Self {
        let l = if s.completed == 0 {
            Default::default()
        } else {
            s.latency_ms
        };
        let Spread {
            mean,
            p90,
            p95,
            p99,
            ..
        } = l.e2e;
        Self {
            instance_id: &s.name,
            completed_requests: s.completed,
            still_queued: s.still_queued,
            still_running: s.still_running,
            injected_requests: s.injected(),
            total_input_tokens: s.input_tokens,
            total_output_tokens: s.output_tokens,
            vllm_estimated_duration_s: s.duration_s(),
            responses_per_sec: s.responses_per_sec(),
            tokens_per_sec: s.tokens_per_sec(),
            e2e_mean_ms: mean,
            e2e_p90_ms: p90,
            e2e_p95_ms: p95,
            e2e_p99_ms: p99,
            ttft_mean_ms: l.ttft.mean,
            ttft_p90_ms: l.ttft.p90,
            ttft_p95_ms: l.ttft.p95,
            ttft_p99_ms: l.ttft.p99,
            itl_mean_ms: l.itl.mean,
            itl_p90_ms: l.itl.p90,
            itl_p95_ms: l.itl.p95,
            itl_p99_ms: l.itl.p99,
            scheduling_delay_p99_ms: l.scheduling_delay.p99,
            kv_allocation_failures: s.kv_allocation_failures,
            preemption_count: s.preemptions,
            cache_hit_rate: None,
            dropped_unservable: s.dropped,
            length_capped_requests: s.length_capped,
            timed_out_requests: s.timed_out,
            requests: None,
            saturation: None,
            goodput_rps: None,
            slo_attainment: None,
            per_class: None,
        }
    }

    /// Of the cluster, with what only the cluster has.
    pub(super) fn cluster(results: &'a Results<'_>) -> Self {
        let above_0 = |x: f64| (x != 0.0).then_some(x);
        let goodput = results.goodput.as_ref();
        Self {
            saturation: results
                .saturation
                .as_ref()
                .filter(|labels| !labels.is_empty())
                .map(|labels| labels.iter().map(|(&d, level)| (d, level.name())).collect()),
            goodput_rps: goodput.and_then(|g| above_0(g.rps)),
            slo_attainment: goodput.and_then(|g| above_0(g.attainment)),
            per_class: goodput.filter(|g| !g.classes.is_empty()).map(Classes),
            ..Self::of(&results.summary.cluster)
        }
    }
}

/// `per_class` of the goodput.
pub(super) struct Classes<'a>(&'a Goodput);

impl Serialize for Classes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.classes.iter().map(|c| (&c.class, Class(c))))
    }
}

struct Class<'a>(&'a ClassGoodput);

impl Serialize for Class<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let c = self.0;
        let by_dimension: serde_json::Map<_, _> = c
            .by_dimension
            .iter()
            .map(|&(d, part)| (d.name().to_owned(), part.into()))
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("slo_attainment", &c.attainment)?;
        map.serialize_entry("count", &c.arrivals)?;
        map.serialize_entry("goodput_rps", &c.rps)?;
        map.serialize_entry("slo_attainment_by_dim", &by_dimension)?;
        for (key, value) in [
            ("ttft_p99_ms", c.ttft_p99_ms),
            ("itl_mean_ms", c.itl_mean_ms),
            ("e2e_p99_ms", c.e2e_p99_ms),
        ] {
            if value != 0.0 {
                map.serialize_entry(key, &value)?;
            }
        }
        map.end()
    }
}

/// Rows of the metrics file: one per request that reached an instance and was not dropped, by arrival, then name.
pub(super) struct Rows<'a>(&'a RunRecord);

/// One row; names absent from a request are left out, latencies it does not have are 0.
#[derive(Serialize)]
struct Row<'a> {
    arrived_at: f64,
    #[serde(rename = "requestID")]
    request_id: String,
    num_prefill_tokens: u32,
    num_decode_tokens: u32,
    ttft_ms: f64,
    itl_ms: f64,
    e2e_ms: f64,
    scheduling_delay_ms: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    slo_class: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tenant_id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    handled_by: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    model: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    length_capped: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    session_id: &'a str,
    round_index: u32,
}

impl<'a> Row<'a> {
    fn of(record: &'a RunRecord, r: &RequestRecord) -> Self {
        let ms = |us: Option<i64>| us.unwrap_or(0) as f64 / 1000.0;
        Self {
            arrived_at: r.arrival_us as f64 / 1e6,
            request_id: r.id.to_string(),
            num_prefill_tokens: r.prompt_tokens,
            num_decode_tokens: r.output_tokens,
            ttft_ms: ms(r.ttft_us),
            itl_ms: r.mean_itl_us.unwrap_or(0.0) / 1000.0,
            e2e_ms: ms(r.e2e_us),
            scheduling_delay_ms: ms(r.scheduling_delay_us),
            slo_class: record.symbols.name(r.slo_class),
            tenant_id: record.symbols.name(r.tenant),
            handled_by: r.instance.map_or_else(String::new, instance_name),
            model: record.symbols.name(r.model),
            length_capped: r.outcome == Outcome::LengthCapped,
            session_id: record.symbols.name(r.session),
            round_index: r.round,
        }
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows: Vec<&RequestRecord> = self.0.requests.iter().filter(|r| has_row(r)).collect();
        rows.sort_by(|a, b| {
            a.arrival_us
                .cmp(&b.arrival_us)
                .then_with(|| a.id.cmp(&b.id))
        });
        serializer.collect_seq(rows.into_iter().map(|r| Row::of(self.0, r)))
    }
}

/// Everything the reference prints: a metrics block per instance when there are several, one for the cluster, then each
/// text section that has something to say.
///
/// # Errors
/// When `out` fails.
pub fn write_stdout(results: &Results<'_>, out: &mut dyn Write) -> io::Result<()> {
    if results.summary.instances.len() > 1 {
        for instance in &results.summary.instances {
            write_block(out, &Aggregate::of(instance))?;
        }
    }
    write_block(out, &Aggregate::cluster(results))?;
    out.write_all(sections::all(results).as_bytes())
}

/// [`write_stdout`] as text.
#[must_use]
pub fn stdout(results: &Results<'_>) -> String {
    let mut out = Vec::new();
    write_stdout(results, &mut out).expect("writing to memory does not fail");
    String::from_utf8(out).expect("reports are UTF-8")
}

fn write_block(out: &mut dyn Write, aggregate: &Aggregate<'_>) -> io::Result<()> {
    out.write_all(b"=== Simulation Metrics ===\n")?;
    go::write_pretty(out, aggregate)?;
    out.write_all(b"\n")
}

/// Writes the reference's metrics file: the cluster's aggregate with `cache_hit_rate` and a row per request. Requests that
/// were refused or dropped have no row.
///
/// # Errors
/// When `out` fails.
pub fn metrics_file(results: &Results<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut aggregate = Aggregate::cluster(results);
    aggregate.cache_hit_rate = Some(results.summary.cluster.cache_hit_rate);
    aggregate.requests = Some(Rows(results.record));
    go::write_pretty(out, &aggregate)
}
