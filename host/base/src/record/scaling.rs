//! What a run leaves behind of instances that came and went, and how the counters of what one did
//! before and after are put together.

use super::InstanceTotals;

/// How many instances a pool has, from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolCounts {
    /// The moment, microseconds.
    pub at_us: i64,
    /// Position of the pool.
    pub pool: u32,
    /// Instances that take requests.
    pub ready: u32,
    /// Instances that are being started.
    pub loading: u32,
    /// Instances that finish what they have and then go.
    pub draining: u32,
    /// Instances that wait for a node with room: they take no GPUs.
    pub pending: u32,
}

impl PoolCounts {
    /// Instances that take GPUs.
    #[must_use]
    pub fn all(&self) -> u32 {
        self.ready + self.loading + self.draining
    }
}

/// A pool in which instances come and go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolScaling {
    /// Position of the pool.
    pub pool: u32,
    /// A policy says how many instances it has.
    pub by_policy: bool,
    /// GPUs that an instance takes; 0 = unknown.
    pub gpus_per_instance: u32,
    /// Times of all instances together, those in which they start and drain included,
    /// microseconds.
    pub instance_us: i128,
    /// Most instances at once.
    pub most: u32,
    /// Decisions for more instances than there were, and for fewer.
    pub ups: u64,
    /// See `ups`.
    pub downs: u64,
    /// Instances that were started, and that went or were on their way to go.
    pub started: u64,
    /// See `started`.
    pub stopped: u64,
}

/// A pool of nodes that instances run on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodePoolRecord {
    /// Its name.
    pub name: String,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// Times of all nodes together, from being asked for until they went back, microseconds.
    pub node_us: i128,
    /// Most nodes at once, those that are being provisioned included.
    pub most: u32,
    /// Nodes that were asked for.
    pub provisioned: u64,
    /// Nodes that went back.
    pub returned: u64,
    /// What a node costs, US dollars per hour, where that is known.
    pub usd_per_hour: Option<f64>,
}

/// What became of the instances of a run in which they come and go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScalingRecord {
    /// The pools.
    pub pools: Vec<PoolScaling>,
    /// Their instances over time, in order: from the start, and from every change on.
    pub timeline: Vec<PoolCounts>,
    /// When the run ended, microseconds.
    pub ended_us: i64,
    /// Requests that an instance gave back when it went, so often.
    pub taken_back: u64,
    /// Requests that waited because no instance took any, and most of them at once.
    pub held: u64,
    /// See `held`.
    pub most_held: u64,
    /// Requests that still waited for an instance when the run ended.
    pub waiting: u64,
    /// Something happens to instances besides what policies say.
    pub events: bool,
    /// Instances that failed.
    pub failures: u64,
    /// Requests that were on them and were sent again by their clients, so often.
    pub retried: u64,
    /// Requests that were lost for good.
    pub lost: u64,
    /// The pools of nodes that instances ran on; none = GPUs were there when one was started.
    pub nodes: Vec<NodePoolRecord>,
    /// Instances that had to wait for a node, how long in all, microseconds, and how many still did
    /// when the run ended.
    pub pending: u64,
    /// See `pending`.
    pub pending_us: i128,
    /// See `pending`.
    pub still_pending: u64,
}

/// Puts ascending (value, count) lists together.
fn merged(a: Vec<(i64, u64)>, b: Vec<(i64, u64)>) -> Vec<(i64, u64)> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }
    let mut all = a;
    all.extend(b);
    all.sort_unstable();
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    all
}

impl InstanceTotals {
    /// Counters of an instance that was started anew: what it did before, then this.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let mut adapter_moves = self.adapter_moves;
        for moves in later.adapter_moves {
            match adapter_moves
                .iter_mut()
                .find(|m| m.adapter == moves.adapter)
            {
                Some(known) => {
                    known.loads += moves.loads;
                    known.evictions += moves.evictions;
                }
                None => adapter_moves.push(moves),
            }
        }
        Self {
            pool: later.pool,
            completed: self.completed + later.completed,
            prefills: self.prefills + later.prefills,
            still_queued: later.still_queued,
            still_running: later.still_running,
            dropped: self.dropped + later.dropped,
            timed_out: self.timed_out + later.timed_out,
            length_capped: self.length_capped + later.length_capped,
            input_tokens: self.input_tokens + later.input_tokens,
            output_tokens: self.output_tokens + later.output_tokens,
            preemptions: self.preemptions + later.preemptions,
            kv_allocation_failures: self.kv_allocation_failures + later.kv_allocation_failures,
            prefix_queries: self.prefix_queries + later.prefix_queries,
            prefix_hits: self.prefix_hits + later.prefix_hits,
            prefix_reusable: self.prefix_reusable + later.prefix_reusable,
            blocks_reused: self.blocks_reused + later.blocks_reused,
            blocks_taken: self.blocks_taken + later.blocks_taken,
            adapter_loads: self.adapter_loads + later.adapter_loads,
            adapter_moves,
            kv_tiers: later.kv_tiers.or(self.kv_tiers),
            kv_total_blocks: later.kv_total_blocks,
            kv_peak_blocks: self.kv_peak_blocks.max(later.kv_peak_blocks),
            kv_block_time: self.kv_block_time + later.kv_block_time,
            busy_us: self.busy_us + later.busy_us,
            steps: self.steps + later.steps,
            queue_length_sum: self.queue_length_sum + later.queue_length_sum,
            batch_size_sum: self.batch_size_sum + later.batch_size_sum,
            verifications: self.verifications + later.verifications,
            drafted_tokens: self.drafted_tokens + later.drafted_tokens,
            accepted_tokens: self.accepted_tokens + later.accepted_tokens,
            ended_us: self.ended_us.max(later.ended_us),
            gaps: merged(self.gaps, later.gaps),
            step_runs: self.step_runs.into_iter().chain(later.step_runs).collect(),
            logged_steps: self
                .logged_steps
                .into_iter()
                .chain(later.logged_steps)
                .collect(),
            memory_uses: self
                .memory_uses
                .into_iter()
                .chain(later.memory_uses)
                .collect(),
            series: match (self.series, later.series) {
                (Some(a), Some(b)) => Some(Box::new(a.with(*b))),
                (a, b) => a.or(b),
            },
        }
    }

    /// Counters of two data-parallel ranks of an instance together. Times add up; of KV blocks in
    /// use the most of each.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        let sums = Self {
            still_queued: self.still_queued + other.still_queued,
            still_running: self.still_running + other.still_running,
            kv_total_blocks: self.kv_total_blocks + other.kv_total_blocks,
            kv_peak_blocks: self.kv_peak_blocks + other.kv_peak_blocks,
            ..Self::default()
        };
        let mut all = self.then(other);
        all.logged_steps.sort_by_key(|step| step.start_us);
        Self {
            still_queued: sums.still_queued,
            still_running: sums.still_running,
            kv_total_blocks: sums.kv_total_blocks,
            kv_peak_blocks: sums.kv_peak_blocks,
            ..all
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_before_and_after_add_up() {
        let before = InstanceTotals {
            completed: 3,
            kv_peak_blocks: 9,
            ended_us: 50,
            gaps: vec![(10, 2), (30, 1)],
            ..InstanceTotals::default()
        };
        let after = InstanceTotals {
            completed: 4,
            kv_peak_blocks: 5,
            still_running: 1,
            ended_us: 80,
            gaps: vec![(10, 1), (20, 7)],
            ..InstanceTotals::default()
        };
        let all = before.then(after);
        assert_eq!((all.completed, all.kv_peak_blocks), (7, 9));
        assert_eq!((all.still_running, all.ended_us), (1, 80));
        assert_eq!(all.gaps, [(10, 3), (20, 7), (30, 1)]);
    }
}
