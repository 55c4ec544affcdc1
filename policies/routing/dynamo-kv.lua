-- NVIDIA Dynamo's KV router: the blocks an instance would have to prefill, against the blocks it already decodes with. A temperature above 0
-- draws instead of taking the cheapest.
--
-- Rule: cost(i) = prefill_scale * max(0, (A_i + P) / B - overlap_credit * overlap_i) + D_i
--   P prompt tokens, B tokens per block, overlap_i blocks of the prompt cached on i (cache events), A_i prompt tokens sent to i, less those cached
--   then, whose prefill is not done, D_i prompt blocks of the requests on i. T = 0: a random one of the cheapest; T > 0: chance ~
--   exp(-cost / (max - min) / T).
-- Source: ai-dynamo/dynamo, lib/kv-router/src/scheduling/selector.rs, config.rs and its active sequences. Dynamo counts blocks that requests
-- share once in D; the ledger here counts each request's own. Host, disk and shared tiers, busy thresholds and queueing are left out.
--@param prefill_scale = 1, 0..10  Weight of a block to prefill against a block in use
--@param overlap_credit = 1, 0..1  How much of a cached block counts as done
--@param temperature = 0, 0..10  0: the cheapest

local prefilling, blocks = {}, {} -- by instance: tokens not yet prefilled, blocks in use
local open = {} -- requests on an instance: tokens still counted as prefilling, blocks

local function first_token(ev)
  local one = open[ev.serial]
  if one and one.tokens > 0 then
    prefilling[ev.instance] -= one.tokens
    one.tokens = 0
  end
end

return {
  route = function(req, insts, cluster)
    local costs, least, most = {}, math.huge, -math.huge
    local size = insts[1].block_size
    for i, inst in ipairs(insts) do
      local todo = ((prefilling[inst.index] or 0) + req.prompt_tokens) / size
      local saved = cfg.overlap_credit * inst:precise_prefix_blocks()
      local cost = cfg.prefill_scale * math.max(0, todo - saved) + (blocks[inst.index] or 0)
      costs[i], least, most = cost, math.min(least, cost), math.max(most, cost)
    end
    local chosen
    if cfg.temperature > 0 and most > least then
      local scores = {}
      for i, cost in ipairs(costs) do
        scores[i] = -cost / (most - least)
      end
      chosen = softmax_pick(scores, cfg.temperature)
    else
      local cheapest = {}
      for i, cost in ipairs(costs) do
        if cost == least then
          table.insert(cheapest, i)
        end
      end
      chosen = cheapest[rng(#cheapest)]
    end
    local index = insts[chosen].index
    local cached = insts[chosen]:precise_prefix_blocks() * size
    local one = { tokens = math.max(0, req.prompt_tokens - cached), blocks = math.ceil(req.prompt_tokens / size) }
    open[req.serial] = one
    prefilling[index] = (prefilling[index] or 0) + one.tokens
    blocks[index] = (blocks[index] or 0) + one.blocks
    return chosen
  end,

  on_first_token = first_token,

  on_complete = function(ev)
    first_token(ev)
    local one = open[ev.serial]
    if one then
      blocks[ev.instance] -= one.blocks
      open[ev.serial] = nil
    end
  end,
}
