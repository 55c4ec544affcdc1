//! What feedback says of runs in which some instances prefill for others.

use super::facts::Facts;
use super::findings::ScenarioFindings;
use super::format::time;
use super::problems::{Found, best};
use serde::{Deserialize, Serialize};
use windtunnel_base::record::{RequestRecord, Role, RunRecord, SplitRecord};
use windtunnel_results::metrics::stats::{Ints, Sample, percentile};

/// Waits for blocks up to this are nothing to speak of, milliseconds.
const SHORT_MS: f64 = 20.0;

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
    /// Mean share of the time up to the last arrival that instances which prefill computed; none
    /// without such.
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

fn between(from: Option<i64>, to: Option<i64>) -> Option<i64> {
    Some(to? - from?)
}

impl PrefilledElsewhere {
    pub(super) fn of(r: &RequestRecord) -> Option<Self> {
        let split = r.split.as_ref()?;
        let ms = |us: Option<i64>| us.map(|us| us as f64 / 1000.0);
        Some(Self {
            instance: split.prefill_instance,
            prefill_ms: ms(between(Some(r.arrival_us), split.prefill_end_us)),
            wait_for_blocks_ms: ms(between(split.prefill_end_us, split.transfer_start_us)),
            transfer_ms: ms(between(split.transfer_start_us, split.transfer_end_us)),
        })
    }

    /// As a person reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let or = |ms: Option<f64>| ms.map_or("not yet".to_owned(), time);
        let instance = self
            .instance
            .map_or("nobody".to_owned(), |i| format!("instance_{i}"));
        format!(
            "prefilled by {instance} after {}, KV waited {}, moved {}",
            or(self.prefill_ms),
            or(self.wait_for_blocks_ms),
            or(self.transfer_ms)
        )
    }
}

impl SplitFacts {
    /// The facts of a run; none where every instance serves whole requests.
    #[must_use]
    pub fn of(record: &RunRecord) -> Option<Self> {
        let roles = record.pools.iter();
        let roles: Vec<Role> = roles
            .flat_map(|pool| std::iter::repeat_n(pool.role, pool.instances as usize))
            .collect();
        if roles.iter().all(|role| *role == Role::Serve) {
            return None;
        }
        let sent = record.requests.iter().filter(|r| r.instance.is_some());
        let (remote, local): (Vec<&RequestRecord>, Vec<&RequestRecord>) =
            sent.partition(|r| r.split.is_some());
        let mean = |all: &[i64]| {
            let sum = all.iter().sum::<i64>() as f64;
            (!all.is_empty()).then(|| sum / all.len() as f64 / 1000.0)
        };
        let ttft = |of: &[&RequestRecord]| {
            let all: Vec<i64> = of.iter().filter_map(|r| r.ttft_us).collect();
            mean(&all)
        };
        let times = |from: fn(&SplitRecord) -> Option<i64>, to: fn(&SplitRecord) -> Option<i64>| {
            let splits = remote.iter().filter_map(|r| r.split.as_deref());
            let all = splits.filter_map(|split| between(from(split), to(split)));
            all.collect::<Vec<i64>>()
        };
        let waits = times(|s| s.prefill_end_us, |s| s.transfer_start_us);
        let moves = times(|s| s.transfer_start_us, |s| s.transfer_end_us);
        let last = record.requests.iter().map(|r| r.arrival_us).max();
        let span = last.unwrap_or(0).max(1) as f64;
        let busy = |does: fn(Role) -> bool| {
            let instances = roles.iter().zip(&record.instances);
            let all = instances.filter(|(role, _)| does(**role));
            let (n, sum) = all.fold((0.0, 0.0), |(n, sum), (_, totals)| {
                (n + 1.0, sum + totals.busy_us as f64 / span)
            });
            (n > 0.0).then(|| sum / n)
        };
        let decoders = roles.iter().zip(&record.instances);
        let peaks = decoders
            .filter(|(role, _)| role.decodes())
            .map(|(_, totals)| totals.kv_peak_blocks as f64 / totals.kv_total_blocks.max(1) as f64);
        let p99 = Ints::new(waits.clone());
        Some(Self {
            share: remote.len() as f64 / (remote.len() + local.len()).max(1) as f64,
            remote_ttft_ms: ttft(&remote),
            local_ttft_ms: ttft(&local),
            wait_for_blocks_ms: mean(&waits),
            wait_for_blocks_p99_ms: (p99.count() > 0).then(|| percentile(&p99, 99.0) / 1000.0),
            transfer_ms: mean(&moves),
            peak_transfers: record.transfers.map_or(0, |totals| totals.peak),
            prefill_busy: busy(|role| role == Role::Prefill),
            decode_busy: busy(Role::decodes),
            decode_kv_peak: peaks.fold(None, |most, x| Some(x.max(most.unwrap_or(0.0)))),
        })
    }
}

impl SplitFacts {
    /// As a person reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let or = |ms: Option<f64>| ms.map_or("-".to_owned(), time);
        format!(
            "{:.0} % of the prompts were computed by instances that prefill (mean TTFT {}; of the others {}); these computed for {} of the time, \
             those that decode for {}. KV caches waited {} for blocks (p99 {}) and moved {} in the mean, {} at most at once",
            100.0 * self.share,
            or(self.remote_ttft_ms),
            or(self.local_ttft_ms),
            share(self.prefill_busy),
            share(self.decode_busy),
            or(self.wait_for_blocks_ms),
            or(self.wait_for_blocks_p99_ms),
            or(self.transfer_ms),
            self.peak_transfers
        )
    }
}

fn facts<'a>(findings: &'a ScenarioFindings<'_>) -> Option<(&'a SplitFacts, &'a SplitFacts)> {
    let of = |facts: &'a Facts| facts.splits.as_ref();
    of(findings.ours).zip(of(&findings.theirs))
}

fn share(x: Option<f64>) -> String {
    x.map_or("-".to_owned(), |x| format!("{:.0} %", 100.0 * x))
}

/// Another share of prompts is computed by the instances that prefill than under the best
/// reference.
pub(super) fn disaggregated(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let differs = (ours.share - theirs.share).abs();
    if differs < 0.05 {
        return None;
    }
    let ttft = |ms: Option<f64>| ms.map_or("-".to_owned(), time);
    let text = format!(
        "disaggregation: {:.0} % of the prompts were computed by instances that prefill, {:.0} % under {}. Those computed for {} of the time ({} \
         there), those that decode for {} ({}). Mean TTFT of prompts computed elsewhere {} ({}), where they are decoded {} ({}).",
        100.0 * ours.share,
        100.0 * theirs.share,
        best(findings),
        share(ours.prefill_busy),
        share(theirs.prefill_busy),
        share(ours.decode_busy),
        share(theirs.decode_busy),
        ttft(ours.remote_ttft_ms),
        ttft(theirs.remote_ttft_ms),
        ttft(ours.local_ttft_ms),
        ttft(theirs.local_ttft_ms)
    );
    Some(Found {
        weight: differs,
        kind: "disaggregation",
        text,
    })
}

/// KV caches wait until there are blocks for them, or move for long.
pub(super) fn transfers(findings: &ScenarioFindings<'_>) -> Option<Found> {
    let (ours, theirs) = facts(findings)?;
    let (wait, moving) = (ours.wait_for_blocks_ms?, ours.transfer_ms?);
    let than = |theirs: Option<f64>| theirs.unwrap_or(0.0);
    let waits = wait > SHORT_MS && wait > 1.3 * than(theirs.wait_for_blocks_ms);
    let moves = moving > SHORT_MS && moving > 1.3 * than(theirs.transfer_ms);
    if !waits && !moves {
        return None;
    }
    let mut text = "transfers: ".to_owned();
    if waits {
        let full = match ours.decode_kv_peak {
            Some(peak) if peak > 0.98 => "; an instance that decodes was full",
            _ => "",
        };
        text += &format!(
            "KV caches waited {} in the mean (p99 {}, {} under {}) until the instance that decodes could take them{full}.",
            time(wait),
            ours.wait_for_blocks_p99_ms.map_or("-".to_owned(), time),
            time(than(theirs.wait_for_blocks_ms)),
            best(findings)
        );
    }
    if moves {
        text += &format!(
            "{}They moved for {} in the mean, {} under {}; up to {} at once shared links.",
            if waits { " " } else { "" },
            time(moving),
            time(than(theirs.transfer_ms)),
            best(findings),
            ours.peak_transfers
        );
    }
    let lost = wait + moving;
    Some(Found {
        weight: lost / (lost + 500.0) + 0.1,
        kind: "transfers",
        text,
    })
}
