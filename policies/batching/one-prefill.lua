-- One prefill at a time: a request is admitted when no other one is in prefill.
--
-- Rule: admissions = 1 if nobody prefills, else 0.
-- Source: TickSim, one-prefill; the built-in `one-prefill` decides the same.

return {
  batch = function(step)
    return {
      max_prefill_tokens = step.long_prefill_token_threshold,
      max_admissions = if step.prefilling == 0 then 1 else 0,
    }
  end,
}
