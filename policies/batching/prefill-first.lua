-- Prefill first: a step computes the prompts of all waiting requests that fit, or, when none does,
-- one token of every running decode.
--
-- Rule: decodes wait for prefills.
-- Source: SGLang without mixed chunks; the built-in `prefill-first` decides the same.

return {
  batch = function(step)
    return { max_prefill_tokens = step.long_prefill_token_threshold, decodes_wait = true }
  end,
}
