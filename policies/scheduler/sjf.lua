-- Shortest job first, by the length of the prompt.
--
-- Rule: key = prompt_tokens; ties by arrival, then by request id.
-- Source: the reference simulator BLIS, scheduler `sjf`; the built-in decides the same. Long prompts can starve: see ltr.lua and mlfq.lua.

return {
  key = function(req)
    return req.prompt_tokens
  end,
}
