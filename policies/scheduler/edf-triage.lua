-- Earliest deadline first, with triage: who can no longer have its first token in time stands behind all who can, the important and short ones first.
-- Under overload plain EDF serves everybody a little too late; this one gives up some and serves the others.
--
-- Rule: deadline = arrival + TTFT target of the request, else the parameter's. In time if now + estimated prefill <= deadline: key = deadline. Else
--   behind all of those, by class priority, then by prompt length. Keys are renewed ten times a second.
-- Source: ours, as the strong end of the scoring suites; dropping the late ones of EDF is common in real-time scheduling. See edf.lua.
--@param ttft_ms = 5000, 1..600000 log  TTFT target of requests that have none, ms

local LATE, CLASS = 2 ^ 50, 2 ^ 40 -- above every deadline; above every length

local estimates = {} -- by prompt length: asked for once, as keys are asked for often
local function prefill_us(tokens)
  local us = estimates[tokens]
  if not us then
    us = est_prefill_us(tokens, 0)
    estimates[tokens] = us
  end
  return us
end

return {
  refresh_us = 100000,
  key = function(req, queue)
    local target = if req.slo_ttft_us > 0 then req.slo_ttft_us else cfg.ttft_ms * 1000
    local deadline = req.arrival_us + target
    if queue.now_us + prefill_us(req.prompt_tokens) <= deadline then
      return deadline
    end
    return LATE + CLASS * (setup.highest_priority - req.class_priority) + req.prompt_tokens
  end,
}
