-- Earliest deadline first: who must have the first token soonest goes first. Optionally by slack, which takes the time of the prefill off the
-- deadline, so that long prompts start in time.
--
-- Rule: deadline = arrival + TTFT target of the request, else the parameter's, else the time at which the client gives up, else after all others;
-- key = deadline - slack * estimated prefill time. Time passes for all alike, so the order of slack does not change and is asked for once.
-- Source: the orderings slo-deadline and edf of the flow control of the Gateway API inference extension / llm-d (a gateway queue there). Slack is the
-- textbook's; no serving system was found that uses it. Missed deadlines are not dropped, and requests without one can starve.
--@param ttft_ms = 0, 0..600000  TTFT target of requests that have none, ms; 0: none
--@param slack = 0, 0..10  Times the prefill estimate that is taken off the deadline

local NEVER = 2 ^ 52

return {
  key = function(req)
    local deadline = NEVER
    if req.slo_ttft_us > 0 then
      deadline = req.arrival_us + req.slo_ttft_us
    elseif cfg.ttft_ms > 0 then
      deadline = req.arrival_us + cfg.ttft_ms * 1000
    elseif req.deadline_us > 0 then
      deadline = req.deadline_us
    end
    if cfg.slack > 0 then
      deadline -= cfg.slack * est_prefill_us(req.prompt_tokens, 0)
    end
    return deadline
  end,
}
