//! What a policy sees: plain data, fixed width, append-only.
//!
//! Times are microseconds of simulated time. Numbers without a unit that name something (tenant,
//! session, class) are opaque: equal for equal names, 0 for none. A number whose unit is `position`
//! counts from 0, and 4294967295 is none; scripts see it counted from 1, and 0 is none.

use crate::table::{kind, table};

table! {
    /// A request as every hook may see it. Its true output length is not in here.
    pub struct RequestView {
        /// Number of the request in order of arrival within this run, from 0. Unique.
        serial: u64, "";
        /// When the client sent it.
        arrival_us: i64, "us";
        /// The client gives up at this time; 0 = never.
        deadline_us: i64, "us";
        /// Target for the time to first token; 0 = none.
        slo_ttft_us: i64, "us";
        /// Equal for two requests exactly when their whole prompts are equal.
        prompt_key: u64, "";
        /// Prompt length.
        prompt_tokens: u32, "tokens";
        /// SLO class by name.
        slo_class: u32, "";
        /// Priority at the front end, the own one of a request that has one, else that of its
        /// class: higher is more important, below 0 may be shed.
        class_priority: i32, "";
        /// Tenant by name.
        tenant: u32, "";
        /// Session by name.
        session: u32, "";
        /// Round within the session, from 0.
        round: u32, "";
        /// Shared-prefix group by name.
        prefix_group: u32, "";
        /// Tokens of the prompt that belong to the shared prefix group.
        prefix_tokens: u32, "tokens";
        /// Model asked for by name; 0 = the cluster's default model.
        model: u32, "";
        /// Output length that the run's predictor expects; 0 = there is no predictor.
        predicted_output_tokens: u32, "tokens";
        /// How often the hook at hand has put it off before (delayed or held it).
        attempts: u32, "";
        /// Always 0; keeps the size a multiple of 8.
        reserved: u32, "";
        /// LoRA adapter by name; 0 = none. Since 1.1.
        adapter: u32, "";
        /// The client's own priority as vLLM takes it: lower is more urgent, 0 by default. Since
        /// 1.1.
        client_priority: i32, "";
    }
}

table! {
    /// One serving instance as the front end sees it.
    ///
    /// `in_flight` and `dispatched_tokens` are counted by the front end itself and always fresh.
    /// `index`, `pool`, `gpus`, `role`, `block_size`, `kv_total_blocks` and the `max_` fields never
    /// change.
    /// Everything else is scraped from the instance and as old as `scraped_us` says; before the
    /// first scrape it is 0.
    pub struct InstanceView {
        /// Position of the instance in the cluster.
        index: u32, "position";
        /// Requests in the wait queue.
        queue_depth: u32, "requests";
        /// Requests in the running batch.
        batch_size: u32, "requests";
        /// Requests dispatched and not yet finished (fresh).
        in_flight: u32, "requests";
        /// KV blocks in use.
        kv_used_blocks: u32, "blocks";
        /// KV blocks in all.
        kv_total_blocks: u32, "blocks";
        /// KV blocks not in use: `kv_total_blocks - kv_used_blocks`.
        kv_free_blocks: u32, "blocks";
        /// Preemptions so far.
        preemptions: u32, "";
        /// `kv_used_blocks / kv_total_blocks`, 0 to 1.
        kv_utilization: f64, "";
        /// Prompt tokens found in the prefix cache / looked up so far, 0 to 1.
        cache_hit_rate: f64, "";
        /// Prompt tokens of the requests in flight (fresh).
        dispatched_tokens: u64, "tokens";
        /// When the scraped fields were read; 0 before the first scrape.
        scraped_us: i64, "us";
        /// Largest batch the instance runs.
        max_batch_size: u32, "requests";
        /// Tokens a KV block holds.
        block_size: u32, "tokens";
        /// Prompt tokens of the waiting requests (cached ones included).
        queued_prompt_tokens: u64, "tokens";
        /// Prompt tokens of the running batch that are still to be prefilled.
        running_prefill_tokens: u64, "tokens";
        /// Context of all running decodes together.
        decode_context_tokens: u64, "tokens";
        /// Running requests that decode.
        decodes: u32, "requests";
        /// Most new tokens per step.
        max_step_tokens: u32, "tokens";
        /// Pool of the instance by name; 0 = the cluster's only pool, which has no name. Since 1.1.
        pool: u32, "";
        /// GPUs that the instance takes; 0 = unknown. Since 1.1.
        gpus: u32, "";
        /// Most LoRA adapters in a step and on the GPU; 0 = no limit. Since 1.1.
        max_loras: u32, "";
        /// LoRA adapters on the GPU. Since 1.1.
        loaded_lora_adapters: u32, "";
        /// LoRA adapters of running requests. Since 1.1.
        running_lora_adapters: u32, "";
        /// LoRA adapters of waiting requests that no running one has. Since 1.1.
        waiting_lora_adapters: u32, "";
        /// What it does where some instances prefill for others: 0 whole requests, 1 it prefills,
        /// 2 it decodes, 3 it encodes, 4 nothing. Since 1.1.
        role: u32, "";
        /// KV caches on their way to it, for which it has reserved blocks. Since 1.1.
        incoming_kv_caches: u32, "";
        /// KV caches of prompts that it has computed for others and keeps until they are fetched.
        /// Since 1.1.
        kept_kv_caches: u32, "";
        /// KV blocks of those. Since 1.1.
        kept_kv_blocks: u32, "blocks";
    }
}

impl InstanceView {
    /// Age of the scraped fields at `now_us`, microseconds.
    #[must_use]
    pub fn age_us(&self, now_us: i64) -> i64 {
        now_us - self.scraped_us
    }

    /// Requests waiting, running and in flight. A request in flight that already waits or runs
    /// counts twice, as the reference simulator counts it; for equal instances the order is the
    /// same.
    #[must_use]
    pub fn effective_load(&self) -> u64 {
        u64::from(self.queue_depth) + u64::from(self.batch_size) + u64::from(self.in_flight)
    }
}

table! {
    /// A request in an instance's wait queue.
    pub struct QueuedView<'a> {
        request: &'a RequestView;
        /// When it entered this wait queue.
        enqueued_us: i64, "us";
        /// Its priority inside the instance: lower is more urgent.
        priority: f64, "";
        /// How often it was preempted here.
        preemptions: u32, "";
        /// Output tokens it had produced when it was preempted; 0 if it never ran.
        output_tokens: u32, "tokens";
        /// A small number that no other request on this instance has now.
        slot: u32, "";
        /// Always 0; keeps the size a multiple of 8.
        reserved: u32, "";
    }
}

table! {
    /// A request in an instance's running batch.
    pub struct RunningView<'a> {
        request: &'a RequestView;
        /// Its priority inside the instance: lower is more urgent.
        priority: f64, "";
        /// Tokens computed so far, prompt and output.
        computed_tokens: u32, "tokens";
        /// Output tokens produced so far.
        output_tokens: u32, "tokens";
        /// KV blocks it holds.
        kv_blocks: u32, "blocks";
        /// How often it was preempted here.
        preemptions: u32, "";
        /// A small number that no other request on this instance has now.
        slot: u32, "";
        /// Always 0; keeps the size a multiple of 8.
        reserved: u32, "";
    }
}

table! {
    /// The step that an instance is about to choose. Since 1.1.
    pub struct StepView {
        /// Its number on this instance, from 0.
        step: u64, "";
        /// Prompt tokens of the running batch that are still to be prefilled.
        running_prefill_tokens: u64, "tokens";
        /// Context of all running decodes together.
        decode_context_tokens: u64, "tokens";
        /// Running requests that prefill.
        prefilling: u32, "requests";
        /// Running requests that decode.
        decoding: u32, "requests";
        /// Requests for which the batch has room.
        free_places: u32, "requests";
        /// Most prefill tokens of one request by vLLM's rules for this step: without limit for a
        /// request that is alone; 4294967295 = no limit.
        max_prefill_tokens: u32, "tokens";
        /// The configured `long_prefill_token_threshold`; 4294967295 = no limit.
        long_prefill_token_threshold: u32, "tokens";
        /// Steps under way: with asynchronous scheduling the next one is chosen while one runs.
        steps_in_flight: u32, "steps";
        /// Requests whose KV cache is on its way here or from here.
        moving: u32, "requests";
        /// Waiting requests whose KV cache is here: all that they need is a place in the batch.
        with_kv: u32, "requests";
    }
}

table! {
    /// Something that happened to a request. Fields that do not apply are 0.
    pub struct Event {
        /// When it was learned.
        now_us: i64, "us";
        /// The request's serial number.
        serial: u64, "";
        /// Time to first token.
        ttft_us: i64, "us";
        /// End-to-end latency.
        e2e_us: i64, "us";
        /// What happened: 0 dispatch, 1 first token, 2 complete, 3 reject, 4 preempt.
        kind: u32, "";
        /// How it ended, of a completion: 0 completed, 1 its client gave up, 2 the instance can
        /// never serve it.
        outcome: u32, "";
        /// Position of the instance, if one is involved.
        instance: u32, "position";
        /// Tenant by name.
        tenant: u32, "";
        /// Session by name.
        session: u32, "";
        /// Prompt length.
        prompt_tokens: u32, "tokens";
        /// Output tokens produced so far.
        output_tokens: u32, "tokens";
        /// SLO class by name.
        slo_class: u32, "";
    }
}
