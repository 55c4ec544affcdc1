//! What weighted routing reads of the instances, field by field.

use windtunnel_plugin_api::{ClusterView, InstanceView, Interests};

/// A copy of the fields that scorers go through for all instances, by position. Between two
/// decisions only what changed is copied.
#[derive(Default)]
pub struct Columns {
    /// Requests that wait.
    pub queue_depth: Vec<u32>,
    /// Requests that run.
    pub batch_size: Vec<u32>,
    /// Share of the KV blocks in use.
    pub kv_utilization: Vec<f64>,
    /// Leading cached blocks of the request at hand: what was sent before, and by cache events.
    hits: [Vec<u32>; 2],
    /// For [`changed_since`](windtunnel_plugin_api::Host::changed_since).
    seen: u64,
    /// Scratch: positions.
    changed: Vec<u32>,
}

impl Columns {
    /// Makes the columns those of `cluster`, with the prefix signals that `reads` has.
    pub fn refresh(&mut self, cluster: &ClusterView<'_>, reads: Interests) {
        let n = cluster.instances.len();
        if self.queue_depth.len() != n {
            self.queue_depth.resize(n, 0);
            self.batch_size.resize(n, 0);
            self.kv_utilization.resize(n, 0.0);
            self.changed.resize(n, 0);
            self.hits = [vec![0; n], vec![0; n]];
            self.seen = 0;
        }
        let mut changed = std::mem::take(&mut self.changed);
        match cluster.host.changed_since(&mut self.seen, &mut changed) {
            Some(number) => {
                for &i in &changed[..number] {
                    if let Some(view) = cluster.instances.get(i as usize) {
                        self.copy(i as usize, view);
                    }
                }
            }
            None => {
                let all = cluster.instances.iter().enumerate();
                all.for_each(|(i, view)| self.copy(i, view));
            }
        }
        self.changed = changed;
        for (precise, interest) in [
            (false, Interests::APPROXIMATE_PREFIX),
            (true, Interests::PRECISE_PREFIX),
        ] {
            if reads.has(interest) {
                let hits = &mut self.hits[usize::from(precise)];
                cluster.host.prefix_blocks(precise, hits);
            }
        }
    }

    fn copy(&mut self, i: usize, view: &InstanceView) {
        self.queue_depth[i] = view.queue_depth;
        self.batch_size[i] = view.batch_size;
        self.kv_utilization[i] = view.kv_utilization;
    }

    /// Leading cached blocks of the request at hand by position: by the instances' cache events,
    /// else by what was sent there before; zeros if nobody declared to read them.
    #[must_use]
    pub fn hits(&self, precise: bool) -> &[u32] {
        &self.hits[usize::from(precise)]
    }
}
