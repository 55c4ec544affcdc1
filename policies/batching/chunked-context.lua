-- Chunked context: in-flight batching in which a prompt is computed in chunks of one size.
--
-- Rule: prefill tokens of a request in a step <= chunk.
-- Source: TickSim, chunked; the built-in `chunked-context` decides the same.
--@param chunk = 512, 1..inf int  Prompt tokens of a request in one step

return {
  batch = function(step)
    return { max_prefill_tokens = math.min(step.long_prefill_token_threshold, cfg.chunk) }
  end,
}
