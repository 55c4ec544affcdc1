-- Least work: the instance with the fewest tokens still to prefill, where tokens that this prompt does not find in the cache count several times,
-- because they will be looked for again.
--
-- Rule: cost(i) = cold * (P - cached_i) + A_i + request_tokens * in_flight_i; the least, the first among equals.
--   A_i: uncached tokens of the prompts sent to i that have no first token yet, by the file's own ledger.
-- Source: ours, as the strong end of the scoring suites, on whose `train` split the defaults were tuned. The ledger is mooncake-conductor's in tokens,
-- the last term JSQ's; `cold` above 1 keeps prefixes from being copied to every instance for the sake of a short queue.
--@param cold = 4, 0..100  Weight of a token of this prompt that is not cached
--@param request_tokens = 100, 0..10000  Tokens that a request in flight stands for

local pending = {} -- by instance
local mine = {} -- by request without a first token

local function started(ev)
  local tokens = mine[ev.serial]
  if tokens then
    mine[ev.serial] = nil
    pending[ev.instance] -= tokens
  end
end

return {
  route = function(req, insts)
    local chosen, least, cold = 1, math.huge, 0
    for i, inst in ipairs(insts) do
      local new = req.prompt_tokens - inst:precise_prefix_blocks() * inst.block_size
      local cost = cfg.cold * new + (pending[inst.index] or 0) + cfg.request_tokens * inst.in_flight
      if cost < least then
        chosen, least, cold = i, cost, new
      end
    end
    local index = insts[chosen].index
    pending[index] = (pending[index] or 0) + cold
    mine[req.serial] = cold
    return chosen
  end,

  on_first_token = started,
  on_complete = started,
}
