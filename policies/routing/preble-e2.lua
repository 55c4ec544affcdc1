-- Preble E2 (exploitation + exploration): a prompt of which more is cached than new goes to a holder of that prefix; another goes where it costs
-- least to serve, measured in time of work over the last minutes.
--
-- Rule: exploit if matched > P - matched, among the instances with the longest match; else explore among all. Take the least
--   cost(i) = prefill time of what i computed in the window + requests on i * mean output length * time per token + prefill time of P - matched_i.
--   Rebalance: after 50 requests, if the heaviest instance costs 1.5 times the lightest or more, a prompt bound for it goes to the lightest,
--   which becomes a holder too.
-- Source: Preble, arXiv 2407.00023, and WukLab/preble, multi_node/global_scheduler_with_time.py. Ours: matching by the front end's record of
-- blocks (there: nodes of a radix tree); work is booked when it is sent; means instead of medians; rebalancing moves single requests instead of
-- nodes; the last term, which the paper has, is fixed to 0 in that code; its eviction cost is off by default there and absent here.
--@param window_s = 180, 1..3600  Window of the load, seconds
--@param rebalance = 1.5, 1..100  Heaviest / lightest at which prompts are moved
--@param output_tokens = 45, 1..10000  Output length expected before any was seen
--@param token_ms = 150, 0.01..1000 log  Time per output token expected before any was seen, ms

local jobs, head, tail = {}, 1, 0 -- prefills sent, from the oldest at `head` to the latest at `tail`
local work, active = {}, {} -- by instance: prefill time in the window, requests on it
local requests, finished = 0, 0
local mean_output, mean_token_us = cfg.output_tokens, cfg.token_ms * 1000

return {
  route = function(req, insts, cluster)
    while head <= tail and jobs[head].at < cluster.now_us - cfg.window_s * 1e6 do
      work[jobs[head].index] -= jobs[head].us
      jobs[head] = nil
      head += 1
    end
    local size, longest, matched = insts[1].block_size, 0, {}
    for i, inst in ipairs(insts) do
      matched[i] = inst:approximate_prefix_blocks() * size
      longest = math.max(longest, matched[i])
    end
    local exploit = longest > req.prompt_tokens - longest
    local chosen, least, lightest, heaviest = 1, math.huge, 1, 1
    local loads, prefill = {}, {}
    for i, inst in ipairs(insts) do
      local index = inst.index
      loads[i] = (work[index] or 0) + (active[index] or 0) * mean_output * mean_token_us
      prefill[i] = est_prefill_us(req.prompt_tokens - matched[i], matched[i])
      local cost = loads[i] + prefill[i]
      if (not exploit or matched[i] == longest) and cost < least then
        chosen, least = i, cost
      end
      lightest = if loads[i] < loads[lightest] then i else lightest
      heaviest = if loads[i] > loads[heaviest] then i else heaviest
    end
    requests += 1
    if requests > 50 and chosen == heaviest and loads[heaviest] >= cfg.rebalance * loads[lightest] then
      chosen = lightest
    end
    local index = insts[chosen].index
    tail += 1
    jobs[tail] = { at = cluster.now_us, index = index, us = prefill[chosen] }
    work[index] = (work[index] or 0) + prefill[chosen]
    active[index] = (active[index] or 0) + 1
    return chosen
  end,

  on_complete = function(ev)
    active[ev.instance] -= 1
    if ev.outcome == 0 and ev.output_tokens > 1 then
      finished += 1
      mean_output += (ev.output_tokens - mean_output) / finished
      mean_token_us += ((ev.e2e_us - ev.ttft_us) / (ev.output_tokens - 1) - mean_token_us) / finished
    end
  end,
}
