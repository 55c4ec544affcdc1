-- Learning to rank: requests go by rank of predicted output, shortest first; one that was passed over too often is promoted in front of all
-- others.
--
-- Rule: a request that waited through `starve` orderings is promoted until it is admitted. Promoted ones first, then by prediction; ties by
-- arrival.
-- Source: "Efficient LLM Scheduling by Learning to Rank", arXiv 2408.15792; hao-ai-lab/vllm-ltr, vllm/core/scheduler.py. The authors' fairness
-- runs use 200 skipped steps. There a promotion lasts 10 scheduled steps, since their scheduler also takes running requests off; here nobody who
-- runs is taken off, so it ends with admission, and a skip is an ordering at which somebody could have been admitted. The run's predictor stands
-- for their ranking model; without one the order is by arrival.
--@param starve = 200, 1..100000 int log  Times passed over until promotion

local PROMOTED = 2 ^ 40 -- more than any length
local passed, still = {}, {} -- times passed over, by request: at the last ordering, and at this one
local keys = {}

return {
  order = function(waiting, running, queue)
    table.clear(still)
    for i, req in ipairs(waiting) do
      local times = (passed[req.serial] or -1) + 1
      still[req.serial] = times
      keys[i] = req.predicted_output_tokens - (if times >= cfg.starve then PROMOTED else 0)
    end
    passed, still = still, passed
    return keys
  end,
}
