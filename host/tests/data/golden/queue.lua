-- Short prompts first, but older requests before younger ones in the long run; the longest prompt
-- is preempted.
--@param aging = 0.02, 0..1  Tokens of prompt that a millisecond of waiting makes up for
return {
  scheduler = {
    key = function(req)
      return req.prompt_tokens + cfg.aging * req.arrival_us / 1000
    end,
  },
  preemption = {
    victim = function(running)
      local longest, at = -1, 1
      for i, req in ipairs(running) do
        if req.prompt_tokens > longest then
          longest, at = req.prompt_tokens, i
        end
      end
      return at
    end,
  },
}
