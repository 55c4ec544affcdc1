-- Which instance serves a request: a weighted sum of what is known of each instance; the highest wins.
--@param cached = 1, 0..10  Weight of the share of the prompt that the instance has in its prefix cache
--@param sent = 0.5, 0..10  Weight of the share of the prompt that was sent there before
--@param queue = 0.2, 0..10  Weight of a short wait queue, relative to the longest
--@param active = 2, 0..10  Weight of few requests in flight, relative to the most
--@param memory = 0.2, 0..10  Weight of free KV blocks

-- 1 for nothing, 0 for the most.
local function less(x, most)
  return if most > 0 then 1 - x / most else 1
end

return {
  route = function(req, insts, cluster)
    local longest, most = 0, 0
    for _, inst in ipairs(insts) do
      longest = math.max(longest, inst.queue_depth)
      most = math.max(most, inst.in_flight)
    end
    local blocks = math.max(1, req:prompt_blocks())
    local best, highest = 1, -math.huge
    for i, inst in ipairs(insts) do
      local score = cfg.cached * inst:precise_prefix_blocks() / blocks
        + cfg.sent * inst:approximate_prefix_blocks() / blocks
        + cfg.queue * less(inst.queue_depth, longest)
        + cfg.active * less(inst.in_flight, most)
        + cfg.memory * (1 - inst.kv_utilization)
      if score > highest then
        best, highest = i, score
      end
    end
    return best
  end,
}
