//! `prefix-threshold`: an instance that prefills computes long prompts.

use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;
use windtunnel_plugin_api::{ClusterView, Disaggregation, Interests, PolicyError, RequestView};

/// `prefix-threshold`. Rule and default are llm-d's (`prefix-based-pd-decider`).
pub const POLICY: BuiltIn = BuiltIn {
    params: &[Param::number(
        "tokens",
        16.0,
        0.0,
        f64::MAX,
        "Most tokens that the decoding instance computes itself",
    )
    .whole()],
    ..BuiltIn::new(
        "prefix-threshold",
        "An instance that prefills computes a prompt if the one that decodes lacks more tokens of it, by the precise prefix signal.",
        Make::Disaggregation(|_, values| {
            Box::new(PrefixThreshold {
                tokens: values.get("tokens"),
            })
        }),
    )
};

/// Tells by the tokens that the decoding instance lacks.
pub struct PrefixThreshold {
    tokens: f64,
}

impl Disaggregation for PrefixThreshold {
    fn interests(&self) -> Interests {
        Interests::PRECISE_PREFIX
    }
    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        let size = cluster.instances.get(decode).map_or(0, |i| i.block_size);
        let cached = cluster.host.precise_prefix_blocks(decode) * size;
        Ok(f64::from(request.prompt_tokens.saturating_sub(cached)) > self.tokens)
    }
}
