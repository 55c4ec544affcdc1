-- Weighted scoring: every scorer gives each instance 0 to 1, and the highest weighted sum wins, the first among equals. All ten scorers are here;
-- a weight of 0 leaves one out. The default is the reference's: cached prefix 2, short queue 1, free KV blocks 1.
--
-- Rule: score(i) = sum over scorers k of clamp(s_k(i), 0, 1) * w_k / sum(w), added in the order below.
-- Source: the reference simulator BLIS, policy `weighted`, after the scorers of llm-d and the Gateway API inference extension (whose own
-- defaults are in llm-d.lua). The built-in decides the same.
--@param precise_prefix_cache = 52.48, 0..100  Cached leading blocks by the instances' cache events, min-max over the instances
--@param prefix_affinity = 100, 0..100  Share of the prompt's blocks that the front end sent there before
--@param no_hit_lru = 52.82, 0..100  Requests that hit nowhere go to the least recently used instance
--@param queue_depth = 0, 0..100  Short wait queue, min-max
--@param kv_utilization = 89, 0..100  1 - KV utilisation
--@param load_balance = 37.92, 0..100  1 / (1 + effective load)
--@param active_requests = 100, 0..100  Few requests in flight, relative to the most
--@param running_requests = 7.735, 0..100  Small running batch, min-max
--@param load_aware = 34.42, 0..100  0.5 for an empty wait queue, falling to 0 at 128 waiting
--@param vllm_dp = 2.416, 0..100  4 x waiting + running, min-max

local ORDER = {
  "precise_prefix_cache", "prefix_affinity", "no_hit_lru", "queue_depth", "kv_utilization",
  "load_balance", "active_requests", "running_requests", "load_aware", "vllm_dp",
}

local column, totals = {}, {} -- by instance: of the scorer at hand, and weighted

local function each(insts, of)
  for i, inst in insts do
    column[i] = of(inst)
  end
end

-- (x - least) / (most - least) or its complement, and 1 for all when they are equal.
local function min_max(insts, of, more_is_better)
  local least, most = math.huge, -math.huge
  for i, inst in insts do
    local x = of(inst)
    column[i], least, most = x, math.min(least, x), math.max(most, x)
  end
  for i = 1, #insts do
    local x = column[i]
    column[i] = if most == least then 1 elseif more_is_better then (x - least) / (most - least) else (most - x) / (most - least)
  end
end

local function cached(inst) return inst:precise_prefix_blocks() end
local function sent(inst) return inst:approximate_prefix_blocks() end
local function waiting(inst) return inst.queue_depth end
local function batch(inst) return inst.batch_size end
local function vllm_load(inst) return 4 * inst.queue_depth + inst.batch_size end
local function half() return 0.5 end
local function free_kv(inst) return 1 - inst.kv_utilization end
local function balance(inst) return 1 / (1 + (inst.queue_depth + inst.batch_size + inst.in_flight)) end
local function aware(inst)
  return if inst.queue_depth == 0 then 0.5 else 0.5 * (1 - math.min(inst.queue_depth, 128) / 128)
end

local used = {} -- instances that served cold requests, least recently used first
local cold = false -- the request at hand hits nowhere

local scorers = {
  precise_prefix_cache = function(req, insts) min_max(insts, cached, true) end,
  queue_depth = function(req, insts) min_max(insts, waiting) end,
  running_requests = function(req, insts) min_max(insts, batch) end,
  vllm_dp = function(req, insts) min_max(insts, vllm_load) end,
  kv_utilization = function(req, insts) each(insts, free_kv) end,
  load_balance = function(req, insts) each(insts, balance) end,
  load_aware = function(req, insts) each(insts, aware) end,
  prefix_affinity = function(req, insts)
    local blocks = req:prompt_blocks()
    each(insts, sent)
    for i, hits in column do
      column[i] = if blocks == 0 then 0 else hits / blocks
    end
  end,
  active_requests = function(req, insts)
    local most = 0
    for _, inst in insts do
      most = math.max(most, inst.in_flight)
    end
    for i, inst in insts do
      column[i] = if inst.in_flight == 0 then 1 else (most - inst.in_flight) / most
    end
  end,
  no_hit_lru = function(req, insts)
    local n = #insts
    each(insts, cached)
    if math.max(unpack(column)) > 0 then
      return each(insts, half)
    end
    cold = true
    local fresh = -1
    for i, inst in insts do
      local age = table.find(used, inst.index)
      fresh += if age then 0 else 1
      local rank = if age then n - #used + age - 1 else fresh
      column[i] = if n == 1 then 1 else 1 - rank / (n - 1)
    end
  end,
}

local sum, chosen = 0, {}
for _, name in ORDER do
  sum += cfg[name]
  if cfg[name] > 0 then
    table.insert(chosen, name)
  end
end
assert(sum > 0, "all weights are 0; expected at least one above 0")

return {
  route = function(req, insts)
    cold = false
    table.clear(totals)
    for _, name in chosen do
      scorers[name](req, insts)
      local weight = cfg[name] / sum
      for i = 1, #insts do
        totals[i] = (totals[i] or 0) + math.clamp(column[i], 0, 1) * weight
      end
    end
    local best = 1
    for i, total in totals do
      if total > totals[best] then
        best = i
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
