//! What the front end knows of the instances: snapshots of a certain age, prefix signals, and its
//! own ledgers of what it sent where.

use super::backends::{Backends, Freshness};
use super::changes::Changes;
use super::config::FrontEndConfig;
use super::sent_prefixes::SentPrefixes;
use crate::adapters::AdapterState;
use crate::key_range::Keys;
use windtunnel_base::request::{Request, Sym, TokenSeq};
use windtunnel_plugin_api::{AdapterSignal, InstanceView, Interests};

/// The instances as the front end sees them.
pub(super) struct Signals {
    /// One per instance. Two of its fields are the front end's own ledgers: requests in flight and
    /// their prompt tokens.
    views: Vec<InstanceView>,
    /// Which of them changed when, apart from the time of the scrape.
    changes: Changes,
    /// The adapters of each instance by their numbers, if a policy reads them; else of none.
    adapters: Vec<Vec<AdapterState>>,
    /// Of the instances if a policy reads approximate prefix hits, else of none.
    sent_prefixes: SentPrefixes,
    /// Tokens that a KV block holds on every instance; `None` if they differ.
    block_size_of_all: Option<u32>,
    /// Scratch: instances to scrape.
    to_scrape: Vec<u32>,
    scraped_us: i64,
    refresh_us: i64,
    cache_refreshed_us: i64,
    cache_delay_us: i64,
    snapshots_wanted: bool,
    work_wanted: bool,
    adapters_wanted: bool,
    precise_wanted: bool,
    approximate_wanted: bool,
}

impl Signals {
    /// Signals for policies with these `interests`, of no instances yet.
    pub(super) fn new(config: &FrontEndConfig, interests: Interests) -> Self {
        Self {
            views: Vec::new(),
            changes: Changes::default(),
            adapters: Vec::new(),
            sent_prefixes: SentPrefixes::default(),
            block_size_of_all: None,
            to_scrape: Vec::new(),
            scraped_us: 0,
            refresh_us: config.snapshot_refresh_us,
            cache_refreshed_us: 0,
            cache_delay_us: config.cache_signal_delay_us,
            snapshots_wanted: [Interests::SNAPSHOTS, Interests::WORK, Interests::ADAPTERS]
                .into_iter()
                .any(|scraped| interests.has(scraped)),
            work_wanted: interests.has(Interests::WORK),
            adapters_wanted: interests.has(Interests::ADAPTERS),
            precise_wanted: interests.has(Interests::PRECISE_PREFIX),
            approximate_wanted: interests.has(Interests::APPROXIMATE_PREFIX),
        }
    }

    /// Knows of as many instances as there are: the only place where what is kept per instance
    /// grows and shrinks.
    pub(super) fn resize(&mut self, backends: &impl Backends) {
        let instances = backends.len();
        let new = self.views.len()..instances;
        self.views.extend(new.map(|i| backends.describe(i)));
        self.views.truncate(instances);
        self.changes.resize(instances);
        let size = self.block_size();
        let same = self.views.iter().all(|view| view.block_size == size);
        self.block_size_of_all = same.then_some(size);
        if self.approximate_wanted {
            self.sent_prefixes.resize(instances);
        }
        if self.adapters_wanted {
            self.adapters.resize_with(instances, Vec::new);
        }
    }

    fn snapshots_due(&self, now: i64) -> bool {
        self.snapshots_wanted && (self.refresh_us == 0 || now - self.scraped_us >= self.refresh_us)
    }

    fn cache_due(&self, now: i64) -> bool {
        self.precise_wanted
            && self.cache_delay_us > 0
            && now - self.cache_refreshed_us >= self.cache_delay_us
    }

    /// Will a decision at `now` look into the instances, not only at what was scraped before?
    pub(super) fn looks(&self, now: i64) -> bool {
        self.snapshots_due(now)
            || self.cache_due(now)
            || (self.precise_wanted && self.cache_delay_us == 0)
    }

    /// Scrapes what is due at `now`. Refreshes happen on demand, when a policy is about to decide.
    pub(super) fn refresh(&mut self, now: i64, backends: &mut impl Backends) {
        if self.views.len() != backends.len() {
            self.resize(backends);
        }
        if self.snapshots_due(now) {
            self.scraped_us = now;
            let mut to_scrape = std::mem::take(&mut self.to_scrape);
            backends.take_changed(&mut to_scrape);
            for i in to_scrape.drain(..) {
                let i = i as usize;
                backends.observe(i, now, self.work_wanted, &mut self.views[i]);
                if let Some(adapters) = self.adapters.get_mut(i) {
                    adapters.clear();
                    backends.adapters(i, adapters);
                    adapters.sort_unstable_by_key(|state| state.adapter);
                    AdapterState::count(adapters, &mut self.views[i]);
                }
                self.changes.note(i);
            }
            self.to_scrape = to_scrape;
            for (i, view) in self.views.iter_mut().enumerate() {
                view.scraped_us = backends.scraped_us(i, now);
            }
        }
        if self.cache_due(now) {
            self.cache_refreshed_us = now;
            backends.refresh_cache_signal();
        }
    }

    /// The instances, in their order.
    pub(super) fn views(&self) -> &[InstanceView] {
        &self.views
    }

    /// Tokens that a KV block holds on the first instance; 0 without instances.
    pub(super) fn block_size(&self) -> u32 {
        self.views.first().map_or(0, |view| view.block_size)
    }

    /// Leading blocks of `prompt` that instance `i` holds, by its cache events.
    pub(super) fn precise_prefix_blocks(
        &self,
        prompt: &TokenSeq,
        i: usize,
        backends: &impl Backends,
    ) -> u32 {
        if !self.precise_wanted || i >= backends.len() {
            return 0;
        }
        backends.cached_blocks(i, prompt, self.freshness())
    }

    fn freshness(&self) -> Freshness {
        if self.cache_delay_us == 0 {
            Freshness::Now
        } else {
            Freshness::LastRefresh
        }
    }

    /// Leading blocks of `prompt` that were sent to instance `i` before.
    pub(super) fn approximate_prefix_blocks(&self, prompt: &TokenSeq, i: usize) -> u32 {
        self.views.get(i).map_or(0, |view| {
            let keys = Keys::of_prompt(prompt, view.block_size);
            self.sent_prefixes.leading(i, keys)
        })
    }

    /// Leading blocks of `prompt` on the instances from 0 to the end of `out`, by either signal.
    pub(super) fn prefix_blocks(
        &self,
        precise: bool,
        prompt: &TokenSeq,
        backends: &impl Backends,
        out: &mut [u32],
    ) {
        match (precise, self.block_size_of_all) {
            (true, _) if self.precise_wanted => {
                backends.cached_blocks_on_all(prompt, self.freshness(), out);
            }
            (true, _) => out.fill(0),
            (false, Some(size)) if size > 0 => {
                let keys = Keys::of_prompt(prompt, size);
                self.sent_prefixes.leading_on_all(keys, out);
            }
            (false, _) => {
                for (i, blocks) in out.iter_mut().enumerate() {
                    *blocks = self.approximate_prefix_blocks(prompt, i);
                }
            }
        }
    }

    /// What `signal` says of `adapter` on the instances from 0 to the end of `out`.
    pub(super) fn adapter_signal(&self, adapter: Sym, signal: AdapterSignal, out: &mut [u32]) {
        out.fill(0);
        if adapter.is_none() {
            return;
        }
        for (value, states) in out.iter_mut().zip(&self.adapters) {
            if let Ok(at) = states.binary_search_by_key(&adapter, |state| state.adapter) {
                *value = states[at].signal(signal);
            }
        }
    }

    /// The instances whose views changed since the moment that `seen` stands for; see
    /// [`changed_since`](windtunnel_plugin_api::Services::changed_since).
    pub(super) fn changed_since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        self.changes.since(seen, out)
    }

    /// A request is on its way to instance `i`.
    pub(super) fn dispatched(&mut self, i: usize, request: &Request) {
        let view = &mut self.views[i];
        if self.approximate_wanted {
            let keys = Keys::of_prompt(&request.prompt, view.block_size);
            self.sent_prefixes.record(i, keys);
        }
        self.changes.note(i);
        view.in_flight += 1;
        view.dispatched_tokens += u64::from(request.prompt_tokens());
    }

    /// Another instance is in the place of instance `i`: nothing is known of it, and nothing was
    /// sent there.
    pub(super) fn replaced(&mut self, i: usize, backends: &impl Backends) {
        let Some(view) = self.views.get_mut(i) else {
            return;
        };
        *view = InstanceView {
            scraped_us: view.scraped_us,
            in_flight: view.in_flight,
            dispatched_tokens: view.dispatched_tokens,
            ..backends.describe(i)
        };
        self.changes.note(i);
        self.sent_prefixes.forget(i);
        if let Some(adapters) = self.adapters.get_mut(i) {
            adapters.clear();
        }
    }

    /// A request left instance `i`.
    pub(super) fn departed(&mut self, i: usize, request: &Request) {
        let view = &mut self.views[i];
        self.changes.note(i);
        view.in_flight -= 1;
        view.dispatched_tokens -= u64::from(request.prompt_tokens());
    }
}
