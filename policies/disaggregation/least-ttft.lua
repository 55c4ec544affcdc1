-- Least time to first token: a prompt is computed where its first token is estimated to come first.
--
-- Rule: elsewhere if the least over the instances p that prefill of est(p) + transfer(p) + last(d) + margin is less than est(d), where d decodes;
-- est(i) is the time to first token behind everything that i shows or was sent since; transfer(p) moves what d lacks of the KV cache over idle links;
-- last(d) is the step on d that computes the last token of the prompt once more.
-- Source: BLIS, `--edpp-rule least-ttft` (the comparison); the estimates are ours; the built-in `least-ttft` decides the same.
--@param margin_ms = 0, -10000..10000  By how much the first token must come earlier, ms

local SERVES, PREFILLS = 0, 1
local sent = {} -- what decoding instances were given to compute: times and tokens, by index

-- Tokens that an instance was given since its last scrape, which does not show them.
local function sent_since(inst)
  local kept, tokens = {}, 0
  for _, one in ipairs(sent[inst.index] or {}) do
    if one.at > inst.scraped_us then
      table.insert(kept, one)
      tokens += one.tokens
    end
  end
  sent[inst.index] = kept
  return tokens
end

local function cached_on(req, inst)
  return math.min(inst:precise_prefix_blocks() * inst.block_size, req.prompt_tokens)
end

return {
  disaggregate = function(req, inst, cluster)
    local lacking = req.prompt_tokens - cached_on(req, inst)
    local here = est_ttft_us(inst, req.prompt_tokens + sent_since(inst), cached_on(req, inst))
    local last = est_step_us(1, inst.decodes, inst.decode_context_tokens, inst)
    local elsewhere = math.huge
    for _, other in ipairs(cluster.instances) do
      if other.role == PREFILLS or (other.role == SERVES and other.index ~= inst.index) then
        local unseen = 0
        if other.role == PREFILLS then
          unseen = math.max(0, other.dispatched_tokens - other.queued_prompt_tokens - other.running_prefill_tokens)
        end
        local first = est_ttft_us(other, req.prompt_tokens + unseen, cached_on(req, other))
        elsewhere = math.min(elsewhere, first + est_transfer_us(other, lacking) + last)
      end
    end
    if elsewhere + 1000 * cfg.margin_ms < here then
      return true
    end
    table.insert(sent[inst.index], { at = cluster.now_us, tokens = lacking })
    return false
  end,
}
