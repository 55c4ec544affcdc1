-- Who gives up its KV blocks when none is free: who is least important, has done least, and holds most.
--@param class_worth = 4, 0..20  Weight of a step of class
--@param progress = 1, 0..20  Weight of a hundred output tokens produced
--@param blocks = 0.5, 0..20  Weight of a hundred KV blocks held
--@param again = 2, 0..20  Weight of having been preempted before

return {
  victim = function(running, queue)
    local chosen, least = 1, math.huge
    for i, req in ipairs(running) do
      local worth = cfg.class_worth * req.class_priority
        + cfg.progress * req.output_tokens / 100
        - cfg.blocks * req.kv_blocks / 100
        + cfg.again * req.preemptions
      if worth <= least then
        chosen, least = i, worth
      end
    end
    return chosen
  end,
}
