-- How urgent a waiting request is, lower is more urgent: its class, its length, and how close its target is.
--@param class_step = 1, 0..10  Weight of a step of class
--@param length = 0.5, 0..10  Weight of a thousand prompt tokens
--@param target = 1, 0..10  Weight of a second until its target for the first token

return {
  priority = function(req, queue)
    local deadline_us = req.arrival_us + (if req.slo_ttft_us > 0 then req.slo_ttft_us else 2e6)
    return cfg.class_step * (setup.highest_priority - req.class_priority)
      + cfg.length * req.prompt_tokens / 1000
      + cfg.target * deadline_us / 1e6
  end,
}
