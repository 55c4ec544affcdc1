/* windtunnel_plugin.h: policies for windtunnel in C, plugin-api 1.1.
 * Made by `cargo xtask docs`; do not edit.
 *
 * A plugin is a shared library that exports one constant:
 *
 *     const wt_plugin windtunnel_plugin = { WT_MAGIC, sizeof(wt_plugin), WT_API_MAJOR, WT_API_MINOR, ... };
 *
 * Times are microseconds of simulated time. Numbers that name something (tenant, session, class) are opaque: equal for equal names, 0
 * for none. A [position] counts from 0, and 4294967295 is none. Views and lists may be longer than this header knows: take elements by wt_instance, wt_waiting,
 * wt_running and wt_held only. Nothing that is handed to a function lives longer than its call.
 *
 * A function that can fail returns 0 for fine; anything else ends the run, with the text it has written.
 */
#ifndef WINDTUNNEL_PLUGIN_H
#define WINDTUNNEL_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define WT_ASSERT(what, message) static_assert(what, message)
extern "C" {
#else
#define WT_ASSERT(what, message) _Static_assert(what, message)
#endif

/* Version of the contract. */
#define WT_API_MAJOR 1
#define WT_API_MINOR 1
#define WT_MAGIC 0x4e4947554c505457ull

/* Hooks. */
#define WT_ADMISSION 0
#define WT_ROUTING 1
#define WT_PRIORITY 2
#define WT_SCHEDULER 3
#define WT_PREEMPTION 4
#define WT_DISAGGREGATION 5
#define WT_BATCHING 6
#define WT_GATEWAY_DISPATCH 7
#define WT_SCALE 8

/* What a policy reads and listens to. What nobody asks for is not computed. */
#define WT_READS_COUNTERS 0x1ull
#define WT_READS_SNAPSHOTS 0x2ull
#define WT_READS_WORK 0x4ull
#define WT_READS_PRECISE_PREFIX 0x8ull
#define WT_READS_APPROXIMATE_PREFIX 0x10ull
#define WT_HEARS_LIFECYCLE 0x20ull
#define WT_HEARS_TOKENS 0x40ull
#define WT_READS_RUNNING 0x80ull
#define WT_READS_ADAPTERS 0x100ull
#define WT_READS_STEPS 0x200ull
#define WT_READS_WAITING 0x400ull
#define WT_READS_HELD 0x800ull

/* Signals about the adapter of a request: 1 if it is on the GPU, running requests with it, waiting ones. */
#define WT_ADAPTER_LOADED 0
#define WT_ADAPTER_RUNNING 1
#define WT_ADAPTER_WAITING 2

/* Kinds of events. The first, third and fourth are of the life cycle, the others of tokens. */
#define WT_DISPATCH 0
#define WT_FIRST_TOKEN 1
#define WT_COMPLETE 2
#define WT_REJECTED 3
#define WT_PREEMPT 4

/* How a completed request ended. */
#define WT_COMPLETED 0
#define WT_TIMED_OUT 1
#define WT_DROPPED 2

/* Answers of admission. */
#define WT_ADMIT 0
#define WT_REJECT 1
#define WT_DELAY 2

/* Answers of routing. */
#define WT_TO 0
#define WT_HOLD 1

/* When keys change; a number above 0 is an interval in microseconds. */
#define WT_FIFO (-2)
#define WT_EACH_STEP (-1)
#define WT_AT_ENQUEUE 0

/* Flags of a parameter: only whole numbers; search it on a logarithmic scale. */
#define WT_WHOLE 1ull
#define WT_LOG 2ull

/* A request as every hook may see it. Its true output length is not in here. */
typedef struct wt_request_view {
    /* Number of the request in order of arrival within this run, from 0. Unique. */
    uint64_t serial;
    /* When the client sent it. [us] */
    int64_t arrival_us;
    /* The client gives up at this time; 0 = never. [us] */
    int64_t deadline_us;
    /* Target for the time to first token; 0 = none. [us] */
    int64_t slo_ttft_us;
    /* Equal for two requests exactly when their whole prompts are equal. */
    uint64_t prompt_key;
    /* Prompt length. [tokens] */
    uint32_t prompt_tokens;
    /* SLO class by name. */
    uint32_t slo_class;
    /* Priority at the front end, the own one of a request that has one, else that of its
     * class: higher is more important, below 0 may be shed. */
    int32_t class_priority;
    /* Tenant by name. */
    uint32_t tenant;
    /* Session by name. */
    uint32_t session;
    /* Round within the session, from 0. */
    uint32_t round;
    /* Shared-prefix group by name. */
    uint32_t prefix_group;
    /* Tokens of the prompt that belong to the shared prefix group. [tokens] */
    uint32_t prefix_tokens;
    /* Model asked for by name; 0 = the cluster's default model. */
    uint32_t model;
    /* Output length that the run's predictor expects; 0 = there is no predictor. [tokens] */
    uint32_t predicted_output_tokens;
    /* How often the hook at hand has put it off before (delayed or held it). */
    uint32_t attempts;
    /* Always 0; keeps the size a multiple of 8. */
    uint32_t reserved;
    /* LoRA adapter by name; 0 = none. Since 1.1. */
    uint32_t adapter;
    /* The client's own priority as vLLM takes it: lower is more urgent, 0 by default. Since
     * 1.1. */
    int32_t client_priority;
} wt_request_view;

/* One serving instance as the front end sees it.
 *
 * in_flight and dispatched_tokens are counted by the front end itself and always fresh.
 * index, pool, gpus, role, block_size, kv_total_blocks and the max_ fields never
 * change.
 * Everything else is scraped from the instance and as old as scraped_us says; before the
 * first scrape it is 0. */
typedef struct wt_instance_view {
    /* Position of the instance in the cluster. [position] */
    uint32_t index;
    /* Requests in the wait queue. [requests] */
    uint32_t queue_depth;
    /* Requests in the running batch. [requests] */
    uint32_t batch_size;
    /* Requests dispatched and not yet finished (fresh). [requests] */
    uint32_t in_flight;
    /* KV blocks in use. [blocks] */
    uint32_t kv_used_blocks;
    /* KV blocks in all. [blocks] */
    uint32_t kv_total_blocks;
    /* KV blocks not in use: kv_total_blocks - kv_used_blocks. [blocks] */
    uint32_t kv_free_blocks;
    /* Preemptions so far. */
    uint32_t preemptions;
    /* kv_used_blocks / kv_total_blocks, 0 to 1. */
    double kv_utilization;
    /* Prompt tokens found in the prefix cache / looked up so far, 0 to 1. */
    double cache_hit_rate;
    /* Prompt tokens of the requests in flight (fresh). [tokens] */
    uint64_t dispatched_tokens;
    /* When the scraped fields were read; 0 before the first scrape. [us] */
    int64_t scraped_us;
    /* Largest batch the instance runs. [requests] */
    uint32_t max_batch_size;
    /* Tokens a KV block holds. [tokens] */
    uint32_t block_size;
    /* Prompt tokens of the waiting requests (cached ones included). [tokens] */
    uint64_t queued_prompt_tokens;
    /* Prompt tokens of the running batch that are still to be prefilled. [tokens] */
    uint64_t running_prefill_tokens;
    /* Context of all running decodes together. [tokens] */
    uint64_t decode_context_tokens;
    /* Running requests that decode. [requests] */
    uint32_t decodes;
    /* Most new tokens per step. [tokens] */
    uint32_t max_step_tokens;
    /* Pool of the instance by name; 0 = the cluster's only pool, which has no name. Since 1.1. */
    uint32_t pool;
    /* GPUs that the instance takes; 0 = unknown. Since 1.1. */
    uint32_t gpus;
    /* Most LoRA adapters in a step and on the GPU; 0 = no limit. Since 1.1. */
    uint32_t max_loras;
    /* LoRA adapters on the GPU. Since 1.1. */
    uint32_t loaded_lora_adapters;
    /* LoRA adapters of running requests. Since 1.1. */
    uint32_t running_lora_adapters;
    /* LoRA adapters of waiting requests that no running one has. Since 1.1. */
    uint32_t waiting_lora_adapters;
    /* What it does where some instances prefill for others: 0 whole requests, 1 it prefills,
     * 2 it decodes, 3 it encodes, 4 nothing. Since 1.1. */
    uint32_t role;
    /* KV caches on their way to it, for which it has reserved blocks. Since 1.1. */
    uint32_t incoming_kv_caches;
    /* KV caches of prompts that it has computed for others and keeps until they are fetched.
     * Since 1.1. */
    uint32_t kept_kv_caches;
    /* KV blocks of those. Since 1.1. [blocks] */
    uint32_t kept_kv_blocks;
} wt_instance_view;

/* A request in an instance's wait queue. */
typedef struct wt_queued_view {
    /* The request. */
    const wt_request_view *request;
    /* When it entered this wait queue. [us] */
    int64_t enqueued_us;
    /* Its priority inside the instance: lower is more urgent. */
    double priority;
    /* How often it was preempted here. */
    uint32_t preemptions;
    /* Output tokens it had produced when it was preempted; 0 if it never ran. [tokens] */
    uint32_t output_tokens;
    /* A small number that no other request on this instance has now. */
    uint32_t slot;
    /* Always 0; keeps the size a multiple of 8. */
    uint32_t reserved;
} wt_queued_view;

/* A request in an instance's running batch. */
typedef struct wt_running_view {
    /* The request. */
    const wt_request_view *request;
    /* Its priority inside the instance: lower is more urgent. */
    double priority;
    /* Tokens computed so far, prompt and output. [tokens] */
    uint32_t computed_tokens;
    /* Output tokens produced so far. [tokens] */
    uint32_t output_tokens;
    /* KV blocks it holds. [blocks] */
    uint32_t kv_blocks;
    /* How often it was preempted here. */
    uint32_t preemptions;
    /* A small number that no other request on this instance has now. */
    uint32_t slot;
    /* Always 0; keeps the size a multiple of 8. */
    uint32_t reserved;
} wt_running_view;

/* Something that happened to a request. Fields that do not apply are 0. */
typedef struct wt_event {
    /* When it was learned. [us] */
    int64_t now_us;
    /* The request's serial number. */
    uint64_t serial;
    /* Time to first token. [us] */
    int64_t ttft_us;
    /* End-to-end latency. [us] */
    int64_t e2e_us;
    /* What happened: 0 dispatch, 1 first token, 2 complete, 3 reject, 4 preempt. */
    uint32_t kind;
    /* How it ended, of a completion: 0 completed, 1 its client gave up, 2 the instance can
     * never serve it. */
    uint32_t outcome;
    /* Position of the instance, if one is involved. [position] */
    uint32_t instance;
    /* Tenant by name. */
    uint32_t tenant;
    /* Session by name. */
    uint32_t session;
    /* Prompt length. [tokens] */
    uint32_t prompt_tokens;
    /* Output tokens produced so far. [tokens] */
    uint32_t output_tokens;
    /* SLO class by name. */
    uint32_t slo_class;
} wt_event;

/* The step that an instance is about to choose. Since 1.1. */
typedef struct wt_step_view {
    /* Its number on this instance, from 0. */
    uint64_t step;
    /* Prompt tokens of the running batch that are still to be prefilled. [tokens] */
    uint64_t running_prefill_tokens;
    /* Context of all running decodes together. [tokens] */
    uint64_t decode_context_tokens;
    /* Running requests that prefill. [requests] */
    uint32_t prefilling;
    /* Running requests that decode. [requests] */
    uint32_t decoding;
    /* Requests for which the batch has room. [requests] */
    uint32_t free_places;
    /* Most prefill tokens of one request by vLLM's rules for this step: without limit for a
     * request that is alone; 4294967295 = no limit. [tokens] */
    uint32_t max_prefill_tokens;
    /* The configured long_prefill_token_threshold; 4294967295 = no limit. [tokens] */
    uint32_t long_prefill_token_threshold;
    /* Steps under way: with asynchronous scheduling the next one is chosen while one runs. [steps] */
    uint32_t steps_in_flight;
    /* Requests whose KV cache is on its way here or from here. [requests] */
    uint32_t moving;
    /* Waiting requests whose KV cache is here: all that they need is a place in the batch. [requests] */
    uint32_t with_kv;
} wt_step_view;

/* A request that the gateway holds. Since 1.1. */
typedef struct wt_held_view {
    /* The request. */
    const wt_request_view *request;
    /* When it came to the gateway. [us] */
    int64_t enqueued_us;
    /* When its target passes, the request's own or its class's; 0 = it has none. [us] */
    int64_t due_us;
    /* Its number in the order in which requests came to the gateway, from 1. Unique. */
    uint64_t sequence;
    /* Its queue among those of its priority: the tenant by name; 0 for requests without one,
     * and for those of a tenant that is named default. */
    uint32_t flow;
    /* Always 0; keeps the size a multiple of 8. */
    uint32_t reserved;
} wt_held_view;

/* A pool that is scaled, at the moment of a decision. What happened is counted since the
 * policy was asked last, or since the start. A latency is of the requests that ended in that
 * time with all their tokens, and -1 where there was none. Since 1.1. */
typedef struct wt_scale_view {
    /* Requests that came to the cluster, for whatever pool. [requests] */
    uint64_t arrived;
    /* Prompt tokens of those. [tokens] */
    uint64_t arrived_prompt_tokens;
    /* Requests that ended with all their tokens on instances of the pool. [requests] */
    uint64_t completed;
    /* Prompt tokens of those. [tokens] */
    uint64_t completed_prompt_tokens;
    /* Output tokens of those. [tokens] */
    uint64_t completed_output_tokens;
    /* Requests in the wait queues of the instances that take requests. [requests] */
    uint64_t queued;
    /* Requests in their running batches. [requests] */
    uint64_t running;
    /* Requests sent to them and not yet finished. [requests] */
    uint64_t in_flight;
    /* Requests that wait at the front end of the cluster: held by its gateway, or because no
     * instance takes requests. [requests] */
    uint64_t held;
    /* Tokens for which the KV cache of one instance has room. [tokens] */
    uint64_t kv_capacity_tokens;
    /* Interval at which the policy is asked. [us] */
    int64_t interval_us;
    /* Mean time until an instance that is started takes requests. [us] */
    int64_t startup_us;
    /* Target for the time to first token, of requests that name no class; 0 = none. [us] */
    int64_t slo_ttft_us;
    /* Target for a request's mean inter-token latency; 0 = none. [us] */
    int64_t slo_itl_us;
    /* Target for end-to-end latency; 0 = none. [us] */
    int64_t slo_e2e_us;
    /* KV utilisation of the instances that take requests, 0 to 1: the mean. */
    double kv_utilization_mean;
    /* The highest. */
    double kv_utilization_max;
    /* Time to first token: the mean. [us] */
    double ttft_mean_us;
    /* Its 99th percentile. [us] */
    double ttft_p99_us;
    /* Mean inter-token latency of a request: the mean. [us] */
    double itl_mean_us;
    /* Its 99th percentile. [us] */
    double itl_p99_us;
    /* End-to-end latency: the mean. [us] */
    double e2e_mean_us;
    /* Its 99th percentile. [us] */
    double e2e_p99_us;
    /* What an instance costs, US dollars per hour; 0 = unknown. */
    double cost_per_hour;
    /* Instances that take requests. [instances] */
    uint32_t ready;
    /* Instances that are being started. [instances] */
    uint32_t loading;
    /* Instances that finish what they have and then go. [instances] */
    uint32_t draining;
    /* Least instances. An answer below counts as this. [instances] */
    uint32_t min;
    /* Most instances. An answer above counts as this. [instances] */
    uint32_t max;
    /* Position of the pool in the cluster. [position] */
    uint32_t index;
    /* The pool by name; 0 = the cluster's only pool, which has no name. */
    uint32_t pool;
    /* What its instances do where some prefill for others: 0 whole requests, 1 they prefill,
     * 2 they decode. */
    uint32_t role;
    /* GPUs that an instance takes; 0 = unknown. */
    uint32_t gpus;
    /* Largest batch that an instance runs. [requests] */
    uint32_t max_batch_size;
} wt_scale_view;

/* What the host answers; the functions at the end of this file call them. */
typedef struct wt_host_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* Leading prompt blocks that instance i holds, by its own cache events (declare WT_READS_PRECISE_PREFIX). */
    uint32_t (*precise_prefix_blocks)(const void *context, uint32_t i);
    /* Leading prompt blocks that the front end believes instance i holds (declare WT_READS_APPROXIMATE_PREFIX). */
    uint32_t (*approximate_prefix_blocks)(const void *context, uint32_t i);
    /* Full KV blocks of the prompt. */
    uint32_t (*prompt_blocks)(const void *context);
    /* The next number of the stream of random numbers keyed by (seed, hook, request). */
    uint64_t (*random)(const void *context);
    /* Time to prefill tokens after cached ones on an otherwise idle instance (of the first pool; inside an instance, this one), microseconds. */
    double (*est_prefill_us)(const void *context, uint32_t tokens, uint32_t cached);
    /* Duration of a step on such an instance, microseconds. */
    double (*est_step_us)(const void *context, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context);
    /* Time to first token behind everything that the instance shows, microseconds (declare WT_READS_WORK). */
    double (*est_ttft_us)(const void *context, const wt_instance_view *instance, uint32_t prompt_tokens, uint32_t cached);
    /* est_prefill_us on an instance of the pool of this one. Since 1.1. */
    double (*est_prefill_us_on)(const void *context, const wt_instance_view *instance, uint32_t tokens, uint32_t cached);
    /* est_step_us on an instance of the pool of this one. Since 1.1. */
    double (*est_step_us_on)(const void *context, const wt_instance_view *instance, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context);
    /* Leading prompt blocks of the first n instances at once: what precise_prefix_blocks (precise = 1) or approximate_prefix_blocks (0) says of each. Since 1.1. */
    void (*prefix_blocks)(const void *context, uint32_t precise, uint32_t *out, uint32_t n);
    /* Positions of the instances whose views may have changed since *seen (0: ever), but for scraped_us: their number, and *seen stands for now. UINT32_MAX: any may have, as nobody knows or more than n did. Since 1.1. */
    uint32_t (*changed_since)(const void *context, uint64_t *seen, uint32_t *out, uint32_t n);
    /* What a signal (WT_ADAPTER_LOADED, ...) says about the LoRA adapter of the request at hand, of the first n instances, as old as their scraped fields; 0 without an adapter (declare WT_READS_ADAPTERS). Since 1.1. */
    void (*adapter_signal)(const void *context, uint32_t signal, uint32_t *out, uint32_t n);
    /* Time to move the KV cache of so many tokens from an instance of the pool of this one to another over links that nobody else uses, microseconds; 0 where none moves. Since 1.1. */
    double (*est_transfer_us)(const void *context, const wt_instance_view *instance, uint32_t tokens);
} wt_host_fns;

/* The host, as long as a call lasts. */
typedef struct wt_host {
    const void *context;
    const wt_host_fns *functions;
} wt_host;

/* A list of views; its elements stand stride bytes apart. */
typedef struct wt_list {
    const void *base;
    uint32_t stride;
    uint32_t len;
} wt_list;

/* The cluster at the moment of a decision of the front end. */
typedef struct wt_cluster_view {
    /* Now, microseconds. */
    int64_t now_us;
    /* The instances that can serve the request: see wt_instance. */
    wt_list instances;
    /* What can be asked. Its indices are those of instances. */
    wt_host host;
} wt_cluster_view;

/* An instance at the moment of a decision inside it. */
typedef struct wt_queue_view {
    /* Now, microseconds. */
    int64_t now_us;
    /* The waiting requests in queue order, when a scheduler orders the queue; the head of the queue for a batching policy with WT_READS_WAITING: see wt_waiting. */
    wt_list waiting;
    /* The running batch, oldest admission first, for a victim and a scheduler with WT_READS_RUNNING: see wt_running. */
    wt_list running;
    /* What can be asked. There are no prefix signals here. */
    wt_host host;
    /* Position of the instance in the cluster, from 0. */
    uint32_t instance;
    /* Largest batch, requests. */
    uint32_t max_batch_size;
    /* Requests in the running batch. */
    uint32_t batch_size;
    /* Requests in the wait queue. */
    uint32_t queue_depth;
    /* KV blocks not in use. */
    uint32_t kv_free_blocks;
    /* KV blocks in all. */
    uint32_t kv_total_blocks;
    /* Tokens a KV block holds. */
    uint32_t block_size;
    /* Most new tokens per step. */
    uint32_t max_step_tokens;
} wt_queue_view;

/* The requests that the gateway holds, at the moment of a decision. Since 1.1. */
typedef struct wt_gateway_view {
    /* Those that may go, never empty: by priority, then by tenant, then as they came; without WT_READS_HELD only the first of each tenant and priority: see wt_held. */
    wt_list held;
    /* What the saturation detector says of the cluster: 1 and more is saturated. */
    double saturation;
    /* Requests that the gateway holds, those above included. */
    uint32_t depth;
    /* Requests that have left it and are on their way to an instance. */
    uint32_t on_the_way;
} wt_gateway_view;

/* What a policy is made with. */
typedef struct wt_setup {
    /* Bytes of this struct. */
    uint64_t size;
    /* Values of the declared parameters, in order of declaration. */
    const double *params;
    /* How many. */
    uint32_t param_count;
    /* Instances in the cluster. */
    uint32_t instances;
    /* Most requests the cluster can run at once. */
    uint64_t slots;
    /* For symbol. */
    void *context;
    /* Number of a tenant, class, session, prefix group or model by name, as views carry it: see wt_symbol. */
    uint32_t (*symbol)(void *context, const uint8_t *text, uint64_t length);
} wt_setup;

/* Room for a text that a plugin writes: an error, a reason. Ends with a null byte; empty when
 * the host hands it over. */
typedef struct wt_text {
    /* Where to write. */
    char *data;
    /* Bytes there, the null byte included. */
    uint64_t capacity;
} wt_text;

/* Answer of an admission policy. */
typedef struct wt_admit {
    /* WT_ADMIT, WT_REJECT (the text says why) or WT_DELAY. */
    uint32_t kind;
    /* Always 0. */
    uint32_t reserved;
    /* Microseconds until the next try, of a delay. */
    int64_t delay_us;
} wt_admit;

/* Answer of a router. */
typedef struct wt_route {
    /* WT_TO or WT_HOLD. */
    uint32_t kind;
    /* Index into the instances shown. */
    uint32_t index;
    /* Microseconds until the next try, of a hold. */
    int64_t retry_after_us;
} wt_route;

/* Answer of a batching policy. What is beyond the engine's own limits counts as those. Since 1.1. */
typedef struct wt_batch_limits {
    /* The limits hold up to this time as long as the requests stay as they are, and an instance without a batch sleeps until then; INT64_MAX: time changes nothing. */
    int64_t hold_until_us;
    /* Most new tokens, of all requests together. */
    uint32_t max_new_tokens;
    /* Most prefill tokens of one request, at least 1. */
    uint32_t max_prefill_tokens;
    /* Most waiting requests that are admitted. */
    uint32_t max_admissions;
    /* 1: decodes take part only in a step that computes no prompt; 0: in every step. */
    uint32_t decodes_wait;
} wt_batch_limits;

/* Functions of an admission policy. Those that are not required may be null. */
typedef struct wt_admission_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once. */
    uint64_t (*interests)(const void *state);
    /* Interval of on_tick, microseconds. Null or 0: never. Asked once. */
    int64_t (*tick_us)(const void *state);
    /* Required: admit, reject or delay a request. */
    int32_t (*admit)(void *state, const wt_request_view *request, const wt_cluster_view *cluster, wt_admit *answer, wt_text *why);
    /* Something happened (only if asked for). */
    int32_t (*on_event)(void *state, const wt_event *event, wt_text *why);
    /* Time passed. */
    int32_t (*on_tick)(void *state, const wt_cluster_view *cluster, wt_text *why);
} wt_admission_fns;

/* Functions of a router. Those that are not required may be null. */
typedef struct wt_router_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once. */
    uint64_t (*interests)(const void *state);
    /* Interval of on_tick, microseconds. Null or 0: never. Asked once. */
    int64_t (*tick_us)(const void *state);
    /* Required: choose an instance. The answer is zero when handed over. */
    int32_t (*route)(void *state, const wt_request_view *request, const wt_cluster_view *cluster, wt_route *answer, wt_text *why);
    /* Scores of the last decision, one per instance, higher is better: sets their number.
     * Null: it does not score. */
    const double *(*scores)(const void *state, uint32_t *count);
    /* Why the last decision fell as it did, for the decision trace. */
    void (*reason)(const void *state, wt_text *text);
    /* Something happened (only if asked for). */
    int32_t (*on_event)(void *state, const wt_event *event, wt_text *why);
    /* Time passed. */
    int32_t (*on_tick)(void *state, const wt_cluster_view *cluster, wt_text *why);
} wt_router_fns;

/* Functions of a priority policy. Those that are not required may be null. */
typedef struct wt_priority_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* When priorities change: WT_AT_ENQUEUE, WT_EACH_STEP, or an interval in microseconds.
     * Null: WT_AT_ENQUEUE. Asked once. */
    int64_t (*refresh)(const void *state);
    /* Required: priority of a request now, lower is more urgent. */
    int32_t (*priority)(void *state, const wt_request_view *request, const wt_queue_view *queue, double *answer, wt_text *why);
} wt_priority_fns;

/* Functions of a scheduler. Those that are not required may be null. */
typedef struct wt_scheduler_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* Required: WT_FIFO, or when keys change: WT_AT_ENQUEUE, WT_EACH_STEP, or an interval in
     * microseconds. Asked once. */
    int64_t (*order)(const void *state);
    /* What it reads and listens to: WT_READS_RUNNING, WT_HEARS_*. Null: nothing. Asked once. */
    uint64_t (*interests)(const void *state);
    /* Required unless WT_FIFO: sort key of a request that enters the wait queue, smallest
     * first. */
    int32_t (*key)(void *state, const wt_queued_view *queued, const wt_queue_view *queue, double *answer, wt_text *why);
    /* Sort keys of all waiting requests, queue->waiting.len of them. Null: key, for each. */
    int32_t (*order_queue)(void *state, const wt_queue_view *queue, double *keys, wt_text *why);
    /* Something happened on this instance (only if asked for). */
    int32_t (*on_event)(void *state, const wt_event *event, wt_text *why);
} wt_scheduler_fns;

/* Functions of a preemption policy. */
typedef struct wt_victim_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* Required: index into queue->running of the request that loses its KV blocks. */
    int32_t (*victim)(void *state, const wt_queue_view *queue, uint32_t *answer, wt_text *why);
} wt_victim_fns;

/* Functions of a disaggregation policy. Those that are not required may be null. Since 1.1. */
typedef struct wt_disaggregation_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once. */
    uint64_t (*interests)(const void *state);
    /* Required: 1 if an instance that prefills computes the prompt, 0 if the one at index
     * decode of the cluster's instances does, which was chosen to decode. */
    int32_t (*prefills_remotely)(void *state, const wt_request_view *request, uint32_t decode, const wt_cluster_view *cluster, uint32_t *answer, wt_text *why);
    /* Something happened (only if asked for). */
    int32_t (*on_event)(void *state, const wt_event *event, wt_text *why);
} wt_disaggregation_fns;

/* Functions of a batching policy. Those that are not required may be null. Since 1.1. */
typedef struct wt_batching_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* What it reads: WT_READS_WAITING, WT_READS_WORK, WT_READS_STEPS. Null: everything. Asked
     * once. */
    uint64_t (*interests)(const void *state);
    /* Required: the limits of a step. The answer has the engine's own limits when handed over. */
    int32_t (*limits)(void *state, const wt_step_view *step, const wt_queue_view *queue, wt_batch_limits *answer, wt_text *why);
} wt_batching_fns;

/* Functions of a dispatch policy. Those that are not required may be null. Since 1.1. */
typedef struct wt_dispatch_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once. */
    uint64_t (*interests)(const void *state);
    /* Required: the index into the gateway's held requests of the one that goes on to the
     * router; UINT32_MAX: all stay. */
    int32_t (*dispatch)(void *state, const wt_gateway_view *gateway, const wt_cluster_view *cluster, uint32_t *answer, wt_text *why);
    /* Something happened (only if asked for). */
    int32_t (*on_event)(void *state, const wt_event *event, wt_text *why);
} wt_dispatch_fns;

/* Functions of a policy that scales pools. Those that are not required may be null. Since 1.1. */
typedef struct wt_scale_fns {
    /* Bytes of this struct. */
    uint64_t size;
    /* What it reads of single instances, WT_READS_*. Null: everything. Asked once. */
    uint64_t (*interests)(const void *state);
    /* Required: how many instances the pool should have. */
    int32_t (*replicas)(void *state, const wt_scale_view *pool, const wt_cluster_view *cluster, uint32_t *answer, wt_text *why);
} wt_scale_fns;

/* A parameter of a policy. */
typedef struct wt_param {
    /* Its name. */
    const char *name;
    /* What it does; may be null. */
    const char *doc;
    /* Its value when nobody sets it. */
    double default_value;
    /* Least value. */
    double least;
    /* Greatest value. */
    double most;
    /* WT_WHOLE, WT_LOG. */
    uint64_t flags;
} wt_param;

/* A policy. */
typedef struct wt_policy {
    /* The hook it fills: WT_ADMISSION, WT_ROUTING, WT_PRIORITY, WT_SCHEDULER, WT_PREEMPTION,
     * WT_DISAGGREGATION, WT_BATCHING, WT_GATEWAY_DISPATCH or WT_SCALE. */
    uint32_t hook;
    /* Number of parameters. */
    uint32_t param_count;
    /* Its name. */
    const char *name;
    /* What it does; may be null. */
    const char *doc;
    /* Its parameters. */
    const wt_param *params;
    /* Its functions: a wt_admission_fns, wt_router_fns, wt_priority_fns, wt_scheduler_fns,
     * wt_victim_fns, wt_disaggregation_fns, wt_batching_fns, wt_dispatch_fns or wt_scale_fns. */
    const void *functions;
    /* Makes its state. Null: it has none. */
    int32_t (*create)(const wt_setup *setup, void **state, wt_text *why);
    /* Takes its state down. Null: nothing to do. */
    void (*destroy)(void *state);
} wt_policy;

/* A plugin: export one as a constant called windtunnel_plugin. */
typedef struct wt_plugin {
    /* WT_MAGIC. */
    uint64_t magic;
    /* Bytes of this struct. */
    uint64_t size;
    /* WT_API_MAJOR. */
    uint32_t api_major;
    /* WT_API_MINOR. */
    uint32_t api_minor;
    /* Its name. */
    const char *name;
    /* Its own version. */
    const char *version;
    /* Its policies. */
    const wt_policy *policies;
    /* How many. */
    uint32_t policy_count;
    /* sizeof(wt_policy). */
    uint32_t policy_size;
    /* sizeof(wt_param). */
    uint32_t param_size;
    /* Always 0. */
    uint32_t reserved;
} wt_plugin;

/* Element i of a list; i must be below its len. */
static inline const wt_instance_view *wt_instance(wt_list list, uint32_t i) {
    return (const wt_instance_view *)((const char *)list.base + (size_t)i * list.stride);
}
static inline const wt_queued_view *wt_waiting(wt_list list, uint32_t i) {
    return (const wt_queued_view *)((const char *)list.base + (size_t)i * list.stride);
}
static inline const wt_running_view *wt_running(wt_list list, uint32_t i) {
    return (const wt_running_view *)((const char *)list.base + (size_t)i * list.stride);
}
static inline const wt_held_view *wt_held(wt_list list, uint32_t i) {
    return (const wt_held_view *)((const char *)list.base + (size_t)i * list.stride);
}

/* What can be asked of the host. */
static inline uint32_t wt_precise_prefix_blocks(wt_host host, uint32_t i) {
    return host.functions->precise_prefix_blocks(host.context, i);
}
static inline uint32_t wt_approximate_prefix_blocks(wt_host host, uint32_t i) {
    return host.functions->approximate_prefix_blocks(host.context, i);
}
static inline uint32_t wt_prompt_blocks(wt_host host) {
    return host.functions->prompt_blocks(host.context);
}
static inline uint64_t wt_random(wt_host host) {
    return host.functions->random(host.context);
}
static inline double wt_est_prefill_us(wt_host host, uint32_t tokens, uint32_t cached) {
    return host.functions->est_prefill_us(host.context, tokens, cached);
}
static inline double wt_est_step_us(wt_host host, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context) {
    return host.functions->est_step_us(host.context, prefill_tokens, decodes, decode_context);
}
static inline double wt_est_ttft_us(wt_host host, const wt_instance_view *instance, uint32_t prompt_tokens, uint32_t cached) {
    return host.functions->est_ttft_us(host.context, instance, prompt_tokens, cached);
}
static inline double wt_est_prefill_us_on(wt_host host, const wt_instance_view *instance, uint32_t tokens, uint32_t cached) {
    return host.functions->est_prefill_us_on(host.context, instance, tokens, cached);
}
static inline double wt_est_step_us_on(wt_host host, const wt_instance_view *instance, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context) {
    return host.functions->est_step_us_on(host.context, instance, prefill_tokens, decodes, decode_context);
}
static inline void wt_prefix_blocks(wt_host host, uint32_t precise, uint32_t *out, uint32_t n) {
    host.functions->prefix_blocks(host.context, precise, out, n);
}
static inline uint32_t wt_changed_since(wt_host host, uint64_t *seen, uint32_t *out, uint32_t n) {
    return host.functions->changed_since(host.context, seen, out, n);
}
static inline void wt_adapter_signal(wt_host host, uint32_t signal, uint32_t *out, uint32_t n) {
    host.functions->adapter_signal(host.context, signal, out, n);
}
static inline double wt_est_transfer_us(wt_host host, const wt_instance_view *instance, uint32_t tokens) {
    return host.functions->est_transfer_us(host.context, instance, tokens);
}

/* Number of a tenant, class, session, prefix group or model by name, as views carry it. */
static inline uint32_t wt_symbol(const wt_setup *setup, const char *name) {
    return setup->symbol(setup->context, (const uint8_t *)name, strlen(name));
}

/* The layout that the host reads. */
WT_ASSERT(offsetof(wt_request_view, serial) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, arrival_us) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, deadline_us) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, slo_ttft_us) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, prompt_key) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, prompt_tokens) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, slo_class) == 44, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, class_priority) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, tenant) == 52, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, session) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, round) == 60, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, prefix_group) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, prefix_tokens) == 68, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, model) == 72, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, predicted_output_tokens) == 76, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, attempts) == 80, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, reserved) == 84, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, adapter) == 88, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_request_view, client_priority) == 92, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_request_view) == 96, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, index) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, queue_depth) == 4, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, batch_size) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, in_flight) == 12, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, kv_used_blocks) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, kv_total_blocks) == 20, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, kv_free_blocks) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, preemptions) == 28, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, kv_utilization) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, cache_hit_rate) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, dispatched_tokens) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, scraped_us) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, max_batch_size) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, block_size) == 68, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, queued_prompt_tokens) == 72, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, running_prefill_tokens) == 80, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, decode_context_tokens) == 88, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, decodes) == 96, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, max_step_tokens) == 100, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, pool) == 104, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, gpus) == 108, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, max_loras) == 112, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, loaded_lora_adapters) == 116, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, running_lora_adapters) == 120, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, waiting_lora_adapters) == 124, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, role) == 128, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, incoming_kv_caches) == 132, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, kept_kv_caches) == 136, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_instance_view, kept_kv_blocks) == 140, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_instance_view) == 144, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queued_view, enqueued_us) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queued_view, priority) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queued_view, preemptions) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queued_view, output_tokens) == 28, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queued_view, slot) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queued_view, reserved) == 36, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_queued_view) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, priority) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, computed_tokens) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, output_tokens) == 20, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, kv_blocks) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, preemptions) == 28, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, slot) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_running_view, reserved) == 36, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_running_view) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, now_us) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, serial) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, ttft_us) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, e2e_us) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, kind) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, outcome) == 36, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, instance) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, tenant) == 44, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, session) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, prompt_tokens) == 52, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, output_tokens) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_event, slo_class) == 60, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_event) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, step) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, running_prefill_tokens) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, decode_context_tokens) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, prefilling) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, decoding) == 28, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, free_places) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, max_prefill_tokens) == 36, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, long_prefill_token_threshold) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, steps_in_flight) == 44, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, moving) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_step_view, with_kv) == 52, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_step_view) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_held_view, enqueued_us) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_held_view, due_us) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_held_view, sequence) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_held_view, flow) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_held_view, reserved) == 36, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_held_view) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, arrived) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, arrived_prompt_tokens) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, completed) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, completed_prompt_tokens) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, completed_output_tokens) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, queued) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, running) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, in_flight) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, held) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, kv_capacity_tokens) == 72, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, interval_us) == 80, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, startup_us) == 88, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, slo_ttft_us) == 96, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, slo_itl_us) == 104, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, slo_e2e_us) == 112, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, kv_utilization_mean) == 120, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, kv_utilization_max) == 128, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, ttft_mean_us) == 136, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, ttft_p99_us) == 144, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, itl_mean_us) == 152, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, itl_p99_us) == 160, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, e2e_mean_us) == 168, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, e2e_p99_us) == 176, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, cost_per_hour) == 184, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, ready) == 192, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, loading) == 196, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, draining) == 200, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, min) == 204, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, max) == 208, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, index) == 212, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, pool) == 216, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, role) == 220, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, gpus) == 224, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_view, max_batch_size) == 228, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_scale_view) == 232, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, precise_prefix_blocks) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, approximate_prefix_blocks) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, prompt_blocks) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, random) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, est_prefill_us) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, est_step_us) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, est_ttft_us) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, est_prefill_us_on) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, est_step_us_on) == 72, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, prefix_blocks) == 80, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, changed_since) == 88, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, adapter_signal) == 96, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_host_fns, est_transfer_us) == 104, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_host_fns) == 112, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_host) == 16, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_list) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_cluster_view, now_us) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_cluster_view, instances) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_cluster_view, host) == 24, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_cluster_view) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, now_us) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, waiting) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, running) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, host) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, instance) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, max_batch_size) == 60, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, batch_size) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, queue_depth) == 68, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, kv_free_blocks) == 72, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, kv_total_blocks) == 76, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, block_size) == 80, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_queue_view, max_step_tokens) == 84, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_queue_view) == 88, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_gateway_view, held) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_gateway_view, saturation) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_gateway_view, depth) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_gateway_view, on_the_way) == 28, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_gateway_view) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, params) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, param_count) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, instances) == 20, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, slots) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, context) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_setup, symbol) == 40, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_setup) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_text, data) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_text, capacity) == 8, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_text) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admit, kind) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admit, reserved) == 4, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admit, delay_us) == 8, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_admit) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_route, kind) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_route, index) == 4, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_route, retry_after_us) == 8, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_route) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batch_limits, hold_until_us) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batch_limits, max_new_tokens) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batch_limits, max_prefill_tokens) == 12, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batch_limits, max_admissions) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batch_limits, decodes_wait) == 20, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_batch_limits) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admission_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admission_fns, interests) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admission_fns, tick_us) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admission_fns, admit) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admission_fns, on_event) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_admission_fns, on_tick) == 40, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_admission_fns) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, interests) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, tick_us) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, route) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, scores) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, reason) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, on_event) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_router_fns, on_tick) == 56, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_router_fns) == 64, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_priority_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_priority_fns, refresh) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_priority_fns, priority) == 16, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_priority_fns) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scheduler_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scheduler_fns, order) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scheduler_fns, interests) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scheduler_fns, key) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scheduler_fns, order_queue) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scheduler_fns, on_event) == 40, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_scheduler_fns) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_victim_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_victim_fns, victim) == 8, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_victim_fns) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_disaggregation_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_disaggregation_fns, interests) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_disaggregation_fns, prefills_remotely) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_disaggregation_fns, on_event) == 24, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_disaggregation_fns) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batching_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batching_fns, interests) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_batching_fns, limits) == 16, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_batching_fns) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_dispatch_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_dispatch_fns, interests) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_dispatch_fns, dispatch) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_dispatch_fns, on_event) == 24, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_dispatch_fns) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_fns, size) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_fns, interests) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_scale_fns, replicas) == 16, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_scale_fns) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_param, name) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_param, doc) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_param, default_value) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_param, least) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_param, most) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_param, flags) == 40, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_param) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, hook) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, param_count) == 4, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, name) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, doc) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, params) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, functions) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, create) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_policy, destroy) == 48, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_policy) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, magic) == 0, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, size) == 8, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, api_major) == 16, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, api_minor) == 20, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, name) == 24, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, version) == 32, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, policies) == 40, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, policy_count) == 48, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, policy_size) == 52, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, param_size) == 56, "not the layout of version 1.1");
WT_ASSERT(offsetof(wt_plugin, reserved) == 60, "not the layout of version 1.1");
WT_ASSERT(sizeof(wt_plugin) == 64, "not the layout of version 1.1");

#if defined(_WIN32)
#define WT_EXPORT __declspec(dllexport)
#else
#define WT_EXPORT __attribute__((visibility("default")))
#endif

/* What a plugin defines. */
WT_EXPORT extern const wt_plugin windtunnel_plugin;

#ifdef __cplusplus
}
#endif

#endif
