---@meta windtunnel
-- windtunnel's policy API for the Lua language server (EmmyLua). Made by `cargo xtask docs`; do not edit.
--
-- .luarc.json:
--   { "workspace.library": ["policies/windtunnel.lua"], "runtime.version": "Lua 5.4",
--     "runtime.nonstandardSymbol": ["+=", "-=", "*=", "/=", "//=", "%=", "^=", "continue"],
--     "runtime.builtin": { "io": "disable", "os": "disable", "debug": "disable", "package": "disable" } }
--
-- In a policy, write `---@type Policy` above `local policy = { ... }` and return it. Types after a colon and `...` texts are Luau's alone.

---What hold and delay return.
---@class Wait

---A request. Its true output length is not in here.
---@class Request
---@field serial number Number of the request in order of arrival within this run, from 0. Unique.
---@field arrival_us number When the client sent it. [us]
---@field deadline_us number The client gives up at this time; 0 = never. [us]
---@field slo_ttft_us number Target for the time to first token; 0 = none. [us]
---@field prompt_key number Equal for two requests exactly when their whole prompts are equal.
---@field prompt_tokens number Prompt length. [tokens]
---@field slo_class number|string SLO class by name.
---@field class_priority number Priority at the front end, the own one of a request that has one, else that of its class: higher is more important, below 0 may be shed.
---@field tenant number|string Tenant by name.
---@field session number|string Session by name.
---@field round number Round within the session, from 0.
---@field prefix_group number|string Shared-prefix group by name.
---@field prefix_tokens number Tokens of the prompt that belong to the shared prefix group. [tokens]
---@field model number|string Model asked for by name; 0 = the cluster's default model.
---@field predicted_output_tokens number Output length that the run's predictor expects; 0 = there is no predictor. [tokens]
---@field attempts number How often the hook at hand has put it off before (delayed or held it).
---@field adapter number|string LoRA adapter by name; 0 = none. Since 1.1.
---@field client_priority number The client's own priority as vLLM takes it: lower is more urgent, 0 by default. Since 1.1.
local Request = {}

---Full KV blocks of the prompt. At the front end only.
---@return number blocks
function Request:prompt_blocks() end

---A request in an instance's wait queue.
---@class QueuedRequest : Request
---@field enqueued_us number When it entered this wait queue. [us]
---@field priority number Its priority inside the instance: lower is more urgent.
---@field preemptions number How often it was preempted here.
---@field output_tokens number Output tokens it had produced when it was preempted; 0 if it never ran. [tokens]
---@field slot number A small number that no other request on this instance has now.
local QueuedRequest = {}

---A request in an instance's running batch.
---@class RunningRequest : Request
---@field priority number Its priority inside the instance: lower is more urgent.
---@field computed_tokens number Tokens computed so far, prompt and output. [tokens]
---@field output_tokens number Output tokens produced so far. [tokens]
---@field kv_blocks number KV blocks it holds. [blocks]
---@field preemptions number How often it was preempted here.
---@field slot number A small number that no other request on this instance has now.
local RunningRequest = {}

---An instance as the front end knows it.
---@class Instance
---@field index number Position of the instance in the cluster. Counted from 1.
---@field queue_depth number Requests in the wait queue. [requests] (scraped)
---@field batch_size number Requests in the running batch. [requests] (scraped)
---@field in_flight number Requests dispatched and not yet finished (fresh). [requests]
---@field kv_used_blocks number KV blocks in use. [blocks] (scraped)
---@field kv_total_blocks number KV blocks in all. [blocks]
---@field kv_free_blocks number KV blocks not in use: `kv_total_blocks - kv_used_blocks`. [blocks] (scraped)
---@field preemptions number Preemptions so far. (scraped)
---@field kv_utilization number `kv_used_blocks / kv_total_blocks`, 0 to 1. (scraped)
---@field cache_hit_rate number Prompt tokens found in the prefix cache / looked up so far, 0 to 1. (scraped)
---@field dispatched_tokens number Prompt tokens of the requests in flight (fresh). [tokens]
---@field scraped_us number When the scraped fields were read; 0 before the first scrape. [us] (scraped)
---@field max_batch_size number Largest batch the instance runs. [requests]
---@field block_size number Tokens a KV block holds. [tokens]
---@field queued_prompt_tokens number Prompt tokens of the waiting requests (cached ones included). [tokens] (scraped)
---@field running_prefill_tokens number Prompt tokens of the running batch that are still to be prefilled. [tokens] (scraped)
---@field decode_context_tokens number Context of all running decodes together. [tokens] (scraped)
---@field decodes number Running requests that decode. [requests] (scraped)
---@field max_step_tokens number Most new tokens per step. [tokens]
---@field pool number|string Pool of the instance by name; 0 = the cluster's only pool, which has no name. Since 1.1.
---@field gpus number GPUs that the instance takes; 0 = unknown. Since 1.1.
---@field max_loras number Most LoRA adapters in a step and on the GPU; 0 = no limit. Since 1.1.
---@field loaded_lora_adapters number LoRA adapters on the GPU. Since 1.1. (scraped)
---@field running_lora_adapters number LoRA adapters of running requests. Since 1.1. (scraped)
---@field waiting_lora_adapters number LoRA adapters of waiting requests that no running one has. Since 1.1. (scraped)
---@field role number What it does where some instances prefill for others: 0 whole requests, 1 it prefills, 2 it decodes, 3 it encodes, 4 nothing. Since 1.1.
---@field incoming_kv_caches number KV caches on their way to it, for which it has reserved blocks. Since 1.1. (scraped)
---@field kept_kv_caches number KV caches of prompts that it has computed for others and keeps until they are fetched. Since 1.1. (scraped)
---@field kept_kv_blocks number KV blocks of those. Since 1.1. [blocks] (scraped)
local Instance = {}

---Leading blocks of the prompt in the instance's prefix cache, as old as the cache signal.
---@return number blocks
function Instance:precise_prefix_blocks() end

---Leading blocks of the prompt that the front end sent there before. Fresh, but a guess.
---@return number blocks
function Instance:approximate_prefix_blocks() end

---Is the request's adapter on the GPU? In columns 1 or 0.
---@return boolean loaded
function Instance:adapter_loaded() end

---Running requests with the request's adapter.
---@return number requests
function Instance:adapter_running() end

---Waiting requests with the request's adapter.
---@return number requests
function Instance:adapter_waiting() end

---Age of the scraped fields, microseconds.
---@return number us
function Instance:age_us() end

---The instances that can serve the request at hand.
---@class Cluster
---@field now_us number Now. [us]
---@field n number Number of instances.
---@field instances Instance[] The instances.
local Cluster = {}

---The instance that decides, from inside: everything is fresh.
---@class Queue
---@field now_us number Now. [us]
---@field instance number Position of the instance in the cluster. Counted from 1.
---@field max_batch_size number Largest batch. [requests]
---@field batch_size number Requests in the running batch. [requests]
---@field queue_depth number Requests in the wait queue. [requests]
---@field kv_free_blocks number KV blocks not in use. [blocks]
---@field kv_total_blocks number KV blocks in all. [blocks]
---@field block_size number Tokens a KV block holds. [tokens]
---@field max_step_tokens number Most new tokens per step. [tokens]
local Queue = {}

---The step that the instance is about to choose.
---@class Step
---@field step number Its number on this instance, from 0.
---@field running_prefill_tokens number Prompt tokens of the running batch that are still to be prefilled. [tokens]
---@field decode_context_tokens number Context of all running decodes together. [tokens]
---@field prefilling number Running requests that prefill. [requests]
---@field decoding number Running requests that decode. [requests]
---@field free_places number Requests for which the batch has room. [requests]
---@field max_prefill_tokens number Most prefill tokens of one request by vLLM's rules for this step: without limit for a request that is alone; 4294967295 = no limit. [tokens]
---@field long_prefill_token_threshold number The configured `long_prefill_token_threshold`; 4294967295 = no limit. [tokens]
---@field steps_in_flight number Steps under way: with asynchronous scheduling the next one is chosen while one runs. [steps]
---@field moving number Requests whose KV cache is on its way here or from here. [requests]
---@field with_kv number Waiting requests whose KV cache is here: all that they need is a place in the batch. [requests]
local Step = {}

---A request that the gateway holds.
---@class HeldRequest : Request
---@field enqueued_us number When it came to the gateway. [us]
---@field due_us number When its target passes, the request's own or its class's; 0 = it has none. [us]
---@field sequence number Its number in the order in which requests came to the gateway, from 1. Unique.
---@field flow number Its queue among those of its priority: the tenant by name; 0 for requests without one, and for those of a tenant that is named default.
local HeldRequest = {}

---The gateway that holds requests back.
---@class Gateway
---@field saturation number What the saturation detector says: 1 and more is saturated.
---@field depth number Requests that it holds, those that may not go now included. [requests]
---@field on_the_way number Requests that left it and are on their way to an instance. [requests]
local Gateway = {}

---A pool that is scaled. What happened is counted since the last decision; a latency is -1 where no request ended.
---@class Pool
---@field arrived number Requests that came to the cluster, for whatever pool. [requests]
---@field arrived_prompt_tokens number Prompt tokens of those. [tokens]
---@field completed number Requests that ended with all their tokens on instances of the pool. [requests]
---@field completed_prompt_tokens number Prompt tokens of those. [tokens]
---@field completed_output_tokens number Output tokens of those. [tokens]
---@field queued number Requests in the wait queues of the instances that take requests. [requests]
---@field running number Requests in their running batches. [requests]
---@field in_flight number Requests sent to them and not yet finished. [requests]
---@field held number Requests that wait at the front end of the cluster: held by its gateway, or because no instance takes requests. [requests]
---@field kv_capacity_tokens number Tokens for which the KV cache of one instance has room. [tokens]
---@field interval_us number Interval at which the policy is asked. [us]
---@field startup_us number Mean time until an instance that is started takes requests. [us]
---@field slo_ttft_us number Target for the time to first token, of requests that name no class; 0 = none. [us]
---@field slo_itl_us number Target for a request's mean inter-token latency; 0 = none. [us]
---@field slo_e2e_us number Target for end-to-end latency; 0 = none. [us]
---@field kv_utilization_mean number KV utilisation of the instances that take requests, 0 to 1: the mean.
---@field kv_utilization_max number The highest.
---@field ttft_mean_us number Time to first token: the mean. [us]
---@field ttft_p99_us number Its 99th percentile. [us]
---@field itl_mean_us number Mean inter-token latency of a request: the mean. [us]
---@field itl_p99_us number Its 99th percentile. [us]
---@field e2e_mean_us number End-to-end latency: the mean. [us]
---@field e2e_p99_us number Its 99th percentile. [us]
---@field cost_per_hour number What an instance costs, US dollars per hour; 0 = unknown.
---@field ready number Instances that take requests. [instances]
---@field loading number Instances that are being started. [instances]
---@field draining number Instances that finish what they have and then go. [instances]
---@field min number Least instances. An answer below counts as this. [instances]
---@field max number Most instances. An answer above counts as this. [instances]
---@field index number Position of the pool in the cluster. Counted from 1.
---@field pool number|string The pool by name; 0 = the cluster's only pool, which has no name.
---@field role number What its instances do where some prefill for others: 0 whole requests, 1 they prefill, 2 they decode.
---@field gpus number GPUs that an instance takes; 0 = unknown.
---@field max_batch_size number Largest batch that an instance runs. [requests]
local Pool = {}

---Something that happened to a request. Fields that do not apply are 0.
---@class Event
---@field now_us number When it was learned. [us]
---@field serial number The request's serial number.
---@field ttft_us number Time to first token. [us]
---@field e2e_us number End-to-end latency. [us]
---@field outcome number How it ended, of a completion: 0 completed, 1 its client gave up, 2 the instance can never serve it.
---@field instance number Position of the instance, if one is involved. Counted from 1.
---@field tenant number|string Tenant by name.
---@field session number|string Session by name.
---@field prompt_tokens number Prompt length. [tokens]
---@field output_tokens number Output tokens produced so far. [tokens]
---@field slo_class number|string SLO class by name.
local Event = {}

---What is known before the run; it can be read at any time.
---@class Setup
---@field instances number Instances in the cluster.
---@field slots number Most requests the cluster can run at once. [requests]
---@field highest_priority number The highest `class_priority` that any SLO class has.
local Setup = {}

---What batch returns: what it leaves out is as the engine's own limits.
---@class Limits
---@field max_new_tokens? number Most new tokens of the step, of all requests together.
---@field max_prefill_tokens? number Most prefill tokens of one request, at least 1.
---@field max_admissions? number Most waiting requests that are admitted.
---@field hold_until_us? number An instance without a batch that admits nobody sleeps until then, or until its requests change.
---@field decodes_wait? boolean Decodes take part only in a step that computes no prompt.

---@class AdmissionPolicy
---@field admit fun(req: Request, cluster: Cluster): boolean|Wait, string? Admits a request, turns it away, or puts it off; asked again after a delay.
---@field on_dispatch? fun(ev: Event) A request was sent to an instance; for a scheduler: it entered the wait queue.
---@field on_first_token? fun(ev: Event) A request produced its first token.
---@field on_complete? fun(ev: Event) A request is done with: `ev.outcome` is 0 completed, 1 its client gave up, 2 the instance can never serve it.
---@field on_reject? fun(ev: Event) Admission refused a request, the gateway turned it away, or no instance could take it.
---@field on_preempt? fun(ev: Event) A running request lost its place in the batch.
---@field on_tick? fun(cluster: Cluster) `tick_us` microseconds passed; only called while requests are about.
---@field tick_us? number Interval of `on_tick`, microseconds, 1000 or more.

---@class RoutingPolicy
---@field route? fun(req: Request, insts: Instance[], cluster: Cluster): number|Wait, number[]? Chooses the instance for a request.
---@field score? fun(req: Request, inst: Instance, cluster: Cluster): number Scores one instance for a request; asked for every instance.
---@field route_columns? fun(req: Request, columns: buffer, n: number, cluster: Cluster): number|Wait Chooses the instance, with all fields in one buffer: the fastest form.
---@field on_dispatch? fun(ev: Event) A request was sent to an instance; for a scheduler: it entered the wait queue.
---@field on_first_token? fun(ev: Event) A request produced its first token.
---@field on_complete? fun(ev: Event) A request is done with: `ev.outcome` is 0 completed, 1 its client gave up, 2 the instance can never serve it.
---@field on_reject? fun(ev: Event) Admission refused a request, the gateway turned it away, or no instance could take it.
---@field on_preempt? fun(ev: Event) A running request lost its place in the batch.
---@field on_tick? fun(cluster: Cluster) `tick_us` microseconds passed; only called while requests are about.
---@field tick_us? number Interval of `on_tick`, microseconds, 1000 or more.

---@class PriorityPolicy
---@field priority fun(req: Request, queue: Queue): number Gives a request its priority inside the instance.
---@field refresh_us? number When numbers are asked for again: at most once per so many microseconds; 0: before each step that could admit somebody.

---@class SchedulerPolicy
---@field key? fun(req: QueuedRequest, queue: Queue): number Sort key of a request that enters the wait queue.
---@field score? fun(now: number, req: QueuedRequest): number Scores a waiting request; asked for all of them before a step that could admit somebody.
---@field order? fun(waiting: QueuedRequest[], running: RunningRequest[], queue: Queue): number[] Sort keys of the whole wait queue at once; asked when `score` would be.
---@field on_dispatch? fun(ev: Event) A request was sent to an instance; for a scheduler: it entered the wait queue.
---@field on_first_token? fun(ev: Event) A request produced its first token.
---@field on_complete? fun(ev: Event) A request is done with: `ev.outcome` is 0 completed, 1 its client gave up, 2 the instance can never serve it.
---@field on_preempt? fun(ev: Event) A running request lost its place in the batch.
---@field refresh_us? number When numbers are asked for again: at most once per so many microseconds; 0: before each step that could admit somebody.

---@class PreemptionPolicy
---@field victim fun(running: RunningRequest[], queue: Queue): number Chooses the running request that gives up its KV blocks when one is needed and none is free.

---@class DisaggregationPolicy
---@field disaggregate fun(req: Request, inst: Instance, cluster: Cluster): boolean Decides whether another instance computes a prompt than `inst`, which was chosen to decode it.
---@field on_dispatch? fun(ev: Event) A request was sent to an instance; for a scheduler: it entered the wait queue.
---@field on_first_token? fun(ev: Event) A request produced its first token.
---@field on_complete? fun(ev: Event) A request is done with: `ev.outcome` is 0 completed, 1 its client gave up, 2 the instance can never serve it.
---@field on_reject? fun(ev: Event) Admission refused a request, the gateway turned it away, or no instance could take it.
---@field on_preempt? fun(ev: Event) A running request lost its place in the batch.

---@class BatchingPolicy
---@field batch fun(step: Step, head: QueuedRequest?, queue: Queue): Limits Sets the limits of the step that is about to be chosen.

---@class DispatchPolicy
---@field next_held fun(held: HeldRequest[], gateway: Gateway, cluster: Cluster): number? Says which of the requests that the gateway holds goes on to the router; asked while the cluster is not saturated.
---@field on_dispatch? fun(ev: Event) A request was sent to an instance; for a scheduler: it entered the wait queue.
---@field on_first_token? fun(ev: Event) A request produced its first token.
---@field on_complete? fun(ev: Event) A request is done with: `ev.outcome` is 0 completed, 1 its client gave up, 2 the instance can never serve it.
---@field on_reject? fun(ev: Event) Admission refused a request, the gateway turned it away, or no instance could take it.
---@field on_preempt? fun(ev: Event) A running request lost its place in the batch.

---@class ScalePolicy
---@field replicas fun(pool: Pool, cluster: Cluster): number Says how many instances a pool should have; asked every `pool.interval_us`. `cluster.instances` are those of the pool that take requests.

---What a policy file returns: the hooks themselves, or sections of them.
---@class Policy
---@field admit? fun(req: Request, cluster: Cluster): boolean|Wait, string?
---@field route? fun(req: Request, insts: Instance[], cluster: Cluster): number|Wait, number[]?
---@field score? (fun(req: Request, inst: Instance, cluster: Cluster): number)|(fun(now: number, req: QueuedRequest): number)
---@field route_columns? fun(req: Request, columns: buffer, n: number, cluster: Cluster): number|Wait
---@field priority? (fun(req: Request, queue: Queue): number)|(PriorityPolicy)
---@field key? fun(req: QueuedRequest, queue: Queue): number
---@field order? fun(waiting: QueuedRequest[], running: RunningRequest[], queue: Queue): number[]
---@field victim? fun(running: RunningRequest[], queue: Queue): number
---@field disaggregate? fun(req: Request, inst: Instance, cluster: Cluster): boolean
---@field batch? fun(step: Step, head: QueuedRequest?, queue: Queue): Limits
---@field next_held? fun(held: HeldRequest[], gateway: Gateway, cluster: Cluster): number?
---@field replicas? fun(pool: Pool, cluster: Cluster): number
---@field on_dispatch? fun(ev: Event)
---@field on_first_token? fun(ev: Event)
---@field on_complete? fun(ev: Event)
---@field on_reject? fun(ev: Event)
---@field on_preempt? fun(ev: Event)
---@field on_tick? fun(cluster: Cluster)
---@field admission? AdmissionPolicy
---@field routing? RoutingPolicy
---@field scheduler? SchedulerPolicy
---@field preemption? PreemptionPolicy
---@field disaggregation? DisaggregationPolicy
---@field batching? BatchingPolicy
---@field dispatch? DispatchPolicy
---@field scale? ScalePolicy
---@field tick_us? number Interval of `on_tick`, microseconds, 1000 or more.
---@field refresh_us? number When numbers are asked for again: at most once per so many microseconds; 0: before each step that could admit somebody.

---Values of the parameters that the file declares with --@param.
---@type table<string, number>
cfg = {}

---What is known before the run.
---@type Setup
setup = {}

---A random number: 0 to below 1, or with `n` a whole number from 1 to n. Keyed by seed, hook and request.
---In hooks and `on_tick` only. `math.random` draws from the same stream.
---@param n? number
---@return number x
function rng(n) end

---A whole number from 0 to 2^53 - 1, the same on every machine.
---@param value number|string
---@return number hash
function hash(value) end

---What views give for a tenant, session, SLO class, prefix group, model, adapter or pool of this name. While the file is loaded only.
---A text does it, too (`req.tenant == "acme"`), but not in a file that reads columns.
---@param name string
---@return number|string name
function symbol(name) end

---Where a field's column begins in the buffer of `route_columns`.
---@param field string a field of an instance, or the name of a method that asks about the request
---@return number offset bytes
function column(field) end

---Answer of a router: keep the request and ask again after so many microseconds, at least 1,000.
---@param us number microseconds
---@return Wait answer
function hold(us) end

---Answer of an admission policy: ask again after so many microseconds, at least 1,000.
---@param us number microseconds
---@return Wait answer
function delay(us) end

---A position drawn with probability proportional to exp(score / temperature); at 0 the first highest.
---@param scores number[]
---@param temperature number
---@return number position
function softmax_pick(scores, temperature) end

---Pairs of a table in the order of their keys: numbers first, then strings.
---@param map any
---@return fun(): any, any iterator
function sorted_pairs(map) end

---Time to prefill so many tokens after the cached ones on an idle instance: one of the pool of `inst`, else of the first pool. In hooks and `on_tick` only.
---@param tokens number
---@param cached_tokens? number
---@param inst? Instance at the front end
---@return number us microseconds
function est_prefill_us(tokens, cached_tokens, inst) end

---Duration of a step on such an instance. In hooks and `on_tick` only.
---@param prefill_tokens number
---@param decodes? number
---@param context_tokens? number of all decodes together
---@param inst? Instance at the front end
---@return number us microseconds
function est_step_us(prefill_tokens, decodes, context_tokens, inst) end

---Time to first token behind everything that the instance's scraped fields show. At the front end only.
---@param inst Instance
---@param prompt_tokens number
---@param cached_tokens? number
---@return number us microseconds
function est_ttft_us(inst, prompt_tokens, cached_tokens) end

---Time to move the KV cache of so many tokens from the instance to another over links that nobody else uses. At the front end only.
---@param inst Instance that prefills
---@param tokens number
---@return number us microseconds
function est_transfer_us(inst, tokens) end

-- Luau's own, as far as Lua 5.4 lacks it.

---As type.
---@param value any
---@return string
function typeof(value) end

---As table.unpack.
---@param list any[]
---@param first? number
---@param last? number
---@return any ...
function unpack(list, first, last) end

---A list of n times the value.
---@param n number
---@param value? any
---@return table
function table.create(n, value) end

---Position of a value in a list.
---@param list any[]
---@param value any
---@param first? number
---@return number?
function table.find(list, value, first) end

---A shallow copy.
---@param t table
---@return table
function table.clone(t) end

---Takes everything out and keeps the room.
---@param t table
function table.clear(t) end

---Makes a table read-only.
---@param t table
---@return table
function table.freeze(t) end

---Is it read-only?
---@param t table
---@return boolean
function table.isfrozen(t) end

---The largest positive key.
---@param t table
---@return number
function table.maxn(t) end

---The nearest number in a range.
---@param x number
---@param least number
---@param most number
---@return number
function math.clamp(x, least, most) end

----1, 0 or 1.
---@param x number
---@return number
function math.sign(x) end

---The nearest whole number; halves go away from 0.
---@param x number
---@return number
function math.round(x) end

---a + (b - a) * t.
---@param a number
---@param b number
---@param t number
---@return number
function math.lerp(a, b, t) end

---Maps one range onto another.
---@param x number
---@param from_least number
---@param from_most number
---@param to_least number
---@param to_most number
---@return number
function math.map(x, from_least, from_most, to_least, to_most) end

---x ^ y.
---@param x number
---@param y number
---@return number
function math.pow(x, y) end

---Logarithm to base 10.
---@param x number
---@return number
function math.log10(x) end

---The parts between separators; a comma by default.
---@param text string
---@param separator? string
---@return string[]
function string.split(text, separator) end

---A block of bytes.
---@class buffer
buffer = {}

---A buffer of zeros.
---@param bytes number
---@return buffer
function buffer.create(bytes) end

---A buffer with a text's bytes.
---@param text string
---@return buffer
function buffer.fromstring(text) end

---Its bytes as a text.
---@param b buffer
---@return string
function buffer.tostring(b) end

---Its bytes.
---@param b buffer
---@return number
function buffer.len(b) end

---Copies bytes.
---@param to buffer
---@param at number
---@param from buffer
---@param first? number
---@param count? number
function buffer.copy(to, at, from, first, count) end

---Fills with a byte.
---@param b buffer
---@param at number
---@param byte number
---@param count? number
function buffer.fill(b, at, byte, count) end

---Bytes as a text.
---@param b buffer
---@param at number
---@param count number
---@return string
function buffer.readstring(b, at, count) end

---Writes a text's bytes.
---@param b buffer
---@param at number
---@param text string
---@param count? number
function buffer.writestring(b, at, text, count) end

---The number at a byte offset: signed, 8 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readi8(b, at) end

---Writes a number at a byte offset: signed, 8 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writei8(b, at, x) end

---The number at a byte offset: unsigned, 8 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readu8(b, at) end

---Writes a number at a byte offset: unsigned, 8 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writeu8(b, at, x) end

---The number at a byte offset: signed, 16 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readi16(b, at) end

---Writes a number at a byte offset: signed, 16 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writei16(b, at, x) end

---The number at a byte offset: unsigned, 16 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readu16(b, at) end

---Writes a number at a byte offset: unsigned, 16 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writeu16(b, at, x) end

---The number at a byte offset: signed, 32 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readi32(b, at) end

---Writes a number at a byte offset: signed, 32 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writei32(b, at, x) end

---The number at a byte offset: unsigned, 32 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readu32(b, at) end

---Writes a number at a byte offset: unsigned, 32 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writeu32(b, at, x) end

---The number at a byte offset: floating point, 32 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readf32(b, at) end

---Writes a number at a byte offset: floating point, 32 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writef32(b, at, x) end

---The number at a byte offset: floating point, 64 bits.
---@param b buffer
---@param at number
---@return number
function buffer.readf64(b, at) end

---Writes a number at a byte offset: floating point, 64 bits.
---@param b buffer
---@param at number
---@param x number
function buffer.writef64(b, at, x) end

---Numbers of 32 bits.
bit32 = {}

---And.
---@param ... number
---@return number
function bit32.band(...) end

---Or.
---@param ... number
---@return number
function bit32.bor(...) end

---Exclusive or.
---@param ... number
---@return number
function bit32.bxor(...) end

---Is the And of all not 0?
---@param ... number
---@return boolean
function bit32.btest(...) end

---Not.
---@param x number
---@return number
function bit32.bnot(x) end

---Leading zeros.
---@param x number
---@return number
function bit32.countlz(x) end

---Trailing zeros.
---@param x number
---@return number
function bit32.countrz(x) end

---Bytes in reverse order.
---@param x number
---@return number
function bit32.byteswap(x) end

---Shift to the left.
---@param x number
---@param bits number
---@return number
function bit32.lshift(x, bits) end

---Shift to the right.
---@param x number
---@param bits number
---@return number
function bit32.rshift(x, bits) end

---Shift to the right, with the sign.
---@param x number
---@param bits number
---@return number
function bit32.arshift(x, bits) end

---Rotate to the left.
---@param x number
---@param bits number
---@return number
function bit32.lrotate(x, bits) end

---Rotate to the right.
---@param x number
---@param bits number
---@return number
function bit32.rrotate(x, bits) end

---Some of its bits as a number.
---@param x number
---@param first number
---@param width? number
---@return number
function bit32.extract(x, first, width) end

---The number with some bits replaced.
---@param x number
---@param value number
---@param first number
---@param width? number
---@return number
function bit32.replace(x, value, first, width) end
