-- Weighted scoring: every scorer gives each instance 0 to 1, and the highest weighted sum wins, the first among equals. All ten scorers are here;
-- a weight of 0 leaves one out. The default is the reference's: cached prefix 2, short queue 1, free KV blocks 1.
--
-- Rule: score(i) = sum over scorers k of clamp(s_k(i), 0, 1) * w_k / sum(w), added in the order below.
-- Source: the reference simulator BLIS, policy `weighted`, after the scorers of llm-d and the Gateway API inference extension (whose own
-- defaults are in llm-d.lua). The built-in decides the same.
--@param precise_prefix_cache = 2, 0..100  Cached leading blocks by the instances' cache events, min-max over the instances
--@param prefix_affinity = 0, 0..100  Share of the prompt's blocks that the front end sent there before
--@param no_hit_lru = 0, 0..100  Requests that hit nowhere go to the least recently used instance
--@param queue_depth = 1, 0..100  Short wait queue, min-max
--@param kv_utilization = 1, 0..100  1 - KV utilisation
--@param load_balance = 0, 0..100  1 / (1 + effective load)
--@param active_requests = 0, 0..100  Few requests in flight, relative to the most
--@param running_requests = 0, 0..100  Small running batch, min-max
--@param load_aware = 0, 0..100  0.5 for an empty wait queue, falling to 0 at 128 waiting
--@param vllm_dp = 0, 0..100  4 x waiting + running, min-max

local ORDER = {
  "precise_prefix_cache", "prefix_affinity", "no_hit_lru", "queue_depth", "kv_utilization",
  "load_balance", "active_requests", "running_requests", "load_aware", "vllm_dp",
}

local column, totals = {}, {} -- by instance: of the scorer at hand, and weighted

-- Adds scores of 0 to 1.
local function each(insts, weight, of)
  for i = 1, #insts do
    totals[i] += of(insts[i]) * weight
  end
end

-- Adds (x - least) / (most - least) of the column or its complement; 1 for all when equal.
local function min_max(insts, weight, more_is_better)
  local least, most = math.huge, -math.huge
  for i = 1, #insts do
    local x = column[i]
    if x < least then least = x end
    if x > most then most = x end
  end
  local from, to = most, least
  if more_is_better then from, to = least, most end
  for i = 1, #insts do
    totals[i] += (if most == least then 1 else (column[i] - from) / (to - from)) * weight
  end
end

local used = {} -- instances that served cold requests, least recently used first
local cold = false -- the request at hand hits nowhere

local scorers = {
  precise_prefix_cache = function(req, insts, weight)
    for i = 1, #insts do column[i] = insts[i]:precise_prefix_blocks() end
    min_max(insts, weight, true)
  end,
  queue_depth = function(req, insts, weight)
    for i = 1, #insts do column[i] = insts[i].queue_depth end
    min_max(insts, weight)
  end,
  running_requests = function(req, insts, weight)
    for i = 1, #insts do column[i] = insts[i].batch_size end
    min_max(insts, weight)
  end,
  vllm_dp = function(req, insts, weight)
    for i = 1, #insts do column[i] = 4 * insts[i].queue_depth + insts[i].batch_size end
    min_max(insts, weight)
  end,
  kv_utilization = function(req, insts, weight)
    for i = 1, #insts do totals[i] += (1 - insts[i].kv_utilization) * weight end
  end,
  load_balance = function(req, insts, weight)
    each(insts, weight, function(inst) return 1 / (1 + (inst.queue_depth + inst.batch_size + inst.in_flight)) end)
  end,
  load_aware = function(req, insts, weight)
    each(insts, weight, function(inst)
      return if inst.queue_depth == 0 then 0.5 else 0.5 * (1 - math.min(inst.queue_depth, 128) / 128)
    end)
  end,
  prefix_affinity = function(req, insts, weight)
    local blocks = math.max(req:prompt_blocks(), 1)
    each(insts, weight, function(inst) return inst:approximate_prefix_blocks() / blocks end)
  end,
  active_requests = function(req, insts, weight)
    local most = 0
    for i = 1, #insts do most = math.max(most, insts[i].in_flight) end
    each(insts, weight, function(inst)
      return if inst.in_flight == 0 then 1 else (most - inst.in_flight) / most
    end)
  end,
  no_hit_lru = function(req, insts, weight)
    local n, fresh = #insts, -1
    cold = true
    for i = 1, n do cold = cold and insts[i]:precise_prefix_blocks() == 0 end
    each(insts, weight, function(inst)
      if not cold then
        return 0.5
      end
      local age = table.find(used, inst.index)
      fresh += if age then 0 else 1
      local rank = if age then n - #used + age - 1 else fresh
      return if n == 1 then 1 else 1 - rank / (n - 1)
    end)
  end,
}

local sum, chosen = 0, {}
for _, name in ipairs(ORDER) do
  sum += cfg[name]
  if cfg[name] > 0 then
    table.insert(chosen, name)
  end
end
assert(sum > 0, "all weights are 0; expected at least one above 0")

return {
  route = function(req, insts)
    cold = false
    for i = 1, #insts do
      totals[i] = 0
    end
    for _, name in ipairs(chosen) do
      scorers[name](req, insts, cfg[name] / sum)
    end
    local best, highest = 1, totals[1]
    for i = 1, #insts do
      local total = totals[i]
      if total > highest then
        best, highest = i, total
      end
    end
    if cold then
      local index = insts[best].index
      local at = table.find(used, index)
      if at then
        table.remove(used, at)
      end
      table.insert(used, index)
    end
    return best, totals
  end,
}
