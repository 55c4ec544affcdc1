-- Saturation: tokens in KV caches and wait queues against what the instances have room for.
--
-- Rule: demand D over supply S, both in tokens; more instances for what D / scale_up_threshold
-- lacks, fewer for what D / scale_down_boundary spares, each when that has been so for its window.
-- Source: BLIS's v2-saturation analyzer; the built-in `saturation` decides the same.
--@param kv_threshold = 0.8, 1e-9..1  share of an instance's KV cache that is there to be used
--@param scale_up_threshold = 0.85, 1e-9..1  demand over supply above which instances come
--@param scale_down_boundary = 0.7, 1e-9..1  the same below which they go
--@param up_window_s = 0, 0..86400  seconds for which more must be needed before instances come
--@param down_window_s = 300, 0..86400  seconds for which fewer must do before instances go

local requests, tokens = 0, 0
local since = {}

-- Has a signal been there for so long? Then it starts anew.
local function passes(name, signal, window_us, now_us)
  if not signal then
    since[name] = nil
    return false
  end
  since[name] = since[name] or now_us
  if now_us - since[name] < window_us then
    return false
  end
  since[name] = nil
  return true
end

return {
  replicas = function(pool, cluster)
    requests += pool.arrived
    tokens += pool.arrived_prompt_tokens
    local mean_prompt = if requests == 0 then 0 else tokens / requests
    local ready, capacity = pool.ready, pool.kv_capacity_tokens
    local each = capacity * cfg.kv_threshold
    local supply = ready * each
    local in_use = pool.kv_utilization_mean * ready * capacity
    local now = ready + pool.loading
    -- What waits at the front end is seen where there is no instance that it could wait at.
    local waiting = if now == 0 then pool.queued + pool.held else pool.queued
    local demand = in_use + waiting * mean_prompt
    local coming = pool.loading * each
    local required = demand / cfg.scale_up_threshold - (supply + coming)
    local spare = supply - demand / cfg.scale_down_boundary
    local more = each > 0 and required > 0
    local fewer = not more and ready > 1 and spare > 0
      and supply - each > demand / cfg.scale_down_boundary
    local come = passes("up", more, cfg.up_window_s * 1e6, cluster.now_us)
    local go = passes("down", fewer, cfg.down_window_s * 1e6, cluster.now_us)
    if come then
      return now + math.max(math.ceil(required / each), 1)
    elseif go then
      return now - math.clamp(math.floor(spare / each), 1, ready)
    end
    return now
  end,
}
