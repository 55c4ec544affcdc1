//! Times to first token of a prompt, computed where it is decoded or elsewhere, as far as they can
//! be known when that is decided.

use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{ClusterView, InstanceView, RequestView};

/// Of [`InstanceView::role`]: it serves whole requests and prefills for others, too.
const SERVES: u32 = 0;
/// Of [`InstanceView::role`]: it prefills.
const PREFILLS: u32 = 1;

/// One way to compute a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alternative {
    /// Time to first token, microseconds from now.
    pub(super) ttft_us: f64,
    /// Time of the prompt's own computation, microseconds.
    pub(super) prefill_us: f64,
    /// Time of what is computed before it, microseconds.
    pub(super) ahead_us: f64,
    /// Time in which its KV cache moves, microseconds; 0 where it was computed.
    pub(super) transfer_us: f64,
}

/// Prompts that decoding instances were given since their last scrapes, which does not show them.
#[derive(Default)]
pub(super) struct SentSince {
    /// When, and how many tokens to compute, by index of the instance: its position among those
    /// that are shown differs from request to request.
    sent: FxHashMap<u32, Vec<(i64, u32)>>,
}

impl SentSince {
    /// The instance that decodes is given the prompt to compute.
    pub(super) fn note_local(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) {
        let Some(instance) = cluster.instances.get(decode) else {
            return;
        };
        let lacking = lacks(request, decode, instance, cluster).0;
        let sent = self.sent.entry(instance.index).or_default();
        sent.push((cluster.now_us, lacking));
    }

    fn tokens(&mut self, instance: &InstanceView) -> u32 {
        let Some(sent) = self.sent.get_mut(&instance.index) else {
            return 0;
        };
        sent.retain(|(at_us, _)| *at_us >= instance.scraped_us);
        sent.iter()
            .fold(0, |sum, (_, tokens)| sum.saturating_add(*tokens))
    }
}

/// Tokens of the prompt that the instance at `position` lacks, by the precise prefix signal, and
/// those that it has.
pub(super) fn lacks(
    request: &RequestView,
    position: usize,
    instance: &InstanceView,
    cluster: &ClusterView<'_>,
) -> (u32, u32) {
    let blocks = cluster.host.precise_prefix_blocks(position);
    let cached = blocks
        .saturating_mul(instance.block_size)
        .min(request.prompt_tokens);
    (request.prompt_tokens - cached, cached)
}

fn way(
    request: &RequestView,
    position: usize,
    instance: &InstanceView,
    unseen: u32,
    cluster: &ClusterView<'_>,
) -> Alternative {
    let (lacking, cached) = lacks(request, position, instance, cluster);
    let host = &cluster.host;
    // What is ahead and not seen yet counts as if it were more of the prompt: it is computed first.
    let tokens = request.prompt_tokens.saturating_add(unseen);
    let ttft_us = host.est_ttft_us(instance, tokens, cached);
    let prefill_us = host.est_prefill_us_on(instance, lacking, cached);
    Alternative {
        ttft_us,
        prefill_us,
        ahead_us: (ttft_us - prefill_us).max(0.0),
        transfer_us: 0.0,
    }
}

/// The prompt is computed by the instance that decodes.
pub(super) fn local(
    request: &RequestView,
    decode: usize,
    sent: &mut SentSince,
    cluster: &ClusterView<'_>,
) -> Option<Alternative> {
    let instance = cluster.instances.get(decode)?;
    let unseen = sent.tokens(instance);
    Some(way(request, decode, instance, unseen, cluster))
}

/// The prompt is computed elsewhere: by each of the instances that could.
pub(super) fn remote(
    request: &RequestView,
    decode: usize,
    cluster: &ClusterView<'_>,
) -> Vec<Alternative> {
    let Some(decodes) = cluster.instances.get(decode) else {
        return Vec::new();
    };
    let host = &cluster.host;
    let lacking = lacks(request, decode, decodes, cluster).0;
    // The last token of the prompt is computed once more where the KV cache has arrived.
    let (others, context) = (decodes.decodes, decodes.decode_context_tokens);
    let last_us = host.est_step_us_on(decodes, 1, others, context);
    let able = cluster
        .instances
        .iter()
        .enumerate()
        .filter(|(position, instance)| {
            instance.role == PREFILLS || (instance.role == SERVES && *position != decode)
        });
    able.map(|(position, instance)| {
        let seen = instance.queued_prompt_tokens + instance.running_prefill_tokens;
        // What was sent to an instance that only prefills is there until it is computed.
        let unseen = match instance.role {
            PREFILLS => instance.dispatched_tokens.saturating_sub(seen),
            _ => 0,
        };
        let unseen = u32::try_from(unseen).unwrap_or(u32::MAX);
        let way = way(request, position, instance, unseen, cluster);
        let transfer_us = host.est_transfer_us(instance, lacking);
        Alternative {
            ttft_us: way.ttft_us + transfer_us + last_us,
            transfer_us,
            ..way
        }
    })
    .collect()
}
