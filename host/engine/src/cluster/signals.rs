//! What the front end knows of the instances: scraped snapshots of a certain age, and lazy prefix
//! signals.

use super::prefix_lru::PrefixLru;
use crate::instance::{EngineConfig, Instance};
use windtunnel_base::request::TokenSeq;
use windtunnel_plugin_api::{InstanceView, Interests};

/// The instances as the front end sees them.
pub(super) struct Scrapes {
    views: Vec<InstanceView>,
    refreshed: i64,
    refresh_us: i64,
    cache_delay_us: i64,
    cache_refreshed: i64,
    snapshots_wanted: bool,
    work_wanted: bool,
    cache_wanted: bool,
    /// One per instance if anybody reads approximate prefix hits.
    pub(super) sent_prefixes: Vec<PrefixLru>,
}

impl Scrapes {
    pub(super) fn new(
        instances: u32,
        engine: &EngineConfig,
        refresh_us: i64,
        cache_delay_us: i64,
        interests: Interests,
    ) -> Self {
        let view = |index| InstanceView {
            index,
            max_batch_size: engine.max_num_seqs,
            block_size: engine.block_size,
            max_step_tokens: engine.max_num_batched_tokens,
            ..InstanceView::default()
        };
        let lrus = if interests.has(Interests::APPROXIMATE_PREFIX) {
            instances
        } else {
            0
        };
        Self {
            views: (0..instances).map(view).collect(),
            refreshed: 0,
            refresh_us,
            cache_delay_us,
            cache_refreshed: 0,
            snapshots_wanted: interests.has(Interests::SNAPSHOTS) || interests.has(Interests::WORK),
            work_wanted: interests.has(Interests::WORK),
            cache_wanted: interests.has(Interests::PRECISE_PREFIX),
            sent_prefixes: (0..lrus).map(|_| PrefixLru::default()).collect(),
        }
    }

    fn snapshots_due(&self, now: i64) -> bool {
        self.snapshots_wanted && (self.refresh_us == 0 || now - self.refreshed >= self.refresh_us)
    }

    fn cache_due(&self, now: i64) -> bool {
        self.cache_wanted
            && self.cache_delay_us > 0
            && now - self.cache_refreshed >= self.cache_delay_us
    }

    /// Will a decision at `now` look into the instances, not only at what was scraped before?
    pub(super) fn looks(&self, now: i64) -> bool {
        self.snapshots_due(now)
            || self.cache_due(now)
            || (self.cache_wanted && self.cache_delay_us == 0)
    }

    /// Scrapes what is due at `now`. Refreshes happen on demand, when somebody is about to decide.
    pub(super) fn refresh(&mut self, now: i64, instances: &mut [Instance]) {
        if self.snapshots_due(now) {
            self.refreshed = now;
            for (view, instance) in self.views.iter_mut().zip(&*instances) {
                scrape(view, instance, now);
                if self.work_wanted {
                    scrape_work(view, instance);
                }
            }
        }
        if self.cache_due(now) {
            self.cache_refreshed = now;
            instances
                .iter_mut()
                .for_each(|i| i.kv_mut().refresh_signal());
        }
    }

    pub(super) fn views(&self) -> &[InstanceView] {
        &self.views
    }

    pub(super) fn view_mut(&mut self, i: usize) -> &mut InstanceView {
        &mut self.views[i]
    }

    /// Leading blocks of `prompt` that instance `i` holds, by its cache events.
    pub(super) fn precise_prefix_blocks(
        &self,
        prompt: &TokenSeq,
        i: usize,
        instances: &[Instance],
    ) -> u32 {
        let Some(instance) = instances.get(i).filter(|_| self.cache_wanted) else {
            return 0;
        };
        let kv = instance.kv();
        let keys = prompt.block_keys(kv.block_size());
        if self.cache_delay_us == 0 {
            kv.cached_blocks_now(keys)
        } else {
            kv.cached_blocks_at_refresh(keys)
        }
    }

    /// Leading blocks of `prompt` that were sent to instance `i` before.
    pub(super) fn approximate_prefix_blocks(&self, prompt: &TokenSeq, i: usize) -> u32 {
        let block = self.views[0].block_size;
        self.sent_prefixes
            .get(i)
            .map_or(0, |lru| lru.leading(prompt.block_keys(block)))
    }
}

/// An instance as it stands at `now`; what the front end counts itself is taken from `seen`.
pub(super) fn truly(seen: &InstanceView, instance: &Instance, now: i64) -> InstanceView {
    let mut view = *seen;
    scrape(&mut view, instance, now);
    scrape_work(&mut view, instance);
    view
}

fn scrape(view: &mut InstanceView, instance: &Instance, now: i64) {
    view.scraped_us = now;
    let kv = instance.kv();
    view.queue_depth = instance.queue_depth() as u32;
    view.batch_size = instance.batch_size() as u32;
    let blocks = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    view.kv_used_blocks = blocks(kv.used());
    view.kv_total_blocks = blocks(kv.total());
    view.kv_free_blocks = blocks(kv.free());
    view.preemptions = instance.preemptions() as u32;
    view.kv_utilization = if kv.total() == 0 {
        0.0
    } else {
        kv.used() as f64 / kv.total() as f64
    };
    let lookups = kv.hits() + kv.misses();
    view.cache_hit_rate = if lookups == 0 {
        0.0
    } else {
        kv.hits() as f64 / lookups as f64
    };
}

fn scrape_work(view: &mut InstanceView, instance: &Instance) {
    let work = instance.work();
    view.queued_prompt_tokens = work.queued_prompt_tokens;
    view.running_prefill_tokens = work.running_prefill_tokens;
    view.decodes = work.decodes;
    view.decode_context_tokens = work.decode_context_tokens;
}
