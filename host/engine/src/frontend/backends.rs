//! What the front end needs of the instances behind it.

use crate::adapters::AdapterState;
use windtunnel_base::request::TokenSeq;
use windtunnel_plugin_api::InstanceView;

/// How old the answer about a prefix cache may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As it is at this moment.
    Now,
    /// As it was at the last [`refresh_cache_signal`](Backends::refresh_cache_signal).
    LastRefresh,
}

/// The instances behind a front end: simulated ones, or servers behind sockets.
///
/// They are numbered from 0. Their number may change between two calls of the front end: new ones
/// take the numbers behind the last, and those with the highest numbers leave. Requests that are
/// still on an instance when it leaves are no longer the front end's concern.
pub trait Backends {
    /// Number of instances.
    fn len(&self) -> usize;

    /// Are there none?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What never changes of instance `i`: its position, pool, GPUs and limits. Everything else is
    /// 0. Asked once, when the instance is new.
    fn describe(&self, i: usize) -> InstanceView;

    /// Reads the state of instance `i` at `now_us` into the scraped fields of `view`. The sums of
    /// tokens may be dear to compute and are read only with `work`. What `view` has beyond the
    /// scraped fields stays as it is.
    fn observe(&mut self, i: usize, now_us: i64, work: bool, view: &mut InstanceView);

    /// Appends the LoRA adapters that instance `i` has on the GPU or requests of at this moment,
    /// each once, in any order.
    fn adapters(&self, i: usize, adapters: &mut Vec<AdapterState>) {
        let _ = (i, adapters);
    }

    /// When what [`observe`](Self::observe) reads of instance `i` at `now_us` was so.
    fn scraped_us(&self, i: usize, now_us: i64) -> i64 {
        let _ = i;
        now_us
    }

    /// Appends the instances of which [`observe`](Self::observe) and
    /// [`adapters`](Self::adapters) may read something else than when
    /// this was asked last, in any order. New ones are among them.
    fn take_changed(&mut self, changed: &mut Vec<u32>) {
        changed.extend(0..self.len() as u32);
    }

    /// Makes the state of all prefix caches at this moment the one that
    /// [`Freshness::LastRefresh`] means.
    fn refresh_cache_signal(&mut self);

    /// Leading KV blocks of `prompt` in the prefix cache of instance `i`.
    fn cached_blocks(&self, i: usize, prompt: &TokenSeq, freshness: Freshness) -> u32;

    /// The same for the instances from 0 to the end of `out`; 0 behind the last one.
    fn cached_blocks_on_all(&self, prompt: &TokenSeq, freshness: Freshness, out: &mut [u32]) {
        for (i, blocks) in out.iter_mut().enumerate() {
            *blocks = if i < self.len() {
                self.cached_blocks(i, prompt, freshness)
            } else {
                0
            };
        }
    }
}
