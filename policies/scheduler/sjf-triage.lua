-- Class, then shortest job first, with triage: who can no longer have its first token in time stands behind all who can. For instances with more
-- work than they can do.
--
-- Rule: size = prompt + output_weight * predicted output. Key = class step, then size; requests with now + estimated prefill > arrival + target come
--   behind all others, in the same order. The target is the request's for TTFT, else the parameter's. Keys are renewed ten times a second.
-- Source: ours, as the strong end of the scoring suites, on whose `train` split the defaults were tuned. See sjf.lua, sjf-predicted.lua.
--@param ttft_ms = 5000, 1..600000 log  TTFT target of requests that have none, ms
--@param output_weight = 1, 0..10  Price of a predicted output token

local LATE, CLASS = 2 ^ 50, 2 ^ 40 -- above every class step; above every size

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
    local size = req.prompt_tokens + cfg.output_weight * req.predicted_output_tokens
    local key = CLASS * (setup.highest_priority - req.class_priority) + size
    if queue.now_us + prefill_us(req.prompt_tokens) > req.arrival_us + target then
      key += LATE
    end
    return key
  end,
}
