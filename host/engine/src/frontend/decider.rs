//! Where a prompt is computed in a cluster with pools for prefill and for decode.

use windtunnel_plugin_api::{ClusterView, Interests, RequestView};

/// Decides whether another instance computes a prompt than the one that decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decider {
    /// The instance that decodes computes every prompt.
    #[default]
    Never,
    /// Another instance computes every prompt.
    Always,
    /// Another instance computes it if the one that decodes would have to compute more than so many
    /// tokens of it, by the precise prefix signal.
    PrefixThreshold(u32),
}

impl Decider {
    /// What it reads.
    #[must_use]
    pub fn interests(self) -> Interests {
        match self {
            Self::Never | Self::Always => Interests::NONE,
            Self::PrefixThreshold(_) => Interests::PRECISE_PREFIX,
        }
    }

    /// Does another instance compute the prompt than the one at position `decode`, which was chosen
    /// to decode?
    pub(super) fn prefills_remotely(
        self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::PrefixThreshold(most) => {
                let size = cluster.instances.get(decode).map_or(0, |i| i.block_size);
                let cached = cluster.host.precise_prefix_blocks(decode) * size;
                request.prompt_tokens.saturating_sub(cached) > most
            }
        }
    }
}
