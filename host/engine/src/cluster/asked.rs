//! What the front end answers when a policy asks while it decides.

use super::signals::Scrapes;
use crate::instance::Instance;
use crate::latency::Estimator;
use windtunnel_base::request::TokenSeq;
use windtunnel_base::rng::Stream;
use windtunnel_plugin_api::{InstanceView, Services};

/// The services of one decision: about one prompt, or, at a tick, about none.
pub(super) struct Asked<'a> {
    pub(super) scrapes: &'a Scrapes,
    pub(super) instances: &'a [Instance],
    pub(super) prompt: &'a TokenSeq,
    pub(super) estimator: &'a Estimator,
    pub(super) random: Stream<'a>,
}

impl Services for Asked<'_> {
    fn precise_prefix_blocks(&self, i: usize) -> u32 {
        self.scrapes
            .precise_prefix_blocks(self.prompt, i, self.instances)
    }

    fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        self.scrapes.approximate_prefix_blocks(self.prompt, i)
    }

    fn prompt_blocks(&self) -> u32 {
        self.prompt.len() / self.scrapes.views()[0].block_size
    }

    fn random(&self) -> u64 {
        self.random.next()
    }

    fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        self.estimator.prefill_us(tokens, cached)
    }

    fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        self.estimator.step_us(prefill_tokens, decodes, context)
    }

    fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        self.estimator.ttft_on(instance, prompt_tokens, cached)
    }
}
