//! What became of requests that one instance prefills and another decodes.

use super::stats::{Distribution, Ints};
use super::summary::RunSummary;
use windtunnel_base::record::{Role, RunRecord, SplitRecord};

/// Sums over requests that were split, and over the instances of each role.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfers {
    /// Requests whose KV cache moved.
    pub requests: u64,
    /// Requests lost because the decoding instance had no blocks for a KV cache that was sent.
    pub dropped: u64,
    /// Prompts that instances computed which may prefill for others, per second, whole requests of
    /// theirs included.
    pub prefills_per_sec: f64,
    /// Requests that instances which decode completed, per second.
    pub decodes_per_sec: f64,
    /// Time to first token of requests whose KV cache moved, microseconds.
    pub ttft_us: Distribution,
    /// From the start of a transfer until its KV cache is there, microseconds.
    pub transfer_us: Distribution,
    /// From the end of the prefill until the transfer starts, microseconds: the decoding instance
    /// may have no blocks.
    pub wait_us: Distribution,
    /// Most transfers at once.
    pub peak: u64,
    /// Mean number of transfers under way when one starts, itself included; `None` without any.
    pub mean_depth: Option<f64>,
    /// Do transfers share bandwidth?
    pub contention: bool,
}

impl Transfers {
    /// Of a run; `None` where every instance prefills and decodes.
    #[must_use]
    pub fn of(record: &RunRecord, summary: &RunSummary) -> Option<Self> {
        let totals = record.transfers?;
        let splits = || {
            let splits = record.requests.iter();
            splits.filter_map(|r| Some((r, r.split.as_deref()?)))
        };
        let moved = || splits().filter(|(_, split)| split.transfer_end_us.is_some());
        let spans = |of: fn(&SplitRecord) -> Option<i64>| {
            Distribution::of(&Ints::new(moved().filter_map(|(_, s)| of(s)).collect()))
        };
        let ttft = splits().filter_map(|(r, _)| r.ttft_us);
        let (mut prefills, mut decodes) = (0, 0);
        for (role, totals) in record.roles().zip(&record.instances) {
            let all = totals.completed + totals.prefills;
            prefills += if role.prefills() { all } else { 0 };
            decodes += match role {
                // What the reference counts of instances that do both, it counts twice.
                Role::Serve if !record.sub_requests.is_empty() => all,
                role if role.decodes() => totals.completed,
                _ => 0,
            };
        }
        let seconds = summary.cluster.duration_s();
        let per_second = |n: u64| {
            if seconds > 0.0 {
                n as f64 / seconds
            } else {
                0.0
            }
        };
        Some(Self {
            requests: moved().count() as u64,
            dropped: totals.dropped,
            prefills_per_sec: per_second(prefills),
            decodes_per_sec: per_second(decodes),
            ttft_us: Distribution::of(&Ints::new(ttft.filter(|us| *us > 0).collect())),
            transfer_us: spans(SplitRecord::moved_us),
            wait_us: spans(SplitRecord::waited_us),
            peak: totals.peak,
            mean_depth: (totals.started > 0)
                .then(|| totals.depth_sum as f64 / totals.started as f64),
            contention: totals.contention,
        })
    }

    /// The larger of the two throughputs over the smaller; 1 if both are 0, infinite if one is.
    #[must_use]
    pub fn imbalance(&self) -> f64 {
        let (a, b) = (self.prefills_per_sec, self.decodes_per_sec);
        match (a.max(b), a.min(b)) {
            (0.0, _) => 1.0,
            (most, least) => most / least,
        }
    }
}
