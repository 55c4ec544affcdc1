-- Which instance serves a request: a weighted sum of what is known of each instance; the highest wins.
--@param cached = 2, 0..10  Weight of the share of the prompt that the instance has in its prefix cache
--@param sent = 1, 0..10  Weight of the share of the prompt that was sent there before
--@param queue = 1, 0..10  Weight of a short wait queue
--@param active = 1, 0..10  Weight of few requests in flight
--@param memory = 0.5, 0..10  Weight of free KV blocks

-- 1 for an instance without load, 1/2 at `half` of it, towards 0 beyond.
local function light(load, half)
  return half / (half + load)
end

return {
  score = function(req, inst, cluster)
    local blocks = math.max(1, req:prompt_blocks())
    return cfg.cached * inst:precise_prefix_blocks() / blocks
      + cfg.sent * inst:approximate_prefix_blocks() / blocks
      + cfg.queue * light(inst.queue_depth, 4)
      + cfg.active * light(inst.in_flight, 16)
      + cfg.memory * (1 - inst.kv_utilization)
  end,
}
