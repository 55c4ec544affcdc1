//! What the front end answers when a policy asks while it decides.

use super::backends::Backends;
use super::estimators::Estimators;
use super::signals::Signals;
use windtunnel_base::request::{Sym, TokenSeq};
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{AdapterSignal, InstanceView, Services};

/// The services of one decision: about one prompt, or, at a tick, about none.
pub(super) struct FrontEndServices<'a, B> {
    pub(super) signals: &'a Signals,
    pub(super) backends: &'a B,
    /// The instances that are shown, by position; `None` = all.
    pub(super) members: Option<&'a [u32]>,
    pub(super) prompt: &'a TokenSeq,
    /// The request's; none at a tick.
    pub(super) adapter: Sym,
    pub(super) estimators: &'a Estimators,
    pub(super) random: Stream<'a>,
}

impl<B> FrontEndServices<'_, B> {
    /// The number of the instance at a position; beyond the last one, one that no instance has.
    fn instance(&self, position: usize) -> usize {
        self.members.map_or(position, |members| {
            let i = members.get(position);
            i.map_or(usize::MAX, |&i| i as usize)
        })
    }
}

impl<B: Backends> Services for FrontEndServices<'_, B> {
    fn precise_prefix_blocks(&self, i: usize) -> u32 {
        let i = self.instance(i);
        self.signals
            .precise_prefix_blocks(self.prompt, i, self.backends)
    }

    fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        let i = self.instance(i);
        self.signals.approximate_prefix_blocks(self.prompt, i)
    }

    fn prefix_blocks(&self, precise: bool, out: &mut [u32]) {
        if self.members.is_none() {
            self.signals
                .prefix_blocks(precise, self.prompt, self.backends, out);
            return;
        }
        for (i, blocks) in out.iter_mut().enumerate() {
            *blocks = match precise {
                true => self.precise_prefix_blocks(i),
                false => self.approximate_prefix_blocks(i),
            };
        }
    }

    fn changed_since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        // Who is shown now these instances, now those, has seen nothing of the present ones.
        match self.members {
            None => self.signals.changed_since(seen, out),
            Some(_) => None,
        }
    }

    fn adapter_signal(&self, signal: AdapterSignal, out: &mut [u32]) {
        let Some(members) = self.members else {
            return self.signals.adapter_signal(self.adapter, signal, out);
        };
        let mut all = vec![0; self.backends.len()];
        self.signals.adapter_signal(self.adapter, signal, &mut all);
        for (value, &i) in out.iter_mut().zip(members) {
            *value = all[i as usize];
        }
    }

    fn prompt_blocks(&self) -> u32 {
        let size = self.signals.block_size();
        self.prompt.len().checked_div(size).unwrap_or(0)
    }

    fn random(&self) -> u64 {
        self.random.next()
    }

    fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        let estimator = self.estimators.first();
        estimator.map_or(0.0, |e| e.prefill_us(tokens, cached))
    }

    fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        let estimator = self.estimators.first();
        estimator.map_or(0.0, |e| e.step_us(prefill_tokens, decodes, context))
    }

    fn est_prefill_us_on(&self, instance: &InstanceView, tokens: u32, cached: u32) -> f64 {
        let estimator = self.estimators.of_pool(instance.pool);
        estimator.map_or(0.0, |e| e.prefill_us(tokens, cached))
    }

    fn est_step_us_on(
        &self,
        instance: &InstanceView,
        prefill_tokens: u32,
        decodes: u32,
        context: u64,
    ) -> f64 {
        let estimator = self.estimators.of_pool(instance.pool);
        estimator.map_or(0.0, |e| e.step_us(prefill_tokens, decodes, context))
    }

    fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        let estimator = self.estimators.of_pool(instance.pool);
        estimator.map_or(0.0, |e| e.ttft_on(instance, prompt_tokens, cached))
    }

    fn est_transfer_us(&self, instance: &InstanceView, tokens: u32) -> f64 {
        self.estimators.transfer_us(instance.pool, tokens)
    }
}
