//! Structs of the C header whose Rust declaration has no C text beside it.

use crate::abi::{BatchAnswer, RouteAnswer, SetupView};
use crate::c::{Member, Shape};
use crate::{ClusterView, GatewayView, HostFns, QueueView};
use std::mem::offset_of;

/// Members of a struct whose Rust declaration has no C text beside it.
macro_rules! members {
    ($type:ty: $($member:ident = $text:literal, $doc:literal;)*) => {
        &[$( Member {
            name: stringify!($member),
            text: $text,
            doc: &[$doc],
            offset: offset_of!($type, $member),
        }, )*]
    };
}

impl Shape for HostFns {
    const NAME: &'static str = "wt_host_fns";
    const DOC: &'static [&'static str] =
        &[" What the host answers; the functions at the end of this file call them."];
    const MEMBERS: &'static [Member] = members! { Self:
        size = "uint64_t size", " Bytes of this struct.";
        precise_prefix_blocks = "uint32_t (*precise_prefix_blocks)(const void *context, uint32_t i)",
            " Leading prompt blocks that instance i holds, by its own cache events (declare WT_READS_PRECISE_PREFIX).";
        approximate_prefix_blocks = "uint32_t (*approximate_prefix_blocks)(const void *context, uint32_t i)",
            " Leading prompt blocks that the front end believes instance i holds (declare WT_READS_APPROXIMATE_PREFIX).";
        prompt_blocks = "uint32_t (*prompt_blocks)(const void *context)", " Full KV blocks of the prompt.";
        random = "uint64_t (*random)(const void *context)",
            " The next number of the stream of random numbers keyed by (seed, hook, request).";
        est_prefill_us = "double (*est_prefill_us)(const void *context, uint32_t tokens, uint32_t cached)",
            " Time to prefill tokens after cached ones on an otherwise idle instance (of the first pool; inside an instance, this one), microseconds.";
        est_step_us = "double (*est_step_us)(const void *context, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context)",
            " Duration of a step on such an instance, microseconds.";
        est_ttft_us =
            "double (*est_ttft_us)(const void *context, const wt_instance_view *instance, uint32_t prompt_tokens, uint32_t cached)",
            " Time to first token behind everything that the instance shows, microseconds (declare WT_READS_WORK).";
        est_prefill_us_on =
            "double (*est_prefill_us_on)(const void *context, const wt_instance_view *instance, uint32_t tokens, uint32_t cached)",
            " est_prefill_us on an instance of the pool of this one. Since 1.1.";
        est_step_us_on =
            "double (*est_step_us_on)(const void *context, const wt_instance_view *instance, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context)",
            " est_step_us on an instance of the pool of this one. Since 1.1.";
        prefix_blocks = "void (*prefix_blocks)(const void *context, uint32_t precise, uint32_t *out, uint32_t n)",
            " Leading prompt blocks of the first n instances at once: what precise_prefix_blocks (precise = 1) or approximate_prefix_blocks (0) says of each. Since 1.1.";
        changed_since = "uint32_t (*changed_since)(const void *context, uint64_t *seen, uint32_t *out, uint32_t n)",
            " Positions of the instances whose views may have changed since *seen (0: ever), but for scraped_us: their number, and *seen stands for now. UINT32_MAX: any may have, as nobody knows or more than n did. Since 1.1.";
        adapter_signal = "void (*adapter_signal)(const void *context, uint32_t signal, uint32_t *out, uint32_t n)",
            " What a signal (WT_ADAPTER_LOADED, ...) says about the LoRA adapter of the request at hand, of the first n instances, as old as their scraped fields; 0 without an adapter (declare WT_READS_ADAPTERS). Since 1.1.";
        est_transfer_us = "double (*est_transfer_us)(const void *context, const wt_instance_view *instance, uint32_t tokens)",
            " Time to move the KV cache of so many tokens from an instance of the pool of this one to another over links that nobody else uses, microseconds; 0 where none moves. Since 1.1.";
    };
}

impl Shape for ClusterView<'_> {
    const NAME: &'static str = "wt_cluster_view";
    const DOC: &'static [&'static str] =
        &[" The cluster at the moment of a decision of the front end."];
    const MEMBERS: &'static [Member] = members! { ClusterView<'static>:
        now_us = "int64_t now_us", " Now, microseconds.";
        instances = "wt_list instances", " The instances that can serve the request: see wt_instance.";
        host = "wt_host host", " What can be asked. Its indices are those of instances.";
    };
}

impl Shape for QueueView<'_> {
    const NAME: &'static str = "wt_queue_view";
    const DOC: &'static [&'static str] = &[" An instance at the moment of a decision inside it."];
    const MEMBERS: &'static [Member] = members! { QueueView<'static>:
        now_us = "int64_t now_us", " Now, microseconds.";
        waiting = "wt_list waiting", " The waiting requests in queue order, when a scheduler orders the queue; the head of the queue for a batching policy with WT_READS_WAITING: see wt_waiting.";
        running = "wt_list running",
            " The running batch, oldest admission first, for a victim and a scheduler with WT_READS_RUNNING: see wt_running.";
        host = "wt_host host", " What can be asked. There are no prefix signals here.";
        instance = "uint32_t instance", " Position of the instance in the cluster, from 0.";
        max_batch_size = "uint32_t max_batch_size", " Largest batch, requests.";
        batch_size = "uint32_t batch_size", " Requests in the running batch.";
        queue_depth = "uint32_t queue_depth", " Requests in the wait queue.";
        kv_free_blocks = "uint32_t kv_free_blocks", " KV blocks not in use.";
        kv_total_blocks = "uint32_t kv_total_blocks", " KV blocks in all.";
        block_size = "uint32_t block_size", " Tokens a KV block holds.";
        max_step_tokens = "uint32_t max_step_tokens", " Most new tokens per step.";
    };
}

impl Shape for GatewayView<'_> {
    const NAME: &'static str = "wt_gateway_view";
    const DOC: &'static [&'static str] =
        &[" The requests that the gateway holds, at the moment of a decision. Since 1.1."];
    const MEMBERS: &'static [Member] = members! { GatewayView<'static>:
        held = "wt_list held",
            " Those that may go, never empty: by priority, then by tenant, then as they came; without WT_READS_HELD only the first of each tenant and priority: see wt_held.";
        saturation = "double saturation", " What the saturation detector says of the cluster: 1 and more is saturated.";
        depth = "uint32_t depth", " Requests that the gateway holds, those above included.";
        on_the_way = "uint32_t on_the_way", " Requests that have left it and are on their way to an instance.";
    };
}

impl Shape for SetupView<'_> {
    const NAME: &'static str = "wt_setup";
    const DOC: &'static [&'static str] = &[" What a policy is made with."];
    const MEMBERS: &'static [Member] = members! { SetupView<'static>:
        size = "uint64_t size", " Bytes of this struct.";
        params = "const double *params", " Values of the declared parameters, in order of declaration.";
        param_count = "uint32_t param_count", " How many.";
        instances = "uint32_t instances", " Instances in the cluster.";
        slots = "uint64_t slots", " Most requests the cluster can run at once.";
        context = "void *context", " For symbol.";
        symbol = "uint32_t (*symbol)(void *context, const uint8_t *text, uint64_t length)",
            " Number of a tenant, class, session, prefix group or model by name, as views carry it: see wt_symbol.";
    };
}

impl Shape for RouteAnswer {
    const NAME: &'static str = "wt_route";
    const DOC: &'static [&'static str] = &[" Answer of a router."];
    const MEMBERS: &'static [Member] = members! { Self:
        kind = "uint32_t kind", " WT_TO or WT_HOLD.";
        index = "uint32_t index", " Index into the instances shown.";
        retry_after_us = "int64_t retry_after_us", " Microseconds until the next try, of a hold.";
    };
}

impl Shape for BatchAnswer {
    const NAME: &'static str = "wt_batch_limits";
    const DOC: &'static [&'static str] = &[
        " Answer of a batching policy. What is beyond the engine's own limits counts as those. Since 1.1.",
    ];
    const MEMBERS: &'static [Member] = members! { Self:
        hold_until_us = "int64_t hold_until_us",
            " The limits hold up to this time as long as the requests stay as they are, and an instance without a batch sleeps until then; INT64_MAX: time changes nothing.";
        max_new_tokens = "uint32_t max_new_tokens", " Most new tokens, of all requests together.";
        max_prefill_tokens = "uint32_t max_prefill_tokens", " Most prefill tokens of one request, at least 1.";
        max_admissions = "uint32_t max_admissions", " Most waiting requests that are admitted.";
        decodes_wait = "uint32_t decodes_wait", " 1: decodes take part only in a step that computes no prompt; 0: in every step.";
    };
}
