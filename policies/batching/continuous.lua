-- vLLM's continuous batching: requests join whenever the batch has room, and prompts are computed
-- in chunks beside the running decodes.
--
-- Rule: the engine's own limits.
-- Source: vLLM, V1 scheduler; the built-in `continuous` decides the same.

return {
  batch = function()
    return {}
  end,
}
