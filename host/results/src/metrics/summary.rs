//! Counts, rates and latencies of the cluster and of each instance.

use super::digest::{Digest, Values};
use super::stats::{Distribution, Sample, Spread, Weighted};
use super::window::ArrivalWindow;
use windtunnel_base::record::{GatewayTotals, InstanceTotals, PutOff, RunRecord};

/// Latencies, milliseconds, all over the same requests: those that completed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Arrival to first token.
    pub ttft: Spread,
    /// Arrival to last token.
    pub e2e: Spread,
    /// Gap between consecutive tokens, each gap counted once.
    pub itl: Spread,
    /// Per request: (E2E - TTFT) / (output tokens - 1); requests of at least two output tokens.
    pub tpot: Spread,
    /// Arrival to (last) admission to a running batch.
    pub scheduling_delay: Spread,
}

/// What the reference reports in place of our figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReferenceFigures {
    /// Time to first token of every request that has one, unfinished and timed-out ones included;
    /// milliseconds.
    pub ttft: Spread,
    /// The same in microseconds.
    pub ttft_us: Distribution,
    /// Scheduling delay of every request that has one, milliseconds.
    pub scheduling_delay: Spread,
    /// Share of the blocks brought to the CPU that had to go again; with devices below it, of the
    /// fetches from these for which it had no room. The cluster's is the plain mean, too.
    pub thrashing: f64,
    /// Blocks reused over blocks reused or taken; the cluster's is the plain mean over its
    /// instances, idle ones included.
    pub hit_rate: f64,
}

/// One instance's summary, or the cluster's.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// `instance_<k>` or `cluster`.
    pub name: String,
    /// Requests routed here.
    pub routed: u64,
    /// This instance's part of all routed requests, 0..=1 (1 for the cluster).
    pub share: f64,
    /// Requests completed, length-capped ones included.
    pub completed: u64,
    /// Prompts computed for another instance, which decodes.
    pub prefills: u64,
    /// Waiting at the end.
    pub still_queued: u64,
    /// Running at the end.
    pub still_running: u64,
    /// Never servable.
    pub dropped: u64,
    /// Given up by their client.
    pub timed_out: u64,
    /// Completed at the length limit.
    pub length_capped: u64,
    /// Prompt tokens accepted.
    pub input_tokens: u64,
    /// Output tokens of completed requests.
    pub output_tokens: u64,
    /// Preemptions.
    pub preemptions: u64,
    /// LoRA adapters brought to the GPU for a step.
    pub adapter_loads: u64,
    /// Failures to place the last token at completion.
    pub kv_allocation_failures: u64,
    /// Clock at the end, microseconds from 0; the cluster's is its last instance's.
    pub ended_us: i64,
    /// Prompt tokens found in the prefix cache over prompt tokens looked up, each request's at its
    /// first admission, 0..=1; the cluster's is over the lookups of all instances. `None` without
    /// any.
    pub cache_hit_rate: Option<f64>,
    /// Most KV blocks in use over KV blocks, 0..=1; the cluster's is its highest instance's.
    pub kv_peak_utilization: f64,
    /// Most KV blocks in use; for the cluster the largest of its instances.
    pub kv_peak_blocks: u64,
    /// Sum over steps of blocks in use x step time, block-microseconds.
    pub kv_block_time: i128,
    /// Time average of KV blocks in use over KV blocks from clock 0 to the end, 0..=1; `None` if no
    /// time passed.
    pub kv_mean_utilization: Option<f64>,
    /// Mean wait-queue length over steps; `None` without steps.
    pub mean_queue_length: Option<f64>,
    /// Steps run.
    pub steps: u64,
    /// Latencies, milliseconds.
    pub latency_ms: Latencies,
    /// Time to first token of the completed requests, microseconds.
    pub ttft_us: Distribution,
    /// End-to-end latency, microseconds.
    pub e2e_us: Distribution,
    /// What the reference reports instead; only its formats show it.
    pub reference: ReferenceFigures,
}

impl Summary {
    /// Requests that an instance took: completed, queued, running, dropped or timed out.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.completed + self.still_queued + self.still_running + self.dropped + self.timed_out
    }

    /// Simulated time from clock 0, seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.ended_us as f64 / 1e6
    }

    /// Completed requests per second; 0 when nothing completed or no time passed.
    #[must_use]
    pub fn responses_per_sec(&self) -> f64 {
        self.per_second(self.completed)
    }

    /// Output tokens of completed requests per second; 0 when nothing completed or no time passed.
    #[must_use]
    pub fn tokens_per_sec(&self) -> f64 {
        self.per_second(self.output_tokens)
    }

    fn per_second(&self, amount: u64) -> f64 {
        if self.completed == 0 || self.ended_us <= 0 {
            0.0
        } else {
            amount as f64 / self.duration_s()
        }
    }

    /// Preemptions per completed request, `None` when nothing completed.
    #[must_use]
    pub fn preemption_rate(&self) -> Option<f64> {
        ratio(self.preemptions as f64, self.completed as f64)
    }
}

/// What a gateway did that holds requests.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySummary {
    /// Its counters.
    pub totals: GatewayTotals,
    /// Requests that it let go.
    pub dispatched: u64,
    /// Time for which it held them, milliseconds.
    pub delay_ms: Spread,
}

/// Summaries of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The cluster.
    pub cluster: Summary,
    /// Its instances.
    pub instances: Vec<Summary>,
    /// Requests that arrived, whatever became of them.
    pub arrivals: u64,
    /// Refused by the admission policy.
    pub rejected_by_admission: u64,
    /// Refused because no instance serves the model.
    pub rejected_by_routing: u64,
    /// Refused by the server of an instance, which had `max_num_queued_reqs` requests.
    pub refused_by_queued_reqs: u64,
    /// The same, which had `max_num_queued_tokens` prompt tokens to compute.
    pub refused_by_queued_tokens: u64,
    /// How often policies put a request off.
    pub put_off: PutOff,
    /// Between the front end and a wait queue at the end.
    pub in_transit: u64,
    /// What the gateway did, where there is flow control.
    pub gateway: Option<GatewaySummary>,
    /// From the first arrival to the last one, without the drain; `None` if no time passed.
    pub arrival_window: Option<ArrivalWindow>,
}

impl RunSummary {
    /// Of a run.
    #[must_use]
    pub fn of(record: &RunRecord) -> Self {
        let mut digest = Digest::default();
        record
            .requests
            .iter()
            .for_each(|request| digest.add(request));
        Self::of_digest(digest, record)
    }

    /// What the instances saw of the requests, where the reference reports that.
    fn sub_requests(record: &RunRecord) -> Option<Digest> {
        let mut digest = Digest::default();
        record.sub_requests.iter().for_each(|part| digest.add(part));
        (!record.sub_requests.is_empty()).then_some(digest)
    }

    /// Of a run whose requests were digested while they finished.
    #[must_use]
    pub fn of_digest(digest: Digest, record: &RunRecord) -> Self {
        let mut digest = digest;
        let gateway_us = digest.take_gateway_us();
        let (arrivals, in_transit) = (digest.arrivals, digest.in_transit);
        let [refused_by_queued_reqs, refused_by_queued_tokens] = digest.refused;
        let arrival_window = digest.window.window();
        let (all, parts) = digest.values(record.instances.len());
        let of_parts = Self::sub_requests(record);
        let parts = of_parts.map_or(parts, |digest| digest.values(record.instances.len()).1);
        let instances: Vec<Summary> = record
            .instances
            .iter()
            .zip(&parts)
            .enumerate()
            .map(|(k, (totals, values))| {
                let gaps = Weighted::new(totals.gaps.clone());
                let name = format!("instance_{k}");
                let mut summary = summary(name, totals, values, &gaps, all.routed);
                if !record.sub_requests.is_empty() {
                    summary.completed += totals.prefills;
                }
                summary
            })
            .collect();
        let mut cluster = cluster(&record.instances, &instances, &all);
        cluster.dropped += record.transfers.map_or(0, |transfers| transfers.dropped);
        Self {
            cluster,
            instances,
            arrivals,
            rejected_by_admission: record.rejected_by_admission,
            rejected_by_routing: record.rejected_by_routing,
            refused_by_queued_reqs,
            refused_by_queued_tokens,
            put_off: record.put_off,
            in_transit,
            gateway: record.gateway.clone().map(|totals| GatewaySummary {
                totals,
                dispatched: gateway_us.count(),
                delay_ms: Spread::of_us(&gateway_us),
            }),
            arrival_window,
        }
    }
}

/// A part of nothing is none, not 0: that would look like the best or the worst.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn summary(
    name: String,
    totals: &InstanceTotals,
    values: &Values,
    gaps: &Weighted,
    all_routed: u64,
) -> Summary {
    let blocks = totals.kv_total_blocks as f64;
    Summary {
        name,
        routed: values.routed,
        share: ratio(values.routed as f64, all_routed as f64).unwrap_or(0.0),
        completed: totals.completed,
        prefills: totals.prefills,
        still_queued: totals.still_queued,
        still_running: totals.still_running,
        dropped: totals.dropped,
        timed_out: totals.timed_out,
        length_capped: totals.length_capped,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        preemptions: totals.preemptions,
        adapter_loads: totals.adapter_loads,
        kv_allocation_failures: totals.kv_allocation_failures,
        ended_us: totals.ended_us,
        cache_hit_rate: totals.prefix_hit_rate(),
        kv_peak_utilization: ratio(totals.kv_peak_blocks as f64, blocks).unwrap_or(0.0),
        kv_peak_blocks: totals.kv_peak_blocks,
        kv_block_time: totals.kv_block_time,
        kv_mean_utilization: ratio(totals.kv_block_time as f64, blocks * totals.ended_us as f64),
        mean_queue_length: ratio(totals.queue_length_sum as f64, totals.steps as f64),
        steps: totals.steps,
        latency_ms: Latencies {
            ttft: Spread::of_us(&values.ttft_us),
            e2e: Spread::of_us(&values.e2e_us),
            itl: Spread::of_us(gaps),
            tpot: Spread::of_us(&values.tpot),
            scheduling_delay: Spread::of_us(&values.delay_us),
        },
        ttft_us: Distribution::of(&values.ttft_us),
        e2e_us: Distribution::of(&values.e2e_us),
        reference: ReferenceFigures {
            ttft: Spread::of_us(values.any_ttft_us()),
            ttft_us: Distribution::of(values.any_ttft_us()),
            scheduling_delay: Spread::of_us(values.any_delay_us()),
            thrashing: totals.kv_tiers.map_or(0.0, |tiers| tiers.thrashing),
            hit_rate: totals.reference_hit_rate(),
        },
    }
}

/// Counters add up, and rates are made of the sums; the clock and the KV peak are the highest
/// instance's. Only the reference's hit rate is a plain mean over the instances.
fn cluster(totals: &[InstanceTotals], instances: &[Summary], values: &Values) -> Summary {
    let mut sum = InstanceTotals::default();
    for t in totals {
        sum.completed += t.completed;
        sum.prefills += t.prefills;
        sum.still_queued += t.still_queued;
        sum.still_running += t.still_running;
        sum.dropped += t.dropped;
        sum.timed_out += t.timed_out;
        sum.length_capped += t.length_capped;
        sum.input_tokens += t.input_tokens;
        sum.output_tokens += t.output_tokens;
        sum.preemptions += t.preemptions;
        sum.adapter_loads += t.adapter_loads;
        sum.kv_allocation_failures += t.kv_allocation_failures;
        sum.prefix_queries += t.prefix_queries;
        sum.prefix_hits += t.prefix_hits;
        sum.kv_total_blocks += t.kv_total_blocks;
        sum.kv_block_time += t.kv_block_time;
        sum.steps += t.steps;
        sum.queue_length_sum += t.queue_length_sum;
        sum.ended_us = sum.ended_us.max(t.ended_us);
    }
    let gaps = Weighted::new(totals.iter().flat_map(|t| t.gaps.iter().copied()).collect());
    let routed = values.routed;
    let mut cluster = summary("cluster".into(), &sum, values, &gaps, routed);
    let rates: f64 = instances.iter().map(|s| s.reference.hit_rate).sum();
    let n = instances.len().max(1) as f64;
    cluster.reference.hit_rate = rates / n;
    let thrashing: f64 = instances.iter().map(|s| s.reference.thrashing).sum();
    cluster.reference.thrashing = thrashing / n;
    cluster.kv_peak_blocks = instances
        .iter()
        .map(|s| s.kv_peak_blocks)
        .max()
        .unwrap_or(0);
    cluster.kv_peak_utilization = instances
        .iter()
        .map(|s| s.kv_peak_utilization)
        .fold(0.0, f64::max);
    cluster
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use windtunnel_base::record::{Outcome, PoolRecord, RequestRecord, State};
    use windtunnel_base::request::{RequestId, Sym, Symbols};

    /// A completed request on an instance.
    pub(crate) fn done(
        serial: u64,
        arrival_us: i64,
        ttft: i64,
        e2e: i64,
        instance: u32,
    ) -> RequestRecord {
        RequestRecord {
            serial,
            id: RequestId::Number(serial),
            arrival_us,
            prompt_tokens: 10,
            cached_tokens: Some(0),
            output_tokens: 3,
            generated_tokens: 3,
            state: State::Completed,
            outcome: Outcome::Completed,
            instance: Some(instance),
            rank: None,
            pool: Sym::NONE,
            scheduling_delay_us: Some(100),
            ttft_us: Some(ttft),
            e2e_us: Some(e2e),
            itl_sum_us: e2e - ttft,
            mean_itl_us: Some((e2e - ttft) as f64 / 2.0),
            preemptions: 0,
            retries: 0,
            deadline_us: 0,
            slo_ttft_us: 0,
            slo_class: Sym::NONE,
            tenant: Sym::NONE,
            client: Sym::NONE,
            model: Sym::NONE,
            adapter: Sym::NONE,
            client_priority: 0,
            session: Sym::NONE,
            round: 0,
            prefix_group: Sym::NONE,
            prefix_tokens: 0,
            streaming: false,
            accepted: None,
            detail: None,
            split: None,
            gateway: None,
        }
    }

    /// A request that never reached an instance.
    pub(crate) fn refused(serial: u64, arrival_us: i64) -> RequestRecord {
        RequestRecord {
            state: State::Queued,
            outcome: Outcome::Rejected,
            instance: None,
            cached_tokens: None,
            scheduling_delay_us: None,
            ttft_us: None,
            e2e_us: None,
            itl_sum_us: 0,
            mean_itl_us: None,
            generated_tokens: 0,
            ..done(serial, arrival_us, 0, 0, 0)
        }
    }

    /// A run of `requests` on `instances` instances; the counters that follow from the requests are
    /// set.
    pub(crate) fn run(requests: Vec<RequestRecord>, instances: u32) -> RunRecord {
        let totals = (0..instances)
            .map(|k| {
                let mine = requests.iter().filter(|r| r.instance == Some(k));
                let mut t = InstanceTotals {
                    kv_total_blocks: 100,
                    ..InstanceTotals::default()
                };
                for r in mine {
                    match r.outcome {
                        Outcome::Completed => t.completed += 1,
                        Outcome::LengthCapped => {
                            t.completed += 1;
                            t.length_capped += 1;
                        }
                        Outcome::TimedOut => t.timed_out += 1,
                        Outcome::Dropped => t.dropped += 1,
                        Outcome::Running => t.still_running += 1,
                        Outcome::Queued => t.still_queued += 1,
                        Outcome::Rejected
                        | Outcome::Unroutable
                        | Outcome::RequestsQueued
                        | Outcome::TokensQueued
                        | Outcome::GatewayFull
                        | Outcome::Shed
                        | Outcome::Expired
                        | Outcome::Evicted
                        | Outcome::Held
                        | Outcome::Failed
                        | Outcome::InTransit => {}
                    }
                    t.output_tokens += u64::from(r.generated_tokens);
                    t.input_tokens += u64::from(r.prompt_tokens);
                    t.ended_us = t.ended_us.max(r.completion_us().unwrap_or(0));
                    if r.e2e_us.is_some() && r.generated_tokens > 1 {
                        t.gaps.push((r.itl_sum_us / 2, 2));
                    }
                }
                t.gaps.sort_unstable();
                t
            })
            .collect();
        RunRecord {
            rejected_by_admission: requests
                .iter()
                .filter(|r| r.outcome == Outcome::Rejected)
                .count() as u64,
            rejected_by_routing: 0,
            put_off: PutOff::default(),
            gateway: None,
            scaling: None,
            shed_by_class: Vec::new(),
            fault: None,
            decisions: Vec::new(),
            observations: windtunnel_base::record::RoutingObservations::default(),
            kv_events: Vec::new(),
            transfers: None,
            sub_requests: Vec::new(),
            symbols: Symbols::default(),
            pools: vec![PoolRecord {
                name: Sym::NONE,
                role: windtunnel_base::record::Role::Serve,
                instances,
                ranks: 1,
                gpu: String::new(),
                gpus_per_instance: 0,
            }],
            instances: totals,
            requests,
        }
    }

    #[test]
    fn the_cluster_is_the_union_of_its_instances() {
        let mut record = run(
            vec![
                done(0, 0, 1000, 3000, 0),
                done(1, 1_000_000, 3000, 9000, 1),
                refused(2, 1_500_000),
            ],
            3,
        );
        record.instances[0].blocks_reused = 1;
        record.instances[0].blocks_taken = 1;
        record.instances[0].prefix_queries = 200;
        record.instances[0].prefix_hits = 180;
        record.instances[1].prefix_queries = 100;
        record.instances[0].kv_peak_blocks = 40;
        record.instances[0].kv_block_time = 3000 * 50;
        record.instances[1].preemptions = 3;
        let s = RunSummary::of(&record);
        assert_eq!((s.arrivals, s.rejected_by_admission), (3, 1));
        let c = &s.cluster;
        assert_eq!((c.completed, c.injected(), c.routed), (2, 2, 2));
        assert_eq!(c.ended_us, 1_009_000);
        assert_eq!(c.responses_per_sec(), 2.0 / 1.009);
        assert_eq!(c.latency_ms.ttft.mean, 2.0);
        assert_eq!(c.latency_ms.ttft.p90, 1.0 + 2000.0 * 0.9 / 1000.0);
        assert_eq!(c.latency_ms.tpot.max, 3.0);
        // Gaps 1000, 1000, 3000, 3000.
        assert_eq!(c.latency_ms.itl.p50, 2.0);
        assert_eq!(c.latency_ms.itl.count, 4);
        // Hits over lookups of all; the idle instance has no rate, and takes no part.
        assert_eq!(c.cache_hit_rate, Some(180.0 / 300.0));
        assert_eq!(s.instances[1].cache_hit_rate, Some(0.0));
        assert_eq!(s.instances[2].cache_hit_rate, None);
        assert_eq!(c.reference.hit_rate, 0.5 / 3.0);
        assert_eq!(c.preemption_rate(), Some(1.5));
        assert_eq!(c.kv_peak_utilization, 0.4);
        assert_eq!(s.instances[0].kv_mean_utilization, Some(0.5));
        assert_eq!(s.instances[2].kv_mean_utilization, None);
        assert_eq!(s.instances[2].mean_queue_length, None);
        assert_eq!(s.instances[0].share, 0.5);
        assert_eq!(s.instances[2].responses_per_sec(), 0.0);
        assert_eq!(s.instances[2].share, 0.0);
    }

    #[test]
    fn latencies_are_of_completed_requests_and_the_references_of_all_that_have_them() {
        let mut r = done(0, 0, 1000, 0, 0);
        r.state = State::Running;
        r.outcome = Outcome::Running;
        r.e2e_us = None;
        r.generated_tokens = 0;
        let s = RunSummary::of(&run(vec![r.clone()], 1)).cluster;
        assert_eq!((s.latency_ms.ttft.count, s.latency_ms.e2e.count), (0, 0));
        assert_eq!((s.reference.ttft.count, s.reference.ttft.mean), (1, 1.0));
        assert_eq!((s.responses_per_sec(), s.preemption_rate()), (0.0, None));
        assert_eq!(s.injected(), 1);
        let both = RunSummary::of(&run(vec![r, done(1, 5, 3000, 9000, 0)], 1)).cluster;
        let l = both.latency_ms;
        assert_eq!(
            (l.ttft.count, l.e2e.count, l.scheduling_delay.count),
            (1, 1, 1)
        );
        assert_eq!((l.ttft.mean, both.reference.ttft.mean), (3.0, 2.0));
    }
}
