//! What the front end knows of the instances: scraped snapshots of a certain age, and lazy prefix signals.

use super::prefix_lru::PrefixLru;
use crate::instance::Instance;
use crate::request::TokenSeq;
use windtunnel_plugin_api::{InstanceView, Interests, Signals};

/// The instances as the front end sees them.
pub(super) struct Scrapes {
    views: Vec<InstanceView>,
    refreshed: i64,
    refresh_us: i64,
    cache_delay_us: i64,
    cache_refreshed: i64,
    snapshots_wanted: bool,
    cache_wanted: bool,
    /// One per instance if anybody reads approximate prefix hits.
    pub(super) sent_prefixes: Vec<PrefixLru>,
}

impl Scrapes {
    pub(super) fn new(
        instances: u32,
        max_batch_size: u32,
        block_size: u32,
        refresh_us: i64,
        cache_delay_us: i64,
        interests: Interests,
    ) -> Self {
        let view = |index| InstanceView {
            index,
            max_batch_size,
            block_size,
            ..InstanceView::default()
        };
        let lrus = if interests.approximate_prefix {
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
            snapshots_wanted: interests.snapshots,
            cache_wanted: interests.precise_prefix,
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
            self.views
                .iter_mut()
                .zip(&*instances)
                .for_each(|(view, instance)| scrape(view, instance, now));
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

    /// The lazy signals of one prompt.
    pub(super) fn of<'a>(
        &'a self,
        prompt: &'a TokenSeq,
        instances: &'a [Instance],
    ) -> PromptSignals<'a> {
        PromptSignals {
            scrapes: self,
            prompt,
            instances,
        }
    }
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

/// The prefix signals of one prompt; computed when asked for.
pub(super) struct PromptSignals<'a> {
    scrapes: &'a Scrapes,
    prompt: &'a TokenSeq,
    instances: &'a [Instance],
}

impl PromptSignals<'_> {
    fn block_size(&self) -> u32 {
        self.instances[0].kv().block_size()
    }
}

impl Signals for PromptSignals<'_> {
    fn precise_prefix_blocks(&self, i: usize) -> u32 {
        if !self.scrapes.cache_wanted {
            return 0;
        }
        let kv = self.instances[i].kv();
        let keys = self.prompt.block_keys(kv.block_size());
        if self.scrapes.cache_delay_us == 0 {
            kv.cached_blocks_now(keys)
        } else {
            kv.cached_blocks_at_refresh(keys)
        }
    }

    fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        let block = self.block_size();
        self.scrapes
            .sent_prefixes
            .get(i)
            .map_or(0, |lru| lru.leading(self.prompt.block_keys(block)))
    }

    fn prompt_blocks(&self) -> u32 {
        self.prompt.len() / self.block_size()
    }
}
