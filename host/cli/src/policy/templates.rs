//! Policy files to start from, one per hook.

use windtunnel_policy::Hook;

/// A file that fills `hook`, runs as it stands, and says what can be changed.
pub fn template(hook: Hook) -> &'static str {
    match hook {
        Hook::Admission => ADMISSION,
        Hook::Routing => ROUTING,
        Hook::Priority => PRIORITY,
        Hook::Scheduler => SCHEDULER,
        Hook::Preemption => PREEMPTION,
        Hook::Disaggregation => DISAGGREGATION,
        Hook::Batching => BATCHING,
        Hook::Dispatch => DISPATCH,
        Hook::Scale => SCALE,
    }
}

const ROUTING: &str = r#"-- Which instance serves a request: here, the one with the least work in front of it.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param queue_weight = 2.0, 0..10  Cost of a waiting request, in running ones

return {
  -- req: the request. insts: the instances, from 1. cluster: now_us, n. Returns a position, or hold(microseconds).
  -- The reference lists all fields; queue_depth and batch_size are as old as the last scrape, in_flight is always fresh.
  route = function(req, insts, cluster)
    local best, least = 1, math.huge
    for i, inst in ipairs(insts) do
      local cost = cfg.queue_weight * inst.queue_depth + inst.batch_size + inst.in_flight
      if cost < least then
        best, least = i, cost
      end
    end
    return best
  end,

  -- What happened, if it matters: on_dispatch(ev), on_first_token(ev), on_complete(ev), on_reject(ev), on_preempt(ev),
  -- on_tick(cluster) with tick_us = 100000 beside it. State lives in locals above.
}
"#;

const ADMISSION: &str = r#"-- Who comes in: here, everybody until the instances hold too much work; then only classes of priority 0 and above.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param most_in_flight = 64, 1..1000 int  Requests in flight per instance that count as too many

return {
  -- req: the request. cluster: now_us, n, instances. Returns true; false and a reason; or delay(microseconds).
  admit = function(req, cluster)
    if req.class_priority >= 0 then
      return true
    end
    local in_flight = 0
    for _, inst in ipairs(cluster.instances) do
      in_flight += inst.in_flight
    end
    if in_flight <= cfg.most_in_flight * cluster.n then
      return true
    end
    return false, "too many requests in flight"
  end,
}
"#;

const PRIORITY: &str = r#"-- How urgent a waiting request is: LOWER is more urgent. Here: its class, and a second of age makes up for one step of class.
-- Read by --scheduler priority-fcfs and --preemption-policy priority.

return {
  -- req: the request. queue: now_us, queue_depth and more of its instance. Asked when the request enters the wait queue;
  -- with refresh_us = 0 beside it in every step, with refresh_us = 10000 at most every 10 ms.
  priority = function(req, queue)
    return setup.highest_priority - req.class_priority + req.arrival_us / 1e6
  end,
}
"#;

const SCHEDULER: &str = r#"-- The order of an instance's wait queue: here, short prompts first, but nobody waits for ever.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param tokens_per_second = 1000, 0..100000  Prompt tokens that a second of waiting makes up for

return {
  -- Asked once, when a request enters the queue: SMALLEST key first. Cheap.
  key = function(req, queue)
    return req.prompt_tokens + cfg.tokens_per_second * req.enqueued_us / 1e6
  end,

  -- For an order that changes while requests wait, instead: score = function(now, req) ... end, HIGHEST first, in every step
  -- that could admit somebody (or every refresh_us); or order = function(waiting, running, queue) ... end, which returns a key for
  -- each waiting request.
}
"#;

const DISAGGREGATION: &str = r#"-- Where a prompt is computed: here, by an instance that prefills if much of it is new and the one that decodes is busy.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param tokens = 256, 0..100000 int  New tokens that an instance which decodes computes itself

return {
  -- req: the request. inst: the instance that was chosen to decode. cluster: now_us, n, instances (those that decode).
  -- Returns true: an instance that prefills computes the prompt, and the KV cache moves; false: inst computes it.
  disaggregate = function(req, inst, cluster)
    local new = req.prompt_tokens - inst:precise_prefix_blocks() * inst.block_size
    return new > cfg.tokens and inst.batch_size > 0
  end,
}
"#;

const DISPATCH: &str = r#"-- Which held request goes next: here, the one whose class matters most, and what it waited counts as well.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param seconds_per_level = 5, 0.001..3600  Time of waiting that is worth a level of priority, seconds

return {
  -- held: the requests that may go, with enqueued_us, due_us and sequence beside their own fields. gateway: saturation, depth,
  -- on_the_way. cluster: now_us, n, instances. Returns a position in held, or nil: all stay.
  next_held = function(held, gateway, cluster)
    local best, most = nil, -math.huge
    for i, req in ipairs(held) do
      local waited = (cluster.now_us - req.enqueued_us) / 1e6
      local worth = req.class_priority + waited / cfg.seconds_per_level
      if worth > most then
        best, most = i, worth
      end
    end
    return best
  end,
}
"#;

const SCALE: &str = r#"-- How many instances a pool has: here, as many as keep the requests of each at a number; they go one at a time.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param target = 32, 1..10000 log  Requests in flight of an instance

return {
  -- Asked every pool.interval_us. pool: ready, loading, draining, min, max; queued, running, in_flight and held requests, KV
  -- utilisation; what arrived and completed since the last time, and its latencies (-1: nothing completed). cluster: now_us, n, and
  -- the instances of the pool that take requests. Returns a number; pool.min and pool.max are its limits.
  replicas = function(pool, cluster)
    local wanted = math.ceil((pool.in_flight + pool.held) / cfg.target)
    return math.max(wanted, pool.ready + pool.loading - 1)
  end,
}
"#;

const BATCHING: &str = r#"-- How much a step takes: here, so many new tokens that running requests do not wait long for their next one.
--
-- Numbers that others may set: name = default, least..most  what it does. Read them as cfg.name.
--@param tokens_beside_decodes = 512, 1..100000 int  Most new tokens of a step in which somebody decodes

return {
  -- Asked before every step. step: prefilling, decoding, free_places and more. head: the first waiting request, or nil.
  -- queue: now_us, queue_depth, kv_free_blocks and more of the instance. Returns a table of limits; what it leaves out is as the
  -- engine's own: max_new_tokens, max_prefill_tokens, max_admissions, decodes_wait = true (prompts first), and hold_until_us, until
  -- which an instance that runs nobody and admits nobody sleeps.
  batch = function(step, head, queue)
    if step.decoding == 0 then
      return {}
    end
    return { max_new_tokens = cfg.tokens_beside_decodes }
  end,
}
"#;

const PREEMPTION: &str = r#"-- Who gives up its KV blocks when none is free: here, who has produced the fewest tokens, the last admitted among equals.

return {
  -- running: the requests of the batch, oldest admission first. Returns a position from 1.
  victim = function(running, queue)
    local chosen, least = 1, math.huge
    for i, req in ipairs(running) do
      if req.output_tokens <= least then
        chosen, least = i, req.output_tokens
      end
    end
    return chosen
  end,
}
"#;
