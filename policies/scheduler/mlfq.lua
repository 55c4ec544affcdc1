-- Multi-level feedback queue with skip-join, after FastServe: short work first without knowing output lengths. A request joins at the level whose
-- quantum covers its prefill, sinks with the service it got, and rises to the top when it has waited too long.
--
-- Rule: quantum(p) = quantum_ms * 2^p. Level = least p with quantum(p) >= service, service = estimated time of prefill and of the tokens
-- generated so far. Waited starve_ms since it entered: level 0. Lower levels first, by arrival inside a level.
-- Source: "Fast Distributed Inference Serving for Large Language Models", arXiv 2305.05920; LLMServe/FastServe, fastserve/scheduler.py (10 ms, 3
-- s). FastServe takes running requests off after every iteration; here the scheduler only orders those that wait, so a request sinks only when
-- the engine preempted it for want of KV blocks, and a demoted one stands by arrival, not at the front of its level.
--@param quantum_ms = 10, 0.1..10000 log  Quantum of level 0, ms
--@param starve_ms = 3000, 1..600000 log  Waiting time that lifts a request to level 0, ms

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

  score = function(now, req)
    if now - req.enqueued_us >= cfg.starve_ms * 1000 then
      return 0
    end
    local service = prefill_us(req.prompt_tokens) + req.output_tokens * est_step_us(0, 1, req.prompt_tokens)
    local level, quantum = 0, cfg.quantum_ms * 1000
    while quantum < service do
      level, quantum = level + 1, quantum * 2
    end
    return 0 - level -- not -0, which is another number to a sort
  end,
}
