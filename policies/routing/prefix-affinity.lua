-- Prefix affinity for whole prompts: an exact repeat of a prompt goes where the prompt went before; a new prompt goes to the least loaded
-- instance, which becomes its home.
--
-- Rule: home[prompt_key] if known, else argmin of queue_depth + batch_size + in_flight, the first among equals. Shared beginnings of different
-- prompts do not count: see weighted.lua, sglang-cache-aware.lua and dynamo-kv.lua for those.
-- Source: the reference simulator BLIS (2026-02), policy `prefix-affinity`; the built-in decides the same. Homes are never forgotten.

local home = {} -- index of the instance, by prompt_key

return {
  route = function(req, insts)
    local index = home[req.prompt_key]
    local best, least = 1, math.huge
    for i, inst in ipairs(insts) do
      if inst.index == index then
        return i
      end
      local load = inst.queue_depth + inst.batch_size + inst.in_flight
      if load < least then
        best, least = i, load
      end
    end
    home[req.prompt_key] = insts[best].index
    return best
  end,
}
