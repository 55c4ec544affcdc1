-- The order of an instance's wait queue, smallest key first: short requests of important classes, and nobody waits for ever.
--@param class_seconds = 2, 0..20  Seconds that a step of class is worth
--@param prompt_seconds = 0.5, 0..20  Seconds that a thousand prompt tokens cost
--@param output_seconds = 1, 0..20  Seconds that a thousand predicted output tokens cost

return {
  key = function(req, queue)
    return req.enqueued_us / 1e6
      - cfg.class_seconds * req.class_priority
      + cfg.prompt_seconds * req.prompt_tokens / 1000
      + cfg.output_seconds * req.predicted_output_tokens / 1000
  end,
}
