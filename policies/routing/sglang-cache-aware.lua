-- SGLang's cache-aware router: while loads are balanced, a prompt goes where its longest prefix went before; once they are not, or when too little of
-- it matches, to the least loaded instance.
--
-- Rule: imbalanced = max f - min f > balance_abs and max f > balance_rel * min f, f = requests in flight.
--   imbalanced, or matched / prompt <= cache_threshold: argmin f, the first among equals; else the holder of the longest match.
-- Source: sgl-project/sglang, sgl-model-gateway/src/policies/cache_aware.rs, with the defaults of its command line (0.3, 64, 1.5). Its one tree over
-- characters is the front end's record of blocks here, with that record's size for eviction. Among several holders of the longest match SGLang
-- takes the last one a tree node remembers; here it is the one sent to most recently (ours).
--@param cache_threshold = 0.3, 0..1  Least share of the prompt that must match
--@param balance_abs = 64, 0..1000 int  Imbalance needs a difference above this
--@param balance_rel = 1.5, 1..10  ... and a maximum above this times the minimum

local turn, last = 0, {} -- when each instance was sent to last, in turns

return {
  route = function(req, insts)
    local idlest, least, most = 1, math.huge, 0
    for i, inst in ipairs(insts) do
      if inst.in_flight < least then
        idlest, least = i, inst.in_flight
      end
      most = math.max(most, inst.in_flight)
    end
    local chosen = idlest
    local imbalanced = most - least > cfg.balance_abs and most > cfg.balance_rel * least
    if not imbalanced then
      local holder, matched = idlest, 0
      for i, inst in ipairs(insts) do
        local hit = inst:approximate_prefix_blocks()
        local later = (last[inst.index] or 0) > (last[insts[holder].index] or 0)
        if hit > matched or (hit == matched and hit > 0 and later) then
          holder, matched = i, hit
        end
      end
      if matched > cfg.cache_threshold * req:prompt_blocks() then
        chosen = holder
      end
    end
    turn += 1
    last[insts[chosen].index] = turn
    return chosen
  end,
}
