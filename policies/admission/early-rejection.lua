-- Early rejection, after Mooncake: a request whose latency targets cannot be met is refused at the door, before it wastes a prefill. The
-- predictive form looks at the decodes that will run when this request's prefill ends, which keeps prefill and decode load from swinging against
-- each other.
--
-- Rule: load = max(TTFT / ttft target, time between tokens / itl target); reject above `limit`.
--   TTFT = least estimate over the instances. Time between tokens = step time of the decodes per instance: now, or (predictive) those at the
--   end of that TTFT: all admitted requests but those that will have decoded for decode_s by then.
-- Source: Mooncake, arXiv 2407.00079, section 7, through a third-party reading; limit and decode time were not published, so 1 and 5 s are ours.
-- Prefill and decode share the instances here. A request without a TTFT target takes the parameter's.
--@param ttft_ms = 2000, 1..600000 log  Target for TTFT without one of the request's own, ms
--@param itl_ms = 100, 0.1..60000 log  Target for the time between tokens, ms
--@param limit = 1, 0.01..100 log  Load from which requests are refused
--@param predictive = 1, 0..1 int  0: the decodes of now
--@param decode_s = 5, 0.001..3600 log  Time a decode is assumed to last, seconds

local inside = {} -- admitted requests by serial: prompt tokens, and their place among the decodes
local prefills, prefill_tokens = 0, 0 -- of those without a first token
-- Those with one, in the order in which it came, false for those who left; and sums over them
-- in Fenwick trees: tree[i] is the sum of the last lowest_bit(i) places up to i.
local decoding, times, counts, tokens, alive = {}, {}, {}, {}, 0

local function append(tree, value)
  local i = #tree + 1
  local rest = i - 1
  local least = bit32.band(i, i - 1)
  while rest > least do
    value += tree[rest]
    rest = bit32.band(rest, rest - 1)
  end
  tree[i] = value
end

local function add(tree, i, value)
  while i <= #tree do
    tree[i] += value
    i += i - bit32.band(i, i - 1)
  end
end

local function up_to(tree, i)
  local sum = 0
  while i > 0 do
    sum += tree[i]
    i = bit32.band(i, i - 1)
  end
  return sum
end

local function place(one)
  table.insert(decoding, one)
  table.insert(times, one.since)
  append(counts, 1)
  append(tokens, one.tokens)
  one.at = #decoding
end

-- Leaves out those who left, once they are the most.
local function tidy()
  if #decoding > 64 + 2 * alive then
    local all = decoding
    decoding, times, counts, tokens = {}, {}, {}, {}
    for _, one in ipairs(all) do
      if one then
        place(one)
      end
    end
  end
end

-- Decodes that began after a moment: how many, and their prompts.
local function since(moment)
  local low, high = 0, #decoding -- the last place up to the moment is in low..high
  while low < high do
    local middle = (low + high + 1) // 2
    if times[middle] <= moment then
      low = middle
    else
      high = middle - 1
    end
  end
  return alive - up_to(counts, low), up_to(tokens, #decoding) - up_to(tokens, low)
end

local function left(ev)
  local one = inside[ev.serial]
  inside[ev.serial] = nil
  if not one then
    return
  elseif not one.at then
    prefills -= 1
    prefill_tokens -= one.tokens
    return
  end
  add(counts, one.at, -1)
  add(tokens, one.at, -one.tokens)
  decoding[one.at] = false
  alive -= 1
  tidy()
end

return {
  admit = function(req, cluster)
    local ttft, n, decodes, context = math.huge, 0, 0, 0
    for _, inst in ipairs(cluster.instances) do
      ttft = math.min(ttft, est_ttft_us(inst, req.prompt_tokens, 0))
      n += 1
      decodes += inst.decodes
      context += inst.decode_context_tokens
    end
    if n == 0 then
      return true -- nobody serves this model; the router says so
    end
    if cfg.predictive == 1 then
      local still, their_tokens = since(cluster.now_us + ttft - cfg.decode_s * 1e6)
      decodes = 1 + prefills + still
      context = req.prompt_tokens + prefill_tokens + their_tokens
    end
    local step = est_step_us(0, math.ceil(decodes / n), math.ceil(context / n))
    local target = if req.slo_ttft_us > 0 then req.slo_ttft_us else cfg.ttft_ms * 1000
    local prefill_load, decode_load = ttft / target, step / (cfg.itl_ms * 1000)
    if math.max(prefill_load, decode_load) > cfg.limit then
      return false, string.format("early rejection: prefill load %.2f, decode load %.2f", prefill_load, decode_load)
    end
    inside[req.serial] = { tokens = req.prompt_tokens }
    prefills += 1
    prefill_tokens += req.prompt_tokens
    return true
  end,

  on_first_token = function(ev)
    local one = inside[ev.serial]
    if one and not one.at then
      prefills -= 1
      prefill_tokens -= one.tokens
      alive += 1
      one.since = ev.now_us
      place(one)
    end
  end,

  on_complete = left,
  on_reject = left, -- nowhere to go after all
}
