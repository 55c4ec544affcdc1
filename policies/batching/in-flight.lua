-- In-flight batching: every free place of the batch is filled before each step.
--
-- Rule: as continuous, with one size of chunk for all.
-- Source: TickSim, in-flight; the built-in `in-flight` decides the same.

return {
  batch = function(step)
    return { max_prefill_tokens = step.long_prefill_token_threshold }
  end,
}
