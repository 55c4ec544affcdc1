-- Mooncake's conductor for the prefill pool: the instance with the least expected time to first token, from its queue of prefills, its own
-- cached prefix, and the longest cached prefix anywhere if that could be pulled over.
--
-- Rule: for each i, with own match L_i and the best match L:
--   L > L_i * threshold and pulling possible: T_i = queue_i + (L - L_i) * transfer time + prefill(P - L after L)
--   else:                                     T_i = queue_i + prefill(P - L_i after L_i);       argmin T_i, the first among equals.
--   queue_i = predicted prefill times of the requests sent to i that have no first token yet.
-- Source: Mooncake, arXiv 2407.00079, section 6, Algorithm 1, through third-party readings: the threshold was never published, 1.5 is ours. The
-- engine moves no KV blocks between instances, so pulling is off by default (transfer_us = 0); with it on, the choice is Algorithm 1's but
-- the instance computes the prefix anew. Decode pools and rejection are not here: see admission/early-rejection.lua.
--@param threshold = 1.5, 1..100  kvcache_balancing_threshold
--@param transfer_us = 0, 0..1000  Time to move the KV of one token, microseconds; 0: no pulling

local queue = {} -- predicted prefill time ahead, by instance
local waiting = {} -- predicted prefill time of requests without a first token

local function started(ev)
  local us = waiting[ev.serial]
  if us then
    waiting[ev.serial] = nil
    queue[ev.instance] -= us
  end
end

return {
  route = function(req, insts)
    local tokens, size = req.prompt_tokens, insts[1].block_size
    local longest = 0
    for _, inst in ipairs(insts) do
      longest = math.max(longest, inst:precise_prefix_blocks() * size)
    end
    local chosen, least, prefill = 1, math.huge, 0
    for i, inst in ipairs(insts) do
      local own = inst:precise_prefix_blocks() * size
      local time, compute = queue[inst.index] or 0, nil
      if cfg.transfer_us > 0 and longest > own * cfg.threshold then
        compute = est_prefill_us(tokens - longest, longest)
        time += (longest - own) * cfg.transfer_us + compute
      else
        compute = est_prefill_us(tokens - own, own)
        time += compute
      end
      if time < least then
        chosen, least, prefill = i, time, compute
      end
    end
    local index = insts[chosen].index
    queue[index] = (queue[index] or 0) + prefill
    waiting[req.serial] = prefill
    return chosen
  end,

  on_first_token = started,
  on_complete = started,
}
