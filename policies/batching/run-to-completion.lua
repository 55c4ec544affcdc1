-- Run to completion: requests join while their batch computes prompts; then it decodes until its
-- last request is done, and nobody joins.
--
-- Rule: decodes wait for prefills; admissions = 0 while anybody decodes.
-- Source: the built-in `run-to-completion` decides the same.

return {
  batch = function(step)
    return {
      max_prefill_tokens = step.long_prefill_token_threshold,
      max_admissions = if step.decoding > 0 then 0 else nil,
      decodes_wait = true,
    }
  end,
}
