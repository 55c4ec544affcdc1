-- Room for the important: a request is admitted if the work in front of it leaves a first token within a share of its target, and the share is the
-- smaller, the less important its class. So sheddable traffic is refused long before critical traffic suffers.
--
-- Rule: wait = sum over the admitted requests without a first token of (prefill + token_us * predicted output) / instances. Admit if
--   wait + prefill of this one <= share(class) * target; the target is the request's for TTFT, else the parameter's.
-- Source: ours, as the strong end of the scoring suites, on whose `train` split the defaults were tuned; early-rejection.lua asks the same question
-- without classes.
--@param critical = 1, 0..10  Share of the target for class priorities of 4 and above
--@param standard = 0.7, 0..10  Share for class priorities from 0 to 3
--@param sheddable = 0.05, 0..10  Share for class priorities below 0
--@param ttft_ms = 2000, 1..600000 log  TTFT target of requests that have none, ms
--@param token_us = 20, 0..1000  Work of a predicted output token, microseconds

local ahead = 0 -- work that was admitted and has no first token, microseconds
local work = {} -- of each such request

local function started(ev)
  local us = work[ev.serial]
  if us then
    work[ev.serial] = nil
    ahead -= us
  end
end

return {
  admit = function(req, cluster)
    local target = if req.slo_ttft_us > 0 then req.slo_ttft_us else cfg.ttft_ms * 1000
    local priority = req.class_priority
    local share = if priority >= 4 then cfg.critical elseif priority >= 0 then cfg.standard else cfg.sheddable
    local prefill = est_prefill_us(req.prompt_tokens, 0)
    if ahead / setup.instances + prefill > share * target then
      return false, "too much work ahead for this class"
    end
    local us = prefill + cfg.token_us * req.predicted_output_tokens
    ahead += us
    work[req.serial] = us
    return true
  end,

  on_first_token = started,
  on_complete = started,
}
