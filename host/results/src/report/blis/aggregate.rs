//! The aggregate of one instance or the cluster, under the reference's keys and in its order: with
//! its figures, or with ours.

use super::Rows;
use crate::metrics::adapters::of_adapters;
use crate::metrics::saturation::Labels;
use crate::metrics::slo::{ClassGoodput, Goodput};
use crate::metrics::stats::Spread;
use crate::metrics::summary::{Latencies, Summary};
use crate::report::Results;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use windtunnel_base::record::RunRecord;

/// Picks one number of a spread.
type Measure = fn(&Spread) -> f64;

/// The reference's aggregate, keys in its order.
#[derive(Serialize)]
pub(in crate::report) struct Aggregate<'a> {
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
    e2e_mean_ms: Option<f64>,
    e2e_p90_ms: Option<f64>,
    e2e_p95_ms: Option<f64>,
    e2e_p99_ms: Option<f64>,
    ttft_mean_ms: Option<f64>,
    ttft_p90_ms: Option<f64>,
    ttft_p95_ms: Option<f64>,
    ttft_p99_ms: Option<f64>,
    itl_mean_ms: Option<f64>,
    itl_p90_ms: Option<f64>,
    itl_p95_ms: Option<f64>,
    itl_p99_ms: Option<f64>,
    scheduling_delay_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "is_zero")]
    kv_allocation_failures: u64,
    preemption_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_hit_rate: Option<f64>,
    dropped_unservable: u64,
    length_capped_requests: u64,
    timed_out_requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests: Option<Rows<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saturation: Option<BTreeMap<&'static str, &'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goodput_rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slo_attainment: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_class: Option<Classes<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) adapters: BTreeMap<&'a str, Adapter>,
}

/// A LoRA adapter as the reference reports it.
#[derive(Serialize)]
pub(super) struct Adapter {
    load_count: u64,
    eviction_count: u64,
    ttft_p50_us: f64,
    ttft_p99_us: f64,
    throughput_tok_per_s: f64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl<'a> Aggregate<'a> {
    /// Of one instance or the cluster, as the reference has it: without any completed request it
    /// reports no latency at all, even where first tokens were seen, and latencies that it does not
    /// have are 0.
    pub(super) fn of(s: &'a Summary) -> Self {
        let l = if s.completed == 0 {
            Latencies::default()
        } else {
            Latencies {
                ttft: s.reference.ttft,
                scheduling_delay: s.reference.scheduling_delay,
                ..s.latency_ms
            }
        };
        Self::with(s, &l, |l, of| Some(of(l)))
    }

    /// With these latencies, written by `figure`.
    fn with(s: &'a Summary, l: &Latencies, figure: fn(&Spread, Measure) -> Option<f64>) -> Self {
        let [mean, p90, p95, p99]: [Measure; 4] = [|l| l.mean, |l| l.p90, |l| l.p95, |l| l.p99];
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
            e2e_mean_ms: figure(&l.e2e, mean),
            e2e_p90_ms: figure(&l.e2e, p90),
            e2e_p95_ms: figure(&l.e2e, p95),
            e2e_p99_ms: figure(&l.e2e, p99),
            ttft_mean_ms: figure(&l.ttft, mean),
            ttft_p90_ms: figure(&l.ttft, p90),
            ttft_p95_ms: figure(&l.ttft, p95),
            ttft_p99_ms: figure(&l.ttft, p99),
            itl_mean_ms: figure(&l.itl, mean),
            itl_p90_ms: figure(&l.itl, p90),
            itl_p95_ms: figure(&l.itl, p95),
            itl_p99_ms: figure(&l.itl, p99),
            scheduling_delay_p99_ms: figure(&l.scheduling_delay, p99),
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
            adapters: BTreeMap::new(),
        }
    }

    /// Of the cluster, with what only the cluster has.
    pub(super) fn cluster(
        summary: &'a Summary,
        goodput: Option<&'a Goodput>,
        saturation: Option<&Labels>,
    ) -> Self {
        let above_0 = |x: f64| (x != 0.0).then_some(x);
        Self::of(summary).and(
            saturation,
            goodput.and_then(|g| above_0(g.rps)),
            goodput.and_then(|g| above_0(g.attainment)),
            goodput,
        )
    }

    /// Our figures under the reference's keys: latencies of nothing are absent, and a goodput of 0
    /// is one.
    pub(in crate::report) fn ours(results: &'a Results<'_>) -> Self {
        let cluster = &results.summary.cluster;
        let goodput = results.goodput.as_ref();
        Self::with(cluster, &cluster.latency_ms, Spread::figure).and(
            results.saturation.as_ref(),
            goodput.map(|g| g.rps),
            goodput.map(|g| g.attainment),
            goodput,
        )
    }

    /// The same with the adapters of this instance, or of all.
    pub(super) fn with_adapters(mut self, record: &'a RunRecord, instance: Option<u32>) -> Self {
        let duration_s = self.vllm_estimated_duration_s;
        let adapters = of_adapters(record, instance).into_iter();
        let adapters = adapters.map(|(name, of)| {
            let tokens = of.output_tokens as f64;
            let adapter = Adapter {
                load_count: of.loads,
                eviction_count: of.evictions,
                ttft_p50_us: of.ttft.p50 * 1000.0,
                ttft_p99_us: of.ttft.p99 * 1000.0,
                throughput_tok_per_s: if duration_s > 0.0 {
                    tokens / duration_s
                } else {
                    0.0
                },
            };
            (name, adapter)
        });
        self.adapters = adapters.collect();
        self
    }

    fn and(
        self,
        saturation: Option<&Labels>,
        goodput_rps: Option<f64>,
        slo_attainment: Option<f64>,
        goodput: Option<&'a Goodput>,
    ) -> Self {
        Self {
            saturation: saturation
                .filter(|labels| !labels.is_empty())
                .map(|labels| labels.iter().map(|(&d, level)| (d, level.name())).collect()),
            goodput_rps,
            slo_attainment,
            per_class: goodput.filter(|g| !g.classes.is_empty()).map(Classes),
            ..self
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
