//! Facts of runs in which some instances prefill for others.

use serde::{Deserialize, Serialize};
use windtunnel_base::record::{RequestRecord, Role, RunRecord, SplitRecord};
use windtunnel_results::metrics::stats::{Ints, Sample, mean, percentile};

/// Facts of a run in which some instances prefill for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitFacts {
    /// Share of the requests sent anywhere whose prompt another instance computed than decodes.
    pub share: f64,
    /// Mean time to first token of these, milliseconds; none if there were none.
    pub remote_ttft_ms: Option<f64>,
    /// The same of the others.
    pub local_ttft_ms: Option<f64>,
    /// Mean time from the end of a prefill until the instance that decodes had blocks and the KV
    /// cache began to move, milliseconds; none if none moved.
    pub wait_for_blocks_ms: Option<f64>,
    /// 99th percentile of it.
    pub wait_for_blocks_p99_ms: Option<f64>,
    /// Mean time in which a KV cache moved, milliseconds.
    pub transfer_ms: Option<f64>,
    /// Most KV caches that moved at once.
    pub peak_transfers: u64,
    /// Mean share of the run's time that instances which prefill computed; none without such.
    pub prefill_busy: Option<f64>,
    /// The same of instances which decode.
    pub decode_busy: Option<f64>,
    /// Largest share of its KV blocks that an instance which decodes had in use.
    pub decode_kv_peak: Option<f64>,
}

/// How the prompt of a request was computed elsewhere than it was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefilledElsewhere {
    /// The instance; none if none was chosen.
    pub instance: Option<u32>,
    /// From its arrival to the end of its prefill, milliseconds.
    pub prefill_ms: Option<f64>,
    /// From then until its KV cache began to move, milliseconds.
    pub wait_for_blocks_ms: Option<f64>,
    /// While it moved, milliseconds.
    pub transfer_ms: Option<f64>,
}

impl PrefilledElsewhere {
    pub(super) fn of(r: &RequestRecord) -> Option<Self> {
        let split = r.split.as_ref()?;
        let ms = |us: Option<i64>| us.map(|us| us as f64 / 1000.0);
        Some(Self {
            instance: split.prefill_instance,
            prefill_ms: ms(split.prefill_end_us.map(|end| end - r.arrival_us)),
            wait_for_blocks_ms: ms(split.waited_us()),
            transfer_ms: ms(split.moved_us()),
        })
    }
}

impl SplitFacts {
    /// The facts of a run; none where every instance serves whole requests.
    #[must_use]
    pub fn of(record: &RunRecord) -> Option<Self> {
        let totals = record.transfers?;
        let sent = record.requests.iter().filter(|r| r.instance.is_some());
        let (remote, local): (Vec<&RequestRecord>, Vec<&RequestRecord>) =
            sent.partition(|r| r.split.is_some());
        let mean_ms = |times: &Ints| (times.count() > 0).then(|| mean(times) / 1000.0);
        let ttft = |of: &[&RequestRecord]| {
            mean_ms(&Ints::new(of.iter().filter_map(|r| r.ttft_us).collect()))
        };
        let times = |of: fn(&SplitRecord) -> Option<i64>| {
            let splits = remote.iter().filter_map(|r| r.split.as_deref());
            Ints::new(splits.filter_map(of).collect())
        };
        let waits = times(SplitRecord::waited_us);
        let moves = times(SplitRecord::moved_us);
        let ended = record.instances.iter().map(|totals| totals.ended_us).max();
        let span = ended.unwrap_or(0).max(1) as f64;
        let busy = |does: fn(Role) -> bool| {
            let instances = record.roles().zip(&record.instances);
            let all = instances.filter(|(role, _)| does(*role));
            let (n, sum) = all.fold((0.0, 0.0), |(n, sum), (_, totals)| {
                (n + 1.0, sum + totals.busy_us as f64 / span)
            });
            (n > 0.0).then(|| sum / n)
        };
        let decoders = record.roles().zip(&record.instances);
        let peaks = decoders
            .filter(|(role, _)| role.decodes())
            .map(|(_, totals)| totals.kv_peak_blocks as f64 / totals.kv_total_blocks.max(1) as f64);
        Some(Self {
            share: remote.len() as f64 / (remote.len() + local.len()).max(1) as f64,
            remote_ttft_ms: ttft(&remote),
            local_ttft_ms: ttft(&local),
            wait_for_blocks_ms: mean_ms(&waits),
            wait_for_blocks_p99_ms: (waits.count() > 0).then(|| percentile(&waits, 99.0) / 1000.0),
            transfer_ms: mean_ms(&moves),
            peak_transfers: totals.peak,
            prefill_busy: busy(|role| role == Role::Prefill),
            decode_busy: busy(Role::decodes),
            decode_kv_peak: peaks.fold(None, |most, x| Some(x.max(most.unwrap_or(0.0)))),
        })
    }
}
