-- Step time: as many new tokens as keep a step in which somebody decodes within a time, so that no
-- prompt holds up the next tokens of others for longer.
--
-- Rule: the most tokens whose estimated step, with the running decodes, lasts no longer than
-- step_ms; never fewer than the decodes and `least` tokens of prompt need.
-- Source: Sarathi-Serve (Agrawal et al., OSDI 2024), which picks one token budget per deployment by
-- the same criterion; here it follows the batch.
--@param step_ms = 25, 1..1000  Longest step in which somebody decodes, milliseconds
--@param least = 64, 1..8192 int  Prompt tokens that a step always has room for

return {
  batch = function(step, head, queue)
    if step.decoding == 0 then
      return {}
    end
    local few, many = cfg.least, queue.max_step_tokens - step.decoding
    local fits = function(tokens)
      return est_step_us(tokens, step.decoding, step.decode_context_tokens) <= 1000 * cfg.step_ms
    end
    if many <= few or fits(many) then
      return {}
    end
    while many - few > 32 do
      local middle = (few + many) // 2
      if fits(middle) then
        few = middle
      else
        many = middle
      end
    end
    return { max_new_tokens = step.decoding + few }
  end,
}
