-- Greedy: an engine that is free takes all requests that wait and fit as a batch, which is closed
-- then.
--
-- Rule: admissions = 0 while anybody runs; decodes wait for prefills.
-- Source: XpuSim, greedy; the built-in `greedy` decides the same.

return {
  batch = function(step, head, queue)
    return {
      max_prefill_tokens = step.long_prefill_token_threshold,
      max_admissions = if queue.batch_size > 0 then 0 else nil,
      decodes_wait = true,
    }
  end,
}
