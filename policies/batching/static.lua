-- Static batching: requests are admitted only when the batch is empty.
--
-- Rule: admissions = 0 while anybody runs.
-- Source: TickSim, static; the built-in `static` decides the same.

return {
  batch = function(step, head, queue)
    return {
      max_prefill_tokens = step.long_prefill_token_threshold,
      max_admissions = if queue.batch_size > 0 then 0 else nil,
    }
  end,
}
