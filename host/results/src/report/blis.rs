//! The reference simulator's output, byte for byte where it is deterministic: metric blocks, text
//! sections, metrics file.

mod aggregate;

pub(super) use aggregate::Aggregate;

use super::{Results, go, instance_name, sections};
use crate::metrics::groups::has_row;
use crate::metrics::population::Population;
use crate::metrics::saturation::{Labels, judge};
use crate::metrics::slo::Goodput;
use serde::{Serialize, Serializer};
use std::io::{self, Write};
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};

/// Rows of the metrics file: one per request that reached an instance and was not dropped, by
/// arrival, then name.
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
    #[serde(skip_serializing_if = "str::is_empty")]
    adapter: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    length_capped: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_queue_delay_ms: Option<f64>,
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
            adapter: record.symbols.name(r.adapter),
            length_capped: r.outcome == Outcome::LengthCapped,
            gateway_queue_delay_ms: gateway_queue_delay_ms(r),
            session_id: record.symbols.name(r.session),
            round_index: r.round,
        }
    }
}

/// Time at the gateway; the reference leaves out 0, and a time that began or ended at 0.
fn gateway_queue_delay_ms(r: &RequestRecord) -> Option<f64> {
    let times = r.gateway.as_deref()?;
    let dispatched = times.dispatched_us?;
    let both = times.enqueued_us > 0 && dispatched > 0;
    let ms = (dispatched - times.enqueued_us) as f64 / 1000.0;
    (both && ms != 0.0).then_some(ms)
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

/// Everything the reference prints: a metrics block per instance when there are several, one for
/// the cluster, then each text section that has something to say.
///
/// # Errors
/// When `out` fails.
pub fn write_stdout(results: &Results<'_>, out: &mut dyn Write) -> io::Result<()> {
    if results.summary.instances.len() > 1 {
        for (k, instance) in (0..).zip(&results.summary.instances) {
            let aggregate = Aggregate::of(instance).with_adapters(results.record, Some(k));
            write_block(out, &aggregate)?;
        }
    }
    let (goodput, saturation) = reference_judgements(results);
    let cluster = &results.summary.cluster;
    let aggregate = Aggregate::cluster(cluster, goodput.as_ref(), saturation.as_ref());
    write_block(out, &aggregate.with_adapters(results.record, None))?;
    out.write_all(sections::all(results).as_bytes())?;
    match results.inputs.generator {
        Some(inputs) => out.write_all(super::generator::text(results, inputs).as_bytes()),
        None => Ok(()),
    }
}

/// [`write_stdout`] as text.
#[must_use]
pub fn stdout(results: &Results<'_>) -> String {
    let mut out = Vec::new();
    write_stdout(results, &mut out).expect("writing to memory does not fail");
    String::from_utf8(out).expect("reports are UTF-8")
}

/// Goodput and saturation as the reference sees them: with latencies over its population, and
/// stable where nothing completed.
fn reference_judgements(results: &Results<'_>) -> (Option<Goodput>, Option<Labels>) {
    let (record, inputs) = (results.record, results.inputs);
    let ended_us = results.summary.cluster.ended_us;
    let goodput = Goodput::of(
        record,
        &inputs.slo_targets,
        false,
        ended_us,
        Population::Reference,
    );
    let detectors = inputs.detectors.as_ref();
    (goodput, detectors.map(|d| judge(record, d, |_, _, _| {})))
}

fn write_block(out: &mut dyn Write, aggregate: &Aggregate<'_>) -> io::Result<()> {
    out.write_all(b"=== Simulation Metrics ===\n")?;
    go::write_pretty(out, aggregate)?;
    out.write_all(b"\n")
}

/// Writes the reference's metrics file: the cluster's aggregate with its `cache_hit_rate`, the
/// plain mean over the instances, and a row per request. Requests that were refused or dropped have
/// no row.
///
/// # Errors
/// When `out` fails.
pub fn metrics_file(results: &Results<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (goodput, saturation) = reference_judgements(results);
    let cluster = &results.summary.cluster;
    let aggregate = Aggregate::cluster(cluster, goodput.as_ref(), saturation.as_ref());
    let mut aggregate = aggregate.with_adapters(results.record, None);
    aggregate.cache_hit_rate = Some(cluster.reference.hit_rate);
    aggregate.requests = Some(Rows(results.record));
    go::write_pretty(out, &aggregate)
}

#[cfg(test)]
mod tests {
    use super::super::ReportInputs;
    use super::*;
    use crate::metrics::fitness::Weights;
    use crate::metrics::saturation::Detectors;
    use crate::metrics::slo::Dimension;
    use crate::metrics::summary::tests::{done, refused, run};
    use windtunnel_base::record::{Decision, State};

    fn busy() -> RunRecord {
        let mut record = run(
            vec![
                done(0, 500_000, 1000, 3000, 0),
                done(1, 1_000_000, 2000, 9000, 1),
                refused(2, 1_500_000),
                done(3, 1_600_000, 1000, 0, 1),
            ],
            2,
        );
        let tags = ["t0", "critical", "m", "s"].map(|name| record.symbols.intern(name));
        let r = &mut record.requests[1];
        [r.tenant, r.slo_class, r.model, r.session] = tags;
        let late = &mut record.requests[3];
        (late.state, late.outcome) = (State::TimedOut, Outcome::TimedOut);
        (late.e2e_us, late.mean_itl_us, late.generated_tokens) = (None, None, 0);
        let (requests, symbols) = (record.requests, record.symbols);
        record = RunRecord {
            symbols,
            ..run(requests, 2)
        };
        record.shed_by_class = vec![("standard".into(), 1)];
        record.instances[0].blocks_reused = 1;
        record.instances[0].blocks_taken = 2;
        record.instances[1].kv_allocation_failures = 2;
        record.decisions = vec![Decision::Routing {
            stage: windtunnel_base::record::RoutingStage::Whole,
            clock_us: 0,
            id: record.requests[0].id.clone(),
            chosen: 0,
            pool: windtunnel_base::request::Sym::NONE,
            reason: String::new(),
            among: Vec::new(),
            scores: None,
            candidates: Vec::new(),
            regret: 0.5,
        }];
        record
    }

    fn inputs() -> ReportInputs {
        let mut inputs = ReportInputs {
            fitness: Some(Weights::parse("f", "throughput:1,p50_ttft:1").unwrap()),
            detectors: Some(Detectors::parse("f", "threshold").unwrap()),
            trace_summary: true,
            ..ReportInputs::default()
        };
        inputs.slo_targets.set("critical", Dimension::Ttft, 5000.0);
        inputs
    }

    #[test]
    fn every_section_has_its_place() {
        let record = busy();
        insta::assert_snapshot!(stdout(&Results::new(&record, &inputs())), @r#"
        === Simulation Metrics ===
        {
          "instance_id": "instance_0",
          "completed_requests": 1,
          "still_queued": 0,
          "still_running": 0,
          "injected_requests": 1,
          "total_input_tokens": 10,
          "total_output_tokens": 3,
          "vllm_estimated_duration_s": 0.503,
          "responses_per_sec": 1.9880715705765408,
          "tokens_per_sec": 5.964214711729622,
          "e2e_mean_ms": 3,
          "e2e_p90_ms": 3,
          "e2e_p95_ms": 3,
          "e2e_p99_ms": 3,
          "ttft_mean_ms": 1,
          "ttft_p90_ms": 1,
          "ttft_p95_ms": 1,
          "ttft_p99_ms": 1,
          "itl_mean_ms": 1,
          "itl_p90_ms": 1,
          "itl_p95_ms": 1,
          "itl_p99_ms": 1,
          "scheduling_delay_p99_ms": 0.1,
          "preemption_count": 0,
          "dropped_unservable": 0,
          "length_capped_requests": 0,
          "timed_out_requests": 0
        }
        === Simulation Metrics ===
        {
          "instance_id": "instance_1",
          "completed_requests": 1,
          "still_queued": 0,
          "still_running": 0,
          "injected_requests": 2,
          "total_input_tokens": 20,
          "total_output_tokens": 3,
          "vllm_estimated_duration_s": 1.009,
          "responses_per_sec": 0.9910802775024778,
          "tokens_per_sec": 2.9732408325074333,
          "e2e_mean_ms": 9,
          "e2e_p90_ms": 9,
          "e2e_p95_ms": 9,
          "e2e_p99_ms": 9,
          "ttft_mean_ms": 1.5,
          "ttft_p90_ms": 1.9,
          "ttft_p95_ms": 1.95,
          "ttft_p99_ms": 1.99,
          "itl_mean_ms": 3.5,
          "itl_p90_ms": 3.5,
          "itl_p95_ms": 3.5,
          "itl_p99_ms": 3.5,
          "scheduling_delay_p99_ms": 0.1,
          "kv_allocation_failures": 2,
          "preemption_count": 0,
          "dropped_unservable": 0,
          "length_capped_requests": 0,
          "timed_out_requests": 1
        }
        === Simulation Metrics ===
        {
          "instance_id": "cluster",
          "completed_requests": 2,
          "still_queued": 0,
          "still_running": 0,
          "injected_requests": 3,
          "total_input_tokens": 30,
          "total_output_tokens": 6,
          "vllm_estimated_duration_s": 1.009,
          "responses_per_sec": 1.9821605550049557,
          "tokens_per_sec": 5.946481665014867,
          "e2e_mean_ms": 6,
          "e2e_p90_ms": 8.4,
          "e2e_p95_ms": 8.7,
          "e2e_p99_ms": 8.940000000000001,
          "ttft_mean_ms": 1.3333333333333333,
          "ttft_p90_ms": 1.8,
          "ttft_p95_ms": 1.9,
          "ttft_p99_ms": 1.98,
          "itl_mean_ms": 2.25,
          "itl_p90_ms": 3.5,
          "itl_p95_ms": 3.5,
          "itl_p99_ms": 3.5,
          "scheduling_delay_p99_ms": 0.1,
          "kv_allocation_failures": 2,
          "preemption_count": 0,
          "dropped_unservable": 0,
          "length_capped_requests": 0,
          "timed_out_requests": 1,
          "saturation": {
            "threshold": "STABLE"
          },
          "goodput_rps": 0.9910802775024778,
          "slo_attainment": 1,
          "per_class": {
            "critical": {
              "slo_attainment": 1,
              "count": 1,
              "goodput_rps": 0.9910802775024778,
              "slo_attainment_by_dim": {
                "ttft": 1
              },
              "ttft_p99_ms": 2,
              "itl_mean_ms": 3.5,
              "e2e_p99_ms": 9
            }
          }
        }
        === Fitness Evaluation ===
        Score: 0.519436
          p50_ttft: 0.500000
          throughput: 0.019436
        === Anomaly Counters ===
        Priority Inversions: 0
        HOL Blocking Events: 0
        Rejected Requests (Admission): 1
          Shed (standard): 1
        Rejected Requests (Routing): 0
        Dropped Unservable: 0
        Timed Out Requests: 1
        Length-Capped Requests: 0
        === KV Cache Metrics ===
        Preemption Rate: 0.0000
        Cache Hit Rate: 0.1667
        KV Thrashing Rate: 0.0000
        === Per-SLO Metrics ===
          critical:
            TTFT: mean=2000.00 p99=2000.00 (n=1)
            ITL:  mean=3500.00 p99=3500.00 (n=1)
            E2E:  mean=9000.00 p99=9000.00 (n=1)
          default:
            TTFT: mean=1000.00 p99=1000.00 (n=2)
            ITL:  mean=1000.00 p99=1000.00 (n=1)
            E2E:  mean=3000.00 p99=3000.00 (n=1)
        === Per-Model Metrics ===
          m:
            TTFT: p50=2000.00 p99=2000.00 (n=1)
            E2E:  p50=9000.00 p99=9000.00 (n=1)
            Throughput: 0.99 req/s, 2.97 tok/s
        === Per-Tenant Metrics ===
          t0: requests=1, tokens=3
          Jain Fairness Index: 1.0000
        === Session Metrics ===
          Sessions: 1
          TTFT cold (round 0): mean=2.00 p50=2.00 p95=2.00 p99=2.00 ms (n=1)
          TTFT warm (round≥1): mean=0.00 p50=0.00 p95=0.00 p99=0.00 ms (n=0)
          Session duration:    mean=9.00 p50=9.00 p95=9.00 p99=9.00 ms (n=1)
        === Trace Summary ===
        Total Decisions: 0
          Admitted: 0
          Rejected: 0
        Unique Targets: 1
        Target Distribution:
          instance_0: 1
        Mean Regret: 0.500000
        Max Regret: 0.500000
        "#);
    }

    #[test]
    fn one_idle_instance_prints_one_block_of_zeros_and_nothing_else() {
        let mut record = run(vec![done(0, 0, 1000, 3000, 0)], 1);
        let r = &mut record.requests[0];
        (r.state, r.outcome, r.e2e_us) = (State::Running, Outcome::Running, None);
        record = run(record.requests, 1);
        let text = stdout(&Results::new(&record, &ReportInputs::default()));
        assert_eq!(text.matches("===").count(), 2);
        // A first token was seen, but nothing completed.
        assert!(text.contains("\"ttft_mean_ms\": 0,"), "{text}");
    }

    #[test]
    fn the_metrics_file_has_rows_of_what_reached_an_instance() {
        let record = busy();
        let mut out = Vec::new();
        metrics_file(&Results::new(&record, &inputs()), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows =
            &text[text.find("  \"requests\"").unwrap()..text.find("  \"saturation\"").unwrap()];
        insta::assert_snapshot!(rows, @r#"
        "requests": [
          {
            "arrived_at": 0.5,
            "requestID": "request_0",
            "num_prefill_tokens": 10,
            "num_decode_tokens": 3,
            "ttft_ms": 1,
            "itl_ms": 1,
            "e2e_ms": 3,
            "scheduling_delay_ms": 0.1,
            "handled_by": "instance_0",
            "round_index": 0
          },
          {
            "arrived_at": 1,
            "requestID": "request_1",
            "num_prefill_tokens": 10,
            "num_decode_tokens": 3,
            "ttft_ms": 2,
            "itl_ms": 3.5,
            "e2e_ms": 9,
            "scheduling_delay_ms": 0.1,
            "slo_class": "critical",
            "tenant_id": "t0",
            "handled_by": "instance_1",
            "model": "m",
            "session_id": "s",
            "round_index": 0
          },
          {
            "arrived_at": 1.6,
            "requestID": "request_3",
            "num_prefill_tokens": 10,
            "num_decode_tokens": 3,
            "ttft_ms": 1,
            "itl_ms": 0,
            "e2e_ms": 0,
            "scheduling_delay_ms": 0.1,
            "handled_by": "instance_1",
            "round_index": 0
          }
        ],
        "#);
    }
}
