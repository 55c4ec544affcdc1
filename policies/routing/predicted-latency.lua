-- Predicted-latency routing: instances that are expected to meet the request's latency targets come first, and among them the choice is drawn by
-- how much time they have to spare: the fullest that still fits (pack, the default) or the emptiest (spread).
--
-- Rule: headroom_ttft = target - predicted TTFT, headroom_itl = target - predicted step time; positive if neither is below 0.
--   1. Instances that hold 99 % of the prompt replace the set, but for 1 % of requests.
--   2. With both kinds present, the positive ones, but for 1 % of requests.
--   3. Positive: those that hold 80 % of the prompt if any; h = 0.8 * ttft + 0.2 * itl headroom, each min-max in the set; drawn by
--      weight floor((1 - h) * 99) + 2, or floor(h * 99) + 2 to spread.
--   4. Negative: idle ones first, the same gate; drawn by weight floor(h * 80) + 2.
-- Source: kubernetes-sigs/gateway-api-inference-extension, pkg/epp/scheduling/framework/plugins/multi/predicted_latency/. Its trained predictor
-- is the host's estimate (est_ttft_us, est_step_us) here. A request without a target of its own takes the parameter's.
--@param ttft_ms = 1000, 1..600000 log  Target for TTFT without one of the request's own, ms
--@param itl_ms = 50, 0..60000  Target for the time between tokens, ms; 0: none
--@param spread = 0, 0..1 int  1: the instance with the most headroom is the likeliest

-- Those whose share of the prompt in cache is at least `share`; all of them if there are none.
local function holding(set, share)
  local some = {}
  for _, one in ipairs(set) do
    if one.cached >= share then
      table.insert(some, one)
    end
  end
  return if #some > 0 then some else set
end

local function relative(set, name)
  local least, most = math.huge, -math.huge
  for _, one in ipairs(set) do
    least, most = math.min(least, one[name]), math.max(most, one[name])
  end
  return function(one)
    return if most == least then 0.5 else (one[name] - least) / (most - least)
  end
end

local function draw(set, of_headroom)
  local ttft, itl = relative(set, "ttft"), relative(set, "itl")
  local weights, sum = {}, 0
  for k, one in ipairs(set) do
    weights[k] = of_headroom(if cfg.itl_ms > 0 then 0.8 * ttft(one) + 0.2 * itl(one) else ttft(one))
    sum += weights[k]
  end
  local left = rng() * sum
  for k, weight in ipairs(weights) do
    left -= weight
    if left < 0 then
      return set[k].at
    end
  end
  return set[#set].at
end

return {
  route = function(req, insts)
    local target = if req.slo_ttft_us > 0 then req.slo_ttft_us else cfg.ttft_ms * 1000
    local blocks, all = req:prompt_blocks(), {}
    for i, inst in ipairs(insts) do
      local hit = inst:approximate_prefix_blocks()
      local itl = est_step_us(0, inst.decodes + 1, inst.decode_context_tokens + req.prompt_tokens)
      all[i] = {
        at = i,
        cached = if blocks == 0 then 0 else hit / blocks,
        ttft = target - est_ttft_us(inst, req.prompt_tokens, hit * inst.block_size),
        itl = if cfg.itl_ms > 0 then cfg.itl_ms * 1000 - itl else 0,
        idle = inst.batch_size == 0,
      }
    end
    if rng() >= 0.01 then
      all = holding(all, 0.99)
    end
    local positive, negative, idle = {}, {}, {}
    for _, one in ipairs(all) do
      if one.ttft >= 0 and one.itl >= 0 then
        table.insert(positive, one)
      else
        table.insert(negative, one)
        if one.idle then
          table.insert(idle, one)
        end
      end
    end
    local explore = #negative > 0 and rng() < 0.01
    if #positive > 0 and not explore then
      return draw(holding(positive, 0.8), function(h)
        return math.floor((if cfg.spread == 1 then h else 1 - h) * 99) + 2
      end)
    end
    -- The more headroom, that is the smaller the deficit, the likelier.
    return draw(holding(if #idle > 0 then idle else negative, 0.8), function(h)
      return math.floor(h * 80) + 2
    end)
  end,
}
