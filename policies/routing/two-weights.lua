-- Two weights: free KV blocks against a short wait queue, the older form of weighted routing.
--
-- Rule: score(i) = cache * free(i) / max free + load / (1 + queue_depth(i)), weights divided by their sum; highest wins, the first among equals.
-- Source: the reference simulator BLIS (2026-02), policy `weighted` with cache_weight and load_weight; the built-in decides the same.
--@param cache = 0.6, 0..100  Weight of free KV blocks relative to the most
--@param load = 0.4, 0..100  Weight of 1 / (1 + queue depth)

local sum = cfg.cache + cfg.load
assert(sum > 0, "both weights are 0; expected at least one above 0")
local by_cache, by_load = cfg.cache / sum, cfg.load / sum

return {
  route = function(req, insts)
    local most_free = 0
    for _, inst in ipairs(insts) do
      most_free = math.max(most_free, inst.kv_free_blocks)
    end
    local best, scores = 1, {}
    for i, inst in ipairs(insts) do
      local cache = if most_free == 0 then 0 else inst.kv_free_blocks / most_free
      scores[i] = cache * by_cache + 1 / (1 + inst.queue_depth) * by_load
      if scores[i] > scores[best] then
        best = i
      end
    end
    return best, scores
  end,
}
